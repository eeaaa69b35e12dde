"""Tells what the labels of a table are worth: their distribution, agreement, accuracy against the truth, and drift.

Owns what is counted and over which rows: the distribution and coverage over all results, accuracy and what belongs to
it over those with a valid label and a truth. The formulas are those of `batch.labels.quality`. Goes once over the
published parts, counting batch by batch, so memory holds classes and groups, never rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.core.errors import RefusedToStart, StorageError
from batch.core.flags import TIE
from batch.labels.quality import Estimate, Pairs, difference, proportion, z_for_all
from batch.report.label_table import MOST_CLASSES, LabelTable, has_flag, texts
from batch.report.missing import Missing

MOST_GROUPS: Final = 1_000
_KEYS: Final = ("by", "run", "status", "gold", "label")
_SUMMED: Final = ("agreement", "confidence")


class ClassDrift(msgspec.Struct, frozen=True):
    """The share of one label among the labelled rows of two runs."""

    label: str
    rows: int
    before_rows: int
    share: float
    before_share: float
    interval: tuple[float, float]
    """Of the difference; the intervals of all labels together hold with 95 %."""

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance would explain."""
        return not self.interval[0] <= 0 <= self.interval[1]


class Drift(msgspec.Struct, frozen=True):
    """How the labels of the last run differ from those of the run before, by the rows that stand in the table."""

    run: str
    before_run: str
    rows: int
    before_rows: int
    classes: tuple[ClassDrift, ...]
    """The largest difference first."""

    @property
    def distance(self) -> float:
        """The share of rows that would need another label for both distributions to be the same, from 0 to 1."""
        return sum(abs(found.share - found.before_share) for found in self.classes) / 2


class LabelSums(msgspec.Struct):
    """The counts of one group of rows, or of all."""

    value: str | None = None
    """What the rows have in the column of the groups."""
    rows: int = 0
    """Results: a row counts once for each of its variants."""
    failed: int = 0
    ties: int = 0
    labels: Counter[str] = msgspec.field(default_factory=Counter)
    sums: Counter[str] = msgspec.field(default_factory=Counter)
    known: Counter[str] = msgspec.field(default_factory=Counter)
    unanimous: int = 0
    pairs: Pairs = msgspec.field(default_factory=Pairs)
    gold_rows: int = 0
    """Results whose truth is known, with a valid label or without."""
    runs: dict[str, Counter[str]] = {}
    """The labels of the two newest runs that were met; what an older one had is not wanted any more."""

    @property
    def labelled(self) -> int:
        """How many results have a valid label."""
        return self.labels.total()

    def ranked(self) -> list[tuple[str, int]]:
        """Every label with its number of results, the most frequent first, those of the same number by name."""
        return sorted(self.labels.items(), key=lambda item: (-item[1], item[0]))

    def coverage(self) -> Estimate:
        """The share of results with a valid label."""
        return proportion(self.labelled, self.rows)

    def mean(self, name: str) -> float | None:
        """The mean `agreement` or `confidence` over the results that have one."""
        return self.sums[name] / self.known[name] if self.known[name] else None

    def add(self, row: dict[str, Any]) -> None:
        """Count the results of one combination of values."""
        times, label, gold = row["times"], row["label"], row["gold"]
        self.rows += times
        self.failed += times if row["status"] != "ok" else 0
        self.gold_rows += times if gold is not None else 0
        for name in _SUMMED:
            self.sums[name] += row[f"{name}_sum"] or 0
            self.known[name] += row[f"{name}_count"]
        self.unanimous += row["unanimous_sum"] or 0
        self.ties += row["tie_sum"] or 0
        if label is None:
            return
        self.labels[label] += times
        self._of_run(row["run"])[label] += times
        if gold is not None:
            self.pairs.add(gold, label, times)

    def _of_run(self, run: str) -> Counter[str]:
        found = self.runs.setdefault(run, Counter())
        if len(self.runs) > 2:
            del self.runs[min(self.runs)]  # names of runs begin with their time
        return found

    def drift(self) -> Drift | None:
        """The labels of the last run beside those of the run before; None when there was none before."""
        if len(self.runs) < 2:
            return None
        before_run, run = sorted(self.runs)
        now, before = self.runs[run], self.runs[before_run]
        names = sorted(now | before)
        z = z_for_all(len(names))
        n, m = now.total(), before.total()
        classes = [
            ClassDrift(
                label=name,
                rows=now[name],
                before_rows=before[name],
                share=now[name] / n,
                before_share=before[name] / m,
                interval=difference((now[name], n), (before[name], m), z),
            )
            for name in names
        ]
        classes.sort(key=lambda found: -abs(found.share - found.before_share))
        return Drift(run, before_run, n, m, tuple(classes))


class LabelReport:
    """Goes over the whole table when it is made.

    Args:
        out: the output folder; its run may be at work.
        label: the column with the labels; the one there is by default.
        gold: the input column with the truth; the one that the job of the last run names by default.
        by: a column whose values divide the rows into groups; `variant` by default where the last run had several.

    Raises:
        OutputError: `out` is no output folder.
        RefusedToStart: there are no results or no such column, or it has too many different values to be what is meant.
        StorageError: no part, or not the ledger, can be read.

    Attributes:
        table: where the labels stand.
        by: the column of the groups, or None.
        total: the counts of all results.
        groups: those of each group, by their number of rows; empty without `by`.
    """

    def __init__(self, out: Path, *, label: str | None = None, gold: str | None = None, by: str | None = None) -> None:
        self.table = LabelTable(out, label=label, gold=gold, by=by)
        self.by = self.table.by or ("variant" if self.table.variants else None)
        self.total = LabelSums()
        groups: dict[str | None, LabelSums] = {}
        classes: set[str] = set()
        for row in self._counts():
            self.total.add(row)
            if self.by is not None:
                found = groups.setdefault(row["by"], LabelSums(value=row["by"]))
                found.add(row)
            classes.update(name for name in (row["label"], row["gold"]) if name is not None)
            self._refuse(len(classes), len(groups))
        if not self.total.rows and self.missing:
            raise StorageError(self.missing[0].reason)
        self.groups = sorted(groups.values(), key=lambda group: -group.rows)

    @property
    def missing(self) -> tuple[Missing, ...]:
        """The parts that cannot be read: no figure knows their rows."""
        return self.table.reading.missing

    def lookalikes(self) -> list[tuple[str, str]]:
        """Truths and labels that differ in nothing but upper and lower case, or white space at their ends."""
        labels = {_plain(name): name for name in self.total.labels}
        truths = {truth for truth, _ in self.total.pairs.counts}
        return sorted(
            (truth, labels[_plain(truth)])
            for truth in truths
            if truth not in self.total.labels and _plain(truth) in labels
        )

    # -- inside -----------------------------------------------------------------------------------------------------

    def _counts(self) -> Iterator[dict[str, Any]]:
        """How often each combination of values came, batch by batch."""
        table = self.table
        names = {"label": table.label, "run": "run", "status": "status", "flags": "flags"}
        names |= {"gold": table.gold} if table.gold is not None else {}
        names |= {"by": self.by} if self.by is not None else {}
        names |= {name: name for name in _SUMMED if name in table.schema.names}
        for batch in table.batches(list(dict.fromkeys(names.values()))):
            columns = {name: batch.column(of) for name, of in names.items()}
            yield from _grouped(columns, batch.num_rows)

    def _refuse(self, classes: int, groups: int) -> None:
        root, table = self.table.folder.text, self.table
        if classes > MOST_CLASSES:
            which = f"{table.label} and {table.gold} have" if table.gold is not None else f"{table.label} has"
            raise RefusedToStart(
                f"{root}: {which} more than {MOST_CLASSES:,} different values, which are no labels. Choose another "
                "column with --label or --gold."
            )
        if groups > MOST_GROUPS:
            raise RefusedToStart(
                f"{root}: --by {self.by}: has more than {MOST_GROUPS:,} different values. Choose a column with fewer."
            )


def _grouped(columns: dict[str, Any], rows: int) -> list[dict[str, Any]]:
    """The combinations of values in some rows, each with its count and sums."""
    arrays = {name: texts(columns[name]) if name in columns else pa.nulls(rows, pa.string()) for name in _KEYS}
    for name in _SUMMED:
        arrays[name] = columns[name].cast(pa.float64()) if name in columns else pa.nulls(rows, pa.float64())
    arrays["unanimous"] = pc.equal(arrays["agreement"], 1.0).cast(pa.int64())
    arrays["tie"] = has_flag(columns["flags"], TIE).cast(pa.int64())
    wanted: list[Any] = [([], "count_all"), ("unanimous", "sum"), ("tie", "sum")]
    wanted += [(name, how) for name in _SUMMED for how in ("sum", "count")]
    counted = pa.table(arrays).group_by(list(_KEYS), use_threads=False).aggregate(wanted)
    found: list[dict[str, Any]] = counted.rename_columns(
        ["times" if name == "count_all" else name for name in counted.column_names]
    ).to_pylist()
    return found


def _plain(name: str) -> str:
    return name.strip().casefold()
