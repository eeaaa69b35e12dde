"""The rows of one model that are to be sent, and those who send them.

Owns what is open and what waits of one model, in rows and in bytes of what they say, and how a crew waits for its turn.
Which row goes next, all models together, is `schedule`'s matter.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

R = TypeVar("R")

Idle = deque["asyncio.Future[None]"]
"""Those of a crew who wait for something to do, by the order in which they came."""


class ModelRows(Generic[R]):
    """The rows of one model that are to be sent, and those who send them.

    Args:
        open_limit: rows begun and not finished, at most.
        open_bytes_limit: bytes of what they say, at most; a single row may have more.
        size_of: the bytes of what one row says.

    Attributes:
        open: rows begun and not finished.
        open_bytes: what they say.
        away: rows begun that lie in the ledger until they come back, as those in a batch.
        begun: new rows handed out so far.
        unstarted: new rows that nobody has begun, in order.
        unstarted_bytes: what they say.
        parked: nothing is handed out any more; what is left stays in the ledger.
    """

    __slots__ = (
        "away",
        "begun",
        "crew",
        "ended",
        "open",
        "open_bytes",
        "open_bytes_limit",
        "open_limit",
        "parked",
        "size_of",
        "to_send",
        "unstarted",
        "unstarted_bytes",
    )

    def __init__(self, open_limit: int, open_bytes_limit: float, size_of: Callable[[R], int]) -> None:
        self.open_limit = open_limit
        self.open_bytes_limit = open_bytes_limit
        self.size_of = size_of
        self.to_send: deque[R] = deque()
        self.unstarted: deque[R] = deque()
        self.crew: Idle = deque()
        self.open = self.open_bytes = self.unstarted_bytes = 0
        self.begun = self.away = 0
        self.ended = False
        self.parked = False

    @property
    def has_unstarted(self) -> bool:
        """Whether there is a row that can be begun and was not."""
        if not self.unstarted or self.open >= self.open_limit:
            return False
        if self.open_bytes + self.unstarted_bytes <= self.open_bytes_limit:
            return True  # all of them have room
        return self.open <= 0 or self.open_bytes + self.size_of(self.unstarted[0]) <= self.open_bytes_limit

    @property
    def held_by_size(self) -> bool:
        """Whether senders have nothing to do only because of the size of what is open."""
        idle = bool(self.crew and self.unstarted) and self.open < self.open_limit
        return idle and not self.has_unstarted

    def begin(self) -> R:
        """Hand out the next new row, which counts as open from now on."""
        row = self.unstarted.popleft()
        size = self.size_of(row)
        self.unstarted_bytes -= size
        self.open_bytes += size
        self.open += 1
        self.begun += 1
        return row

    @property
    def over(self) -> bool:
        """Whether nothing of this model is left to be done."""
        return self.parked or (self.ended and not self.unstarted and self.open == 0 and self.away == 0)


async def turn(idle: Idle) -> None:
    """Wait for a turn in a crew."""
    mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # waited for once a row: no Event, for time
    idle.append(mine)
    await mine


def wake(idle: Idle, number: float) -> None:
    """Give so many of a crew their turn."""
    while number > 0 and idle:
        turn = idle.popleft()
        if not turn.done():  # else whoever waited was cancelled, and its turn is another's
            turn.set_result(None)
            number -= 1
