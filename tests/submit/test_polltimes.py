"""`batch.submit.polltimes`: the times are the best there are for a distribution, and as many as wanted."""

from __future__ import annotations

from itertools import pairwise

import pytest

from batch.submit.polltimes import poll_times
from tests.support.pollfield import least_extra, usual_by

EDGES = [0.5 * n for n in range(121)]
MASSES = [(usual_by(high) - usual_by(low)) / usual_by(60.0) for low, high in pairwise(EDGES)]


def course(times: list[float]) -> tuple[float, float]:
    """Polls a task, and the extra time as a part, counted in small steps."""
    polls = late = took = 0.0
    for begin, at in pairwise([0.0, *times]):
        polls += 1.0 - usual_by(begin)
        small = [begin + (at - begin) * n / 200 for n in range(201)]
        for low, high in pairwise(small):
            mass, middle = usual_by(high) - usual_by(low), (low + high) / 2
            late += mass * (at - middle)
            took += mass * middle
    return polls, late / took


@pytest.mark.parametrize("wanted", [1.5, 2.5, 3.6, 6.0])
def test_no_times_with_as_many_polls_lose_less(wanted: float) -> None:
    """Beside a second reckoning in finer steps, which shares no line with it."""
    polls, extra = course(poll_times(EDGES, MASSES, polls=wanted, worth_s=0.001))
    assert wanted - 0.4 <= polls <= wanted + 0.05
    assert extra <= 1.05 * least_extra(usual_by, polls=polls, longest_s=60.0)


def test_a_poll_that_saves_next_to_nothing_is_not_made() -> None:
    """All tasks end within a millisecond of each other: one poll, whatever is allowed."""
    assert poll_times([0.5, 0.501], [1.0], polls=4.0, worth_s=0.005) == [0.501]


def test_two_clusters_are_polled_where_they_are_and_not_between() -> None:
    """Nine in ten take a second, the others a minute."""
    edges = [0.0, 0.9, 1.0, 59.0, 60.0]
    times = poll_times(edges, [0.0, 0.9, 0.0, 0.1], polls=4.0, worth_s=0.001)
    assert times == [1.0, 60.0]
