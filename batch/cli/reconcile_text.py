"""How a comparison with a bill looks on a terminal: what was compared, by day and model, and every difference.

Owns the layout. It computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from batch.cli.figures import grid
from batch.cli.text import count, decimal, wrapped
from batch.core.plain import clean
from batch.core.records import cost_decimal
from batch.report.cost.bill import described
from batch.report.cost.reconcile import EXPLAINED, KINDS, Difference, Reconciliation

if TYPE_CHECKING:
    from batch.report.cost.reconcile import Place

SHOWN: Final = 50
"""Days and differences of one list on a terminal; --csv and --json have all of them."""
WORDS: Final = {
    "missing_here": "missing here",
    "missing_there": "missing on the bill",
    "tokens": "other tokens",
    "cost": "another cost",
    "above_bound": "above the bound",
    "unbounded": "never answered, without a bound",
    "within_bound": "never answered",
}


def lines(found: Reconciliation) -> Iterator[str]:
    """All that was found."""
    bill = clean(str(found.bill.path))
    days = "" if found.first is None else f", {found.first} to {found.last} ({found.zone.key})"
    yield f"{bill}: compared {'call by call' if found.by_id else 'by day and model'}{days}"
    yield from wrapped(f"Columns of the bill: {clean(described(found.bill.taken))}.", 2)
    yield ""
    yield from _sides(found)
    for kind, number in found.kinds():
        yield ""
        yield from wrapped(f"{WORDS[kind]}, {number:,}: {KINDS[kind]}")
        yield from grid([_head(), *(_row(one) for one in _of(found, kind)[:SHOWN])], left=frozenset({0, 1}))
        if number > SHOWN:
            yield f"  … {number - SHOWN:,} more: --csv has all of them"
    yield ""
    yield _verdict(found)


def _sides(found: Reconciliation) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("day", "model", "booked", "never answered", "on the bill", "left")]
    for (period, model, currency), whole in found.sorted()[:SHOWN]:
        amounts = (whole.booked, whole.unknown, whole.billed, whole.left)
        named = [clean(period or "–"), clean(model or "–")]
        rows.append((*named, *(decimal(cost_decimal(units)) for units in amounts[:3]), _signed(amounts[3], currency)))
    yield from grid(rows, left=frozenset({0, 1}))
    if len(found.compared) > SHOWN:
        yield f"  … {len(found.compared) - SHOWN:,} more: --json has all of them"
    for currency, sums in found.totals().items():
        yield (
            f"  total: {_amount(sums.booked, currency)} booked, {_amount(sums.unknown, currency)} for calls without an "
            f"answer, {_amount(sums.billed, currency)} on the bill"
        )


def _of(found: Reconciliation, kind: str) -> list[Difference]:
    return [one for one in found.differences if one.kind == kind]


def _head() -> tuple[str, ...]:
    return ("call or day", "model", "line", "tokens here", "there", "cost here", "there")


def _row(one: Difference) -> tuple[str, ...]:
    line = "" if one.line is None else f"{one.line:,}"
    named = (clean(one.id or one.period or "–"), clean(one.model or "–"))
    return (*named, line, _tokens(one.book), _tokens(one.bill), _cost(one.book), _cost(one.bill))


def _tokens(place: Place | None) -> str:
    if place is None:
        return "–"
    if place.prompt is not None and place.completion is not None:
        return f"{place.prompt:,} + {place.completion:,}"
    total = next((number for number in (place.total, place.prompt, place.completion) if number is not None), None)
    return "–" if total is None else f"{total:,}"


def _cost(place: Place | None) -> str:
    return "–" if place is None or place.cost is None else decimal(cost_decimal(place.cost))


def _signed(units: int, currency: str | None) -> str:
    return f"{'+' if units > 0 else ''}{_amount(units, currency)}"


def _amount(units: int, currency: str | None) -> str:
    return f"{decimal(cost_decimal(units))} {clean(currency or '', most=12)}".rstrip()


def _verdict(found: Reconciliation) -> str:
    explained = sum(one.kind in EXPLAINED for one in found.differences)
    if found.agrees:
        within = f", but for {count(explained, 'entry', 'entries')} for calls that were never answered"
        return f"The book and the bill agree{within if explained else ''}."
    return f"The book and the bill differ in {count(len(found.differences) - explained, 'place')}."
