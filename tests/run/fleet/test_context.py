"""`batch.run.fleet.context`: what is kept of a call whose worker is lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NoReturn

import anyio
import pytest

from batch.core.clock import HandClock
from batch.core.records import Failure, Outgoing
from batch.job.endpointspec import EndpointSpec
from batch.limits.endpoints import PooledLimits
from batch.limits.limiter import Limiter
from batch.run.fleet.context import FleetContext
from batch.run.fleet.crew import WorkerLost
from batch.run.fleet.process import WorkerProcess
from batch.submit.call_ids import CallIds
from batch.submit.policy import Policy
from batch.submit.results import ENDED
from batch.submit.rows import OpenCall
from batch.submit.targets import Target

NAMES = ("a", "b")


def context_of(limiter: Limiter, clock: HandClock) -> FleetContext:
    """One at two addresses, whose workers are never started."""
    nothing: Any = None
    books: Any = SimpleNamespace(ledger=None, prices=None, evidence=None, overtime=None, purse=None, learner=None)
    endpoint: Any = SimpleNamespace(dialect=None, base_url="http://a/v1")
    context = FleetContext(
        (2, {}, WorkerProcess),
        Policy("glm", (), 600.0),
        endpoint,
        books=books,
        limiter=limiter,
        clock=clock,
        ids=CallIds("r", 0),
    )
    context.spread([Target(nothing, f"http://{name}/v1", nothing, nothing, name=name) for name in NAMES])
    return context


def test_the_slot_of_a_lost_call_stays_taken_where_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address may still work on it, and the others have nothing to do with that."""
    clock = HandClock()
    limiter = Limiter(clock, concurrency=8)
    limiter.endpoints = tuple(EndpointSpec(base_url=f"http://{name}/v1", name=name) for name in NAMES)
    context, went = context_of(limiter, clock), list[str]()

    async def lost(_: Outgoing, base_url: str, __: object) -> NoReturn:
        went.append(base_url)
        raise WorkerLost(1, "was ended")

    monkeypatch.setattr(context.crew, "carry", lost)

    async def main() -> None:
        leases = [await limiter.acquire("m", row) for row in range(2)]
        lease = next(one for one in leases if one.place is not None and one.place.endpoint == "b")
        call = OpenCall(
            0, "c", row_id="r", model="m", turn=0, attempt=0, lane="sync", lease=lease, sent_at_us=0, started=0.0
        )
        call.target = context.targets["b"]
        row: Any = None
        result = await context.exchange(row, call, Outgoing("/chat", (), b"{}"))
        assert isinstance(result, Failure)
        assert (result.code, result.sent, result.answered) == (ENDED, True, False)
        for one in leases:
            one.release()

    anyio.run(main)
    limits = limiter.model("m")
    assert isinstance(limits, PooledLimits)
    assert went == ["http://b/v1"]
    assert {one.endpoint: one.in_flight for one in limits.members} == {"a": 0, "b": 1}
    assert (limiter.in_flight, limits.in_flight) == (1, 1)
