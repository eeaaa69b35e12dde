"""`batch.submit.lost_lines`: what lines of a batch file ask, known again whatever the call and the order of members."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from batch.ledger.orphans import Lost
from batch.ledger.paid import Paid
from batch.submit.lost_lines import asks_of, lines_of, lines_of_book, model_of, own, to_take

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


def test_of_a_line_that_is_booked_its_row_is_known_and_one_whose_answer_is_in_a_row_is_not_to_be_had() -> None:
    line = Lost(7, "pm-1", b"red")
    paid = {"pm-1": Paid("pm-1", "r1", "short", b"print", 2)}
    assert to_take(line, (), {}) == line
    assert to_take(line, {"pm-1"}, {}) is None
    assert to_take(line, {"pm-1"}, paid) == Lost(7, "pm-1", own("r1", "short", b"red"))
    assert own("r1", "short", b"red") not in {own("r1", "long", b"red"), own("r2", "short", b"red"), b"red"}


def test_without_a_file_the_book_tells_the_first_request_of_a_row_by_its_fingerprint() -> None:
    """Not what a later turn asked, and nothing where an older version wrote the book."""
    calls = [Paid("pm-1", "r1", "", b"one", 0), Paid("pm-2", "r2", "", b"two", 1), Paid("pm-3", "r3", "", b"", 0)]
    assert lines_of_book(calls) == [Lost(1, "pm-1", own("r1", "", b"one"))]
