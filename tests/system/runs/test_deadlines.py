"""`limits.deadline_s`: a row that has been open for so long fails for now, wherever it is, and nothing is bought twice."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.simulator.conftest import Gate
from tests.support.virtual import PatientClock, World, answering, virtual
from tests.system.runs.conftest import ENVIRON, Make, Mill

FAILED = ("failed", "timeout", "deadline", True)


def ends(mill: Mill) -> list[tuple[Any, ...]]:
    """How the rows of the table ended, each way once."""
    return sorted(set(mill.results("status, error_kind, error_code, retryable")))


@pytest.mark.parametrize("lane", ["sync", "stream"])
def test_a_call_in_flight_is_cut_and_possibly_billed(make: Make, gate: Gate, lane: str) -> None:
    """The provider answers nothing: `unknown` with its bound, the row retryable; the next run asks it anew."""
    mill = make(gate=gate, lane=lane)
    mill.limits.update(concurrency=4, deadline_s=0.5)
    mill.parameters["max_tokens"] = 64
    mill.questions(6)
    report = mill.run()
    assert (report.exit_code, report.standing) == (1, (0, 6))
    assert ends(mill) == [FAILED]
    assert mill.calls("state, error_kind, error_code, cost_bound IS NOT NULL") == (
        [("unknown", "timeout", "deadline", True)] * 6
    )
    mill.check_books(at_risk=6)
    gate.open()
    mill.limits["deadline_s"] = 600
    assert mill.run().exit_code == 0
    mill.check_table(6)


def test_the_id_of_a_task_is_kept_and_polled_first_by_the_next_run(make: Make, gate: Gate) -> None:
    """Not bought a second time, and the age of its first row is not held against the second one."""
    mill = make(gate=gate, lane="task")
    mill.limits.update(concurrency=4, deadline_s=0.5)
    mill.questions(6)
    assert mill.run().exit_code == 1
    assert ends(mill) == [FAILED]
    assert "is kept, and polled first" in mill.one("error_message")[0]
    gate.open()
    assert mill.run().exit_code == 0
    assert [record["route"] for record in mill.books()] == ["submit"] * 6
    assert ends(mill) == [("ok", None, None, None)]


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_a_kill_does_not_make_a_row_younger(make: Make, gate: Gate, lane: str) -> None:
    """Its age counts from its first call, by the ledger: gone on with after its time, it is not sent again."""
    mill = make(gate=gate, lane=lane)
    mill.limits.update(concurrency=1, deadline_s=600)
    mill.questions(1)
    point = "accepted.committed:1" if lane == "task" else "sent.left:1"
    assert mill.command(failpoint=point)[0] == -signal.SIGKILL
    killed = time.monotonic()
    mill.limits["deadline_s"] = 0.2
    while time.monotonic() - killed < 0.3:
        time.sleep(0.02)
    before = len(mill.books())
    assert mill.run().exit_code == 1
    assert ends(mill) == [FAILED]
    assert len(mill.books()) == before, "asked again, although its time was over"
    gate.open()
    mill.limits["deadline_s"] = 600
    assert mill.run().exit_code == 0
    mill.check_table(1)
    if lane == "sync":
        mill.check_books(at_risk=1)
    else:
        assert len(mill.books()) == before, "a saved task was bought again"


def job(lane: str, limits: str) -> Any:
    """A job of the virtual world."""
    return lambda port: (
        f'name = "late"\n[input]\npath = "rows.jsonl"\n[prompt]\nuser = "{{{{ q }}}}"\n[model]\nprovider = "glm"\n'
        f'name = "glm-4"\nlane = "{lane}"\nbase_url = "http://127.0.0.1:{port}/api/paas/v4"\n[limits]\n{limits}\n'
    )


def late(folder: Path, world: World, rows: int, limits: str, lane: str = "sync") -> list[tuple[Any, ...]]:
    """Status, code, calls and seconds of each row of a run in time moved by hand."""
    text = "".join(json.dumps({"q": f"What is {n}?"}) + "\n" for n in range(rows))
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    virtual(folder, world, job(lane, limits), ENVIRON)
    found = f"read_parquet('{folder}/out/late/results/*.parquet')"
    query = f"SELECT status, error_code, calls, latency_ms / 1000 FROM {found} ORDER BY row_number"
    return duckdb.execute(query).fetchall()


BUSY = b'{"error":{"code":"1302","message":"slow down"}}'
BROKEN = b'{"error":{"code":"1234","message":"network error"}}'


def test_a_row_that_waits_for_another_try_ends_at_its_time(tmp_path: Path) -> None:
    """Told to wait 100 s, with a deadline of 30."""
    world = World(PatientClock(), {})
    world.down = answering(429, BUSY, (b"retry-after", b"100"))
    rows = late(tmp_path, world, 3, "concurrency = 4\ndeadline_s = 30")
    assert [row[:3] for row in rows] == [("failed", "deadline", 1)] * 3
    assert all(29.9 <= row[3] <= 31.2 for row in rows)


@pytest.mark.parametrize(("concurrency", "lane"), [(1, "sync"), (3, "sync"), (1, "task")])
def test_a_row_that_waits_for_a_limit_ends_at_its_time(tmp_path: Path, concurrency: int, lane: str) -> None:
    """Two requests a minute: its second try would leave after 30 s or more, and it may be open for 20.

    With one slot some of the rows are not even in the hands of somebody who waits: they are found all the same.
    """
    world = World(PatientClock(), {})
    world.down = answering(500, BROKEN)
    limits = f"concurrency = {concurrency}\nrequests_per_minute = 2\ndeadline_s = 20\nadapt = false"
    rows = late(tmp_path, world, 4, limits, lane)
    assert [row[:2] for row in rows] == [("failed", "deadline")] * 4
    assert all(row[2] == 1 for row in rows)
    assert all(19.9 <= row[3] <= 22.0 for row in rows)


def test_a_row_that_was_never_sent_is_not_too_old(tmp_path: Path) -> None:
    """A slow limit makes rows wait for minutes before their first call; that is no time of theirs."""
    rows = late(tmp_path, World(PatientClock(), {}), 4, "concurrency = 8\nrequests_per_minute = 2\ndeadline_s = 20")
    assert [row[:3] for row in rows] == [("ok", None, 1)] * 4
