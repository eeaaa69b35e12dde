"""What the clock of the core shows at most, as a worker on another machine can know it.

Two machines share no monotonic clock. What a worker says reaches the core after it was said; so when the core tells at
which of its own times it came, the worker knows: when I said it, the core's clock showed that or less. Every exchange
gives such a bound, and the lowest of the last seconds is the best one: it errs by the way of one message, always to the
safe side, on which an errand looks older than it is.

Owns the bound and how long it is good. Without a fresh one the time of the core is infinite, and nothing is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from batch.core.clock import since_boot

SPAN_S: Final = 5.0
"""A bound is used for as long as this, and up to once more."""
DRIFT_S: Final = 0.002
"""How far the two clocks may part meanwhile: 0.2 ms a second is ten times what those of computers do."""
REMEMBERED: Final = 64
"""Answers whose arrival may still be told."""


class CoreTime:
    """The upper bound of the core's clock.

    Args:
        now: the clock of this machine, which goes on while the machine is suspended: the core's does, meanwhile.
    """

    def __init__(self, now: Callable[[], float] = since_boot) -> None:
        self._now = now
        self._said_at: dict[int, float] = {}
        self._span_began = -math.inf
        self._ahead = self._ahead_before = math.inf
        """By how much the core's clock is ahead of ours at most, as measured in this span, and in the one before."""

    def said(self, number: int) -> None:
        """Something is said to the core now, under a number of its own."""
        self._said_at[number] = self._now()
        if len(self._said_at) > REMEMBERED:
            del self._said_at[next(iter(self._said_at))]

    def came(self, number: int, core_time: float) -> None:
        """The core tells at which of its times that came.

        Args:
            number: of what was said; one that was forgotten tells nothing.
            core_time: in its monotonic seconds.
        """
        said_at = self._said_at.pop(number, None)
        if said_at is None:
            return
        self._turn()
        self._ahead = min(self._ahead, core_time - said_at)

    def most(self) -> float:
        """What the core's clock shows now at most; infinity when that was not measured lately."""
        self._turn()
        return self._now() + min(self._ahead, self._ahead_before) + DRIFT_S

    def _turn(self) -> None:
        """Begin another span when this one is over."""
        age = self._now() - self._span_began
        if age >= SPAN_S:
            self._ahead_before = self._ahead if age < 2 * SPAN_S else math.inf
            self._ahead, self._span_began = math.inf, self._now()
