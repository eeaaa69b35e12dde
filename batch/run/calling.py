"""Who makes the exchanges of a run: this process, or workers that it keeps.

Owns how the context of all attempts is made from the job. What an attempt does with it is `submit.attempt`'s, what
workers are is `fleet`'s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from batch.core.clock import Clock
from batch.http.wirelog import WireLog
from batch.job.options import RunOptions
from batch.limits.limiter import Limiter
from batch.plan.continuation import RunStart
from batch.plan.preflight import CheckedJob
from batch.submit.attempt import CallContext
from batch.submit.books import Books
from batch.submit.call_ids import CallIds
from batch.submit.policy import Policy

if TYPE_CHECKING:
    from batch.run.fleet.crew import Crew
    from batch.run.fleet.transport import Begin
    from batch.run.ray.cluster import Cluster


def context_of(
    checked: CheckedJob,
    start: RunStart,
    options: RunOptions,
    *,
    books: Books,
    limiter: Limiter,
    clock: Clock,
    ids: CallIds,
    begin: Begin | None = None,
) -> tuple[CallContext, Crew | None]:
    """What every attempt of a run needs, and the workers, where there are to be several.

    Args:
        checked: the job.
        start: which run it is.
        options: say how many processes make the exchanges (no more than calls at a time), and whether each is written
            down.
        books: where calls are booked.
        limiter: when they may leave.
        clock: for every time in the books.
        ids: for new calls.
        begin: starts a worker elsewhere; None for this machine.
    """
    endpoint, policy, workers = checked.endpoint, _policy(checked), min(options.workers, checked.most_calls)
    log = _wire_log(checked, start, clock) if options.wire_log else None
    if workers == 1 and begin is None:
        context = CallContext(
            policy,
            endpoint.dialect,
            endpoint.base_url,
            books=books,
            limiter=limiter,
            clock=clock,
            ids=ids,
            wire_log=log,
        )
        return context, None
    from batch.run.fleet.context import FleetContext  # noqa: PLC0415 - hardly anybody needs it
    from batch.run.fleet.process import WorkerProcess  # noqa: PLC0415 - likewise

    fleet = FleetContext(
        (workers, checked.job.provider, begin or WorkerProcess),
        policy,
        endpoint,
        books=books,
        limiter=limiter,
        clock=clock,
        ids=ids,
        wire_log=log,
    )
    return fleet, fleet.crew


@asynccontextmanager
async def elsewhere(options: RunOptions, clock: Clock) -> AsyncIterator[Cluster | None]:
    """The Ray on which the workers of a command are, where one is wanted; it is not joined yet, and left at the end.

    Args:
        options: say so.
        clock: for all times.
    """
    if options.on is None:
        yield None
        return
    from batch.run.ray.cluster import Cluster  # noqa: PLC0415 - hardly anybody needs it

    cluster = Cluster(options.on, options.workers, clock)
    try:
        yield cluster
    finally:
        await cluster.leave()


def _policy(checked: CheckedJob) -> Policy:
    limits = checked.job.limits
    return Policy(
        checked.job.model.provider,
        checked.tools.schemas(),
        limits.call_timeout_s,
        limits.first_chunk_timeout_s,
        limits.idle_timeout_s,
        never_sent=checked.endpoint.service.never_send,
        asking=checked.asking,
    )


def _wire_log(checked: CheckedJob, start: RunStart, clock: Clock) -> WireLog:
    return WireLog(checked.folder.wire, start.run, base_url=checked.endpoint.base_url, clock=clock)
