"""Ends what is done for a row when it has been open for as long as it may (`limits.deadline_s`), wherever it is then.

A row is open from its first call on. Owns the moment, and that a call waiting for a limit or in flight is cut then.
Rows that wait for a time come out at that moment by themselves, and those that wait for somebody to send them are
looked at now and then. What the row ends with is `worker`'s; tools are not cut, because nobody could say what they did.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from batch.core.clock import Clock
from batch.submit.rows import Row

LOOK_EVERY_S: Final = 1.0


class Deadlines:
    """The deadlines of the rows of one run.

    Args:
        clock: where time comes from.
        seconds: how long a row may be open; None for as long as it takes.
    """

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        self._clock = clock
        self.seconds = math.inf if seconds is None else seconds
        self.every_s = min(LOOK_EVERY_S, self.seconds / 10)
        """Between two looks at the rows that wait for somebody to send them."""

    def left_s(self, row: Row) -> float:
        """The seconds that a row may still be open; infinity when nothing ends it."""
        row.deadline_s = self.seconds
        return row.deadline_at - self._clock.monotonic()

    def over(self, row: Row) -> bool:
        """Whether it has been open for as long as it may."""
        return self.left_s(row) <= 0

    async def cuts(self, row: Row, ask: Callable[[Row], Awaitable[None]]) -> bool:
        """Ask the next turn of a row; whether that was cut because its time was over.

        Args:
            row: whose turn it is.
            ask: waits for a slot, sends, and deals with what comes of it.
        """
        self.left_s(row)
        with anyio.CancelScope(deadline=row.deadline_at) as row.scope:
            await ask(row)
        cut, row.scope = row.scope.cancelled_caught, None
        return cut
