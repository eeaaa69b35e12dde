"""Runs under a budget: never above it by the provider's books, nothing lost, and the same command goes on."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batch.cli import status
from batch.report.status import status_of
from tests.simulator.conftest import Gate, Start
from tests.support import budgets
from tests.support.longer import longer
from tests.system.runs.conftest import Make, Mill, together
from tests.system.runs.test_refusals import provider
from tests.system.runs.test_stops import arrived, until


def spent(mill: Mill) -> Decimal:
    """By the provider's books."""
    return sum((budgets.cost(record) for record in mill.books() if record["billed"]), Decimal(0))


@pytest.mark.parametrize("seed", [2, 3, *longer(range(4, 40))])
def test_a_random_budget_is_never_exceeded_and_all_goes_on(tmp_path: Path, start: Start, seed: int) -> None:
    """64 in flight, two jobs at a time under one per_day, answers that are cut off and billed; night after night."""
    sims = [start(budgets.SCENARIO.format(seed=seed + place)) for place in range(2)]
    mills = [Mill(tmp_path / f"job-{place}", sim) for place, sim in enumerate(sims)]
    print(budgets.hold(mills, [mill.books for mill in mills], seed, tmp_path / "state"))


def killed(mill: Mill, gate: Gate, calls: int) -> None:
    """Kill a run when so many calls have arrived, all but the last two of them answered."""
    process = mill.start()
    try:
        until(lambda: arrived(mill) >= 2 or process.poll() is not None, "two calls")
        gate.let_pass(calls - 2)
        until(lambda: arrived(mill) >= calls or process.poll() is not None, f"{calls} calls")
        assert process.poll() is None, process.communicate()
    finally:
        process.kill()
        process.communicate()


def held(state: Path) -> list[dict[str, Any]]:
    """What runs have set aside in the pots of the state folder."""
    pots = json.loads((state / "spend.json").read_text("utf-8"))["pots"]
    return [entry for pot in pots.values() for entry in pot["held"]]


def test_a_run_that_is_killed_counts_what_it_had_spent_calls_in_flight_included(
    make: Make, gate: Gate, tmp_path: Path
) -> None:
    """max_cost is that of one run, over its crashes: four calls answered and two in doubt, and no more than it holds."""
    mill = make(gate=gate)
    mill.questions(40)
    mill.limits["concurrency"] = 2
    budgets.give(mill, {"max_cost": "0.15 CNY"}, tmp_path / "state")
    killed(mill, gate, 6)
    gate.open()
    report = mill.run()
    assert (report.exit_code, report.state) == (3, "budget")
    assert report.totals.unknown == 2
    booked, bound = report.totals.cost["CNY"], report.totals.cost_bound["CNY"]
    assert booked <= spent(mill) <= booked + bound <= Decimal("0.15")
    assert mill.calls("count(*)", "cost_bound IS NOT NULL AND state = 'unknown' AND currency = 'CNY'") == [(2,)]
    mill.check_books(at_risk=2)
    mill.more = ""
    assert mill.run().exit_code == 0
    mill.check_table(40)


def kill_in_flight(mill: Mill, calls: int) -> None:
    """Kill a run when so many calls have arrived, none of them answered."""
    process = mill.start()
    try:
        until(lambda: arrived(mill) >= calls or process.poll() is not None, f"{calls} calls")
        assert process.poll() is None, process.communicate()
    finally:
        process.kill()
        process.communicate()


def test_what_a_killed_process_may_have_spent_counts_when_the_job_was_changed_meanwhile(
    make: Make, gate: Gate, tmp_path: Path
) -> None:
    """Nobody can make those requests again; what they can come to was kept before they left."""
    mill = make(gate=gate)
    mill.questions(300)
    mill.limits["concurrency"] = 20
    budgets.give(mill, {"per_day": "0.8 CNY"}, tmp_path / "state")
    kill_in_flight(mill, 20)
    gate.open()
    mill.user = "Now: {{ question }}"
    report = mill.run()
    assert (report.exit_code, [told["exit_reason"] for told in mill.runs()]) == (3, ["job_changed", "budget"])
    assert mill.calls("count(*), count(cost_bound)", "state = 'unknown'") == [(20, 20)]
    assert Decimal("0.3") < spent(mill) <= Decimal("0.8")
    mill.check_books(at_risk=20)


def test_what_a_killed_process_may_have_spent_counts_when_the_files_of_its_rows_are_gone(
    make: Make, gate: Gate, tmp_path: Path
) -> None:
    """The run goes on with the other rows, and its own budget counts what the lost ones can have come to."""
    mill = make(gate=gate)
    mill.user = "{{ file(name) }}"
    mill.write([{"name": f"{n}.txt"} for n in range(80)])
    for n in range(80):
        (mill.folder / f"{n}.txt").write_text(f"Tell me something about the number {n}.")
    mill.limits["concurrency"] = 10
    budgets.give(mill, {"max_cost": "0.5 CNY"}, tmp_path / "state")
    kill_in_flight(mill, 10)
    for n in range(10):
        (mill.folder / f"{n}.txt").unlink()
    gate.open()
    report = mill.run()
    assert (report.exit_code, len(mill.runs()), report.totals.unknown) == (3, 1, 10)
    bound = report.totals.cost_bound["CNY"]
    assert bound > Decimal("0.1")
    assert report.totals.cost["CNY"] <= spent(mill) <= report.totals.cost["CNY"] + bound <= Decimal("0.5")


def test_answers_that_no_price_tells_count_what_they_held_after_a_crash_too(mill: Mill, tmp_path: Path) -> None:
    """Another model answers, which no list has; each answer was held at some 0.02 CNY, and is counted with that."""
    mill.questions(40)
    mill.limits["concurrency"] = 1
    budgets.give(mill, {"max_cost": "0.2 CNY", "per_day": "0.3 CNY"}, tmp_path / "state")
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Well."}}
    body = json.dumps({"id": "1", "model": "strange-1", "choices": [choice], "usage": usage})
    with provider(200, body) as (mill.url, asked):
        assert mill.command(failpoint="settled.committed:5")[0] == -9
        report = mill.run()
        assert (report.exit_code, report.totals.unpriced, len(mill.runs())) == (3, report.totals.answered, 1)
        assert 6 <= len(asked) <= 0.2 / 0.0222
        assert report.budget["max_cost"]["left"] < "0.0222 CNY"
        before = len(asked)
        assert mill.command(failpoint="settled.committed:2")[0] == -9
        assert mill.run().exit_code == 3, "of the day a third is left for the second run"
        assert 2 <= len(asked) - before <= 0.1 / 0.0222 + 1


def test_what_a_killed_run_set_aside_of_a_day_is_kept_until_its_folder_is_run_again(
    make: Make, gate: Gate, tmp_path: Path
) -> None:
    """Nobody else gets it before; then what was not used comes back, and all of the day can be spent."""
    state = tmp_path / "state"
    mill = make(gate=gate, name="killed")
    other = make(sim=mill.sim, name="other")
    for one in (mill, other):
        one.questions(60)
        one.limits["concurrency"] = 2
        budgets.give(one, {"per_day": "0.4 CNY"}, state)
    killed(mill, gate, 6)
    (slice_,) = held(state)
    gate.open()
    assert other.run().exit_code == 3
    assert held(state) == [slice_], "the slice of the killed run is not touched"
    assert spent(mill) + Decimal(slice_["amount"]).scaleb(-12) <= Decimal("0.4") + spent(mill)
    report = mill.run()
    assert report.exit_code == 3
    assert report.totals.unknown == 2
    assert held(state) == []
    assert Decimal("0.3") < spent(mill) <= Decimal("0.4"), "both share one provider"
    for one in (mill, other):
        one.more = ""
        assert one.run().exit_code == 0
        one.check_table(60)


def test_two_processes_never_exceed_one_day_together(make: Make, tmp_path: Path) -> None:
    """Each of its own, on one state folder, started at the same time."""
    first = make("[latency]\nchat_ms = [1, 8]\n", name="first")
    second = make(sim=first.sim, name="second")
    for mill in (first, second):
        mill.questions(80)
        mill.limits["concurrency"] = 4
        budgets.give(mill, {"per_day": "0.5 CNY"}, tmp_path / "state")
    processes = [mill.start() for mill in (first, second)]
    codes = [(process.communicate(timeout=120), process.returncode)[1] for process in processes]
    assert 3 in codes
    assert set(codes) <= {0, 3}, "the one that is first may find enough"
    assert Decimal("0.4") < spent(first) <= Decimal("0.5")
    assert held(tmp_path / "state") == []
    for mill in (first, second):
        mill.more = ""
    assert [report.exit_code for report in together([first, second])] == [0, 0]


def test_tasks_that_are_accepted_are_collected_before_a_budget_ends_a_run(make: Make, tmp_path: Path) -> None:
    """Their results may still give something back, and they are paid for."""
    mill = make("[latency]\ntask_ms = [100, 300]\n", lane="task")
    mill.questions(60)
    budgets.give(mill, {"max_cost": "0.2 CNY"}, tmp_path / "state")
    report = mill.run()
    assert report.exit_code == 3
    assert len(mill.books()) == report.totals.answered == report.totals.rows_ok > 20
    assert spent(mill) == report.totals.cost["CNY"] <= Decimal("0.2")
    mill.more = ""
    assert mill.run().exit_code == 0
    assert len(mill.books()) == 60, "none was bought twice"


ADD = """
from batch import tool


@tool
def add(a: int, b: int) -> int:
    'Add two numbers.'
    return a + b
"""


def test_a_budget_that_ends_in_the_middle_of_a_row_loses_none_of_its_turns(make: Make, tmp_path: Path) -> None:
    """The turn that was paid for is in the ledger; the next run asks the next one."""
    mill = make()
    mill.tools = ADD
    mill.user = "Add {{ n }} and {{ n }}."
    mill.write([{"n": n} for n in range(100, 110)])
    mill.limits["concurrency"] = 1
    carried: list[int] = []
    caps = [{"max_cost": "0.05 CNY"}, {"max_cost": "0.08 CNY"}, {"max_cost": "0.11 CNY"}]
    while True:
        budgets.give(mill, caps.pop(0) if caps else {}, tmp_path / "state")
        report = mill.run()
        if report.exit_code == 0:
            break
        assert report.exit_code == 3
        carried.append(report.totals.answered % 2)
    assert 1 in carried, "a run ended between two turns"
    mill.check_table(10)
    assert len(mill.books()) == 20, "each of two turns was bought once"
    assert mill.results("calls, turns, status") == [(2, 2, "ok")] * 10


def test_a_budget_of_rows_ends_a_run_when_the_rows_that_were_begun_are_done(make: Make, tmp_path: Path) -> None:
    """Whatever each of them takes; lines that cannot be read count for nothing."""
    mill = make()
    mill.tools = ADD
    mill.user = "Add {{ n }} and {{ n }}."
    mill.write([{"n": n} for n in range(100, 130)])
    budgets.give(mill, {"max_rows": 12}, tmp_path / "state")
    codes = []
    for _ in range(3):
        report = mill.run()
        codes.append((report.exit_code, report.totals.rows_ok, report.totals.calls))
        assert not report.fault or "budget.max_rows = 12 is reached" in str(report.fault)
    assert codes == [(3, 12, 24), (3, 12, 24), (0, 6, 12)]
    mill.check_table(30)


def test_a_pack_of_tokens_is_used_up_over_runs_and_jobs_and_nothing_is_sent_beyond_it(
    make: Make, tmp_path: Path
) -> None:
    """Seed 38: free tokens that run out. The pack that ends first goes first; another one lets the same command go on."""
    state = tmp_path / "state"
    first = make(name="first")
    second = make(sim=first.sim, name="second")
    for mill in (first, second):
        mill.questions(60)
        mill.parameters = {"max_tokens": 48}
        mill.environ["PROMPTMILL_STATE"] = str(state)
    packs = "[budget]\ngrants = [{{ tokens = {}, until = 2099-12-31 }}, {{ tokens = 900, until = 2098-01-01 }}]"

    def tokens() -> int:
        return sum(record["total_tokens"] for record in first.books())

    first.more = second.more = packs.format(2000)
    assert first.run().exit_code == 3
    assert 2_500 < tokens() <= 2_900
    report = second.run()
    assert report.exit_code == 3
    assert "the packs are used up" in str(report.fault)
    assert tokens() <= 2_900
    first.more = second.more = packs.format('"1M"')
    assert [one.run().exit_code for one in (first, second)] == [0, 0]


def test_a_row_without_an_end_to_its_answer_is_not_sent_under_a_budget(make: Make, tmp_path: Path) -> None:
    """max_tokens comes from a column here, and one row has none: it fails for now, and the others are answered."""
    mill = make()
    mill.write([{"n": n, "question": f"Tell me about {n}.", "most": None if n == 3 else 32} for n in range(10)])
    budgets.give(mill, {"max_cost": "5 CNY"}, tmp_path / "state")
    mill.parameters = {"max_tokens": {"column": "most"}}
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok, report.totals.errors) == (1, 9, {"prompt/max_tokens": 1})
    assert len(mill.books()) == 9
    mill.more = ""
    assert mill.run().exit_code == 0


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"max_tokens": 48}, "2 unknown calls, at most 0.0"),
        ({}, "unknown calls: of 2 nothing can be said: no max_tokens"),
    ],
)
def test_calls_without_an_answer_are_told_with_the_most_they_can_have_cost(
    make: Make, parameters: dict[str, Any], told: str
) -> None:
    """At the end and by status, also where there is no budget."""
    mill = make("[[fault]]\nbehaviour = 34\nfirst = 1\nrows = ['number 3.', 'number 5.']\n")
    mill.questions(10)
    mill.parameters = parameters
    assert mill.run().exit_code == 0
    mill.check_books(at_risk=2)
    assert any(told in line for line in status._lines(status_of(mill.out)))
