"""Runs that send in their hours only, in time moved by hand; and one that is stopped while it waits."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from batch.core.clock import MICROSECONDS
from tests.support.longer import longer
from tests.support.virtual import PatientClock, World, virtual
from tests.system.runs.conftest import ENVIRON, Make
from tests.system.runs.test_outages import job, rows
from tests.system.runs.test_stops import until

BEFORE_US = int(datetime(2026, 11, 30, 13, 58, tzinfo=UTC).timestamp()) * MICROSECONDS


@pytest.mark.parametrize("lane", ["task", *longer(["sync"])])
def test_a_run_sends_in_its_hours_only_and_collects_its_tasks_at_any(tmp_path: Path, lane: str) -> None:
    """It waits until they begin; when a window closes, calls in flight finish, and the next one goes on."""
    clock = PatientClock(wall_us=BEFORE_US)
    slow: dict[str, Any] = {"latency": {"chat_ms": [60_000, 90_000], "task_ms": [60_000, 90_000]}}
    world = World(clock, slow)
    rows(tmp_path, 40)
    told: list[str] = []

    async def script() -> None:
        await clock.sleep(40)
        told.append(json.loads((tmp_path / "out" / "status.json").read_bytes())["waits_for"])

    limits = 'concurrency = 6\nhours = "22:00-22:04 Asia/Shanghai; 14:10-14:30"'
    report = virtual(tmp_path, world, job(limits=limits, lane=lane), ENVIRON, script)
    assert (report.exit_code, report.totals.rows_ok) == (0, 40)
    assert told[0].startswith("its hours, until 2026-11-30 22:00 Asia/Shanghai, ")
    books = world.app.provider.books.records(clock.monotonic())
    sent = sorted(
        datetime.fromtimestamp(record["at"], tz=UTC) for record in books if record["route"] in ("chat", "submit")
    )
    assert len(sent) == 40
    minutes = {moment.minute for moment in sent if moment.hour == 14}
    assert len([moment for moment in sent if moment.hour == 14]) == 40
    assert minutes <= {*range(4), *range(10, 30)}
    assert min(minutes) < 4, "the first window was used"
    assert max(minutes) >= 10, "and the second"
    if lane == "task":
        answered = pq.read_table(tmp_path / "out" / "calls", columns=["answered_at"]).column(0).to_pylist()
        assert any(4 <= moment.minute < 10 for moment in answered), "tasks are collected between two windows, too"


@pytest.mark.slow
def test_a_run_that_waits_for_its_hours_is_ended_by_ctrl_c(make: Make) -> None:
    """At once, and the same command goes on."""
    mill = make()
    mill.questions(5)
    other = (datetime.now(UTC).hour + 12) % 24
    mill.limits["hours"] = json.dumps(f"{other:02}:00-{other:02}:30")
    process = mill.start()
    status = mill.out / "status.json"
    until(lambda: status.exists() and "its hours" in status.read_text("utf-8"), "the wait")
    process.send_signal(2)
    assert process.communicate(timeout=60) is not None
    assert process.returncode == 4
    assert mill.books() == []
    del mill.limits["hours"]
    assert mill.run().exit_code == 0
