"""`batch.limits.pollrate`: polls have a rate of their own, are spread over it, and slow down when one is refused."""

from __future__ import annotations

from batch.limits.pollrate import PollRate


def busiest(at: list[float], window_s: float) -> int:
    """The most moments in any window of this length."""
    at = sorted(at)
    return max(sum(begin <= other < begin + window_s for other in at) for begin in at)


def test_a_poll_that_has_room_leaves_when_it_is_due() -> None:
    """Nobody waits for the rate without need."""
    rate = PollRate()
    assert rate.book(12.34, 10.0) == 12.34
    assert rate.book(5.0, 10.0) >= 10.0


def test_polls_due_at_one_moment_are_spread_over_seconds() -> None:
    """3,000 of them: a second has at most its thousand, a hundredth at most eleven, and none is lost."""
    rate = PollRate()
    at = [rate.book(10.0, 10.0) for _ in range(3_000)]
    assert busiest(at[::3], 1.0) <= 334
    assert busiest(at, 0.01) <= 12
    assert 12.9 <= max(at) <= 13.1


def test_many_new_tasks_may_be_polled_as_often_as_they_need() -> None:
    """Four for each that was submitted lately."""
    rate = PollRate()
    for n in range(2_000):
        rate.submitted(10.0 + n / 2_000)
    assert rate.per_s(11.0) == 8_000
    assert rate.per_s(13.0) == 1_000


def test_a_refused_poll_halves_what_was_sent_and_time_gives_it_back() -> None:
    """And ten refusals of one moment are one; a second one later halves again, never below one a second."""
    rate = PollRate()
    for n in range(40):
        rate.book(10.0 + n / 40, 10.0)
    for _ in range(10):
        rate.refused(11.0)
    assert 19 <= rate.per_s(11.0) <= 21
    assert 30 <= rate.per_s(20.0) <= 33
    assert rate.per_s(200.0) == 1_000
    for n in range(100):
        rate.refused(300.0 + 2 * n)
    assert 0.9 <= rate.per_s(498.0) <= 1.1
    at = [rate.book(500.0, 500.0) for _ in range(10)]
    assert busiest(at, 1.0) <= 2
    assert max(at) <= 512


def test_a_long_run_forgets_the_moments_that_are_over() -> None:
    """Bounded memory: a day of polls leaves a few thousand boxes."""
    rate = PollRate()
    for n in range(50_000):
        now = 10.0 + n * 1.7
        rate.book(now + 1.0, now)
    assert len(rate._booked) < 5_000
