"""`batch.submit.lost_lines`: what lines of a batch file ask, known again whatever the call and the order of members."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from batch.submit.lost_lines import asks_of, lines_of, model_of

BODY = b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"temperature":0.1,"request_id":"pm-1"}'


def test_the_same_question_is_known_again_and_another_is_not() -> None:
    """Under another id, with its members in another order."""
    same = b'{"request_id":"x","temperature":0.1,"messages":[{"content":"Hi","role":"user"}],"model":"m"}'
    assert asks_of(BODY) == asks_of(same)
    assert asks_of(BODY) != asks_of(BODY.replace(b"Hi", b"Ho"))
    assert asks_of(BODY) != asks_of(BODY.replace(b"0.1", b"0.2"))


def test_lines_have_their_places_and_what_is_no_line_is_passed_over(tmp_path: Path) -> None:
    """A file may have been cut off or written over."""
    path = tmp_path / "wave.jsonl"
    line = b'{"custom_id":"pm-%d","method":"POST","url":"/x","body":%b}\n'
    path.write_bytes(line % (1, BODY) + b"junk\n" + line % (2, BODY) + (line % (3, BODY))[:30])
    assert [(one.line, one.call_id) for one in lines_of(path)] == [(1, "pm-1"), (3, "pm-2")]
    assert model_of(path) == "m"
    path.write_bytes(b"junk\n")
    assert model_of(path) is None
    with pytest.raises(msgspec.DecodeError):
        asks_of(b"[1]")
