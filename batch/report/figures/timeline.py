"""Counts of rows, calls, tokens and money over time, and how long calls took: one look at each file, then sums.

Owns the bins: multiples of a width that people read off a clock, so wide that there are at most `MOST_BINS`. A call
belongs to the moment at which it was answered, or else sent; a row to the one at which it was settled.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.core.clock import MICROSECONDS
from batch.output.columns import CALLS, RESULTS
from batch.report.figures.memory import FileMemory
from batch.report.figures.parquet import Ends, OpenPart, tables

MOST_BINS: Final = 1_000
STEPS_S: Final = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600),
    *(7_200, 10_800, 21_600, 43_200, 86_400, 2 * 86_400, 7 * 86_400, 28 * 86_400, 364 * 86_400),
)
"""How wide a bin may be, in seconds."""
FINE: Final = 8
"""Steps in which a latency doubles: a quantile is told within a twelfth of itself."""
COARSE: Final = (8, 4, 2, 1)
"""The same of the histogram that is shown: the finest of these with which it has no more than `BARS`."""
BARS: Final = 40
_CALLS: Final = {column.name: column.type for column in CALLS}
_RESULTS: Final = {column.name: column.type for column in RESULTS}
_OF_CALLS: Final = (
    *("sent_at", "answered_at", "state", "latency_ms", "prompt_tokens", "completion_tokens", "cost", "currency"),
    *("error_kind", "error_code"),
)
_OF_ROWS: Final = ("run", "status", "settled_at")
Span = tuple[int, int] | None
"""First and last moment, in UTC microseconds."""


class CallBins(msgspec.Struct):
    """What the calls of some files come to, by the number of their bin."""

    calls: Counter[int] = msgspec.field(default_factory=Counter)
    tokens_in: Counter[int] = msgspec.field(default_factory=Counter)
    tokens_out: Counter[int] = msgspec.field(default_factory=Counter)
    cost: dict[tuple[int, str], Decimal] = {}
    latency: Counter[tuple[int, int]] = msgspec.field(default_factory=Counter)
    """By bin and step of latency."""
    errors: Counter[tuple[str, str | None]] = msgspec.field(default_factory=Counter)
    """By kind and code, calls that brought no answer, those that were tried again included."""

    def add(self, other: CallBins) -> None:
        """Add the calls of another file."""
        for name in ("calls", "tokens_in", "tokens_out", "latency", "errors"):
            getattr(self, name).update(getattr(other, name))
        for key, cost in other.cost.items():
            self.cost[key] = self.cost.get(key, Decimal(0)) + cost


class RowBins(msgspec.Struct):
    """How many rows were settled, and failed, by the number of the bin."""

    rows: Counter[int] = msgspec.field(default_factory=Counter)
    failed: Counter[int] = msgspec.field(default_factory=Counter)

    def add(self, other: RowBins) -> None:
        """Add the rows of another file."""
        self.rows.update(other.rows)
        self.failed.update(other.failed)


class Timeline:
    """Goes over the files when it is made; those that it knows from `memory` are not read again.

    Args:
        calls: files of calls.
        parts: parts of the result table.
        run: count the rows that this run settled; None for all.
        memory: remembers what was found in each file.

    Raises:
        StorageError: a file cannot be read.

    Attributes:
        bin_s: how wide a bin is, in seconds; 1 when there is nothing.
        calls: all calls in their bins.
        rows: all rows in theirs.
    """

    def __init__(self, calls: Sequence[Path], parts: Sequence[Path], run: str | None, memory: FileMemory) -> None:
        spans = [memory.of(path, "span of calls", _span_of_calls) for path in calls]
        spans += [memory.of(path, ("span of rows", run), lambda path: _span_of_rows(path, run)) for path in parts]
        met = [span for span in spans if span is not None]
        self._first_us = min((first for first, _ in met), default=0)
        self._last_us = max((last for _, last in met), default=0)
        self.bin_s = width = _width(self._first_us, self._last_us)
        self.calls, self.rows = CallBins(), RowBins()
        for path in calls:
            self.calls.add(memory.of(path, ("calls", width), lambda path: _calls(path, width)))
        for path in parts:
            self.rows.add(memory.of(path, ("rows", width, run), lambda path: _rows(path, width, run)))

    def series(self) -> dict[str, Any]:
        """One list of numbers for each figure, and `t` with the moments at which the bins begin.

        A bin in which nothing happened has 0, and None as its latency.
        """
        used = [*self.calls.calls, *self.rows.rows]
        bins = range(min(used), max(used) + 1) if used else range(0)
        currencies = sorted({currency for _, currency in self.calls.cost})
        latency: dict[int, Counter[int]] = {}
        for (number, step), count in self.calls.latency.items():
            latency.setdefault(number, Counter())[step] += count
        return {
            "bin_s": self.bin_s,
            "t": [number * self.bin_s for number in bins],
            "rows": [self.rows.rows[number] for number in bins],
            "failed": [self.rows.failed[number] for number in bins],
            "calls": [self.calls.calls[number] for number in bins],
            "tokens_in": [self.calls.tokens_in[number] for number in bins],
            "tokens_out": [self.calls.tokens_out[number] for number in bins],
            "latency_p50": [quantile(latency.get(number, Counter()), 0.5) for number in bins],
            "latency_p95": [quantile(latency.get(number, Counter()), 0.95) for number in bins],
            "cost": {
                currency: [
                    format(self.calls.cost.get((number, currency), Decimal(0)).normalize(), "f") for number in bins
                ]
                for currency in currencies
            },
        }

    def latency(self) -> dict[str, Any]:
        """How long answered calls took: a histogram over `edges_s`, in which bar n lies between edges n and n + 1."""
        steps: Counter[int] = Counter()
        for (_, step), count in self.calls.latency.items():
            steps[step] += count
        span = max(steps) - min(steps) if steps else 0
        fine = next((fine for fine in COARSE if span * fine // FINE < BARS - 1), COARSE[-1])
        coarse: Counter[int] = Counter()
        for step, count in steps.items():
            coarse[step * fine // FINE] += count
        bars = range(min(coarse), max(coarse) + 1) if coarse else range(0)
        return {
            "edges_s": [round(2 ** (bar / fine) / 1000, 6) for bar in (*bars, bars.stop)] if coarse else [],
            "counts": [coarse[bar] for bar in bars],
            **{f"p{share}_s": quantile(steps, share / 100) for share in (50, 95, 99)},
        }

    def errors(self) -> list[dict[str, Any]]:
        """Calls that brought no answer, by kind and code, the most frequent first."""
        found = sorted(self.calls.errors.items(), key=lambda item: (-item[1], str(item[0])))
        return [{"kind": kind, "code": code, "calls": count} for (kind, code), count in found]


def quantile(steps: Counter[int], share: float) -> float | None:
    """The latency in seconds below which this share of the calls lies, told from their steps; None without calls."""
    left = share * steps.total()
    for step in sorted(steps):
        left -= steps[step]
        if left <= 0:
            return round(float(2 ** ((step + 0.5) / FINE)) / 1000, 4)
    return None


def _width(first_us: int, last_us: int) -> int:
    """The narrowest width of a bin with which there are not too many."""
    seconds = (last_us - first_us) / MICROSECONDS
    needed = seconds / (MOST_BINS - 1)
    return next((step for step in STEPS_S if step >= needed), STEPS_S[-1] * math.ceil(needed / STEPS_S[-1]))


def _span_of_calls(path: Path) -> Span:
    return _span(path, ("sent_at", "answered_at"), lambda _: True)


def _span_of_rows(path: Path, run: str | None) -> Span:
    return _span(path, ("settled_at",), lambda told: _may_be_of(told, run))


def _span(path: Path, names: Iterable[str], wanted: Any) -> Span:
    """First and last moment in some columns, by the footer alone."""
    moments: list[Any] = []
    with OpenPart(path) as part:
        for group in range(part.groups):
            told = part.ends(group)
            if wanted(told):
                moments += [moment for name in names for moment in told.get(name, ()) if moment is not None]
    if not moments:
        return None
    return (round(min(moments).timestamp() * MICROSECONDS), round(max(moments).timestamp() * MICROSECONDS))


def _may_be_of(told: Ends, run: str | None) -> bool:
    first, last = told.get("run", ("", None))
    return run is None or last is None or first <= run <= last


def _calls(path: Path, width: int) -> CallBins:
    found = CallBins()
    for group in tables(path, {name: _CALLS[name] for name in _OF_CALLS}):
        moments = pc.coalesce(group.column("answered_at"), group.column("sent_at"))
        table = group.append_column("bin", _bins(moments, width))
        sums = [("bin", "count"), ("prompt_tokens", "sum"), ("completion_tokens", "sum")]
        for row in _grouped(table, ["bin"], sums):
            found.calls[row["bin"]] += row["bin_count"]
            found.tokens_in[row["bin"]] += row["prompt_tokens_sum"] or 0
            found.tokens_out[row["bin"]] += row["completion_tokens_sum"] or 0
        paid = table.filter(pc.and_(pc.is_valid(table.column("cost")), pc.is_valid(table.column("currency"))))
        for row in _grouped(paid, ["bin", "currency"], [("cost", "sum")]):
            key = (row["bin"], row["currency"])
            found.cost[key] = found.cost.get(key, Decimal(0)) + row["cost_sum"]
        answered = pc.equal(table.column("state"), "answered")
        timed = table.filter(pc.and_(answered, pc.is_valid(table.column("latency_ms"))))
        steps = pc.floor(pc.multiply(pc.log2(pc.max_element_wise(timed.column("latency_ms"), 1)), float(FINE)))
        for row in _grouped(timed.append_column("step", steps.cast(pa.int32())), ["bin", "step"], [("step", "count")]):
            found.latency[row["bin"], row["step"]] += row["step_count"]
        missed = table.filter(pc.invert(answered))
        for row in _grouped(missed, ["error_kind", "error_code"], [([], "count_all")]):
            found.errors[row["error_kind"] or "unknown", row["error_code"]] += row["count_all"]
    return found


def _rows(path: Path, width: int, run: str | None) -> RowBins:
    found = RowBins()
    columns = {name: _RESULTS[name] for name in _OF_ROWS}
    for table in tables(path, columns, lambda told: _may_be_of(told, run)):
        mine = table if run is None else table.filter(pc.equal(table.column("run"), run))
        mine = mine.append_column("bin", _bins(mine.column("settled_at"), width))
        for row in _grouped(mine, ["bin", "status"], [("bin", "count")]):
            found.rows[row["bin"]] += row["bin_count"]
            if row["status"] == "failed":
                found.failed[row["bin"]] += row["bin_count"]
    return found


def _bins(moments: Any, width: int) -> Any:
    """The number of the bin of each moment."""
    # Whole numbers are divided towards zero, and nothing here was before 1970.
    return pc.divide(moments.cast(pa.timestamp("us", "UTC")).cast(pa.int64()), width * MICROSECONDS)


def _grouped(table: pa.Table, keys: list[str], sums: list[Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.group_by(keys, use_threads=False).aggregate(sums).to_pylist()
    return [row for row in found if row.get("bin", 0) is not None]
