"""Finds the rows of a table whose labels a person should look at, and writes them, the most doubtful first.

Rows that the next run asks again are left to it, and those whose input cannot be read to whoever mends the input. Goes
over the table once for the doubt (`doubt`) and reads the doubtful rows whole; they wait in a temporary file, so memory
stays flat. `review_files` knows the forms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import reduce
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.core import exactjson
from batch.core.durable import AtomicFile
from batch.core.errors import RefusedToStart, StorageError
from batch.core.flags import TIE
from batch.report.doubt import BELOW, REASONS, Doubt, Judged, Reason, doubt
from batch.report.export import target_of
from batch.report.label_table import MOST_CLASSES, LabelTable, has_flag, part_batches, texts
from batch.report.review_files import FORMS, Doubtful, Form
from batch.report.reviewed import columns_shown, dicts, input_columns, reviewed

JUDGED_ROWS: Final = 65_536
READ_ROWS: Final = 500
SPARE: Final = 1_000
"""Rows beyond those that are wanted that are kept before the least doubtful ones are dropped."""
_JUDGED: Final = ("row_id", "row_number", "status", "flags", "error_kind", "retryable", "agreement", "confidence")
_ENDINGS: Final[dict[str, Form]] = {".jsonl": "jsonl", ".csv": "csv"}


class Reviewed(msgspec.Struct, frozen=True):
    """What was written."""

    path: Path
    rows: int
    doubtful: int
    """How many there are, written or not."""
    reasons: dict[Reason, int]
    """How many of them for each reason; a row may have several."""
    advice: list[str]
    """How the file gets into the tool, one line each."""


def review(
    out: Path,
    target: Path,
    *,
    label: str | None = None,
    form: Form | None = None,
    most: int | None = None,
    below: float = BELOW,
) -> Reviewed:
    """Write the rows that a person should look at into one file, which appears whole or not at all.

    Args:
        out: the output folder; its run may be at work.
        target: the file; one that is there is replaced.
        label: the column with the labels; the one there is by default.
        form: of the file; by its ending by default.
        most: how many rows at most, the most doubtful ones; all by default.
        below: an agreement or confidence below this makes a row doubtful, from 0 to 1.

    Raises:
        OutputError: `out` is no output folder.
        RefusedToStart: the file cannot be made there, its form is not known, or there are no labels.
        StorageError: a part cannot be read, or the disk refused a write.
    """
    table = LabelTable(out, label=label)
    path = target_of(table.folder, target, table.sources)
    chosen = form or _ENDINGS.get(path.suffix.lower())
    if chosen is None:
        raise RefusedToStart(
            f"{target}: its ending does not say which form it is to have. Say it: --format {', '.join(FORMS)}, "
            "or let the name end in .jsonl or .csv."
        )
    for lost in table.reading.missing:
        raise StorageError(lost.reason)
    finder = _Finder(table, below)
    with closing(_Sorted(most)) as found:
        try:
            for row in finder.rows(found.wants):
                found.add(row)
            rows = _write(path, finder.names, found, chosen)
        except (apsw.FullError, apsw.IOError) as exc:
            raise StorageError(
                f"{path}: the rows to write wait in a temporary file, and its disk refused: {exc}. Make room, or write "
                "fewer with --max."
            ) from exc
    advice = FORMS[chosen].advice(path, finder.names, sorted(finder.classes)) if rows else []
    return Reviewed(path, rows, finder.doubtful, {reason: finder.reasons[reason] for reason in REASONS}, advice)


# -- which rows -------------------------------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """One result as the first look at a part sees it."""

    place: int
    row_id: str
    row_number: int
    judged: Judged


class _Finder:
    """Goes over the table and gives the doubtful rows, in its order."""

    def __init__(self, table: LabelTable, below: float) -> None:
        self.inputs = input_columns(table.schema)
        self.names: list[str] = [field.name for field in self.inputs]
        self.classes: set[str] = set(table.names)
        self.reasons: Counter[Reason] = Counter()
        self.doubtful = 0
        self._table = table
        self._below = below

    def rows(self, wanted: Callable[[float, int], bool]) -> Iterator[Doubtful]:
        """Each doubtful row whole, unless its certainty and number say that it is not wanted."""
        for part in self._table.parts:
            places, doubts = self._places(part, wanted)
            if places:
                yield from self._whole(part, places, doubts)

    def _places(self, part: Path, wanted: Callable[[float, int], bool]) -> tuple[list[int], list[Doubt]]:
        """The places of the results of doubtful rows in a part, and the doubt of each row."""
        places: list[int] = []
        doubts: list[Doubt] = []
        for _, group in groupby(self._seen(part), key=lambda seen: seen.row_id):
            results = list(group)
            if (why := doubt([result.judged for result in results], self._below)) is not None:
                self.doubtful += 1
                self.reasons.update(why.reasons)
                if wanted(why.certainty, results[0].row_number):
                    places += [result.place for result in results]
                    doubts.append(why)
        return places, doubts

    def _seen(self, part: Path) -> Iterator[_Seen]:
        """What the doubt of each result of a part is seen by; without those of no doubt where rows have one result."""
        table = self._table
        names = [name for name in _JUDGED if name in table.schema.names]
        with_labels = [table.label, *([table.gold] if table.gold is not None else [])]
        single = _single(part, table.schema)
        start = 0
        for batch in part_batches(part, table.schema, [*names, *with_labels], rows=JUDGED_ROWS):
            columns = dict(zip(names, batch.columns, strict=False))
            labels, *truths = map(texts, batch.columns[len(names) :])
            for column in (labels, *truths):
                self.classes.update(pc.unique(column).drop_null().to_pylist())
            self._refuse()
            nulls = pa.nulls(batch.num_rows, pa.float64())
            shares = [columns.get(name, nulls) for name in ("agreement", "confidence")]
            flags = [_failed(columns), has_flag(columns["flags"], TIE)]
            places = pa.array(range(start, start + batch.num_rows), pa.int64())
            seen = [places, columns["row_id"], columns["row_number"], labels, *flags, *shares]
            if single:
                little = (pc.fill_null(pc.less(share, self._below), fill_value=False) for share in shares)
                doubtful = reduce(pc.or_, [*flags, *little])
                seen = [column.filter(doubtful) for column in seen]
            for place, row_id, number, *judged in zip(*(column.to_pylist() for column in seen), strict=True):
                yield _Seen(place, row_id, number, Judged(*judged))
            start += batch.num_rows

    def _refuse(self) -> None:
        if len(self.classes) > MOST_CLASSES:
            raise RefusedToStart(
                f"{self._table.folder.text}: {self._table.label} has more than {MOST_CLASSES:,} different values, "
                "which are no labels. Choose another column with --label."
            )

    def _whole(self, part: Path, places: list[int], doubts: list[Doubt]) -> Iterator[Doubtful]:
        rows = groupby(self._read(part, places), key=lambda row: row["row_id"])
        for why, (_, group) in zip(doubts, rows, strict=True):
            yield reviewed(list(group), why, self.names)

    def _read(self, part: Path, places: list[int]) -> Iterator[dict[str, Any]]:
        """The results at these places of a part."""
        table = self._table
        fields = {field.name: field for field in self.inputs}
        columns = list(columns_shown(table.schema, table.label))
        start = first = 0
        for batch in part_batches(part, table.schema, columns, rows=READ_ROWS):
            end = start + batch.num_rows
            last = first
            while last < len(places) and places[last] < end:
                last += 1
            if last > first:
                taken = batch.take(pa.array([place - start for place in places[first:last]], pa.int64()))
                yield from dicts(taken, fields, table.label)
            start, first = end, last


def _single(part: Path, schema: pa.Schema) -> bool:
    """Whether each row of a part has one result, so that each result can be judged by itself."""
    variants = part_batches(part, schema, ["variant"], rows=JUDGED_ROWS)
    return all(batch.column(0).null_count == batch.num_rows for batch in variants)


def _failed(columns: dict[str, Any]) -> Any:
    """Whether each result failed for good, and not because its input cannot be read."""
    failed = pc.equal(columns["status"], "failed")
    readable = pc.fill_null(pc.not_equal(columns["error_kind"], "input"), fill_value=True)
    lasting = pc.invert(pc.fill_null(columns["retryable"], fill_value=False))
    return pc.and_(failed, pc.and_(readable, lasting))


# -- in which order ---------------------------------------------------------------------------------------------------


class _Sorted:
    """Keeps rows on disk and gives the most doubtful first; those of the same certainty as they stand in the table."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._limit: tuple[float, int] | None = None
        self._kept = 0
        self._db = apsw.Connection("")  # a private temporary file, removed when closed
        self._db.execute("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-16384").fetchall()
        self._db.execute("PRAGMA temp_store=FILE; CREATE TABLE rows(certainty REAL, number INTEGER, row BLOB)")
        self._db.execute("BEGIN")

    def wants(self, certainty: float, number: int) -> bool:
        """Whether a row is among the most doubtful until now."""
        return self._limit is None or (certainty, number) < self._limit

    def add(self, row: Doubtful) -> None:
        """Keep one row, unless enough are kept that are more doubtful."""
        if not self.wants(row.certainty, row.row_number):
            return
        encoded = exactjson.encoded(row)
        self._db.execute("INSERT INTO rows VALUES(?,?,?)", (row.certainty, row.row_number, encoded))
        self._kept += 1
        if self._most is not None and self._kept >= self._most + max(SPARE, self._most // 2):
            self._drop(self._most)

    def _drop(self, most: int) -> None:
        """Forget what is beyond the most doubtful ones."""
        order = "SELECT certainty, number FROM rows ORDER BY certainty, number LIMIT 1 OFFSET ?"
        last = self._db.execute(order, (most - 1,)).fetchone()
        assert last is not None
        self._limit = (float(last[0]), int(last[1]))
        self._db.execute("DELETE FROM rows WHERE (certainty, number) > (?, ?)", self._limit)
        self._kept = most

    def __iter__(self) -> Iterator[Doubtful]:
        limit = -1 if self._most is None else self._most
        statement = "SELECT row FROM rows ORDER BY certainty, number LIMIT ?"
        for (encoded,) in self._db.execute(statement, (limit,)):
            yield msgspec.json.decode(encoded, type=Doubtful)

    def close(self) -> None:
        """Remove the file."""
        self._db.close()


def _write(path: Path, names: Sequence[str], rows: _Sorted, form: Form) -> int:
    """Write the rows and return how many there are."""
    file = AtomicFile(path)
    count = 0
    try:
        stream = file.open()
        writer = FORMS[form](stream, names)
        for row in rows:
            writer.row(row)
            count += 1
        writer.close()
        file.commit()
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise StorageError(f"{path}: cannot be written: {reason}. Make room, then run the same command again.") from exc
    finally:
        file.abandon()
    return count
