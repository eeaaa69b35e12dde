"""What the commands say of a budget and of calls whose cost is not known.

Owns these texts. What may be spent is decided while a run works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch.cli.text import count, money
from batch.core.plain import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.ledger.totals import Totals
    from batch.plan.preflight import CheckedJob


def bounds_text(totals: Totals) -> str:
    """The most that calls can have cost whose tokens are not known; empty when there are none."""
    dark = totals.unknown + totals.unknown_usage
    if not dark:
        return ""
    bounded = dark - totals.unbounded
    parts = []
    if bounded:
        parts.append(f"{count(bounded, 'unknown call')}, at most {money(totals.cost_bound) or '0'}")
    if totals.unbounded:
        of = "of" if bounded else "unknown calls: of"
        parts.append(f"{of} {totals.unbounded:,} nothing can be said: no max_tokens, no price, or more than text")
    return "; ".join(parts)


def left_text(budget: Mapping[str, Any]) -> str:
    """What is left of each limit of a budget, one line for each.

    Args:
        budget: as `Purse.public` has it: by key, limit and what is left of it.
    """
    return "\n".join(
        f"{clean(key)} = {clean(str(state.get('limit')))}: {clean(str(state.get('left')))} left"
        for key, state in budget.items()
        if isinstance(state, dict)
    )


def budget_text(checked: CheckedJob) -> str:
    """The limits of a job's budget, and what is left of those that other runs spend from as well."""
    from batch.core.clock import Clock, iso
    from batch.money.pots import PotBook
    from batch.submit.reached import amount
    from batch.submit.slices import day_slice

    budget = checked.budget
    if budget is None:
        return ""
    spec = budget.spec
    lines = [
        f"{key} = {value} a run" for key, value in (("max_cost", spec.max_cost), ("max_rows", spec.max_rows)) if value
    ]
    if spec.max_tokens:
        lines.append(f"max_tokens = {spec.max_tokens:,} a run")
    shared = list(budget.packs)
    if spec.per_day is not None:
        shared.append(day_slice(spec.per_day.currency, spec.per_day.units, Clock().now_us()))
    if shared:
        taken = PotBook(budget.state, checked.folder.root).taken([one.name for one in shared])
        for one in shared:
            left = amount(max(0, one.limit - taken[one.name]), one.unit)
            what = f"per_day = {amount(one.limit, one.unit)}" if one.unit else f"a pack of {amount(one.limit, '')}"
            until = f" until {iso(one.ends_us)}" if one.ends_us is not None else ""
            lines.append(f"{what}: {left} left{until}")
    return "\n".join(lines)
