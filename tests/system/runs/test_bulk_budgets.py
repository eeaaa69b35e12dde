"""Budgets of money and tokens in lane `bulk`, alone and before another lane, by the provider's own books."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batch.core.errors import RefusedToStart
from batch.job.budgetspec import Amount
from batch.report.status import status_of
from tests.simulator.conftest import Start
from tests.simulator.struck import fault
from tests.system.runs.conftest import Mill, together
from tests.system.runs.test_bulk import NOW, Make, batches, make, slowly

__all__ = ["make"]

LIMITED = {"max_tokens": 24}


def budgeted(mill: Mill, rows: int, **budget: Any) -> Mill:
    """A job over so many rows, with answers that have an end and a budget."""
    mill.parameters = LIMITED
    mill.environ["PROMPTMILL_STATE"] = str(mill.folder.parent / "state")
    if rows:
        mill.questions(rows)
    lines = [f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in budget.items()]
    mill.more = "\n".join([mill.more.partition("[budget]")[0], "[budget]", *lines, ""])
    return mill


def spent(mill: Mill) -> tuple[Decimal, int]:
    """What the provider billed so far: money and tokens."""
    billed = [record for record in mill.books() if record["billed"]]
    return sum((Decimal(one["cost"]) for one in billed), Decimal(0)), sum(one["total_tokens"] for one in billed)


def units(amount: str) -> Decimal:
    return Decimal(Amount.parse(amount).units).scaleb(-12)


@pytest.mark.parametrize("lane", ["bulk", "bulk,sync"])
def test_a_budget_of_money_cuts_the_files_and_what_comes_back_pays_for_the_next(make: Make, lane: str) -> None:
    """Lines hold the most they can come to at half the price; run after run goes on until all rows are answered."""
    mill = budgeted(make(lines=50), 60, max_cost="0.004 CNY")
    mill.lane = lane
    before, states = Decimal(0), []
    for _ in range(30):
        report = mill.run()
        now = spent(mill)[0]
        assert now - before <= units("0.004 CNY")
        assert report.totals.cost["CNY"] == now - before, "booked as billed"
        before = now
        states.append(report.exit_code)
        if report.exit_code == 0:
            break
    assert set(states[:-1]) == {3}
    assert states[-1] == 0
    mill.check_table(60)
    mill.check_books()
    assert len([record for record in mill.books() if record["billed"]]) == 60
    assert batches(mill) < 12 * len(states), "and not a file for each line"


def test_a_budget_of_tokens_is_kept_and_the_end_says_so(make: Make) -> None:
    """Exit 3, with what is booked and what the next call can come to."""
    mill = budgeted(make(lines=50), 60, max_tokens=1_500)
    report = mill.run()
    assert (report.state, report.exit_code) == ("budget", 3)
    assert "budget.max_tokens = 1,500 tokens is reached" in str(report.fault)
    assert 0 < report.totals.rows_ok < 60
    assert spent(mill)[1] == report.totals.total_tokens <= 1_500
    assert 1_500 - report.totals.total_tokens < 500, "it was used up to the bound of one call"


def test_a_call_that_never_fits_is_said_before_any_batch(make: Make) -> None:
    """Nothing is uploaded."""
    mill = budgeted(make(), 3, max_tokens=40)
    report = mill.run()
    assert report.exit_code == 3
    assert "before the first call" in str(report.fault)
    assert mill.books() == []


def test_lines_that_a_batch_did_not_do_give_their_money_back(make: Make) -> None:
    """Half of the first batch expires, and a tenth of the lines fails at first: both are paid out of what is left."""
    scenario = fault(62, form="expired", rows=["wave-00000"], share=0.5) + fault(
        28, route="line", rate=0.1, first=1, status=503
    )
    mill = budgeted(make(scenario, lines=50), 50, max_cost="0.02 CNY")
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok) == (0, 50)
    assert report.totals.cost["CNY"] == spent(mill)[0] <= units("0.02 CNY")
    mill.check_books()


def test_what_may_have_been_billed_keeps_its_money(make: Make) -> None:
    """Lines that are in no file of a batch that was completed are asked again, and both are inside the budget."""
    mill = budgeted(make(fault(62, form="missing", rows=["wave-00000"], share=0.4), lines=50), 50, max_cost="0.03 CNY")
    report = mill.run()
    assert report.exit_code == 0
    assert report.totals.unknown > 0
    booked = report.totals.cost["CNY"]
    assert booked <= spent(mill)[0] <= booked + report.totals.cost_bound["CNY"] <= units("0.03 CNY")


def test_the_next_command_knows_what_batches_hold_that_are_away(make: Make, start: Start) -> None:
    """Without waiting: what they can come to stays held over the commands of one run, and no more is sent."""
    mill = budgeted(make(lines=20), 90, max_cost="0.01 CNY", per_day="0.01 CNY")
    slowly(mill, start)
    away = []
    for _ in range(2):
        report = mill.run(no_wait=True)
        assert (report.state, report.exit_code) == ("waiting", 7)
        away.append(sum(batch.lines for batch in status_of(mill.out).batches))
    assert 0 < away[0] == away[1] < 90
    budgeted(mill, 0, max_cost="0.02 CNY", per_day="0.02 CNY")
    assert mill.run(no_wait=True).exit_code == 7
    assert away[0] < sum(batch.lines for batch in status_of(mill.out).batches) < 90, "there is room for some more"


def test_a_budget_of_a_day_is_shared_with_a_job_in_another_lane(make: Make, start: Start) -> None:
    """Batches take from the pot of the day on which they were sent, beside calls of another job."""
    first = budgeted(make(lines=20), 60, per_day="0.012 CNY")
    other = Mill(first.folder.parent / "other", start(NOW), lane="sync", model="glm-4-plus")
    budgeted(other, 60, per_day="0.012 CNY")
    reports = together([first, other])
    assert {report.exit_code for report in reports} <= {0, 3}
    both = spent(first)[0] + spent(other)[0]
    assert both <= units("0.012 CNY")
    assert both == sum((report.totals.cost.get("CNY", Decimal(0)) for report in reports), Decimal(0))
    assert all("budget.per_day" in str(report.fault) for report in reports if report.exit_code)


def test_a_prepaid_pack_is_used_in_batches(make: Make) -> None:
    """And when it is used up, the run ends with what to do."""
    mill = budgeted(make(lines=20), 60)
    mill.more += "grants = [{ tokens = 1500 }]\n"
    report = mill.run()
    assert report.exit_code == 3
    assert "budget.grants" in str(report.fault)
    assert 1_000 < spent(mill)[1] <= 1_500


def test_money_without_a_price_for_batches_is_refused_with_the_line_to_add(make: Make, tmp_path: Path) -> None:
    """What nobody can count is not sent."""
    del tmp_path
    mill = budgeted(make(), 3, max_cost="1 CNY")
    mill.model = "glm-4.7"
    with pytest.raises(RefusedToStart, match='has no price for batches.*tier = "batch"'):
        mill.run()


@pytest.mark.parametrize("point", ["bulk.written", "bulk.built", "bulk.created", "bulk.line:3", "bulk.collected"])
def test_nothing_is_above_the_budget_when_the_run_is_killed(make: Make, point: str) -> None:
    """One run over all its processes: its batches hold what they can come to, whoever sent them."""
    mill = budgeted(make(lines=5, wait_s=0.2), 24, max_cost="0.002 CNY", per_day="0.002 CNY")
    assert mill.command(failpoint=point)[0] == -9
    code, said = mill.command()
    assert code == 3, said
    booked = sum((Decimal(cost) for (cost,) in mill.calls("cost::VARCHAR")), Decimal(0))
    assert booked == spent(mill)[0] <= units("0.002 CNY")
    assert len({record["client_call_id"] for record in mill.books()}) == len(mill.books())
