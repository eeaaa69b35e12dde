"""How many polls may leave in a second: a rate of their own, so that polls take nothing of what requests may use.

A poll is booked for the moment it is due, or for the next one that has room; so tasks that were submitted together, or
all of those that an earlier process left, are not asked for at one instant. Owns the rate and the moments that are
taken. Without trouble the rate is out of the way: `MOST_PER_S`, or `FOR_EACH_TASK` for each task submitted in the last
second. When the provider refuses a poll for its rate, it falls to half of what was just sent, and grows again slowly.

Pure arithmetic over times handed in; it never waits.
"""

from __future__ import annotations

import math
from typing import Final

MOST_PER_S: Final = 1_000.0
FOR_EACH_TASK: Final = 4.0
LEAST_PER_S: Final = 1.0
CUT_EVERY_S: Final = 1.0  # refusals of one moment are one refusal
GROWTH_PER_S: Final = 1.05

WIDTH_S: Final = 0.1
"""Moments are counted in boxes of this width."""
_TIDY_AT: Final = 4_096


class PollRate:
    """The rate of the polls of one run."""

    def __init__(self) -> None:
        self._cut_to = float("inf")
        self._cut_at = -float("inf")
        self._booked: dict[int, int] = {}
        self._next: dict[int, int] = {}
        """From a box without room to one that may have some."""
        self._submits = (0, 0, 0)
        """The second that is counted now, tasks submitted in it, and in the one before it."""

    def submitted(self, now: float) -> None:
        """A task was submitted at this monotonic moment."""
        second, count, before = self._submits
        here = int(now)
        if here == second:
            self._submits = (second, count + 1, before)
        else:
            self._submits = (here, 1, count if here == second + 1 else 0)

    def per_s(self, now: float) -> float:
        """The polls that may leave in a second."""
        second, count, before = self._submits
        lately = max(count, before) if int(now) - second <= 1 else 0
        usual = max(MOST_PER_S, FOR_EACH_TASK * lately)
        if self._cut_to == float("inf"):
            return usual
        return min(usual, self._cut_to * math.pow(GROWTH_PER_S, min(400.0, now - self._cut_at)))

    def refused(self, now: float) -> None:
        """A poll was refused for its rate."""
        if now - self._cut_at < CUT_EVERY_S:
            return
        box = int(now / WIDTH_S)
        sent = sum(self._booked.get(box - back, 0) for back in range(1, round(1 / WIDTH_S) + 1))
        self._cut_to = max(LEAST_PER_S, min(self.per_s(now), float(max(sent, 1))) / 2)
        self._cut_at = now
        self._next.clear()

    def book(self, due: float, now: float) -> float:
        """The moment at which a poll may leave that is due at another: the same one, or the next with room.

        Args:
            due: when it should leave, in monotonic seconds.
            now: monotonic seconds.
        """
        rate = self.per_s(now) * WIDTH_S
        box = self._free(int(max(due, now) / WIDTH_S), rate)
        place = self._booked.get(box, 0)
        self._booked[box] = place + 1
        if len(self._booked) > _TIDY_AT:
            self._tidy(int(now / WIDTH_S) - round(1 / WIDTH_S))
        return max(due, (box + (place + 0.5) / _room(box, rate)) * WIDTH_S)

    def _free(self, box: int, rate: float) -> int:
        """The first box from this one on that has room; those passed over are remembered."""
        passed = []
        while True:
            if box in self._next:
                passed.append(box)
                box = self._next[box]
            elif self._booked.get(box, 0) >= _room(box, rate):
                passed.append(box)
                self._next[box] = box = box + 1
            else:
                break
        for full in passed:
            self._next[full] = box
        return box

    def _tidy(self, oldest: int) -> None:
        self._booked = {box: count for box, count in self._booked.items() if box >= oldest}
        self._next = {box: other for box, other in self._next.items() if box >= oldest}


def _room(box: int, rate: float) -> int:
    """How many polls a box takes, so that a slow rate has some boxes with one and others with none."""
    return int((box + 1) * rate) - int(box * rate)
