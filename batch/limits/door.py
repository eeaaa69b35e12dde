"""The door of one model: calls that were granted leave it one after the other, in the order in which they came to it.

Between the grant of a call and its first byte lies a commit, and perhaps much more: a limit may have become known, a
pause begun. A call that stands here for longer than its grant is good for is late, and has to wait for its part of the
budgets again. Owns who stands here. While somebody is late, nothing new is granted: each new call would take what a
late one waits for, and be late itself when its turn comes, so that hardly any would ever leave.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING

from batch.limits.requests import GRANT_S

if TYPE_CHECKING:
    from batch.limits.lease import Lease


class Door:
    """Where granted calls of one model, at one address, wait until they may leave."""

    def __init__(self) -> None:
        self._line: deque[Lease] = deque()
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, lease: Lease) -> AsyncIterator[None]:
        """Wait for the turn of a call; it is over with the block."""
        self._line.append(lease)
        try:
            async with self._lock:
                yield
        finally:
            self._line.remove(lease)

    def is_late(self, now: float) -> bool:
        """Whether a call stands here whose grant is not good any more: the first one, or the next if it was renewed."""
        return any(now - lease.granted_at > GRANT_S for lease in islice(self._line, 2))
