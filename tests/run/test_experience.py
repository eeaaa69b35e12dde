"""`batch.run.experience`: what lane `auto` has learned, kept from one process to the next."""

from __future__ import annotations

from batch.run.experience import (
    FIRST_BATCH_S,
    FIRST_CALL_S,
    FIRST_CANCEL_S,
    FIRST_TOKENS,
    Experience,
)

NIGHT_US, HOUR_US = 1_790_000_000_000_000, 3_600_000_000


def fresh() -> tuple[Experience, list[str]]:
    """One of a new folder, and what it wrote down."""
    written: list[str] = []
    return Experience(None, written.append), written


def test_what_was_never_seen_is_taken_to_be_slow() -> None:
    """And says that it is a guess."""
    seen, _ = fresh()
    assert (seen.call_s("m"), seen.tokens("m"), seen.knows_calls("m")) == (FIRST_CALL_S, FIRST_TOKENS, False)
    assert (seen.batch_s("m"), seen.knows_batches("m")) == (FIRST_BATCH_S, False)
    assert (seen.cancel_s, seen.gap_s) == (FIRST_CANCEL_S, 0.0)


def test_calls_teach_their_mean_and_each_model_its_own() -> None:
    """The first call is believed whole."""
    seen, _ = fresh()
    for seconds, tokens in ((2.0, 100), (4.0, None), (6.0, 400)):
        seen.learn_call("m", seconds, tokens)
    assert seen.call_s("m") == 4.0
    assert seen.tokens("m") == 200.0
    assert seen.call_s("other") == FIRST_CALL_S


def test_a_model_that_became_slower_is_believed_after_some_hundred_calls() -> None:
    """What was long ago fades."""
    seen, _ = fresh()
    for _ in range(5_000):
        seen.learn_call("m", 1.0, None)
    for _ in range(1_000):
        seen.learn_call("m", 5.0, None)
    assert 4.9 < seen.call_s("m") <= 5.0


def test_the_fastest_batch_and_the_slowest_cancellation_of_the_last_ones_count() -> None:
    """A batch may be as fast again, a cancellation as slow, and half as slow again."""
    seen, _ = fresh()
    for seconds in (900.0, 300.0, 4_000.0):
        seen.learn_batch("m", seconds)
        seen.learn_cancel(seconds / 100)
    assert seen.batch_s("m") == 300.0
    assert seen.cancel_s == 70.0
    for _ in range(20):
        seen.learn_batch("m", 5_000.0)
        seen.learn_cancel(2.0)
    assert (seen.batch_s("m"), seen.cancel_s) == (5_000.0, 13.0)


def test_all_of_it_is_there_in_the_next_process() -> None:
    """As it was written down last."""
    seen, written = fresh()
    seen.learn_call("m", 3.0, 50)
    seen.learn_batch("m", 60.0)
    seen.learn_cancel(20.0)
    again = Experience(written[-1], written.append)
    assert (again.call_s("m"), again.batch_s("m"), again.cancel_s) == (3.0, 60.0, 40.0)
    assert Experience("what another version wrote", written.append).call_s("m") == FIRST_CALL_S


def test_many_calls_are_not_written_down_one_by_one() -> None:
    """Each writing is a commit."""
    seen, written = fresh()
    for _ in range(1_000):
        seen.learn_call("m", 3.0, 50)
    assert len(written) == 10


def test_the_longest_time_between_two_visits_for_one_moment_counts() -> None:
    """Those of the night before say nothing, and neither does a clock that was set back."""
    seen, written = fresh()
    by_us = NIGHT_US + 10 * HOUR_US
    seen.visit(by_us, NIGHT_US)
    assert seen.gap_s == 0.0
    for hours in (4, 4.1, 8):
        seen = Experience(written[-1], written.append)
        seen.visit(by_us, NIGHT_US + int(hours * HOUR_US))
    assert seen.gap_s == 4 * 3_600
    seen.visit(by_us, NIGHT_US)
    assert seen.gap_s == 4 * 3_600
    seen.visit(by_us + 24 * HOUR_US, NIGHT_US + 24 * HOUR_US)
    assert seen.gap_s == 0.0
