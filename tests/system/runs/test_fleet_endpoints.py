"""Several workers and several addresses: the core says where each call goes, whoever makes the exchange."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.simulator.conftest import Gate, Sim, Start
from tests.system.runs.conftest import SOME, Make, Mill
from tests.system.runs.test_fleet import Log, passing, until, workers

NAMES = ("small", "big", "free")
EACH = 4
"""Calls in flight at each address, where a worker is lost with some."""


def pooled(make: Make, sims: list[Sim], *limits: str, lane: str = "sync") -> Mill:
    """A job at these addresses."""
    mill = make(sim=sims[0], lane=lane)
    ends = [
        f'{{ base_url = "http://127.0.0.1:{sim.port}/api/paas/v4", name = "{name}", limits = {{ {limit} }} }}'
        for sim, name, limit in zip(sims, NAMES, limits, strict=True)
    ]
    mill.save()
    base = f'base_url = "{mill.url}/api/paas/v4"'
    written = mill.save

    def save() -> Path:
        folder = written()
        file = folder / "job.toml"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(base, f"endpoints = [{', '.join(ends)}]"), encoding="utf-8")
        return folder

    mill.save = save  # type: ignore[method-assign]  # of this job alone
    return mill


def judged(sim: Sim, **how: float) -> dict[str, Any]:
    found: dict[str, Any] = sim.http.get("/_sim/judge", params=how).json()
    return found


def billed(sim: Sim) -> set[str]:
    return {record["client_call_id"] for record in sim.books() if record["billed"]}


@pytest.mark.parametrize("lane", ["sync", "stream", "task"])
def test_two_workers_keep_the_limits_of_three_addresses(make: Make, start: Start, lane: str) -> None:
    """Each in calls and in requests; the book names who answered, as the addresses' own books have it."""
    sims = [start("[latency]\nchat_ms = [5, 20]\ntask_ms = [5, 20]\nfirst_chunk_ms = [1, 5]\n") for _ in NAMES]
    mill = pooled(
        make,
        sims,
        "requests_per_minute = 120",
        "requests_per_minute = 600, concurrency = 2",
        "concurrency = 3",
        lane=lane,
    )
    mill.questions(240)
    report = mill.run(workers=2)
    assert (report.exit_code, report.totals.rows_ok) == (0, 240)
    mill.check_table(240)
    # Over the whole run, from the moment that the core let the first call go: however long an errand waits in a worker,
    # no more can have come than were let go. A burst is one request, or a tenth of a second.
    [(began,)] = mill.calls("epoch(min(sent_at))")
    ended = max(record["at"] for sim in sims for record in sim.books())
    for sim, per_s in zip(sims, (2, 10), strict=False):
        assert judged(sim)["requests"] <= per_s * (ended - began + 1) + 1
    assert judged(sims[1])["max_in_flight"] <= 2
    assert judged(sims[2])["max_in_flight"] <= 3
    for sim, name in zip(sims, NAMES, strict=True):
        ours = {row[0] for row in mill.calls("client_call_id", f"endpoint = '{name}' AND state = 'answered'")}
        assert ours == billed(sim) != set()
    assert mill.calls("count(*)", "endpoint IS NULL") == [(0,)]
    assert set(mill.one("endpoint")) == set(NAMES)


def at_the_gates(make: Make, start: Start, gate: Gate) -> tuple[Mill, list[Sim], Any]:
    """A run with two workers whose calls wait for answers, as many at each address as it takes."""
    sims = [start(SOME, gate) for _ in NAMES]
    mill = pooled(make, sims, *[f"concurrency = {EACH}"] * 3)
    mill.limits["concurrency"] = 100  # what holds calls back is their address
    mill.questions(90)
    core = mill.start("--workers", "2", "--log-format", "json")
    until(lambda: all(judged(sim)["requests"] >= EACH for sim in sims))
    # One that came up later has the next call.
    passing(gate, lambda: all(worker.net_connections("tcp") for worker in workers(core)))
    return mill, sims, core


def test_a_killed_worker_leaves_its_calls_unknown_where_they_went(make: Make, start: Start, gate: Gate) -> None:
    """Whichever address that was; the rows are asked again, perhaps at another one."""
    mill, sims, core = at_the_gates(make, start, gate)
    log = Log(core)
    workers(core)[0].kill()
    ended = log.first("worker_ended")
    gate.open()
    assert log.ended() == 0
    mill.check_table(90)
    assert [judged(sim)["max_in_flight"] <= EACH for sim in sims] == [True] * 3
    unknown = mill.calls("client_call_id, endpoint", "state = 'unknown'")
    assert len(unknown) == ended["calls"]
    at = {name: {record["client_call_id"] for record in sim.books()} for sim, name in zip(sims, NAMES, strict=True)}
    assert all(call_id in at[name] for call_id, name in unknown)


def test_an_answer_that_comes_late_is_booked_where_it_was_given(make: Make, start: Start, gate: Gate) -> None:
    mill, sims, core = at_the_gates(make, start, gate)
    log = Log(core)
    stopped = workers(core)[0]
    stopped.suspend()
    log.first("worker_silent")
    stopped.resume()
    passing(gate, lambda: bool(log.all("answer_came_late")))
    gate.open()
    assert log.ended() == 0
    mill.check_table(90)
    late = dict(mill.calls("client_call_id, endpoint", "client_call_id LIKE '%-late'"))
    assert late
    at = {name: billed(sim) for sim, name in zip(sims, NAMES, strict=True)}
    assert all(call_id.removesuffix("-late") in at[name] for call_id, name in late.items())
