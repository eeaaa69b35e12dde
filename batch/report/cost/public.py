"""A cost report as values that JSON and CSV have, for programs.

Owns the names of the keys, and what each means for people. Money is decimal text with all its digits, what is not known
is null. It computes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec
import pyarrow as pa

from batch.core.clock import iso
from batch.report.cost.exchange import Exchange
from batch.report.cost.report import CostReport, Group, decimal_text
from batch.report.cost.savings import Saved, Savings
from batch.report.cost.sums import Sums
from batch.report.cost.waste import WASTE
from batch.report.export import Csv

COST_KEYS: Final[dict[str, str]] = {
    "currency": "Of the money of this object; null where no call is in any.",
    "cost": "The exact sum of the known costs, as decimal text; null when no call's is known.",
    "calls": "Calls that have ended, in whatever way. Those in no currency (refused, unknown, without a price) stand "
    "with the only currency of their group, or else in an object with the currency null.",
    "answered": "Calls that brought a reply.",
    "prompt_tokens": "Tokens of what was asked, as far as they are known; null when no call's are.",
    "completion_tokens": "Tokens of what was answered, reasoning included; null as prompt_tokens.",
    "cached_tokens": "Part of prompt_tokens: what came from the provider's cache; null when it never said so.",
    "reasoning_tokens": "Part of completion_tokens: what the model thought; null when the provider never said so.",
    "unknown_calls": "Calls that were sent and never answered: possibly billed, in no sum.",
    "unmeasured_calls": "Answered calls whose reply said nothing of tokens: their cost is not known.",
    "unknown_at_most": "The most that those of both can have cost that are bounded; null when none is.",
    "unbounded_calls": "How many of both are not: nothing can be said of what they cost.",
    "unpriced_calls": "Calls with known tokens and no price: their cost is missing in the sum.",
    "wasted_cost": "What was paid for nothing: for answers that are no part of what stands in the table.",
    **{f"{way}_cost": f"The part of wasted_cost that is of one kind. {text}" for way, text in WASTE.items()},
    **{f"{way}_calls": f"How many calls that is: {way}." for way in WASTE},
    "saved_by_cache": "What cached tokens would have cost more at the full price; null when there were none.",
    "saved_by_tier": "What the calls at batch or flex prices would have cost more at the standard one; null as above.",
    "saved_off_peak": "What the calls would have cost more in the dearest hours; null where the list knows no hours.",
    "new_currency": "With --prices or --as-model: of new_cost.",
    "new_cost": "With --prices or --as-model: what the same tokens cost at these prices, as decimal text.",
    "new_unpriced_calls": "With --prices or --as-model: calls that have no price there.",
}
"""The keys of one object of `cost --json`, and the columns of `cost --csv`, behind the names of --by."""


def public(report: CostReport, savings: Savings, exchange: Exchange | None = None) -> dict[str, Any]:
    """All that a report tells, as one object: an object for each group and currency, and one for each total."""
    return {
        "folders": [folder.folder.text for folder in report.folders],
        "by": [key.name for key in report.keys],
        "zones": {zone: sorted(providers) for zone, providers in sorted(report.zones.items())},
        "first_sent_at": None if report.first_us is None else iso(report.first_us),
        "last_sent_at": None if report.last_us is None else iso(report.last_us),
        "unpublished_calls": report.waiting,
        "calls_without_row": report.astray,
        "missing": [msgspec.structs.asdict(file) for folder in report.folders for file in folder.missing],
        "groups": [_object(report, group, savings) for group in report.groups],
        "totals": [_object(report, group, savings) for group in totals(report)],
        "unpriced": [
            {"provider": whose.provider, "model": whose.model, "batch": whose.batch, "calls": calls}
            for whose, calls in sorted(report.unpriced.items(), key=lambda item: -item[1])
        ],
        "converted": None if exchange is None else _converted(report, exchange),
    }


def csv_lines(report: CostReport, savings: Savings) -> Iterator[str]:
    """One line for each group and currency, and the names of the columns before them."""
    objects = [_object(report, group, savings) for group in report.groups]
    names = [*_names(report), *COST_KEYS]
    if not report.new_totals:
        names = [name for name in names if not name.startswith("new_")]
    cells = Csv(io.BytesIO(), pa.schema([]))
    yield cells.line(names).decode().rstrip("\r\n")
    for found in objects:
        yield cells.line([_cell(name, found[name]) for name in names]).decode().rstrip("\r\n")


def _cell(name: str, value: Any) -> Any:
    """A value as a cell of CSV: amounts are numbers, with all their digits."""
    money = name in COST_KEYS and isinstance(value, str) and not name.endswith("currency")
    return Decimal(value) if money and " " not in value else value


def totals(report: CostReport) -> list[Group]:
    """The sums of all calls, as one group for each currency; the new prices stand beside the first."""
    new = tuple(report.new_totals.items())
    found = []
    for currency, sums in report.totals.items():
        found.append(Group((), currency, sums, new))
        new = ()
    return found


def _names(report: CostReport) -> list[str]:
    """The names of the groups; one that is a key of ours stands as `column:NAME`."""
    return [f"column:{key.name}" if key.name in COST_KEYS else key.name for key in report.keys]


def _object(report: CostReport, group: Group, savings: Savings) -> dict[str, Any]:
    values = dict(zip(_names(report), group.values, strict=False))
    found = {**values, **_sums(group.currency, group.sums, savings.of(group.sums))}
    if report.new_totals:
        new = _new(group)
        found |= {"new_currency": new[0], "new_cost": new[1], "new_unpriced_calls": new[2]}
    return found


def _new(group: Group) -> tuple[Any, Any, int | None]:
    """Currency, cost and calls without a price at the new prices; all null where another object has them."""
    if not group.new:
        return None, None, None
    costs = {currency: sums.cost for currency, sums in group.new if currency is not None and sums.cost is not None}
    unpriced = sum(sums.unpriced for _, sums in group.new)
    if len(costs) > 1:  # lists of several currencies: each amount says its own
        return (
            None,
            " + ".join(f"{decimal_text(cost)} {currency}" for currency, cost in sorted(costs.items())),
            unpriced,
        )
    currency, cost = next(iter(costs.items()), (None, None))
    return currency, None if cost is None else decimal_text(cost), unpriced


def _sums(currency: str | None, sums: Sums, saved: Saved) -> dict[str, Any]:
    ways = {f"{way}_cost": decimal_text(sums.wasted[way].cost if way in sums.wasted else 0) for way in WASTE}
    numbers = {f"{way}_calls": sums.wasted[way].calls if way in sums.wasted else 0 for way in WASTE}
    bounded = sums.unknown + sums.unmeasured > sums.unbounded
    return {
        "currency": currency,
        "cost": _text(sums.cost),
        "calls": sums.calls,
        "answered": sums.answered,
        "prompt_tokens": sums.prompt_tokens if sums.measured else None,
        "completion_tokens": sums.completion_tokens if sums.measured else None,
        "cached_tokens": sums.cached_tokens,
        "reasoning_tokens": sums.reasoning_tokens,
        "unknown_calls": sums.unknown,
        "unmeasured_calls": sums.unmeasured,
        "unknown_at_most": decimal_text(sums.bound) if bounded else None,
        "unbounded_calls": sums.unbounded,
        "unpriced_calls": sums.unpriced,
        "wasted_cost": decimal_text(sums.wasted_cost),
        **ways,
        **numbers,
        "saved_by_cache": _text(saved.cache),
        "saved_by_tier": _text(sum(saved.tiers.values()) if saved.tiers else None),
        "saved_off_peak": _text(saved.off_peak),
    }


def _text(units: int | None) -> str | None:
    return None if units is None else decimal_text(units)


def _converted(report: CostReport, exchange: Exchange) -> dict[str, Any]:
    costs = {currency: sums.cost or 0 for currency, sums in report.totals.items() if currency is not None}
    return {
        "currency": exchange.to,
        "cost": _text(exchange.converted(costs)),
        "missing": sorted(currency for currency in costs if currency not in (exchange.to, *exchange.rates)),
        "rates": [
            {"from": rate.from_, "rate": rate.rate, "date": rate.date.isoformat(), "source": rate.source}
            for currency, rate in exchange.rates.items()
            if currency in costs
        ],
    }
