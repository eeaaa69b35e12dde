"""Ctrl-C, SIGTERM, SIGKILL: what is left lies ready, nothing is bought twice, what changed is closed first."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import apsw
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.core.clock import Clock
from batch.job.job import Job
from batch.job.options import RunOptions
from batch.run.command import run
from tests.simulator.conftest import Gate
from tests.system.runs.conftest import GLM_LANES, Make, Mill

ADD = """
from batch import tool


@tool
def add(a: int, b: int) -> int:
    'Add two numbers.'
    return a + b
"""


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something another process does."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.01)


def submits(mill: Mill) -> int:
    assert mill.sim is not None
    return sum(record["route"] == "submit" for record in mill.sim.books())


def arrived(mill: Mill) -> int:
    assert mill.sim is not None
    return mill.sim.requests()


def kill_with_tasks(mill: Mill, count: int) -> None:
    """Kill a run as soon as so many task ids are durable."""
    process = mill.start()
    try:
        until(lambda: accepted(mill) >= count or process.poll() is not None, f"{count} tasks")
    finally:
        process.kill()
        said = end(process)
    assert accepted(mill) >= count, said


def accepted(mill: Mill) -> int:
    if not (mill.out / "ledger.db").exists():
        return 0
    db = apsw.Connection(str(mill.out / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        db.set_busy_timeout(5_000)
        made = db.pragma("user_version")
        return int(db.execute("SELECT count(*) FROM calls WHERE task IS NOT NULL").get) if made else 0
    finally:
        db.close()


def end(process: subprocess.Popen[str]) -> str:
    return "".join(process.communicate(timeout=120))


def stopping(mill: Mill) -> bool:
    """Whether the run has heard a signal: nothing more is sent, and what is in flight is waited for."""
    try:
        return bool(json.loads((mill.out / "status.json").read_text("utf-8"))["state"] == "stopping")
    except FileNotFoundError:
        return False


def stop(process: subprocess.Popen[str], number: int) -> None:
    """Send a signal to a run with `--log-format json`, and wait until it has heard it."""
    process.send_signal(number)
    assert process.stderr is not None
    while "stop_requested" not in (line := process.stderr.readline()):
        assert line, "it ended"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_drains_calls_in_flight_and_the_next_run_does_the_rest(
    number: int, make: Make, gate: Gate
) -> None:
    """FIELD 43. Design 4: no new sends, sync calls get their time, what settled is published short, exit 4."""
    mill = make(gate=gate)
    mill.limits["concurrency"] = 8
    mill.output = {"rows_per_part": 20}
    mill.questions(60)
    gate.let_pass(12)
    process = mill.start("--log-format", "json")
    until(lambda: arrived(mill) >= 20, "20 requests")
    stop(process, number)
    gate.open()
    said = end(process)
    assert process.returncode == 4, said
    done = mill.results("n, status")
    sent = len(mill.books())
    assert all(record["delivered"] for record in mill.books()), "a call in flight was cut"
    assert len(done) == sent == 20
    assert {row[1] for row in done} == {"ok"}
    assert mill.runs()[-1]["state"] == "interrupted"
    mill.check_books()
    assert mill.pending() == [], "nothing is in the middle, so the rest is planned anew"
    assert mill.run().exit_code == 0
    assert len(mill.books()) == 60
    mill.check_table(60)
    mill.check_books()
    assert mill.one("n") == list(range(60))


def test_tasks_are_left_with_their_ids_and_collected_by_the_next_run(make: Make, gate: Gate) -> None:
    """FIELD 49. Promise 2: a task id, once committed, is never bought again; `pending` holds only ranges still needed."""
    mill = make(gate=gate, lane="task")
    mill.limits["concurrency"] = 10
    mill.output = {"rows_per_part": 20}
    mill.questions(25)
    process = mill.start("--progress", "plain")
    until(lambda: submits(mill) >= 10, "ten tasks")
    process.send_signal(signal.SIGINT)
    said = end(process)
    assert process.returncode == 4, said
    assert "10 tasks stay with the provider: the same command collects them." in said
    assert mill.pending() == ["range-00000.arrow"]
    left = {record["task_id"] for record in mill.books()}
    assert len(left) == 10
    gate.open()
    report = mill.run()
    assert report.exit_code == 0
    assert len(mill.books()) == 25, "a task was bought twice"
    collected = {row[0] for row in mill.calls("task_id", "state = 'answered'")}
    assert left <= collected
    mill.check_table(25)
    mill.check_books()
    assert mill.pending() == []
    assert mill.one("unknown_calls") == [0] * 25


def test_the_second_signal_cuts_calls_and_they_are_booked_as_unknown(make: Make, gate: Gate) -> None:
    """Design 4: in flight become `unknown`, exit 4; the next run sends them again."""
    mill = make(gate=gate)
    mill.limits.update(concurrency=6, max_attempts=1)
    mill.questions(12)
    process = mill.start("--log-format", "json")
    until(lambda: arrived(mill) >= 6, "six requests")
    stop(process, signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    said = end(process)
    assert process.returncode == 4, said
    assert mill.calls("state, prompt_tokens, cost") == [("unknown", None, None)] * 6
    assert mill.runs()[-1]["totals"]["unknown"] == 6
    calm = make(name="other")
    mill.url, mill.sim = calm.url, calm.sim
    assert mill.run().exit_code == 0
    assert len(mill.books()) == 12
    assert mill.one("unknown_calls") == [1] * 6 + [0] * 6
    mill.check_table(12)
    assert mill.calls("state, count(*)", "true GROUP BY ALL ORDER BY ALL") == [("answered", 12), ("unknown", 6)]


def test_calls_cut_by_a_second_signal_do_not_use_up_attempts(make: Make, gate: Gate) -> None:
    """Design 4: max_attempts does not count what we ended ourselves."""
    mill = make(gate=gate)
    mill.limits.update(concurrency=3, max_attempts=2)
    mill.questions(3)
    process = mill.start("--log-format", "json")
    until(lambda: arrived(mill) >= 3, "three requests")
    stop(process, signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert end(process) is not None
    calm = make("[[fault]]\nbehaviour = 28\nfirst = 1\n", name="other")
    mill.url, mill.sim = calm.url, calm.sim
    assert mill.run().exit_code == 0, mill.results("n, status, error_kind")


@pytest.mark.parametrize("lane", GLM_LANES)
def test_a_cancelled_call_of_the_python_api_continues_like_a_crash(lane: str, make: Make, gate: Gate) -> None:
    """Promise 1, through the API: whoever cancels `run` loses nothing either."""
    mill = make(gate=gate, lane=lane)
    mill.limits["concurrency"] = 8
    mill.questions(40)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: run(Job.load(mill.save()), environ=mill.environ))
            await anyio.to_thread.run_sync(until, lambda: arrived(mill) > 0, "a request")
            group.cancel_scope.cancel()

    anyio.run(main, backend_options={"use_uvloop": True})
    assert 0 < arrived(mill) <= 8
    gate.open()
    assert mill.run().exit_code == 0
    mill.check_table(40)
    mill.check_books(at_risk=8)
    if lane == "task":
        cut = mill.calls("count(*)", "state = 'unknown'")[0][0]  # submits whose answer the cancel cut off
        assert len(mill.books()) <= 40 + cut <= 48


@pytest.mark.parametrize("then", [{}, {"limit": 20}, {"limit": 50}], ids=["all", "the same", "more"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_limited_run_that_was_killed_loses_no_row_when_continued(kind: str, then: dict[str, int], make: Make) -> None:
    """Promise 1: whatever the next command's limit is, each row runs once."""
    mill = make()
    rows = mill.questions(300)
    mill.write([*rows, *rows[:50]])
    if kind == "parquet":
        mill.input = "rows.parquet"
        both = [*rows, *rows[:50]]
        pq.write_table(pa.Table.from_pylist(both), mill.folder / mill.input, row_group_size=64)
    assert mill.command("--limit", "20", failpoint="settled.committed:1")[0] == -9
    assert mill.run(**then).exit_code == 0
    mill.check_table(then.get("limit", 350))
    assert mill.run().exit_code == 0
    mill.check_table(350)
    assert mill.one("n") == [*range(300), *range(50)]
    assert mill.run().state == "nothing_to_do"


@pytest.mark.parametrize("point", ["settled.committed:1", "admitted.committed:1"])
def test_a_sample_that_was_killed_does_not_stand_for_the_whole(point: str, mill: Mill) -> None:
    """Promise 1: after a killed --shuffle run, a command without it runs all rows."""
    mill.questions(200)
    assert mill.command("--limit", "20", "--shuffle", failpoint=point)[0] == -9
    assert mill.run().exit_code == 0
    assert sorted(mill.one("n")) == list(range(200))
    mill.check_table(200)
    assert mill.run().state == "nothing_to_do"


def test_a_sample_that_was_killed_goes_on_as_the_same_sample(mill: Mill) -> None:
    """Design 4: the same command continues."""
    mill.questions(200)
    assert mill.command("--limit", "20", "--shuffle", failpoint="settled.committed:1")[0] == -9
    assert mill.run(limit=20, sample_seed=0).exit_code == 0
    once = mill.one("n")
    assert len(once) == 20
    other = mill.folder / "again"
    mill.out = other
    assert mill.run(limit=20, sample_seed=0).exit_code == 0
    assert mill.one("n") == once


@pytest.mark.parametrize("then", [{"limit": 40}, {"limit": 40, "sample_seed": 0}], ids=["the first", "a sample"])
def test_a_whole_run_that_was_killed_goes_on_under_a_limit_with_no_more_rows_than_that(
    then: dict[str, int], mill: Mill
) -> None:
    """Design 4: at most N rows that need work, although the killed run had admitted hundreds; drawn from all of them."""
    mill.questions(2_000)
    mill.limits["concurrency"], mill.output = 4, {"rows_per_part": 50}
    assert mill.command(failpoint="settled.committed:5")[0] == -9
    sent = len(mill.books())
    report = mill.run(**then)
    assert (report.exit_code, report.totals.rows) == (0, 40)
    assert [told["exit_reason"] for told in mill.runs()] == ["selection_changed", "finished"]
    assert 40 <= len(mill.books()) - sent <= 40 + 4, "beside those that were sent"
    asked = mill.query(f"SELECT n FROM '{mill.out}/results/*.parquet' WHERE run = '{report.run}' ORDER BY n")
    thirds = {n * 3 // 2_000 for (n,) in asked}
    assert thirds == ({0, 1, 2} if "sample_seed" in then else {0})
    assert mill.run().exit_code == 0
    assert sorted(mill.one("n")) == list(range(2_000))
    mill.check_table(2_000)
    mill.check_books(at_risk=4)


@pytest.mark.parametrize("then", [{"limit": 30}, {"limit": 10, "sample_seed": 0}], ids=["the first", "fewer"])
def test_a_sample_that_was_killed_is_not_what_another_limit_asks_for(then: dict[str, int], mill: Mill) -> None:
    """Design 4: `--limit N` takes the first rows that need work; of a sample, fewer are drawn anew, not cut off."""
    mill.questions(400)
    mill.limits["concurrency"] = 2
    assert mill.command("--limit", "60", "--shuffle", failpoint="settled.committed:3")[0] == -9
    report = mill.run(**then)
    assert (report.exit_code, report.totals.rows) == (0, then["limit"])
    asked = mill.query(f"SELECT n FROM '{mill.out}/results/*.parquet' WHERE run = '{report.run}' ORDER BY n")
    assert (asked[-1][0] > 100) == ("sample_seed" in then)


def test_a_wall_clock_set_back_between_two_runs_confuses_nothing(mill: Mill) -> None:
    """Ours: runs are told apart by order, not by what the clock says."""

    class Back(Clock):
        def now_us(self) -> int:
            return super().now_us() - 7_200_000_000

    mill.questions(20)
    assert mill.run().exit_code == 0
    mill.user = "B: {{ question }}"

    async def main() -> Any:
        return await run(Job.load(mill.save()), options=RunOptions(), environ=mill.environ, clock=Back())

    assert anyio.run(main).exit_code == 0
    assert len(mill.books()) == 40
    assert mill.run().state == "nothing_to_do"
    assert len(mill.runs()) == 2


def test_a_ledger_that_was_killed_while_it_was_made_is_made_again(mill: Mill) -> None:
    """Promise 1: at any instant, the first included."""
    mill.questions(5)
    mill.out.mkdir()
    (mill.out / "ledger.db").touch()
    assert mill.run().exit_code == 0
    mill.check_table(5)


def test_a_locked_folder_is_refused_naming_the_process(make: Make, gate: Gate) -> None:
    """Design 4: exit 2."""
    mill = make(gate=gate)
    mill.questions(40)
    mill.limits["concurrency"] = 4
    process = mill.start()
    until(lambda: arrived(mill) >= 4, "the first requests")
    code, said = mill.command()
    process.send_signal(signal.SIGINT)
    gate.open()
    end(process)
    assert code == 2
    assert re.search(rf"\b{process.pid}\b", said), said
    assert "-o" in said


def test_a_table_is_readable_while_the_run_goes_on(make: Make, gate: Gate) -> None:
    """Design 5: during and after a run."""
    mill = make(gate=gate)
    mill.limits["concurrency"] = 10
    mill.output = {"rows_per_part": 10}
    mill.questions(60)
    gate.let_pass(35)
    process = mill.start()
    until(lambda: len(list(mill.out.glob("results/part-*.parquet"))) >= 2, "two parts")
    found = mill.results("n, status, answer")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    gate.open()
    end(process)
    numbers = [row[0] for row in found]
    assert numbers == sorted(set(numbers)), "doubled or out of order"
    assert set(Counter(n // 10 for n in numbers).values()) == {10}, "a part is not whole"
    assert 20 <= len(found) <= 35  # which parts come first is chance: 35 rows of up to five are answered


def test_left_tasks_are_collected_whatever_the_lane_and_the_concurrency_are_now(make: Make, gate: Gate) -> None:
    """Design 6: saved ids take their slots even above concurrency; new sends wait until the count is below it."""
    mill = make(gate=gate, lane="task")
    mill.limits["concurrency"] = 10
    mill.questions(16)
    process = mill.start()
    until(lambda: submits(mill) >= 10, "ten tasks")
    process.send_signal(signal.SIGINT)
    end(process)
    gate.open()
    mill.lane, mill.limits["concurrency"] = "sync", 2
    assert mill.run().exit_code == 0
    assert sorted(record["route"] for record in mill.books()) == ["chat"] * 6 + ["submit"] * 10
    assert sorted(mill.one("lane")) == ["sync"] * 6 + ["task"] * 10
    mill.check_table(16)
    mill.check_books()
    assert mill.sim is not None
    assert mill.sim.judge()["max_in_flight"] == 10


def test_a_signal_ends_a_run_that_only_waits(make: Make) -> None:
    """Design 4: nothing in flight, nothing to drain; rows in back-off are left."""
    mill = make("[[fault]]\nbehaviour = 19\nseconds = 90\n")
    mill.limits["concurrency"] = 4
    mill.questions(20)
    process = mill.start()
    until(lambda: arrived(mill) >= 4, "four requests")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said = end(process)
    assert process.returncode == 4, said
    assert time.monotonic() - began < 25, "it waited for what is not in flight"
    calm = make(name="other")
    mill.url, mill.sim = calm.url, calm.sim
    assert mill.run().exit_code == 0
    mill.check_table(20)


def test_a_provider_that_asks_for_an_hour_ends_the_run(make: Make) -> None:
    """Exit 6: parked for longer than max_park."""
    mill = make("[[fault]]\nbehaviour = 19\nseconds = 3600\n")
    mill.questions(20)
    report = mill.run()
    assert report.exit_code == 6
    assert "again" in str(report.fault)
