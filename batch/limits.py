"""When a request may leave this process: requests a minute, and calls in flight.

The only place that waits for capacity. A caller asks for a `Lease`, sends, and gives the lease back; no other module
sleeps because of a limit. Who asks first is served first.

**Pace.** The limit N is a line over any window of its own length, so the pace is 0.99 of it with a burst of a tenth
of a second's worth, at least one request. Another tenth above the burst keeps the lateness of timers from being lost.
A grant may reach the wire up to `GRANT_S` late, so a window of 60 s sees at most what 60.4 s grant, and that is
0.9966·N + max(1, N/606) + N/606: below N + 1 for every N. A lease that was held longer before its bytes left is stale
and must be paced anew. The bucket is aiolimiter's; only the head of the queue ever waits in it, because aiolimiter
itself would serve small amounts before large ones.

**In flight.** A lease is held from the call's `sent` record to its outcome's record. The ledger commits in order, so
giving it back when that record is queued never shows more open calls than slots in any committed state. Saved task
ids are `adopted`: they count without waiting, even above the limit, and new leases wait until the count is below it
again.

**Pause.** A refusal with a waiting time slows everybody: no lease is granted before it has passed.

One event loop owns a `Limits`; there is no lock, because nothing awaits between reading a budget and spending it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import anyio
from aiolimiter import AsyncLimiter

from batch.clock import Clock
from batch.events import logger

PACE: Final = 0.99  # of the limit; see the module docstring
BURST_S: Final = 0.1
SLACK_S: Final = 0.1  # what a timer may be late; in seconds, because in requests a small limit would be crossed by it
GRANT_S: Final = 0.4  # how long a grant is good for before its bytes leave


class LimitsClosed(Exception):
    """The run takes no new sends; whoever waits for capacity is told so instead of being left waiting."""


class Lease:
    """The right to send one call and the slot it takes; give it back exactly once, again is harmless."""

    __slots__ = ("_limits", "granted", "open", "wait_ms")

    def __init__(self, limits: Limits, granted: float, waited_s: float) -> None:
        self._limits = limits
        self.granted = granted
        self.wait_ms = int(waited_s * 1000)
        self.open = True

    def release(self) -> None:
        """Free the slot. Call it right after the outcome's record was queued, with no await in between."""
        if self.open:
            self.open = False
            self._limits.freed()


class Limits:
    """The budgets of one run against one provider and key."""

    def __init__(self, clock: Clock, *, concurrency: int, requests_per_minute: float | None = None) -> None:
        self._clock = clock
        self.concurrency = concurrency
        self.in_flight = 0
        self.paused_until = 0.0
        self._queue: deque[anyio.Event] = deque()
        self._scopes: set[anyio.CancelScope] = set()
        self._closed = False
        self._free = anyio.Event()
        self._bucket: AsyncLimiter | None = None
        self._capacity = 0.0
        self._per_second = 0.0
        if requests_per_minute is not None:
            self._per_second = requests_per_minute * PACE / 60
            self._capacity = max(1.0, self._per_second * BURST_S) + self._per_second * SLACK_S
            self._bucket = AsyncLimiter(self._capacity, self._capacity / self._per_second)

    @property
    def waiting(self) -> int:
        """How many callers are held back now."""
        return len(self._queue)

    async def start(self, since_last_sent_s: float | None) -> None:
        """Begin as the last process left off: `since_last_sent_s` after the last byte the ledger knows of."""
        if self._bucket is None or since_last_sent_s is None:
            return
        still_full = self._capacity - since_last_sent_s * self._per_second
        if still_full > 0:
            await self._bucket.acquire(min(still_full, self._capacity))

    async def acquire(self) -> Lease:
        """Wait for a slot and for the pace, in order of arrival.

        Raises:
            LimitsClosed: no new sends are taken any more.
        """
        if self._closed:
            raise LimitsClosed
        if not self._queue and self._may_go():
            if self._bucket is not None:
                await self._bucket.acquire(1)  # has capacity, so it returns without waiting
            return self._take_slot(0.0)
        asked = self._clock.monotonic()
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await self._wait_in_line()
                if not self._closed:  # it may be closed in the moment of our turn, when no cancel reaches us any more
                    return self._take_slot(self._clock.monotonic() - asked)
            finally:
                self._scopes.discard(scope)
        raise LimitsClosed

    async def _wait_in_line(self) -> None:
        turn = anyio.Event()
        self._queue.append(turn)
        try:
            if self._queue[0] is not turn:
                await turn.wait()
            await self._wait_for_slot()
            await self._wait_for_pace()
            while self.in_flight >= self.concurrency:  # an adopted call took the slot while we waited for the pace
                await self._wait_for_slot()
                await self._wait_for_pace()
        finally:
            # Answered on every path: a cancelled head hands the turn on, a cancelled follower just leaves.
            was_head = self._queue[0] is turn
            self._queue.remove(turn)
            if was_head and self._queue:
                self._queue[0].set()

    def close(self) -> None:
        """Take no new sends; wake everybody who waits for one with `LimitsClosed`."""
        self._closed = True
        for scope in list(self._scopes):
            scope.cancel()

    async def repace(self, lease: Lease) -> None:
        """Wait for the pace again, keeping the slot, when the grant has gone stale before the bytes left."""
        while self._clock.monotonic() - lease.granted > GRANT_S:
            await self._wait_for_pace()
            lease.granted = self._clock.monotonic()

    def adopt(self) -> Lease:
        """A slot for a call the provider already holds; taken without waiting, even above the limit."""
        return self._take_slot(0.0)

    def pause(self, seconds: float) -> None:
        """Grant nothing for the next `seconds`; a shorter pause never cuts a longer one."""
        now = self._clock.monotonic()
        if self.paused_until <= now and seconds > 0:
            logger().warning("provider_paused", seconds=round(seconds, 3))
        self.paused_until = max(self.paused_until, now + seconds)

    def freed(self) -> None:
        """A lease came back; called by `Lease.release` only."""
        self.in_flight -= 1
        if self._queue and self.in_flight < self.concurrency:
            self._free.set()

    def _may_go(self) -> bool:
        if self.in_flight >= self.concurrency or self._clock.monotonic() < self.paused_until:
            return False
        return self._bucket is None or self._bucket.has_capacity(1)

    def _take_slot(self, waited_s: float) -> Lease:
        self.in_flight += 1
        return Lease(self, self._clock.monotonic(), waited_s)

    async def _wait_for_slot(self) -> None:
        while self.in_flight >= self.concurrency:
            self._free = anyio.Event()
            await self._free.wait()

    async def _wait_for_pace(self) -> None:
        while True:
            while (pause := self.paused_until - self._clock.monotonic()) > 0:
                await self._clock.sleep(pause)
            if self._bucket is not None:
                await self._bucket.acquire(1)
            if self._clock.monotonic() >= self.paused_until:
                return  # else a pause began meanwhile, and what was drawn before it is stale after it
