"""A provider in bad health: every row is ok in the end, the books hold, and no limit is crossed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.conftest import Gate
from tests.support.virtual import PatientClock, World, virtual
from tests.system.runs.conftest import GLM_LANES, Make, Mill, together

FAULTS = {
    18: "behaviour = 18\nrate = 0.25\n",
    19: "behaviour = 19\nrate = 0.05\nseconds = 1\n",
    28: "behaviour = 28\nrate = 0.25\n",
    33: "behaviour = 33\nrate = 0.25\n",
    34: "behaviour = 34\nrate = 0.25\n",
    48: "behaviour = 48\nrate = 0.3\n",
    56: "behaviour = 56\nrate = 0.25\n",
}


@pytest.mark.parametrize("behaviour", FAULTS)
def test_every_row_is_ok_in_the_end_and_the_bill_is_bounded(behaviour: int, make: Make) -> None:
    """Promise 5: booked ≤ bill ≤ booked + unknown, whatever the provider does to a part of the requests, in each lane."""
    lanes = ["task"] if behaviour == 56 else GLM_LANES
    mills = [make(f"[[fault]]\n{FAULTS[behaviour]}", lane=lane, name=lane) for lane in lanes]
    for mill in mills:
        mill.limits.update(concurrency=40, max_attempts=20)
        mill.questions(40)
    for mill, report in zip(mills, together(mills), strict=True):
        assert (report.exit_code, report.totals.rows_ok) == (0, 40)
        mill.check_table(40)
        mill.check_books(at_risk=-1)
        assert mill.sim is not None
        assert any(applied["behaviour"] == behaviour for applied in mill.sim.faults()), "nothing was tested"
        unknown = mill.calls("count(*)", "state = 'unknown'")[0][0]
        assert unknown == report.totals.unknown == sum(mill.one("unknown_calls"))
        if behaviour in (18, 19, 28):
            assert unknown == 0
        if behaviour in (34, 56):
            assert unknown > 0
        attempts = mill.calls("row_id, max(attempt), count(*)", "true GROUP BY row_id")
        assert all(last + 1 == count for _, last, count in attempts)


@pytest.mark.parametrize("lane", GLM_LANES)
def test_usage_that_was_not_said_is_null_and_counted_and_never_zero(lane: str, make: Make) -> None:
    """Promise 5."""
    mill = make(f"[[fault]]\n{FAULTS[48]}", lane=lane)
    mill.questions(80)
    report = mill.run()
    assert report.exit_code == 0
    forms = {"missing", "null", "zero"}
    silent = mill.calls("client_call_id, cost", "prompt_tokens IS NULL")
    assert 0 < len(silent) == report.totals.unknown_usage
    assert all(cost is None for _, cost in silent)
    assert mill.calls("count(*)", "total_tokens = 0 AND state = 'answered'") == [(0,)]
    flagged = mill.results("flags, total_tokens, cost")
    assert sum("usage_unknown" in row[0] for row in flagged) == len(silent)
    assert all(row[1] is None and row[2] is None for row in flagged if "usage_unknown" in row[0]), forms
    billed = {record["client_call_id"]: record for record in mill.books()}
    for name, prompt, completion, cost in mill.calls(
        "client_call_id, prompt_tokens, completion_tokens, cost::DOUBLE", "prompt_tokens IS NOT NULL"
    ):
        record = billed[name]
        assert (prompt, completion, cost) == (
            record["prompt_tokens"],
            record["completion_tokens"],
            float(record["cost"]),
        )


def test_a_waiting_time_the_provider_asks_for_is_kept(make: Make) -> None:
    """Design 4: the wait is at least Retry-After, for everybody."""
    scenario = '[[fault]]\nbehaviour = 19\nseconds = 1\nrows = ["number 0."]\nfirst = 1\n'
    mills = [make(scenario, lane=lane, name=lane) for lane in GLM_LANES]
    for mill in mills:
        mill.limits["concurrency"] = 2
        mill.questions(20)
    for mill, report in zip(mills, together(mills), strict=True):
        assert report.exit_code == 0
        at = {record["client_call_id"]: record["at"] for record in mill.books()}
        [(refused,)] = mill.calls("client_call_id", "state = 'refused'")
        # One call may have been on its way when the refusal came.
        after = sorted(moment - at[refused] for name, moment in at.items() if name != refused and moment > at[refused])
        assert sum(moment < 0.99 for moment in after) <= 1, after[:5]
        assert len(after) >= 18


WINDOWS_S = (0.5, 1.0, 2.0)


def most(window_s: float) -> float:
    """Requests at 3600 a minute: a window shorter than the limit's own holds a burst of 0.1 s, and grants 0.4 s late."""
    return 0.99 * 60 * (window_s + 0.4) + 0.1 * 60 + 1


@pytest.mark.parametrize("lane", GLM_LANES)
def test_requests_never_exceed_the_limit_in_any_window_and_use_it(lane: str, make: Make, tmp_path: Path) -> None:
    """Promise 4: over any window, the first included; used in time moved by hand, in which no machine is busy."""
    clock = PatientClock()
    world = World(clock, {"latency": {"chat_ms": [1, 1], "task_ms": [1, 1]}})
    mill = make(lane=lane, name=lane)
    mill.limits.update(concurrency=16, requests_per_minute=3600)
    mill.questions(150)
    url = mill.url
    text = (mill.save() / "job.toml").read_text(encoding="utf-8")
    report = virtual(mill.folder, world, lambda port: text.replace(url, f"http://127.0.0.1:{port}"), mill.environ)
    assert (report.exit_code, report.totals.rows_ok) == (0, 150)
    for window in WINDOWS_S:
        assert (seen := world.app.provider.judge.verdict(window)["max_requests"]) <= most(window), (window, seen)
    assert report.elapsed_s < 150 / 60 * 1.15 + 0.3


def test_requests_never_exceed_the_limit_in_any_window_of_real_time(make: Make) -> None:
    """Promise 4: both lanes at once, however late the machine is."""
    mills = [make(lane=lane, name=lane) for lane in GLM_LANES]
    for mill in mills:
        mill.limits.update(concurrency=16, requests_per_minute=3600)
        mill.questions(150)
    for mill, report in zip(mills, together(mills), strict=True):
        assert report.exit_code == 0
        assert mill.sim is not None
        for window in WINDOWS_S:
            assert (seen := mill.sim.judge(window)["max_requests"]) <= most(window), (window, seen)
        assert mill.sim.judge()["max_in_flight"] <= 16


def test_a_limit_holds_across_restarts(make: Make) -> None:
    """Promise 4: an OUT that has sent before starts empty, so commands in a row are no way around the limit."""
    world = World(PatientClock(), {"latency": {"chat_ms": [0, 0]}})
    mill = make()
    mill.limits["requests_per_minute"] = 150

    def written(port: int) -> str:
        mill.url = f"http://127.0.0.1:{port}"
        return (mill.save() / "job.toml").read_text(encoding="utf-8")

    for rows in range(1, 7):
        mill.questions(rows)
        assert virtual(mill.folder, world, written, mill.environ).totals.rows_ok == 1
    at = [moment for moment, _ in world.requests]
    assert len(at) == 6
    assert min(after - before for before, after in pairwise(at)) >= 60 / 150, at
    mill.check_table(6)


@contextmanager
def opening(gate: Gate, mill: Mill, when: Callable[[dict[str, Any]], bool]) -> Iterator[None]:
    """Opens the gate when the provider has seen what a test is about, beside the run."""
    over = threading.Event()

    def wait() -> None:
        assert mill.sim is not None
        while not (over.is_set() or when(mill.sim.judge())):
            over.wait(0.01)
        gate.open()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_in_flight_never_exceeds_concurrency_while_everything_fails_and_retries(make: Make) -> None:
    """Promise 4: in-flight too, a saved task id holds a slot."""
    scenario = "[[fault]]\nbehaviour = 28\nrate = 0.2\n[latency]\nchat_ms = [100, 200]\ntask_ms = [100, 300]\n"
    gates = [Gate(paced=True) for _ in GLM_LANES]
    mills = [make(scenario, gate=gate, lane=lane, name=lane) for gate, lane in zip(gates, GLM_LANES, strict=True)]
    with ExitStack() as stack:
        for mill, gate in zip(mills, gates, strict=True):
            mill.limits.update(concurrency=7, max_attempts=20)
            mill.questions(35)
            stack.enter_context(opening(gate, mill, lambda judged: judged["max_in_flight"] >= 7))
        reports = together(mills)
    for mill, report in zip(mills, reports, strict=True):
        assert report.exit_code == 0
        assert mill.sim is not None
        assert mill.sim.judge()["max_in_flight"] == 7


def test_the_providers_own_limits_are_met_with_patience(make: Make) -> None:
    """Promise 4: refused by a limit we do not know, every row is ok all the same."""
    gate = Gate(paced=True)
    mill = make("[limits]\nin_flight = 4\n[latency]\nchat_ms = [20, 40]\n", gate=gate)
    mill.limits.update(concurrency=16, max_attempts=50)
    mill.questions(60)
    with opening(gate, mill, lambda judged: "in_flight" in judged["refused"]):
        assert mill.run().exit_code == 0
    mill.check_table(60)
    mill.check_books()
    assert mill.calls("count(*) > 0", "error_kind = 'rate_limit' AND state = 'refused'") == [(True,)]


def test_what_was_booked_is_told_the_same_everywhere(make: Make) -> None:
    """Ours: report, run file, rows and calls cannot disagree."""
    mill: Mill = make(f"[[fault]]\n{FAULTS[34]}[[fault]]\n{FAULTS[28]}")
    mill.limits.update(max_attempts=3, concurrency=32)
    mill.questions(100)
    report = mill.run()
    totals, told = report.totals, mill.runs()[0]["totals"]
    calls, tokens, cost = mill.calls("count(*), sum(total_tokens), sum(cost)")[0]
    assert (totals.calls, totals.total_tokens) == (calls, tokens) == (told["calls"], told["total_tokens"])
    assert told["cost"] == {"CNY": f"{cost:f}"}
    rows = mill.results("sum(calls), sum(total_tokens), sum(cost), count(*) FILTER (status = 'failed')")[0]
    assert rows == (calls, tokens, cost, totals.rows_failed)
    mill.check_sums()
