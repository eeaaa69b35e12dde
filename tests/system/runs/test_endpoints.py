"""Whole runs at several addresses: each keeps its own limit, one dies, and the book says who answered."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from batch.core.clock import HandClock
from batch.simulator.scenario import parse
from tests.simulator.conftest import Start
from tests.support import processes
from tests.support.virtual import PatientClock, World, answering, beside, resetting
from tests.system.runs.conftest import ENVIRON, KEY

LATENCY = {"chat_ms": [200, 400], "task_ms": [300, 900]}


def worlds_of(clock: HandClock, *limits: dict[str, Any]) -> list[World]:
    scenarios: list[dict[str, Any]] = [{"latency": LATENCY, "limits": one} for one in limits]
    for scenario in scenarios:
        parse(scenario)
    return [World(clock, scenario) for scenario in scenarios]


def rows(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"n": n, "text": f"ticket {n}"}) for n in range(count))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def job(ports: list[int], *keys: str, lane: str = "sync", limits: str = "concurrency = 16", more: str = "") -> str:
    """A job at these addresses, with these more keys of each."""
    ends = [
        f'{{ base_url = "http://127.0.0.1:{port}/api/paas/v4", {key} }}' for port, key in zip(ports, keys, strict=True)
    ]
    return "\n".join(
        [
            'name = "pool"',
            '[input]\npath = "rows.jsonl"\nkey = "n"',
            '[prompt]\nuser = "{{ text }}"',
            f'[model]\nprovider = "glm"\nname = "glm-4"\nlane = "{lane}"',
            f"endpoints = [{', '.join(ends)}]",
            f"[limits]\n{limits}",
            '[output]\npath = "out"',
            more,
        ]
    )


def books_of(world: World) -> list[dict[str, Any]]:
    return list(world.app.provider.books.records(world.clock.monotonic()))


def counts(folder: Path, table: str, *columns: str) -> dict[tuple[Any, ...], int]:
    """How many rows of a table have which values."""
    read = ds.dataset(folder / "out" / table, format="parquet", partitioning=None).to_table()
    grouped = read.group_by(list(columns)).aggregate([([], "count_all")])
    return {tuple(row[name] for name in columns): row["count_all"] for row in grouped.to_pylist()}


NAMED = (
    'name = "small", limits = { requests_per_minute = 60 }',
    'name = "big", limits = { requests_per_minute = 600 }',
)


@pytest.mark.parametrize("lane", ["sync"])
def test_three_addresses_of_which_one_dies(tmp_path: Path, lane: str) -> None:
    """Limits 60, 600 and none: no row fails, each limit is a line at its server, and the book names who answered."""
    clock = PatientClock()
    worlds = worlds_of(clock, {"rpm": 60}, {"rpm": 600}, {})
    rows(tmp_path, 900)

    async def script() -> None:
        await clock.sleep(8.0)
        worlds[2].down = resetting

    (report,) = beside(
        worlds,
        {tmp_path: lambda ports: job(ports, *NAMED, 'name = "free"', lane=lane, more="")},
        {**ENVIRON, "PROMPTMILL_STATE": str(tmp_path / "state")},
        script,
    )
    # A task that the dead one holds is never bought again: it is asked for until the run's time for it is over.
    if lane == "sync":
        assert (report.exit_code, report.totals.rows_ok, report.totals.rows_failed) == (0, 900, 0)
    for world, rpm in zip(worlds[:2], (60, 600), strict=True):
        verdict = world.app.provider.judge.verdict(60.0)
        assert verdict["max_requests"] <= rpm
        assert not sum(verdict["refused"].values())
    answered = counts(tmp_path, "calls", "endpoint", "state")
    assert {name for name, state in answered if state == "answered"} == {"small", "big", "free"}
    assert sum(number for (_, state), number in answered.items() if state == "answered") == 900
    assert all(name is not None for name, _ in answered)
    assert set(counts(tmp_path, "results", "endpoint")) == {("small",), ("big",), ("free",)}
    later = sum(not good for at, good in worlds[2].requests)
    assert later <= 60, "it is left alone but for a probe now and then"


def test_tasks_of_an_address_that_comes_back_are_collected_there(tmp_path: Path) -> None:
    """It is away for half a minute: its tasks wait for it, the other rows go elsewhere, nothing is bought twice."""
    clock = PatientClock()
    worlds = worlds_of(clock, {}, {})
    rows(tmp_path, 200)

    async def script() -> None:
        await clock.sleep(1.0)
        worlds[1].down = resetting
        await clock.sleep(30.0)
        worlds[1].down = None

    (report,) = beside(
        worlds,
        {tmp_path: lambda ports: job(ports, 'name = "a"', 'name = "b"', lane="task")},
        {**ENVIRON, "PROMPTMILL_STATE": str(tmp_path / "state")},
        script,
    )
    assert (report.exit_code, report.totals.rows_ok) == (0, 200)
    for world, name in zip(worlds, "ab", strict=True):
        books = [line for line in books_of(world) if line["billed"]]
        assert len(books) == counts(tmp_path, "calls", "endpoint", "state")[name, "answered"]


def test_an_address_that_refuses_its_key_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    clock = PatientClock()
    worlds = worlds_of(clock, {}, {})
    worlds[1].down = answering(401, b'{"error":{"code":"1000","message":"no such key"}}')
    rows(tmp_path, 100)
    (report,) = beside(
        worlds,
        {tmp_path: lambda ports: job(ports, 'name = "a"', 'name = "b"')},
        {**ENVIRON, "PROMPTMILL_STATE": str(tmp_path / "state")},
    )
    assert (report.exit_code, report.totals.rows_ok, report.totals.rows_failed) == (0, 100, 0)
    assert len(worlds[1].requests) <= 16, "those that were on their way"
    assert set(counts(tmp_path, "results", "endpoint")) == {("a",)}


def test_when_every_address_refuses_the_run_stops_and_says_so(tmp_path: Path) -> None:
    clock = PatientClock()
    worlds = worlds_of(clock, {}, {})
    for world in worlds:
        world.down = answering(401, b'{"error":{"code":"1000","message":"no such key"}}')
    rows(tmp_path, 100)
    (report,) = beside(
        worlds,
        {tmp_path: lambda ports: job(ports, 'name = "a"', 'name = "b"')},
        {**ENVIRON, "PROMPTMILL_STATE": str(tmp_path / "state")},
    )
    assert report.exit_code == 6
    assert "no such key" in str(report.fault)
    assert sum(len(world.requests) for world in worlds) <= 32


def test_addresses_added_to_a_job_buy_no_answer_again(tmp_path: Path) -> None:
    """Where a row is asked is no part of what it asks; the table of before has no name in the new column."""
    clock = PatientClock()
    worlds = worlds_of(clock, {}, {})
    rows(tmp_path, 20)
    environ = {**ENVIRON, "PROMPTMILL_STATE": str(tmp_path / "state")}

    def one(ports: list[int]) -> str:
        text = job(ports[:1], 'name = "a"')
        start = text.index("endpoints = [")
        return text.replace(
            text[start : text.index("]", start) + 1], f'base_url = "http://127.0.0.1:{ports[0]}/api/paas/v4"'
        )

    beside(worlds, {tmp_path: one}, environ)
    sent = sum(len(world.requests) for world in worlds)
    rows(tmp_path, 30)
    (report,) = beside(worlds, {tmp_path: lambda ports: job(ports, 'name = "a"', 'name = "b"')}, environ)
    assert (report.exit_code, report.totals.rows_ok) == (0, 10)
    assert sum(len(world.requests) for world in worlds) == sent + 10
    assert counts(tmp_path, "results", "endpoint")[None,] == 20


def test_two_keys_of_one_address_keep_their_tasks_apart(tmp_path: Path) -> None:
    """Every poll goes out with the key that the task was submitted with."""
    clock = PatientClock()
    (world,) = worlds_of(clock, {})
    rows(tmp_path, 60)
    other = KEY.replace("0123", "9876", 1)
    environ = {**ENVIRON, "OTHER_KEY": other, "PROMPTMILL_STATE": str(tmp_path / "state")}
    (report,) = beside(
        [world],
        {
            tmp_path: lambda ports: job(
                [ports[0], ports[0]], 'name = "first"', 'name = "second", api_key_env = "OTHER_KEY"', lane="task"
            )
        },
        environ,
    )
    assert (report.exit_code, report.totals.rows_ok) == (0, 60)
    keys = {line["key_id"] for line in books_of(world)}
    assert len(keys) == 2
    assert set(counts(tmp_path, "results", "endpoint")) == {("first",), ("second",)}


def test_batches_go_to_each_address_in_turn_and_are_collected_there(tmp_path: Path) -> None:
    clock = PatientClock()
    worlds = worlds_of(clock, {}, {})
    rows(tmp_path, 60)
    (report,) = beside(
        worlds,
        {tmp_path: lambda ports: job(ports, 'name = "a"', 'name = "b"', lane="bulk", more="[bulk]\nlines = 20\n")},
        {**ENVIRON, "PROMPTMILL_STATE": str(tmp_path / "state")},
    )
    assert (report.exit_code, report.totals.rows_ok) == (0, 60)
    assert counts(tmp_path, "calls", "endpoint", "state") == {("a", "answered"): 40, ("b", "answered"): 20}
    billed = [sum(line["billed"] for line in books_of(world)) for world in worlds]
    assert billed == [40, 20]


def test_two_jobs_of_one_key_share_the_limit_of_each_address(tmp_path: Path) -> None:
    """A whole run each, beside each other: one line at the server, at least 95 % of it used."""
    clock = PatientClock()
    (world,) = worlds_of(clock, {"rpm": 300})
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        rows(folder, 300)
    environ = {**ENVIRON, "PROMPTMILL_STATE": str(tmp_path / "state")}

    def single(ports: list[int]) -> str:
        text = job(ports, 'name = "a"', limits="concurrency = 50\nrequests_per_minute = 300")
        start = text.index("endpoints = [")
        return text.replace(
            text[start : text.index("]", start) + 1], f'base_url = "http://127.0.0.1:{ports[0]}/api/paas/v4"'
        )

    reports = beside([world], dict.fromkeys(folders, single), environ)
    assert [(report.exit_code, report.totals.rows_ok) for report in reports] == [(0, 300)] * 2
    verdict = world.app.provider.judge.verdict(60.0)
    assert verdict["max_requests"] <= 300
    assert not sum(verdict["refused"].values())
    times = sorted(at for at, _ in world.requests)
    assert len(times) >= 0.95 * 5 * (times[-1] - times[0])
    assert not list((tmp_path / "state").rglob("*.member")), "who has ended holds nothing any more"
    kept = ds.dataset(folders[0] / "out" / "calls", format="parquet", partitioning=None).to_table(["wait_ms"])
    assert pc.max(kept.column("wait_ms")).as_py() > 1_000


@pytest.mark.slow
@pytest.mark.parametrize("point", ["accepted.committed:2", "sent.committed:2"])
def test_after_a_kill_ids_are_asked_for_with_the_key_they_were_made_with(
    tmp_path: Path, start: Start, point: str
) -> None:
    """Two keys at one address, and a process that is killed: the book still names who was asked, nothing is bought twice."""
    sim = start("[latency]\nchat_ms = [20, 40]\ntask_ms = [300, 600]\n")
    rows(tmp_path, 40)
    keys = ('name = "first"', 'name = "second", api_key_env = "OTHER_KEY"')
    (tmp_path / "job.toml").write_text(job([sim.port, sim.port], *keys, lane="task"), encoding="utf-8")
    own = {**ENVIRON, "OTHER_KEY": KEY.replace("0123", "9876", 1), "PROMPTMILL_STATE": str(tmp_path / "state")}
    # Of 40 rows 16 are under way at a time, so there are three such commits at the least.
    command = [sys.executable, "-m", "batch", "run", str(tmp_path), "--progress", "none"]
    for failpoint, code in ((point, -9), ("", 0)):
        environ = {**os.environ, **own, "PROMPTMILL_FAILPOINT": failpoint}
        process = processes.start(command, env=environ)
        said = process.communicate(timeout=120)
        assert process.returncode == code, said

    with urllib.request.urlopen(f"http://127.0.0.1:{sim.port}/_sim/books") as answer:
        books = json.load(answer)
    assert len({line["key_id"] for line in books}) == 2
    assert all(line["status"] == 200 for line in books), "no id was asked for with the other key"
    calls = counts(tmp_path, "calls", "endpoint", "state")
    assert all(name in ("first", "second") for name, _ in calls), "that of a call that died is known, too"
    assert sum(number for (_, state), number in calls.items() if state == "answered") == 40
    unknown = sum(number for (_, state), number in calls.items() if state == "unknown")
    assert 40 <= sum(line["billed"] for line in books) <= 40 + unknown
    assert not list((tmp_path / "state").rglob("*.member"))
