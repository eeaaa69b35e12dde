"""What came of errands, as whoever asked for it gets it."""

from __future__ import annotations

import pytest

from batch.core import redaction
from batch.core.errors import WireError
from batch.core.readanswer import ReadAnswer
from batch.core.records import Accepted, Failure, Incoming, Reply
from batch.core.redaction import MASK
from batch.run.fleet.answers import answer_of, found_in, stream_of
from batch.run.fleet.messages import Done, Fault, Report, Result, Said, StreamEnd, said_of

KEY = "fleet.0123456789abcdefghij"
OK = Incoming(200, {}, b"{}")


def heard(result: Result, *, spared: bool) -> object:
    redaction.hide(KEY)
    (found,) = found_in(Report(1, [], [], [said_of(7, {"x-request-id": "r"}, result)], spared))
    answer = answer_of(found)
    assert isinstance(answer, ReadAnswer)
    assert (answer.status, answer.headers, answer.body) == (200, {"x-request-id": "r"}, b"")
    return answer.result


def test_an_answer_that_came_as_bytes_is_that() -> None:
    assert answer_of(Done(1, OK)) == OK


def test_a_fault_is_raised_as_the_client_of_the_worker_raised_it() -> None:
    with pytest.raises(WireError, match="no way") as caught:
        answer_of(Done(1, None, Fault("no way", "timeout", True, False, True)))
    found = caught.value
    assert (found.kind, found.sent, found.permanent, found.wrong_address) == ("timeout", True, False, True)


def test_a_key_is_masked_in_what_a_worker_read() -> None:
    said = Reply(content=f"it is {KEY}", finish_reason="stop", message={"role": "assistant", "content": KEY})
    masked = heard(said, spared=False)
    assert isinstance(masked, Reply)
    assert (masked.content, masked.message["content"]) == (f"it is {MASK}", MASK)


def test_what_was_looked_at_as_a_whole_is_not_looked_at_again() -> None:
    said = Reply(content="Good day", finish_reason="stop")
    assert heard(said, spared=True) is said


def test_the_times_of_a_stream_stay_with_what_it_said() -> None:
    redaction.hide(KEY)
    times = StreamEnd(None, None, 7, 9)
    said = said_of(7, {}, Reply(content=KEY, finish_reason="stop"), times)
    (found,) = found_in(Report(1, [], [], [said], spared=False))
    assert isinstance(found, Said)
    assert (found.reply == said.reply, stream_of(found)) == (False, times)


def test_a_task_id_that_holds_a_key_is_not_kept() -> None:
    assert heard(Accepted(task_id="t-1"), spared=False) == Accepted(task_id="t-1")
    refused = heard(Accepted(task_id=KEY), spared=False)
    assert isinstance(refused, Failure)
    assert (refused.code, refused.answered) == ("key_in_task_id", False)


def test_reports_have_both_forms_side_by_side() -> None:
    said = Said(1, {}, Reply(content="x", finish_reason="stop"))
    assert found_in(Report(1, [Done(2, OK)], [3], [said], spared=True)) == [said, Done(2, OK)]
