"""A comparison with a bill as values that JSON and CSV have, for programs.

Owns the names of the keys. It computes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from batch.report.cost.reconcile import Difference, Place, Reconciliation
from batch.report.cost.report import decimal_text
from batch.report.export import Csv

_SIDES: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "cost", "currency")
DIFFERENCE_KEYS: Final[dict[str, str]] = {
    "kind": "How the book and the bill differ.",
    "day": "The day or month.",
    "model": "The model.",
    "id": "The id by which the bill names the call; null where it names none.",
    "line": "The line of the bill; null for what it does not have.",
    **{f"book_{name}": f"What the book tells: {name}." for name in _SIDES},
    **{f"bill_{name}": f"What the bill tells: {name}." for name in _SIDES},
    "at_most": "The most that calls can cost which were never answered; null where nothing can be said.",
}
"""The keys of one difference in `cost --reconcile --json`, and the columns of `--csv`."""


def public(found: Reconciliation) -> dict[str, Any]:
    """All that was found, as one object."""
    return {
        "bill": str(found.bill.path),
        "columns": found.bill.taken,
        "by": "call" if found.by_id else "day and model",
        "zone": found.zone.key,
        "first": found.first,
        "last": found.last,
        "agrees": found.agrees,
        "compared": [
            {
                "day": period,
                "model": model,
                "currency": currency,
                "booked": decimal_text(whole.booked),
                "unknown_billed": decimal_text(whole.unknown),
                "billed": decimal_text(whole.billed),
                "left": decimal_text(whole.left),
                "differences": whole.differences,
            }
            for (period, model, currency), whole in found.sorted()
        ],
        "differences": [_object(difference) for difference in found.differences],
    }


def csv_lines(found: Reconciliation) -> Iterator[str]:
    """One line for each difference, and the names of the columns before them."""
    cells = Csv(io.BytesIO(), pa.schema([]))
    yield cells.line(list(DIFFERENCE_KEYS)).decode().rstrip("\r\n")
    for difference in found.differences:
        told = _object(difference)
        money = {name: Decimal(told[name]) for name in ("book_cost", "bill_cost", "at_most") if told[name] is not None}
        yield cells.line(list((told | money).values())).decode().rstrip("\r\n")


def _object(difference: Difference) -> dict[str, Any]:
    return {
        "kind": difference.kind,
        "day": difference.period,
        "model": difference.model,
        "id": difference.id,
        "line": difference.line,
        **_side("book", difference.book),
        **_side("bill", difference.bill),
        "at_most": None if difference.bound is None else decimal_text(difference.bound),
    }


def _side(name: str, place: Place | None) -> dict[str, Any]:
    told = place or Place()
    cost = None if told.cost is None else decimal_text(told.cost)
    values = (told.prompt, told.completion, told.total, cost, told.currency)
    return {f"{name}_{key}": value for key, value in zip(_SIDES, values, strict=True)}
