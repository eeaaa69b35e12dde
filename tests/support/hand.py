"""Runs a test's coroutine under a clock moved by hand: every wait is over at once, and the clock knows how long it was."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from batch.core.clock import HandClock

T = TypeVar("T")


class LateClock(HandClock):
    """Every timer fires late by so much, as on a busy machine."""

    def __init__(self, late_s: float) -> None:
        super().__init__()
        self._late_s = late_s

    def advance(self, seconds: float) -> None:
        super().advance(seconds + self._late_s if seconds > 1e-6 else seconds)


def by_hand(main: Callable[[HandClock], Awaitable[T]], clock: HandClock | None = None) -> T:
    clock = clock or HandClock()
    return anyio.run(main, clock, backend_options={"loop_factory": clock.new_loop})
