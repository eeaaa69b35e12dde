"""The budget of a run as its stages need it: made from the job, opened by the book, asked for each row.

Owns what a run used, as told by its ledger and its files of calls, which a purse needs when a run begins or goes on
after a crash. What may be spent is the matter of `batch.submit.purse`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from batch.core.clock import Clock
from batch.core.errors import BudgetReached
from batch.core.records import COST_DIGITS, Failure
from batch.ledger.reader import LedgerReader
from batch.ledger.totals import Totals
from batch.money.bounds import most_tokens
from batch.money.pots import PotBook
from batch.output.folder import OutputFolder
from batch.output.parts import PartReader
from batch.output.unreadable import reading
from batch.plan.preflight import CheckedJob
from batch.run.progress import BudgetState
from batch.submit import reached
from batch.submit.purse import Purse
from batch.submit.rows import Row
from batch.submit.slices import Use
from batch.submit.untold import lost

NO_MAX_TOKENS: Final = (
    "the job has a budget, so every row must say how long its answer may be: set max_tokens in model.parameters or in "
    "the row, or take the limits of money and tokens out of [budget]"
)
_COLUMNS: Final = ("sent_at", "currency", "cost", "cost_bound")


def purse_of(checked: CheckedJob, run: str, clock: Clock) -> Purse | None:
    """What a run may spend; None for a job without a budget.

    Args:
        checked: the job.
        run: the name of the run.
        clock: for the day and the hour.
    """
    budget = checked.budget
    if budget is None:
        return None
    spec = budget.spec
    shared = spec.per_day is not None or bool(spec.grants)
    purse = Purse(
        spec,
        provider=checked.job.model.provider,
        prices=checked.prices,
        totals=Totals(),
        clock=clock,
        book=PotBook(budget.state, checked.folder.root) if shared else None,
        run=run,
        packs=[msgspec.structs.replace(pack) for pack in budget.packs],
    )
    purse.prices = list(checked.prices_at.values()) or purse.prices
    return purse


def held_up(purse: Purse | None, row: Row) -> Failure | BudgetReached | None:
    """What keeps a row from being asked: its own fault, or a budget of rows; None for nothing, and it counts as begun.

    Args:
        purse: what the run may spend; None for no budget.
        row: that is to be asked.
    """
    if purse is None:
        return None
    if purse.spec.bounds_calls and row.conversation.turn == 0 and most_tokens(row.request.parameters) is None:
        return Failure(kind="prompt", verdict="fail", sent=False, code="max_tokens", message=NO_MAX_TOKENS)
    return None if purse.begin_row(row.work_id) else reached.of_rows(purse.spec.max_rows or 0)


def money_left(purse: Purse) -> dict[str, BudgetState]:
    """By key of the budget, its limit and what is left of it for calls that are not sent yet; both for people."""
    spec, totals = purse.spec, purse.totals
    left: dict[str, tuple[int, int, str]] = {}
    lost_cost, lost_tokens = lost(totals, purse.currency)
    if (cost := spec.max_cost) is not None:
        known = totals.units.get(cost.currency, 0) + totals.bounds.get(cost.currency, 0)
        left["max_cost"] = (cost.units, known + lost_cost + purse.cost, cost.currency)
    if spec.max_tokens is not None:
        known = totals.total_tokens + totals.token_bound
        left["max_tokens"] = (spec.max_tokens, known + lost_tokens + purse.tokens, "")
    for key, slices in (("per_day", purse.today), ("grants", purse.packs)):
        if slices:
            limit = sum(one.limit for one in slices)
            left[key] = (limit, limit - sum(one.left for one in slices), slices[0].unit)
    told = {
        key: BudgetState(limit=reached.amount(limit, unit), left=reached.amount(max(0, limit - used), unit))
        for key, (limit, used, unit) in left.items()
    }
    if spec.max_rows is not None:
        told["max_rows"] = BudgetState(limit=f"{spec.max_rows:,} rows", left=f"{spec.max_rows - purse.rows:,} rows")
    return told


def waits_for_money(purse: Purse) -> str | None:
    """What calls wait for whose money others hold; None when none do."""
    if not purse.waiting:
        return None
    return f"{purse.under_way} calls in flight, which hold what is left of the budget"


def use_of(folder: OutputFolder, current: str) -> Callable[[str], Use]:
    """What tells, by the name of a run, what it has used: its published calls, and of the current run all others.

    Args:
        folder: the output folder.
        current: the run that publishes what is not published yet.
    """

    def told(run: str) -> Use:
        use = Use()
        with LedgerReader(folder.ledger) as reader, reader.snapshot():
            parts = [folder.calls_part(run, number) for name, number in reader.call_parts() if name == run]
            totals = next((row.totals for row in reader.runs() if row.run == run), Totals())
            use.tokens = totals.total_tokens + totals.token_bound
            use.add_held(totals.held)
            for _, _, _, _, call in reader.final_calls() if run == current else ():
                cost = call.cost if call.cost is not None else call.cost_bound
                known = call.usage.total_tokens if call.usage is not None else call.token_bound
                use.add(call.sent_at_us, call.currency or "", cost or 0, known or 0)
                use.add_held(call.held or {})
        for part in parts:
            _add_file(use, part)
        return use

    return told


def _add_file(use: Use, path: Path) -> None:
    """Add the costs of a file of calls; their tokens stand in the sums of the run."""
    with reading(path), PartReader(path) as file:
        chosen = [name for name in _COLUMNS if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=chosen):
            rows = batch.set_column(0, "sent_at", batch.column("sent_at").cast("int64"))
            for row in rows.to_pylist():
                cost = row["cost"] if row["cost"] is not None else row.get("cost_bound")
                if cost:
                    use.add(row["sent_at"], row["currency"] or "", int(cost.scaleb(COST_DIGITS)), 0)
