"""Several jobs that share one budget: limiters in one process, over real files, under one clock moved by hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from batch.core.clock import HandClock
from batch.core.records import LimitHeaders
from batch.limits.limiter import Limiter, LimiterClosed
from batch.limits.poolfile import PoolFile
from batch.limits.shared import SharedLimits
from batch.limits.tokens import TokenEstimator, TokenWeight
from tests.support.hand import by_hand

BOOT = "one-boot"
PARTS = ("http://one.example/v1", "key", "m")


@dataclass
class Job:
    """One job: its limits, how it asks, and when it begins and ends."""

    rpm: float | None = None
    tpm: float | None = None
    concurrency: int = 50
    declares: int | None = None
    """Calls in flight that it declares for the key; None for none."""
    senders: int = 50
    service_s: float = 0.01
    weight: TokenWeight | None = None
    begins_s: float = 0.0
    ends_s: float = 1e9
    killed_s: float | None = None
    """When its process is killed: nothing of it is given back, and its lock is gone."""
    stopped_s: float | None = None
    """When its process is stopped: it is silent from then on, and yet alive."""
    every_s: float = 0.0
    """How long each sender rests between two calls."""
    commit_s: float = 0.0
    """How long a call takes from its grant to the moment in which it would leave."""
    told_rpm: int | None = None
    """The requests per minute that the headers of each answer tell."""
    departed: list[tuple[float, float]] = field(default_factory=list)
    """When each of its calls left, and what it counted for."""
    in_flight: list[tuple[float, int]] = field(default_factory=list)
    shared: SharedLimits | None = None
    limiter: Limiter | None = None

    def times(self, first: float = 0.0, last: float = 1e9) -> list[float]:
        return [at for at, _ in self.departed if first <= at < last]


def share(folder: Path, jobs: list[Job], *, seconds: float, clock: HandClock | None = None) -> float:
    """Let the jobs work beside each other for so long; the monotonic moment at which they began."""
    began = 0.0

    async def main(clock: HandClock) -> None:
        nonlocal began
        began = clock.monotonic()
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as group:
                for number, job in enumerate(jobs):
                    group.start_soon(_work, folder, job, f"job-{number}", clock)

    by_hand(main, clock)
    return began


def attach(
    folder: Path, limiter: Limiter, member: str, *, declares: int | None = None, boot: str = BOOT
) -> SharedLimits:
    """Have a limiter's model share the budget."""
    clock, limits = limiter.clock, limiter.model("m")
    file = PoolFile(folder, PARTS, member, now_us=clock.now_us())
    limits.shared = SharedLimits(
        file, clock, limits, job_rates=limiter.rates, job=member, concurrency=declares, boot=boot
    )
    limits.shared.keep()
    return limits.shared


def limiter_of(job: Job, clock: HandClock) -> Limiter:
    estimator: Callable[[], TokenEstimator] = lambda: TokenEstimator("asked")  # noqa: E731 - one line says it
    return Limiter(
        clock,
        concurrency=job.concurrency,
        requests_per_minute=job.rpm,
        tokens_per_minute=job.tpm,
        estimator=estimator,
        adapt=job.told_rpm is not None,
    )


async def _work(folder: Path, job: Job, member: str, clock: HandClock) -> None:
    await clock.sleep(job.begins_s)
    limiter = job.limiter = limiter_of(job, clock)
    shared = job.shared = attach(folder, limiter, member, declares=job.declares)
    ends = job.killed_s if job.killed_s is not None else job.stopped_s if job.stopped_s is not None else job.ends_s
    with anyio.move_on_after(ends - job.begins_s):
        async with anyio.create_task_group() as group:
            group.start_soon(_visit, shared, clock)
            for row in range(job.senders):
                group.start_soon(_send, limiter, job, row, clock)
    if job.killed_s is not None:
        die(shared)
    elif job.stopped_s is None:
        shared.leave()


def die(shared: SharedLimits) -> None:
    """What a kill does: the system lets go of the locks, and nobody clears anything away."""
    file = shared._file
    assert file._alive is not None
    os.close(file._alive)
    file._alive = None
    shared.alone = "killed"


async def _visit(shared: SharedLimits, clock: HandClock) -> None:
    while True:
        await clock.sleep(0.5)
        shared.keep()


async def _send(limiter: Limiter, job: Job, row: int, clock: HandClock) -> None:
    while True:
        try:
            lease = await limiter.acquire("m", row, job.weight)
        except LimiterClosed:
            return
        try:
            if job.commit_s:
                await clock.sleep(job.commit_s)
            await lease.depart()
            amount = 0.0 if job.weight is None else float(job.weight.asked)
            job.departed.append((clock.monotonic(), amount))
            job.in_flight.append((clock.monotonic(), limiter.in_flight))
            await clock.sleep(job.service_s)
            if job.told_rpm is not None:
                told = LimitHeaders(limit_requests=job.told_rpm, remaining_requests=job.told_rpm)
                limiter.observe_headers("m", told)
        finally:
            lease.release()
        await clock.sleep(job.every_s)
