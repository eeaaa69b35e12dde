"""Runs with several workers: what one process gives, also when workers are killed or stopped, or the core is."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable

import anyio
import psutil
import pytest

from batch.run.fleet.messages import ToCore
from batch.run.fleet.process import WorkerProcess
from tests.simulator.conftest import Gate
from tests.system.runs.conftest import Make, Mill
from tests.system.runs.test_behaviours_answers import ADD
from tests.system.runs.test_labels import NEVER, labelled
from tests.system.runs.test_ordinary import ODD, both

IN_FLIGHT = 8


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


def passing(gate: Gate, holds: Callable[[], bool]) -> None:
    """Let answers come one by one until it is so: ever more slowly, for a busy machine must not run out of rows."""
    pause = 0.01
    for _ in range(40):
        if holds():
            return
        gate.let_pass(1)
        time.sleep(pause)
        pause = min(1.0, 1.3 * pause)
    until(holds)


def requests(mill: Mill) -> int:
    assert mill.sim is not None
    return int(mill.sim.http.get("/_sim/judge").json()["requests"])


def workers(core: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(core.pid).children()
    return [child for child in children if any("fleet.worker_main" in word for word in child.cmdline())]


class Log:
    """What a run logs, read while it is at work."""

    def __init__(self, core: subprocess.Popen[str]) -> None:
        self._core = core
        self._events: list[dict[str, object]] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._core.stderr is not None
        for line in self._core.stderr:
            if line.startswith("{"):
                self._events.append(json.loads(line))

    def all(self, name: str) -> list[dict[str, object]]:
        return [event for event in self._events if event["event"] == name]

    def first(self, name: str) -> dict[str, object]:
        until(lambda: bool(self.all(name)))
        return self.all(name)[0]

    def ended(self) -> int:
        """The exit code, once all is read."""
        self._thread.join(120)
        self._core.communicate(timeout=120)
        return self._core.returncode


SUBMITS = "[latency]\nsubmit_ms = [1, 1]\ntask_ms = [1, 1]\n"
"""What waits at the gate is the answer to a submission."""


def at_the_gate(make: Make, gate: Gate, rows: int = 60, lane: str = "sync") -> tuple[Mill, subprocess.Popen[str], Log]:
    """A run with two workers who both have calls that wait for their answers."""
    mill = make(SUBMITS if lane == "task" else "", gate=gate, lane=lane)
    mill.limits["concurrency"] = IN_FLIGHT
    mill.questions(rows)
    core = mill.start("--workers", "2", "--log-format", "json")
    until(lambda: requests(mill) == IN_FLIGHT)
    # One that came up later has the next call.
    passing(gate, lambda: all(worker.net_connections("tcp") for worker in workers(core)))
    return mill, core, Log(core)


@pytest.mark.parametrize(("provider", "lane"), [("glm", "sync"), ("openai", "stream"), ("glm", "task")])
def test_workers_give_what_one_process_gives(make: Make, provider: str, lane: str) -> None:
    """Answers, order and books are the same, whoever makes the exchanges."""
    tables = []
    for count in (1, 2):
        mill = make(name=f"job-{count}", provider=provider, lane=lane)
        mill.questions(60)
        report = mill.run(workers=count)
        assert (report.exit_code, report.totals.rows_ok) == (0, 60)
        mill.check_table(60)
        mill.check_books()
        tables.append(mill.results("n, answer, row_id, finish_reason, total_tokens, cost"))
    assert tables[0] == tables[1]


def test_the_first_rows_are_planned_while_workers_start(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    mill = make()
    mill.questions(20)
    opened = WorkerProcess.open

    async def late(self: WorkerProcess, received: Callable[[ToCore], None], ended: Callable[[], None]) -> None:
        with anyio.fail_after(60):
            while not any(mill.out.glob("pending/*.arrow")):  # noqa: ASYNC110 - a file tells nobody
                await anyio.sleep(0.005)
        await opened(self, received, ended)

    monkeypatch.setattr(WorkerProcess, "open", late)
    assert mill.run(workers=2).totals.rows_ok == 20


def with_faults(mill: Mill) -> None:
    """Of some rows the first answer is refused, odd, of another model, filtered or without usage."""
    mill.questions(40)


def with_tools(mill: Mill) -> None:
    """Each row has two turns."""
    mill.tools = ADD
    mill.write([{"n": n, "question": f"What is {n} plus 10?"} for n in range(20)])


def with_labels(mill: Mill) -> None:
    """Each row is asked again and then another model, for the first one never says a label."""
    labelled(mill, 12, reasks=1, escalate="glm-4-plus")


@pytest.mark.parametrize(
    ("prepare", "scenario", "lane", "wire_log"),
    [
        (with_faults, ODD, "sync", False),
        (with_faults, ODD, "sync", True),
        (with_faults, ODD, "stream", False),
        (with_tools, "", "task", False),
        (with_tools, "", "task", True),
        (with_labels, NEVER, "sync", False),
    ],
)
def test_workers_give_the_same_of_rows_that_are_out_of_the_ordinary(
    make: Make, prepare: Callable[[Mill], None], scenario: str, lane: str, wire_log: bool
) -> None:
    """Row by row and call by call; with a wire log workers hand on bytes, else what the answers say."""
    tables = []
    for count in (1, 2):
        mill = make(scenario, name=f"job-{count}", lane=lane)
        prepare(mill)
        report = mill.run(workers=count, wire_log=wire_log)
        assert report.totals.rows > 0
        mill.check_books(at_risk=2)  # without usage, or without choices
        tables.append(both(mill))
    assert tables[0] == tables[1]


def test_a_killed_worker_leaves_its_calls_unknown_and_its_rows_to_another(make: Make, gate: Gate) -> None:
    mill, core, log = at_the_gate(make, gate)
    workers(core)[0].kill()
    ended = log.first("worker_ended")
    gate.open()
    assert log.ended() == 0
    assert "SIGKILL" in str(ended["how"])
    mill.check_table(60)
    mill.check_books(at_risk=int(str(ended["calls"])))
    assert mill.calls("count(*)", "state = 'unknown' AND error_code = 'process_ended'") == [(ended["calls"],)]
    assert requests(mill) == 60 + int(str(ended["calls"]))
    judged = mill.sim.http.get("/_sim/judge").json() if mill.sim is not None else {}
    assert judged["max_in_flight"] <= IN_FLIGHT


@pytest.mark.parametrize("lane", ["stream", "task"])
def test_what_a_stopped_worker_brings_late_is_booked_and_changes_no_row(make: Make, gate: Gate, lane: str) -> None:
    """An answer, or the id of a task: that is polled until its answer is there."""
    mill, core, log = at_the_gate(make, gate, rows=200, lane=lane)
    stopped = workers(core)[0]
    stopped.suspend()
    silent = log.first("worker_silent")
    stopped.resume()
    passing(gate, lambda: bool(log.all("answer_came_late")))
    assert bool(log.all("task_came_late")) is (lane == "task")
    gate.open()
    assert log.ended() == 0
    mill.check_table(200)
    states = dict(mill.calls("client_call_id, state"))
    tokens = dict(mill.calls("client_call_id, total_tokens"))
    late = {name.removesuffix("-late") for name in states if name.endswith("-late")}
    assert late == {event["call_id"] for event in log.all("answer_came_late")}
    bill = {record["client_call_id"]: record["total_tokens"] for record in mill.books() if record["billed"]}
    assert bill.keys() <= states.keys()
    assert {states[name] for name in late} == {"unknown"}
    assert {name: tokens[f"{name}-late"] for name in late} == {name: bill[name] for name in late}
    assert sum(state == "unknown" for state in states.values()) == silent["calls"]


def test_workers_die_with_their_core_and_the_same_command_goes_on(make: Make, gate: Gate) -> None:
    mill, core, log = at_the_gate(make, gate)
    mine = workers(core)
    mine[0].suspend()  # the system ends it all the same
    core.send_signal(signal.SIGKILL)
    assert log.ended() == -signal.SIGKILL
    _, alive = psutil.wait_procs(mine, timeout=60)
    assert alive == []
    gate.open()
    code, said = mill.command("--workers", "2")
    assert code == 0, said
    mill.check_table(60)
    mill.check_books(at_risk=IN_FLIGHT)


def test_ctrl_c_waits_for_what_workers_have_under_way(make: Make, gate: Gate) -> None:
    mill, core, log = at_the_gate(make, gate)
    core.send_signal(signal.SIGINT)
    log.first("stop_requested")
    gate.open()
    assert log.ended() == 4
    assert mill.calls("state, count(*)", "true GROUP BY state") == [("answered", requests(mill))]
    assert IN_FLIGHT <= requests(mill) < 60
