"""The best times to ask for a task of which only the distribution of its length is known.

More polls mean less waiting for an answer that is there already. With a price on each poll, in seconds of waiting that
it must be worth, the best times are those with the least sum of waiting and price; going back from the last time, the
best way to go on from each is found once (dynamic programming). The price is set so that a task takes as many polls as
are wanted, on average. Owns this arithmetic; it knows of no clock and no task.

For example, tasks that take 10 to 30 s, most of them 17 s, and 3.6 polls wanted: the first poll comes after some 12 s,
the next ones a second and a half apart where most tasks end, and farther apart behind that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

POINTS: Final = 90  # times that are looked at, at most
_ROUNDS: Final = 12


def poll_times(edges: Sequence[float], masses: Sequence[float], *, polls: float, worth_s: float) -> list[float]:
    """The times to poll at, in seconds from the submit; by the last of them every task is done.

    Args:
        edges: ascending times, in seconds: where the bins begin, and where the last one ends.
        masses: the part of all tasks that end in each bin, together 1.
        polls: how many a task may take on average.
        worth_s: a poll that saves less waiting than this is not made, however many are wanted.
    """
    grid = _Grid(edges, masses)
    times, count = grid.best(worth_s)
    if count <= polls:
        return times
    low, high = worth_s, max(2 * worth_s, edges[-1])
    times, _ = grid.best(high)
    for _ in range(_ROUNDS):
        price = (low * high) ** 0.5
        tried, count = grid.best(price)
        if count <= polls:
            high, times = price, tried
        else:
            low = price
    return times


class _Grid:
    """The times that are looked at, and for each what part of the tasks is done and how long those took."""

    def __init__(self, edges: Sequence[float], masses: Sequence[float]) -> None:
        step = -(-len(masses) // POINTS)
        places = [*range(0, len(masses), step), len(masses)]
        done = [0.0, *accumulate(masses)]
        middles = ((low + high) / 2 * mass for low, high, mass in zip(edges, edges[1:], masses, strict=False))
        took = [0.0, *accumulate(middles)]
        # The first look is at the submit, when nothing is done; it is no poll.
        self.times = [0.0, *(edges[place] for place in places[1:])]
        self.done = [done[place] for place in places]
        self.took = [took[place] for place in places]

    def best(self, price_s: float) -> tuple[list[float], float]:
        """The best times at this price of a poll, and how many polls a task then takes on average."""
        times, done, took = self.times, self.done, self.took
        last = len(times) - 1
        costs, nexts = [0.0] * (last + 1), [last] * (last + 1)
        for here in range(last - 1, -1, -1):
            best, chosen = float("inf"), last
            paid = price_s * (1.0 - done[here])
            base_done, base_took = done[here], took[here]
            for there in range(here + 1, last + 1):
                waiting = paid + times[there] * (done[there] - base_done) - (took[there] - base_took)
                if waiting >= best:
                    break  # later times only mean more waiting
                if waiting + costs[there] < best:
                    best, chosen = waiting + costs[there], there
            costs[here], nexts[here] = best, chosen
        chosen_times, polls, here = [], 0.0, 0
        while here < last:
            polls += 1.0 - done[here]
            here = nexts[here]
            chosen_times.append(times[here])
        return chosen_times, polls
