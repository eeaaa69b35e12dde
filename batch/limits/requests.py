"""How fast requests may leave: a requests-per-minute limit as a smooth pace.

Owns the bucket. The limit N is a line over any window of its own length, so the pace is 0.99 of it with a burst of a
tenth of a second's worth, at least one request. Another tenth above the burst keeps the lateness of timers from being
lost. A grant may reach the wire up to `GRANT_S` late, so a window of 60 s sees at most what 60.4 s grant, and that is
0.9966·N + max(1, N/606) + N/606: below N + 1 for every N. The bucket is aiolimiter's; only one caller, the head of the
queue in `limiter`, ever waits in it, because aiolimiter itself would serve small amounts before large ones.
"""

from __future__ import annotations

from typing import Final

from aiolimiter import AsyncLimiter

PACE: Final = 0.99  # of the limit; see the module docstring
BURST_S: Final = 0.1
SLACK_S: Final = 0.1  # what a timer may be late; in seconds, because in requests a small limit would be crossed by it
GRANT_S: Final = 0.4  # how long a grant is good for before its bytes leave


class RequestRate:
    """The pace of one limit; `per_minute` None lets everything through at once."""

    def __init__(self, per_minute: float | None) -> None:
        self.per_minute: float | None = None
        self._bucket: AsyncLimiter | None = None
        self._capacity = 0.0
        self._drain = 0.0
        """What is to be taken out of a new bucket before anything leaves through it."""
        if per_minute is not None:
            self._open(per_minute)

    def set_limit(self, per_minute: float) -> None:
        """Go on under another limit, from an empty bucket."""
        if per_minute != self.per_minute:
            self._open(per_minute)
            self._drain = self._capacity

    def sent_before(self, seconds: float) -> None:
        """The last request left so many seconds ago, in another process: go on in its window."""
        if self._bucket is not None and self.per_minute is not None:
            still_full = self._capacity - seconds * self.per_minute * PACE / 60
            self._drain = min(max(0.0, still_full), self._capacity)

    @property
    def open_now(self) -> bool:
        """Whether `take` would return without waiting."""
        return self._bucket is None or (not self._drain and self._bucket.has_capacity(1))

    async def take(self) -> None:
        """Wait until one request may leave."""
        while self._bucket is not None and self._drain:
            drain, self._drain = self._drain, 0.0
            await self._bucket.acquire(drain)  # a new bucket is full, so this returns at once
        if self._bucket is not None:
            await self._bucket.acquire(1)

    def _open(self, per_minute: float) -> None:
        self.per_minute = per_minute
        per_second = per_minute * PACE / 60
        self._capacity = max(1.0, per_second * BURST_S) + per_second * SLACK_S
        self._bucket = AsyncLimiter(self._capacity, self._capacity / per_second)
