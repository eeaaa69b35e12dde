"""Callers who ask `batch.limits.limiter` for leases as `submit.attempt` does, and the log of what they got."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

import anyio

from batch.core.clock import HandClock
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


def most_in_a_window(times: list[float]) -> int:
    """The largest number of `times` within any 60 s."""
    times = sorted(times)
    # A request that leaves exactly a window later is not in it; floating point may say it left a nanosecond early.
    return max((bisect_left(times, at + WINDOW_S - 1e-6) - n for n, at in enumerate(times)), default=0)


async def call(limits: Limiter, clock: HandClock, number: int, caller: Caller, log: Log) -> None:
    """One call as `submit.attempt` makes it: acquire, commit, reacquire if stale, leave, answer, release."""
    await clock.sleep(caller.after_s)
    with anyio.move_on_after(FOR_EVER if caller.gives_up_s is None else caller.gives_up_s) as scope:
        log.asked.append(number)
        lease = await limits.acquire()
        try:
            log.granted.append(number)
            log.waits_ms.append(lease.wait_ms)
            log.most_in_flight = max(log.most_in_flight, limits.in_flight)
            await clock.sleep(caller.commit_s)
            await limits.reacquire_if_stale(lease)
            log.departed.append(clock.monotonic())
            await clock.sleep(caller.service_s)
        finally:
            lease.release()
    if scope.cancelled_caught:
        log.given_up.add(number)


async def serve(limits: Limiter, clock: HandClock, callers: list[Caller], log: Log) -> None:
    with anyio.fail_after(FOR_EVER):
        async with anyio.create_task_group() as group:
            for number, caller in enumerate(callers):
                group.start_soon(call, limits, clock, number, caller, log)
    assert (limits.in_flight, limits.waiting) == (0, 0)


def run(callers: list[Caller], *, concurrency: int, rpm: float | None, clock: HandClock | None = None) -> Log:
    log = Log()

    async def main(clock: HandClock) -> None:
        await serve(Limiter(clock, concurrency=concurrency, requests_per_minute=rpm), clock, callers, log)

    by_hand(main, clock)
    return log
