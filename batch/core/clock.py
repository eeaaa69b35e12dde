"""Time: the only module that reads a clock or sleeps, and how times and durations are written.

Owns two times and keeps them apart. Monotonic seconds decide when something may happen; wall time (UTC microseconds) is
only written down. Both come from a `Clock`, so that a test can move them by hand. It does not know what is waited for.

A `HandClock` moves only when a test moves it, or, under its own event loop, jumps to the next timer as soon as nothing
else can run. The loop belongs to it because other libraries (aiolimiter, anyio's deadlines) ask the loop for the time.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import anyio

MICROSECONDS: Final = 1_000_000
TICK_S: Final = 1e-9

Moment = tuple[int, float]
"""One moment by both times: UTC microseconds, and monotonic seconds."""


def since_boot() -> float:
    """Monotonic seconds of this machine, those included in which it was suspended, where the system counts them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Clock:
    """The real clock."""

    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    """Seconds since an arbitrary moment; never goes back. The event loops count from the same moment."""

    def now_us(self) -> int:
        """UTC wall time in microseconds since 1970.

        For records, and for what people set by the hour or the day: hours, prices, a budget of a day; never for how
        long something takes.
        """
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        """Wait for this many seconds; may return late, never early."""
        await anyio.sleep(max(0.0, seconds))

    def pause(self, seconds: float) -> None:
        """Have this thread wait for this many seconds; never on the event loop."""
        time.sleep(max(0.0, seconds))


class HandClock(Clock):
    """A clock for tests: starts at `start` and moves by `advance`, or by its own loop when all tasks wait.

    Run a test under it with `anyio.run(main, backend_options={"loop_factory": clock.new_loop})`.
    """

    def __init__(self, start: float = 1_000.0, wall_us: int = 1_790_000_000 * MICROSECONDS) -> None:
        self._now = start
        self._wall_offset = wall_us - int(start * MICROSECONDS)

    def monotonic(self) -> float:
        """Seconds, as they were last set."""
        return self._now

    def now_us(self) -> int:
        """The wall time that belongs to the monotonic time."""
        return int(self._now * MICROSECONDS) + self._wall_offset

    def advance(self, seconds: float) -> None:
        """Move time forward by hand."""
        self._now += seconds

    def pause(self, seconds: float) -> None:
        """Move time forward: nothing else happens in a thread that waits."""
        self.advance(seconds)

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """An event loop whose time is this clock and which jumps to its next timer instead of waiting for it."""
        return _HandLoop(self)


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that never waits for a timer: when no file is ready, it moves the clock to the deadline instead."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout is None:
            # With no timer at all only a file can wake the loop, so a real wait is the only honest thing to do.
            return ready or super().select(timeout)
        # Time never stands quite still: aiolimiter, a rounding error short of its time, asks for a timer at this very
        # instant again and again; on a real clock the next look comes later.
        self._clock.advance(max(TICK_S, timeout))
        return []


class _HandLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: HandClock) -> None:
        super().__init__(_JumpingSelector(clock))
        self._hand_clock = clock

    def time(self) -> float:
        return self._hand_clock.monotonic()


def iso(us: int) -> str:
    """UTC microseconds in the form of RFC 3339 with milliseconds: `2026-11-21T02:00:00.123Z`."""
    moment = datetime.fromtimestamp(us / MICROSECONDS, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def stamp(us: int) -> str:
    """UTC microseconds as the sortable start of a run id: `20261121T020000123Z`."""
    moment = datetime.fromtimestamp(us / MICROSECONDS, tz=UTC)
    return moment.strftime("%Y%m%dT%H%M%S") + f"{moment.microsecond // 1000:03d}Z"


def describe(seconds: float) -> str:
    """A duration for people: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 9.95:  # from here on one digit would round to 10.0
        return f"{seconds:.1f} s"
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
