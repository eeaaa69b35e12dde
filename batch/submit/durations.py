"""How long tasks take: a distribution that is learned from polls, which never tell the moment at which a task ended.

A poll says "not yet" or "done", so of a finished task two times are known: it ran for longer than the first and at most
as long as the second. Owns counts over such intervals, on a scale where each step is 3 % longer than the one before, so
that a tenth of a second and an hour are told apart equally well. What lies inside an interval is shared out by what is
believed already, and old tasks weigh less than new ones. When to poll is `polltimes` and `polls`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Final

STEP: Final = 0.03
"""The width of a bin, in natural logarithms of seconds."""
FIRST_S: Final = 0.001
"""Where the first bin begins; whatever is shorter counts in it."""
BINS: Final = 620  # up to a day and more
MEMORY: Final = 500.0  # tasks after which an observation has lost most of its weight
LEAST_WEIGHT: Final = 1e-6
DOUBLE: Final = round(math.log(2.0) / STEP)
"""Bins from a time to twice that time."""
TAIL: Final = 0.0005  # of the tasks, on either side, that the form leaves out

_HEAVY: Final = 1e9
_WIDTHS: Final = [math.exp(bin_ * STEP) for bin_ in range(BINS)]
"""How wide each bin is, as a multiple of the first."""


class Shape:
    """A distribution as it is believed now.

    Args:
        first: number of the bin that `masses` begins with.
        masses: the part of all tasks in each bin; they add up to 1.
    """

    __slots__ = ("first", "masses")

    def __init__(self, first: int, masses: list[float]) -> None:
        self.first = first
        self.masses = masses

    @property
    def edges(self) -> list[float]:
        """The times between the bins, in seconds: one more than there are bins."""
        return [edge(self.first + place) for place in range(len(self.masses) + 1)]


class Durations:
    """What was seen of the tasks of one kind.

    Attributes:
        weights: what was counted in each bin.
        total: the sum of them.
        seen: tasks that were counted here, in all runs that are remembered.
        each: what the next task weighs: always a little more than the one before, so that old ones fade.
    """

    __slots__ = ("each", "seen", "total", "weights")

    def __init__(self) -> None:
        self.weights = [0.0] * BINS
        self.total = 0.0
        self.seen = 0
        self.each = 1.0

    def add(self, first: int, parts: Sequence[float]) -> None:
        """Count a task.

        Args:
            first: number of the bin that `parts` begins with.
            parts: of the task, how much is believed to have ended in each bin, as `parts_of` says; they add up to 1.
        """
        each, weights = self.each, self.weights
        for bin_, part in enumerate(parts, first):
            weights[bin_] += part * each
        self.total += each
        self.seen += 1
        self.each = each * (1.0 + 1.0 / MEMORY)
        if self.each > _HEAVY:
            self._fade()

    def _fade(self) -> None:
        self.weights = [weight / self.each for weight in self.weights]
        self.total /= self.each
        self.each = 1.0

    @property
    def counts_for(self) -> float:
        """How many tasks it knows of, those not counted that have faded."""
        return self.total / self.each

    def kept(self) -> list[float]:
        """What another process needs to go on from: number of the first bin, tasks, and a weight for each bin."""
        filled = [bin_ for bin_, weight in enumerate(self.weights) if weight / self.each > 1e-3]
        if not filled:
            return []
        first, last = filled[0], filled[-1]
        return [first, self.seen, *(round(weight / self.each, 3) for weight in self.weights[first : last + 1])]

    @classmethod
    def of(cls, kept: Sequence[float]) -> Durations:
        """What `kept` gave; anything else is as if nothing was known."""
        made = cls()
        if len(kept) > 2 and int(kept[0]) >= 0 and int(kept[0]) + len(kept) - 2 <= BINS:
            for bin_, weight in enumerate(kept[2:], int(kept[0])):
                made.weights[bin_] = max(0.0, weight)
            made.total, made.seen = sum(made.weights), int(kept[1])
        return made


def shape_of(
    own: Durations, wider: Durations, *, leaning: float, unfinished: Mapping[int, int] = MappingProxyType({})
) -> Shape | None:
    """What is to be believed of tasks of one kind, smoothed; None when nothing is known.

    Args:
        own: what was seen of that kind.
        wider: what was seen of all kinds together.
        leaning: how many tasks of its own kind the wider knowledge is worth.
        unfinished: how many tasks of that kind are known to take longer, by the bin of their age when they were looked
            at last. The first tasks to end are the shortest of all: without the others, all would be believed short.
    """
    if wider.total <= 0:
        return None
    lean, known = leaning / wider.total, own.counts_for
    weights = [mine / own.each + all_ * lean for mine, all_ in zip(own.weights, wider.weights, strict=True)]
    if unfinished:
        weights = _with_unfinished(weights, unfinished)
    filled = [bin_ for bin_, weight in enumerate(weights) if weight > 0]
    first, last = filled[0], filled[-1]
    wide = _bandwidth(weights, first, last, min(known + leaning, wider.counts_for))
    margin = 3 * wide + 1
    first, last = max(0, first - margin), min(BINS - 1, last + margin)
    smooth = weights[first : last + 1]
    for _ in range(3):  # three even means make nearly a bell
        smooth = _mean(smooth, wide)
    return _trimmed(first, smooth)


def edge(bin_: int) -> float:
    """The time at which a bin begins, in seconds."""
    return FIRST_S * math.exp(bin_ * STEP)


def bin_of(seconds: float) -> int:
    """The bin that a time falls into."""
    if seconds <= FIRST_S:
        return 0
    return min(BINS - 1, int(math.log(seconds / FIRST_S) / STEP))


def parts_of(after_s: float, by_s: float, shape: Shape | None) -> tuple[int, list[float]]:
    """The bins in which a task may have ended: the number of the first, and for each how much of the task; 1 in all.

    Args:
        after_s: seconds from its submit to the last look that found it unfinished; 0 when there was none.
        by_s: seconds to the look that found it finished.
        shape: what is believed of such tasks; None while nothing is.
    """
    low, high = bin_of(after_s), bin_of(by_s)
    if low == high:
        return low, [1.0]
    # How much of the outer bins lies in the interval: never nothing at all.
    left, right = 1.0, max(LEAST_WEIGHT, min(1.0, math.log(max(by_s, FIRST_S) / FIRST_S) / STEP - high))
    if after_s > FIRST_S:
        left = max(LEAST_WEIGHT, 1.0 - (math.log(after_s / FIRST_S) / STEP - low))
    if shape is not None:
        # Nothing is believed to end beyond its bins, and an interval is often ten times as wide as these.
        first = max(low, shape.first)
        parts = shape.masses[first - shape.first : max(0, high + 1 - shape.first)]
        if parts and first == low:
            parts[0] *= left
        if parts and first + len(parts) == high + 1:
            parts[-1] *= right
        if (whole := sum(parts)) > LEAST_WEIGHT:
            return first, [part / whole for part in parts]
    # As long as nothing is believed to end in there, one second of it is as good as any other.
    parts = _WIDTHS[: high + 1 - low]
    parts[0] *= left
    parts[-1] *= right
    whole = sum(parts)
    return low, [part / whole for part in parts]


def _bandwidth(weights: list[float], first: int, last: int, tasks: float) -> int:
    """How many bins on either side are averaged: fewer, the more tasks are known and the less they differ."""
    total = sum(weights[first : last + 1])
    mean = sum(bin_ * weights[bin_] for bin_ in range(first, last + 1)) / total
    spread = math.sqrt(sum((bin_ - mean) ** 2 * weights[bin_] for bin_ in range(first, last + 1)) / total)
    return max(1, min(12, round(0.7 * spread / math.pow(max(1.0, tasks), 0.2))))


def _with_unfinished(weights: list[float], unfinished: Mapping[int, int]) -> list[float]:
    """Weights that count unfinished tasks, too: each as those that took longer than it has lasted (Efron 1967)."""
    found = weights[:]
    behind = [*accumulate(reversed(weights))]  # what lies in each bin and those behind it, the last bin first
    grown = 1.0
    for bin_, weight in enumerate(weights):
        found[bin_] += weight * (grown - 1.0)
        if not (tasks := unfinished.get(bin_, 0)):
            continue
        rest = grown * behind[BINS - 2 - bin_] if bin_ < BINS - 1 else 0.0
        if rest > LEAST_WEIGHT:
            grown *= 1.0 + tasks / rest
        else:  # none is known that took longer: as if it took up to twice as long
            for later in range(bin_ + 1, min(BINS, bin_ + 1 + DOUBLE)):
                found[later] += tasks / DOUBLE
    return found


def _mean(values: list[float], wide: int) -> list[float]:
    """Each value as the mean of those around it, `wide` on either side."""
    sums = [0.0, *accumulate(values)]
    count = len(values)
    return [
        (sums[min(count, place + wide + 1)] - sums[max(0, place - wide)]) / (2 * wide + 1) for place in range(count)
    ]


def _trimmed(first: int, masses: list[float]) -> Shape:
    """The shape without its thin ends."""
    total = sum(masses)
    low, high, left, right = 0, len(masses) - 1, 0.0, 0.0
    while low < high and left + masses[low] < TAIL * total:
        left += masses[low]
        low += 1
    while high > low and right + masses[high] < TAIL * total:
        right += masses[high]
        high -= 1
    kept = masses[low : high + 1]
    whole = sum(kept)
    return Shape(first + low, [mass / whole for mass in kept])
