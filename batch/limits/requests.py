"""How fast requests may leave: a limit of requests per minute, kept as an even pace.

Owns the bucket and the waiting in it. The limit N holds over any window of its own length, so the pace is 0.99 of it
with a burst of a tenth of a second's worth, at least one request. Another tenth above the burst keeps the lateness of
timers from being lost. A grant may reach the wire up to `GRANT_S` late, so a window of 60 s sees at most what 60.4 s
grant, and that is 0.9966·N + max(1, N/606) + N/606: below N + 1 for every N.

For example, 600 requests per minute: one leaves every 101 ms, two in close order after a rest; a window of 60 s sees at
most 0.9966·600 + 1 + 0.99 = 599.95.

The bucket is aiolimiter's. Every caller takes 1, because aiolimiter serves small amounts before large ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiolimiter import AsyncLimiter

PACE: Final = 0.99  # of the limit; see the module docstring
BURST_S: Final = 0.1
SLACK_S: Final = 0.1  # what a timer may be late; in seconds, because in requests a small limit would be crossed by it
GRANT_S: Final = 0.4  # how long a grant is good for before its bytes leave


class RequestRate:
    """The pace of one limit; without a limit, every request may leave at once.

    Args:
        per_minute: the limit in requests per minute; None is no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self.per_minute: float | None = None
        self._bucket: AsyncLimiter | None = None
        self._capacity = 0.0
        self._drain = 0.0
        """What is to be taken out of a new bucket before anything leaves through it."""
        if per_minute is not None:
            self._new_bucket(per_minute)

    def set_limit(self, per_minute: float) -> None:
        """Continue under another limit, starting from an empty bucket."""
        if per_minute != self.per_minute:
            self._new_bucket(per_minute)
            self._drain = self._capacity

    def sent_before(self, seconds: float) -> None:
        """Continue the window of another process, whose last request left `seconds` ago."""
        if self._bucket is not None and self.per_minute is not None:
            still_full = self._capacity - seconds * self.per_minute * PACE / 60
            self._drain = min(max(0.0, still_full), self._capacity)

    @property
    def has_capacity(self) -> bool:
        """Whether `take` would return without waiting."""
        return self._bucket is None or (not self._drain and self._bucket.has_capacity(1))

    async def take(self) -> None:
        """Wait until one request may leave."""
        while self._bucket is not None and self._drain:
            drain, self._drain = self._drain, 0.0
            await self._bucket.acquire(drain)  # a new bucket is full, so this returns at once
        if self._bucket is not None:
            await self._bucket.acquire(1)

    async def take_together(
        self, other_wait_s: Callable[[], float | None], until_changed: Callable[[float | None], Awaitable[None]]
    ) -> None:
        """Take one request, and return in the moment when all other budgets have room as well.

        Args:
            other_wait_s: the seconds until the other budgets have room: 0 now, None until one of them changes.
            until_changed: waits so many seconds (None: without end), or until one of them changes.
        """
        # The other budgets tell how long they need, but aiolimiter can only be waited in, and a request taken from it
        # cannot be put back. So it is asked last, and the others once more after it: while this waited, a pause may
        # have begun. What was taken before such a pause is old by its end, and is taken again.
        taken = False
        while (wait_s := other_wait_s()) != 0.0 or not taken:
            if wait_s == 0.0:
                await self.take()
                taken = True
            else:
                await until_changed(wait_s)
                taken = False

    def _new_bucket(self, per_minute: float) -> None:
        self.per_minute = per_minute
        per_second = per_minute * PACE / 60
        self._capacity = max(1.0, per_second * BURST_S) + per_second * SLACK_S
        self._bucket = AsyncLimiter(self._capacity, self._capacity / per_second)
