"""One Parquet file as batches of rows, read a few pages at a time, from any row on.

Owns opening the file, the checks on its schema, reading batch by batch without ever holding a whole row group, and the
failures of single rows. It does not know the other files of the source, nor which columns all of them have together
(`source`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.core.arrowtypes import cast_batch, decoded
from batch.core.canonical import bad_line_id
from batch.core.errors import InputError
from batch.input.batches import Position, SourceBatch, input_failure
from batch.input.files import File, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batch.core.records import Failure
    from batch.input.json_columns import RowDecoder

MAX_ROWS: Final = 1_000
MAX_BYTES: Final = 8 * 1024 * 1024
_BUFFER: Final = 1024 * 1024


class BrokenFileError(InputError):
    """A file that is no whole Parquet file.

    Attributes:
        reason: what is wrong with it, without its name.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{shown(path)}: {reason}")


class Unread(msgspec.Struct, frozen=True):
    """So many rows that cannot be read, and why."""

    rows: int
    reason: str


class ParquetRows:
    """An open Parquet file.

    Attributes:
        schema: its columns, without structs that have no fields, because Arrow cannot write those again. Some types are
            replaced; see `arrowtypes.decoded`.
        rows: how many rows there are.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and read its footer.

        Raises:
            BrokenFileError: the file is no whole Parquet file.
            InputError: it cannot be opened, is encrypted, or has two columns of one name.
        """
        self._path = shown(path)
        self._opened: Any = None
        try:
            # No read-ahead of whole row groups: a file may be one group of 50 GB.
            self._file = pq.ParquetFile(
                self._openable(path), pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True
            )
            columns = self._file.schema_arrow.remove_metadata()
        except (pa.ArrowException, OSError, ValueError) as exc:
            self._shut()
            raise _refused(path, exc) from exc
        twice = sorted({name for name in columns.names if columns.names.count(name) > 1})
        if twice:
            self.close()
            raise InputError(f"{self._path}: has {', '.join(map(repr, twice))} more than once. Rename the columns.")
        fields = [field for field in columns if not (pa.types.is_struct(field.type) and field.type.num_fields == 0)]
        self.schema = pa.schema([field.with_type(decoded(field.type)) for field in fields])
        # Columns are chosen by name only where some were dropped: a name `a.b` would be taken for b inside a.
        self._names = self.schema.names if len(fields) < len(columns) else None
        self.rows: int = self._file.metadata.num_rows

    def batches(self, skip: int, schema: pa.Schema) -> Iterator[pa.RecordBatch | Unread]:
        """Read batches from a row on; inside its row group the rows before it are read and dropped.

        Where a row group is broken, its remaining rows come as one `Unread`; so does a row with a value that does not
        fit the type it is cast to.

        Args:
            skip: index of the first row.
            schema: what the columns are cast to.

        Raises:
            InputError: the disk cannot be read.
        """
        for number in range(self._file.metadata.num_row_groups):
            group = self._file.metadata.row_group(number)
            if skip >= group.num_rows:
                skip -= group.num_rows
                continue
            left = group.num_rows
            step = max(1, min(MAX_ROWS, MAX_BYTES * group.num_rows // max(1, group.total_byte_size)))
            try:
                for batch in self._file.iter_batches(step, row_groups=[number], columns=self._names):
                    left -= batch.num_rows
                    if skip < batch.num_rows:
                        yield from _cast(batch.slice(skip), schema)
                    skip = max(0, skip - batch.num_rows)
            except (pa.ArrowException, OSError) as exc:
                if isinstance(exc, OSError) and exc.errno is not None:
                    raise InputError(f"{self._path}: cannot be read: {os.strerror(exc.errno)}.") from exc
                yield Unread(left - skip, f"row group {number} cannot be read: {_first_line(exc)}. Make the file again")
                skip = 0

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        self._file.close()
        self._shut()

    def _openable(self, path: Path) -> Any:
        """The file, open, so that it is closed when what stands in it is refused; Arrow opens only names in UTF-8."""
        try:
            str(path).encode()
        except UnicodeEncodeError:
            self._opened = path.open("rb")
        else:
            self._opened = pa.OSFile(str(path), "rb")
        return self._opened

    def _shut(self) -> None:
        if self._opened is not None:
            self._opened.close()


class ParquetReader:
    """Reads the rows of one file forwards from a position."""

    def __init__(self, file: File, schema: pa.Schema, start: Position, *, decoder: RowDecoder, limit: int) -> None:
        """Open the file.

        Args:
            file: which file.
            schema: what its columns are cast to; a column that it lacks is null.
            start: where to begin.
            decoder: makes Python values of that schema.
            limit: the largest row in bytes; a larger one is a failure.

        Raises:
            InputError: the file is gone, or has fewer rows than the position.
        """
        self._limit = limit
        self._decoder = decoder
        self._position = start
        self._unit = f"{file.name} row"
        self._file = ParquetRows(file.path)
        if start.row > self._file.rows:
            self._file.close()
            raise InputError(
                f"{shown(file.path)}: has {self._file.rows} rows, fewer than were read of it before. "
                "Put the whole file back."
            )
        self._batches = self._file.batches(start.row, schema)
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
        records, failures, ids = self._records(batch, before.row)
        if any(failures):
            keep = pa.array([None if failed else index for index, failed in enumerate(failures)], pa.int64())
            batch = batch.take(keep)
        return SourceBatch(batch, records, numbers, failures, ids, size, self._position, self._unit)

    def close(self) -> None:
        """Close the file before its end; harmless when repeated."""
        self._file.close()

    def _records(
        self, batch: pa.RecordBatch, first: int
    ) -> tuple[list[dict[str, Any] | None], list[Failure | None], list[str | None]]:
        """The rows as Python values, with failures and identities; row by row where one is too large or unreadable."""
        none: list[None] = [None] * batch.num_rows
        if batch.nbytes <= self._limit:
            with suppress(ValueError):
                return [*self._decoder.records(batch)], [*none], [*none]
        records: list[dict[str, Any] | None] = [*none]
        failures: list[Failure | None] = [*none]
        ids: list[str | None] = [*none]
        for index in range(batch.num_rows):
            row = batch.slice(index, 1)
            place = f"{self._unit} {first + index}"
            try:
                if row.nbytes > self._limit:
                    reason = f"{row.nbytes:,} bytes are more than input.max_row_bytes ({self._limit:,})"
                    failures[index] = input_failure(place, code="too_long", reason=reason)
                else:
                    records[index] = self._decoder.records(row)[0]
            except ValueError as exc:
                failures[index] = input_failure(place, code="unreadable", reason=str(exc))
            if failures[index] is not None:
                ids[index] = bad_line_id(batch.take([index]).serialize().to_pybytes())
        return records, failures, ids


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


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> Iterator[pa.RecordBatch | Unread]:
    """The rows with the types of the source; one by one where a value does not fit."""
    try:
        yield cast_batch(batch, schema)
    except (pa.ArrowException, ValueError) as exc:
        if batch.num_rows == 1:
            yield Unread(1, f"{_first_line(exc)}")
            return
        for index in range(batch.num_rows):
            yield from _cast(batch.slice(index, 1), schema)


def _refused(path: Path, exc: Exception) -> InputError:
    if isinstance(exc, OSError) and exc.errno is not None:
        return InputError(f"{shown(path)}: cannot be read: {os.strerror(exc.errno)}.")
    size = 0
    with suppress(OSError), path.open("rb") as file:
        if file.read(4) == b"PARE":
            return InputError(
                f"{shown(path)}: is an encrypted Parquet file. Decrypt it first; keys cannot be given here."
            )
        size = path.stat().st_size
    why = "it is empty" if not size else _first_line(exc)
    return BrokenFileError(
        path,
        f"is not a whole Parquet file: {why}. It may have been cut short while it was written or copied: "
        "make it again.",
    )


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0].rstrip(".")
