"""The clock of the simulator: the three ways to ask for time, and nothing else in it reads a clock.

Tests pass their own callables and move time by hand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """Where the simulator takes its time from.

    Attributes:
        monotonic: seconds that never step back; every duration and every window is measured with it.
        wall: seconds since 1970; only ever shown (`created`, `at`) or compared with a token's expiry.
        sleep: waits the given seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
