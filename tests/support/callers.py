"""Callers who ask `batch.limits.limiter` for leases as `submit.attempt` does, and the log of what they got."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import anyio

from batch.core.clock import HandClock
from batch.limits.lease import Lease
from batch.limits.limiter import Limiter
from tests.support.hand import by_hand

WINDOW_S = 60.0
FOR_EVER = 1e6


@dataclass
class Caller:
    """One call: when it is asked for, how long its `sent` record takes, how long the answer; perhaps given up."""

    after_s: float = 0.0
    commit_s: float = 0.0
    service_s: float = 0.0
    gives_up_s: float | None = None


@dataclass
class Log:
    """What a run of callers did."""

    asked: list[int] = field(default_factory=list)
    granted: list[int] = field(default_factory=list)
    departed: list[float] = field(default_factory=list)
    given_up: set[int] = field(default_factory=set)
    waits_ms: list[int] = field(default_factory=list)
    most_in_flight: int = 0

    @property
    def served(self) -> list[int]:
        return [number for number in self.asked if number in set(self.granted)]


def most_in_a_window(times: list[float], window_s: float = WINDOW_S) -> int:
    """The largest number of `times` within any 60 s, or so many seconds."""
    times = sorted(times)
    # A request that leaves exactly a window later is not in it; floating point may say it left a nanosecond early.
    return max((bisect_left(times, at + window_s - 1e-6) - n for n, at in enumerate(times)), default=0)


class Telling(Limiter):
    """A limiter that writes down whom it grants, in the moment when it does."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.log = Log()

    def _grant(self, *args: Any, **more: Any) -> Lease:
        lease = super()._grant(*args, **more)
        self.log.granted.append(lease.row)
        return lease


async def call(limits: Limiter, clock: HandClock, number: int, caller: Caller, log: Log) -> None:
    """One call as `submit.attempt` makes it: acquire, commit, depart, answer, release."""
    await clock.sleep(caller.after_s)
    with anyio.move_on_after(FOR_EVER if caller.gives_up_s is None else caller.gives_up_s) as scope:
        log.asked.append(number)
        lease = await limits.acquire("", number)
        try:
            log.waits_ms.append(lease.wait_ms)
            log.most_in_flight = max(log.most_in_flight, limits.in_flight)
            await clock.sleep(caller.commit_s)
            await lease.depart()
            log.departed.append(clock.monotonic())
            await clock.sleep(caller.service_s)
        finally:
            lease.release()
    if scope.cancelled_caught:
        log.given_up.add(number)


async def serve(limits: Telling, clock: HandClock, callers: list[Caller], log: Log) -> None:
    limits.log = log
    with anyio.fail_after(FOR_EVER):
        async with anyio.create_task_group() as group:
            for number, caller in enumerate(callers):
                group.start_soon(call, limits, clock, number, caller, log)
    assert (limits.in_flight, limits.waiting) == (0, 0)


def run(callers: list[Caller], *, concurrency: int, rpm: float | None, clock: HandClock | None = None) -> Log:
    log = Log()

    async def main(clock: HandClock) -> None:
        await serve(Telling(clock, concurrency=concurrency, requests_per_minute=rpm), clock, callers, log)

    by_hand(main, clock)
    return log
