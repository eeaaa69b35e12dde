"""`batch.limits.outage`: when the provider is taken to be away, when it is asked again, and how fast rows may be retried."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.limits.outage import (
    LEAST_BUDGET,
    LONGEST_PROBE_S,
    OVERLOADED_IN_A_ROW,
    ROWS_IN_A_ROW,
    UNREACHED_IN_A_ROW,
    Observation,
    OutageDetector,
)

FAILING: list[Observation] = [heard for heard in get_args(Observation) if heard not in ("answered", "nothing")]


def test_failures_of_one_row_are_the_rows_own() -> None:
    """A hundred in a row: the row is at fault, as far as one can tell."""
    outage = OutageDetector(50)
    assert not any(outage.failed(1, float(n), how="failed") for n in range(100))
    assert (outage.ongoing, outage.silent_for(100.0), outage.probe_in(100.0)) == (False, 0.0, 0.0)


@pytest.mark.parametrize("concurrency", [1, 3, 50])
def test_failures_of_several_rows_with_no_answer_between_are_an_outage(concurrency: int) -> None:
    """Eight rows, fewer where fewer can be open at once; one answer starts the count anew."""
    outage = OutageDetector(concurrency)
    needed = min(ROWS_IN_A_ROW, max(3, concurrency))
    assert not any(outage.failed(row, 0.0, how="failed") for row in range(needed - 1))
    assert not outage.answered(0.0)
    assert [outage.failed(row, 1.0, how="failed") for row in range(needed)] == [False] * (needed - 1) + [True]
    assert outage.silent_for(5.0) == 4.0


def test_a_provider_that_cannot_be_reached_needs_no_several_rows() -> None:
    """A refused connection has nothing to do with what would have been asked."""
    outage = OutageDetector(50)
    heard = [outage.failed(1, 0.0, how="unreached") for _ in range(UNREACHED_IN_A_ROW)]
    assert heard[-1]
    assert not any(heard[:-1])


def test_a_busy_model_is_not_taken_for_away_too_soon() -> None:
    """1305 for 85 % of all calls is usual."""
    outage = OutageDetector(50)
    heard = [outage.failed(row, 0.0, how="overloaded") for row in range(OVERLOADED_IN_A_ROW)]
    assert heard.index(True) == OVERLOADED_IN_A_ROW - 1


def test_answers_of_calls_that_left_before_an_outage_do_not_end_it() -> None:
    """They tell what was, not what is."""
    outage = OutageDetector(50)
    for row in range(ROWS_IN_A_ROW):
        outage.failed(row, 10.0, how="failed")
    assert not outage.answered(9.0)
    assert outage.ongoing
    assert outage.answered(11.0)
    assert (outage.ongoing, outage.probe_in(11.0)) == (False, 0.0)


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from(FAILING)), min_size=1, max_size=200))
def test_an_outage_is_probed_one_call_at_a_time_and_never_given_up(failures: list[tuple[float, Observation]]) -> None:
    """Whatever fails, in an outage the next probe is at most `LONGEST_PROBE_S` away and nothing leaves beside it."""
    outage = OutageDetector(8)
    now = 0.0
    for row, (after, how) in enumerate(failures):
        now += after
        outage.failed(row, now, how=how)
        wait = outage.probe_in(now)
        assert wait is not None
        assert 0.0 <= wait <= LONGEST_PROBE_S + 1e-9
        assert (wait > 0.0) <= outage.ongoing
    outage.probing = True
    assert outage.probe_in(now + 100.0) == (None if outage.ongoing else 0.0)


@given(st.integers(1, 200), st.lists(st.tuples(st.floats(0, 5), st.integers(0, 3)), max_size=300))
def test_retries_are_spread_out_and_never_refused(concurrency: int, events: list[tuple[float, int]]) -> None:
    """Over any time: at most the bucket, a tenth of the concurrency a second, and half a retry for each answer."""
    outage = OutageDetector(concurrency)
    capacity, refill = max(LEAST_BUDGET, concurrency), max(1.0, concurrency / 10)
    now = 0.0
    due: list[float] = []
    answers = 0
    for after, answered in events:
        now += after
        for _ in range(answered):
            outage.answered(now)
            answers += 1
        wait = outage.retry_wait(now)
        assert wait >= 0.0
        due.append(now + wait)
    for at in due:
        taken = sum(other <= at for other in due)
        assert taken <= capacity + at * refill + answers / 2 + 1e-6


def test_while_most_calls_are_answered_no_retry_waits() -> None:
    """One failure in four, for ever."""
    outage = OutageDetector(10)
    for n in range(1_000):
        for _ in range(3):
            outage.answered(n * 0.01)
        assert outage.retry_wait(n * 0.01) == 0.0
