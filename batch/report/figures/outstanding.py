"""The rows of a table that stand out: the slowest and the dearest.

Owns how many of each are named. One look at each part, whose few rows are remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.output.columns import RESULTS
from batch.report.figures.memory import FileMemory
from batch.report.figures.parquet import tables

NAMED: Final = 10
_TYPES: Final = {column.name: column.type for column in RESULTS}
_KEY: Final = ("row_number", "row_id", "variant")


class Found(msgspec.Struct):
    """What one part has, or several."""

    slowest: list[dict[str, Any]] = []
    dearest: dict[str, list[dict[str, Any]]] = {}
    """By currency."""

    def add(self, other: Found) -> None:
        """Add what another part has, which stands behind this in the table."""
        self.slowest = _most([*self.slowest, *other.slowest], "duration_s")
        for currency, rows in other.dearest.items():
            self.dearest[currency] = _most([*self.dearest.get(currency, []), *rows], "cost")

    def public(self) -> dict[str, Any]:
        """As pages show it; money as text."""
        return {
            "slowest": self.slowest,
            "dearest": [
                {**row, "cost": format(row["cost"], "f")} for _, rows in sorted(self.dearest.items()) for row in rows
            ],
        }


def outstanding(parts: Sequence[Path], memory: FileMemory) -> Found:
    """What stands out in the whole table.

    Args:
        parts: in the order of the table.
        memory: remembers what was found in each part.

    Raises:
        StorageError: a part cannot be read.
    """
    found = Found()
    for part in parts:
        found.add(memory.of(part, "outstanding", _of_part))
    return found


def _of_part(path: Path) -> Found:
    found = Found()
    for table in tables(path, {name: _TYPES[name] for name in (*_KEY, "latency_ms", "cost", "currency")}):
        slow = _top(table, "latency_ms")
        one = Found(slowest=[{**_key(row), "duration_s": row["latency_ms"] / 1000} for row in slow])
        for currency in table.column("currency").unique().drop_null().to_pylist():
            dear = _top(table.filter(pc.equal(table.column("currency"), currency)), "cost")
            one.dearest[currency] = [
                {**_key(row), "cost": row["cost"].normalize(), "currency": currency} for row in dear if row["cost"]
            ]
        found.add(one)
    return found


def _top(table: pa.Table, name: str) -> list[dict[str, Any]]:
    known = table.filter(pc.is_valid(table.column(name)))
    places = pc.select_k_unstable(known, NAMED, [(name, "descending"), ("row_number", "ascending")])
    rows: list[dict[str, Any]] = known.take(places).to_pylist()
    return rows


def _most(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The rows with the greatest values; of the same value those that stand first."""
    order: Callable[[dict[str, Any]], Decimal | float] = lambda row: -row[name]  # noqa: E731 - its type is told
    return sorted(rows, key=order)[:NAMED]


def _key(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _KEY}
