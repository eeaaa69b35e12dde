"""The sentence for each limit of a budget that is reached, with what to do next.

Owns these texts, and whether a call fits into the limits of one run. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.core.clock import iso
from batch.core.errors import BudgetReached
from batch.job.budgetspec import Amount
from batch.money.bounds import CallSize
from batch.submit.slices import Slice
from batch.submit.untold import lost

if TYPE_CHECKING:
    from batch.submit.purse import Purse


def of_the_run(purse: Purse, cost: int, tokens: int) -> BudgetReached | None:
    """The limit of the run that a call does not fit into; None when it fits into all.

    Args:
        purse: what the run has spent, and what calls under way hold.
        cost: the most it can cost.
        tokens: the most it can come to.
    """
    spec, totals = purse.spec, purse.totals
    lost_cost, lost_tokens = lost(totals, purse.currency) if totals.held else (0, 0)
    if spec.max_cost is not None:
        currency = spec.max_cost.currency
        booked, doubted = totals.units.get(currency, 0), totals.bounds.get(currency, 0) + lost_cost
        if booked + doubted + purse.cost + cost > spec.max_cost.units:
            return _reached(Amount(spec.max_cost.units, currency), booked, doubted, cost)
    if spec.max_tokens is not None:
        booked, doubted = totals.total_tokens, totals.token_bound + lost_tokens
        if booked + doubted + purse.tokens + tokens > spec.max_tokens:
            return _reached(Amount(spec.max_tokens, ""), booked, doubted, tokens)
    return None


def _reached(limit: Amount, booked: int, doubted: int, need: int) -> BudgetReached:
    currency = limit.currency
    key = "budget.max_cost" if currency else "budget.max_tokens"
    spent = f"{amount(booked, currency)} is booked"
    if doubted:
        spent += f", calls that were not answered can have come to {amount(doubted, currency)}"
    start = f"{key} = {amount(limit.units, currency)} is reached"
    call = f"the next call can come to {amount(need, currency)}"
    if need > limit.units:
        return BudgetReached(f"{start} before the first call: {call}. Raise it, or lower max_tokens, and run again.")
    return BudgetReached(
        f"{start}: {spent}, and {call}. Run the same command to go on with a new budget, or raise this one."
    )


def of_pots(pots: list[Slice], cost: int, tokens: int) -> BudgetReached:
    """A call fits into none of these pots.

    Args:
        pots: that it could be taken from; none when every pack has ended.
        cost: the most it can cost.
        tokens: the most it can come to.
    """
    if not pots:
        return BudgetReached("budget.grants: every pack has ended. Buy another one, add it, and run again.")
    first, unit = pots[0], pots[0].unit
    need = cost if unit else tokens
    call = f"the next call can come to {amount(need, unit)}"
    if not unit:
        left = sum(one.left for one in pots)
        return BudgetReached(
            f"budget.grants: the packs are used up but for {amount(left, '')}, and {call}. Buy another one, add it, "
            "and run again."
        )
    start = f"budget.per_day = {amount(first.limit, unit)} is reached"
    if need > first.limit:
        return BudgetReached(f"{start} before the first call: {call}. Raise it, or lower max_tokens, and run again.")
    until = f"after {iso(first.ends_us)}" if first.ends_us is not None else "tomorrow"
    others = f", {amount(first.others, unit)} by other runs or set aside for them" if first.others else ""
    return BudgetReached(
        f"{start}: {amount(first.used, unit)} was spent by this run today{others}, and {call}. Run the same command "
        f"{until}, when the next day begins, or raise it."
    )


def of_rows(most: int) -> BudgetReached:
    """As many rows were asked as the run may ask, and there are more."""
    return BudgetReached(
        f"budget.max_rows = {most:,} is reached, and there are more rows. Run the same command to go on with them, or "
        "raise it."
    )


def without_price(provider: str, model: str, size: CallSize, currency: str) -> str:
    """No price says what a call can come to."""
    return (
        f"what the next call can cost is not known: {provider}/{model} has no price in {currency} for up to "
        f"{size.prompt:,} tokens of prompt and {size.completion or 0:,} of answer now. Add a line to the prices of the "
        "job, or take the limits of money out of [budget], and run the same command again."
    )


def amount(units: int, currency: str) -> str:
    """An amount for people: exact money, or a number of tokens."""
    return str(Amount(units, currency)) if currency else f"{units:,} tokens"
