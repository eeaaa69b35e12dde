"""One Parquet file of a source as batches of its rows, from any row on.

Owns the failures of single rows, of broken row groups, and of a file that is no whole Parquet file. It does not know
how the file is opened (`parquet_file`), nor which columns all files of the source have together (`parquet_columns`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from batch.core.canonical import bad_line_id
from batch.core.errors import InputError
from batch.input.batches import Position, SourceBatch, input_failure
from batch.input.files import File, shown
from batch.input.fitting import Fitter
from batch.input.json_columns import REST, RowDecoder
from batch.input.parquet_file import MAX_ROWS, ParquetRows, Unread, first_line

if TYPE_CHECKING:
    from batch.core.records import Failure


class ParquetReader:
    """Reads the rows of one file forwards from a position."""

    def __init__(self, file: File, schema: pa.Schema, start: Position, *, limit: int) -> None:
        """Open the file.

        Args:
            file: which file.
            schema: what its columns are cast to; a column that it lacks is null.
            start: where to begin.
            limit: the largest row in bytes; a larger one is a failure.

        Raises:
            InputError: the file is gone, or has fewer rows than the position.
        """
        self._limit = limit
        self._position = start
        self._unit = f"{file.name} row"
        self._file = ParquetRows(file.path)
        if start.row > self._file.rows:
            self._file.close()
            raise InputError(
                f"{shown(file.path)}: has {self._file.rows} rows, fewer than were read of it before. "
                "Put the whole file back."
            )
        self._batches = self._file.batches(start.row)
        self._fitter = Fitter(schema, self._file.schema)
        # What stands in an `input_rest` of ours is put back into the records.
        self._names = [name for name in schema.names if name != REST or REST in self._file.schema.names]
        self._decoder = RowDecoder(pa.schema([schema.field(name) for name in self._names]))
        self._schema = schema
        self._left: pa.RecordBatch | Unread | None = None

    def read(self, max_rows: int, max_bytes: int) -> SourceBatch | None:
        """Read the next rows: at least one, at most `max_rows`, about `max_bytes`; None at the end of the file.

        Raises:
            InputError: the file cannot be read further.
        """
        rest = self._left or next(
            (batch for batch in self._batches if isinstance(batch, Unread) or batch.num_rows), None
        )
        if rest is None:
            self._file.close()
            return None
        before = self._position
        if isinstance(rest, Unread):
            count = min(max_rows, MAX_ROWS, rest.rows)
            self._left = Unread(rest.rows - count, rest.reason) if count < rest.rows else None
            self._position = Position(before.file, before.row + count)
            return _unread(self._unit, before.row, self._position, Unread(count, rest.reason), self._schema)
        batch = rest.slice(0, min(max_rows, MAX_ROWS))
        if batch.nbytes > max_bytes:
            batch = batch.slice(0, max(1, batch.num_rows * max_bytes // batch.nbytes))
        count = batch.num_rows
        self._left = rest.slice(count) if count < rest.num_rows else None
        self._position = Position(before.file, before.row + count)
        size = batch.nbytes
        numbers = list(range(before.row, before.row + count))
        columns, records, failures, ids = self._rows(batch, before.row)
        return SourceBatch(columns, records, numbers, failures, ids, size, self._position, self._unit)

    def close(self) -> None:
        """Close the file before its end; harmless when repeated."""
        self._file.close()

    def _rows(
        self, batch: pa.RecordBatch, first: int
    ) -> tuple[pa.RecordBatch, list[dict[str, Any] | None], list[Failure | None], list[str | None]]:
        """The rows as columns and as Python values, with failures and identities.

        Row by row where one is too large or cannot be read: it is null in all columns.
        """
        none: list[None] = [None] * batch.num_rows
        if batch.nbytes <= self._limit:
            with suppress(ValueError):
                columns, records = self._fitted(batch)
                return columns, [*records], [*none], [*none]
        pieces: list[pa.RecordBatch] = []
        found: list[dict[str, Any] | None] = [*none]
        failures: list[Failure | None] = [*none]
        ids: list[str | None] = [*none]
        empty, _ = self._fitter.fit(batch.slice(0, 1).take(pa.array([None], pa.int64())))
        for index in range(batch.num_rows):
            row = batch.slice(index, 1)
            place = f"{self._unit} {first + index}"
            columns = empty
            try:
                if row.nbytes > self._limit:
                    reason = f"{row.nbytes:,} bytes are more than input.max_row_bytes ({self._limit:,})"
                    failures[index] = input_failure(place, code="too_long", reason=reason)
                else:
                    columns, (found[index],) = self._fitted(row)
            except ValueError as exc:
                failures[index] = input_failure(place, code="unreadable", reason=first_line(exc))
            if failures[index] is not None:
                ids[index] = bad_line_id(batch.take([index]).serialize().to_pybytes())
            pieces.append(columns)
        return pa.Table.from_batches(pieces).combine_chunks().to_batches()[0], found, failures, ids

    def _fitted(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[dict[str, Any]]]:
        columns, rests = self._fitter.fit(batch)
        whole = len(self._names) == len(columns.schema)
        records = self._decoder.records(columns if whole else columns.select(self._names))
        for index, values in rests.items():
            records[index].update(values)
        return columns, records


class BrokenFile:
    """Stands for a file among others that is no whole Parquet file: one failed row.

    Args:
        file: which file.
        schema: the columns of the source.
        start: where to begin; behind the one row there is nothing.
        reason: what is wrong with the file.
    """

    def __init__(self, file: File, schema: pa.Schema, start: Position, reason: str) -> None:
        self._unit = f"{file.name} row"
        self._schema = schema
        self._position = start
        self._reason = reason

    def read(self, max_rows: int, max_bytes: int) -> SourceBatch | None:  # noqa: ARG002 - the form of every reader
        """The one row, then None."""
        if self._position.row > 0:
            return None
        self._position = Position(self._position.file, 1)
        return _unread(self._unit, 0, self._position, Unread(1, self._reason.rstrip(".")), self._schema)

    def close(self) -> None:
        """Nothing is open."""


def _unread(unit: str, first: int, position: Position, unread: Unread, schema: pa.Schema) -> SourceBatch:
    """Rows of which nothing is known but their places.

    Args:
        unit: file and unit.
        first: the number of the first one.
        position: where to go on.
        unread: how many, and why.
        schema: the columns of the source.
    """
    numbers = list(range(first, first + unread.rows))
    failures = [input_failure(f"{unit} {number}", code="unreadable", reason=unread.reason) for number in numbers]
    ids = [bad_line_id(f"{unit} {number}".encode()) for number in numbers]
    nulls = pa.RecordBatch.from_arrays([pa.nulls(unread.rows, field.type) for field in schema], schema=schema)
    return SourceBatch(nulls, [None] * unread.rows, numbers, [*failures], [*ids], 0, position, unit)
