"""Lane `stream` in whole runs: the same table as lane `sync`, whatever happens to the line."""

from __future__ import annotations

import pytest

from tests.runs.conftest import Make
from tests.runs.faulty import calls, faulty, finished, told

OK = ("answered", None, None)
BOTH = pytest.mark.parametrize("provider", ["glm", "openai"])


@BOTH
def test_a_stream_gives_the_table_that_sync_gives(provider: str, make: Make) -> None:
    """Answers, reasoning, finish reasons, tokens and costs, row by row; the times of a stream stand in the book."""
    columns = "n, status, answer, reasoning, finish_reason, prompt_tokens, completion_tokens, cost, currency"
    mills = [make("", provider=provider, lane=lane, name=lane) for lane in ("sync", "stream")]
    for mill in mills:
        mill.questions(30)
        assert mill.run().exit_code == 0
        mill.check_table(30)
        mill.check_books()
    assert mills[0].results(columns) == mills[1].results(columns)
    assert mills[1].calls("min(first_chunk_ms) >= 0, min(longest_gap_ms) >= 0, min(lane), max(lane)") == [
        (True, True, "stream", "stream")
    ]


FAULTS = {
    36: [("unknown", "transport", "truncated_stream"), OK],
    38: [("unknown", "transport", "truncated_stream"), OK],
    39: [("unknown", "bad_payload", "broken_stream"), OK],
}


@BOTH
@pytest.mark.parametrize("number", FAULTS)
def test_fault_36_38_39_a_broken_stream_is_no_answer_and_is_asked_again(number: int, provider: str, make: Make) -> None:
    """It may have been billed, so its call is unknown."""
    mill = faulty(make, number, first=1, provider=provider, lane="stream")
    finished(mill, bounded=False)
    assert calls(mill) == FAULTS[number]


@BOTH
def test_fault_37_a_missing_last_word_costs_nothing(provider: str, make: Make) -> None:
    """The finish reason was there."""
    mill = faulty(make, 37, provider=provider, lane="stream")
    finished(mill)
    assert calls(mill) == [OK]


@BOTH
@pytest.mark.parametrize("form", ["comments", "crlf", "no_space", "keep_alives", "bom", "line_separator", "split"])
def test_fault_40_odd_framing_changes_no_letter(form: str, provider: str, make: Make) -> None:
    """Comments, CRLF, blank lines, marks, and characters cut between two writes."""
    mill = faulty(make, 40, provider=provider, lane="stream", form=form)
    finished(mill)
    odd = mill.results("answer")
    calm = make("", provider=provider, name="calm")
    calm.questions(4)
    assert calm.run().exit_code == 0
    assert odd == calm.results("answer")


@BOTH
@pytest.mark.parametrize(
    ("form", "kind"),
    [("error_frame", "content_filter"), ("sensitive", "content_filter"), ("network_error", None)],
)
def test_fault_41_text_that_is_withdrawn_is_not_kept(form: str, kind: str | None, provider: str, make: Make) -> None:
    """Filtered for good; an aborted inference is asked again."""
    mill = faulty(make, 41, first=1, provider=provider, lane="stream", form=form)
    finished(mill, failed=(1,) if kind else (), bounded=False)
    if kind:
        assert told(mill)[0] == kind
        assert [row for row in mill.results("n, answer") if row[0] == 1] == [(1, None)]


@BOTH
def test_fault_42_one_json_answer_to_a_stream_request_is_read(provider: str, make: Make) -> None:
    """A service that does not stream answers all the same."""
    mill = faulty(make, 42, provider=provider, lane="stream")
    finished(mill)
    assert calls(mill) == [OK]


def test_fault_43_44_first_chunk_and_silence_have_limits_of_their_own(make: Make) -> None:
    """Long before the whole call is over."""
    mill = faulty(make, 43, first=1, seconds=20, lane="stream")
    mill.limits.update(first_chunk_timeout_s=0.5, call_timeout_s=60)
    finished(mill, bounded=False)
    assert [state for state, *_ in calls(mill)] == ["unknown", "answered"]
    mill = faulty(make, 44, first=1, gap_s=20, lane="stream", name="gap")
    mill.limits.update(idle_timeout_s=0.5, call_timeout_s=60)
    finished(mill, bounded=False)
    assert [(state, kind) for state, kind, _ in calls(mill)] == [("unknown", "timeout"), ("answered", None)]
