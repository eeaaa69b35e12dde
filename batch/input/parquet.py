"""One Parquet file as batches of rows, read a few pages at a time, from any row on.

Owns opening the file, the checks on its schema, reading batch by batch without ever holding a whole row group, and the
failures of single rows. It does not know the other files of the source, nor which columns all of them have together
(`source`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from batch.core.arrowcommon import cast_batch
from batch.core.arrowtypes import decoded, is_text_bytes
from batch.core.canonical import bad_line_id
from batch.core.errors import InputError
from batch.input.batches import Position, SourceBatch, input_failure
from batch.input.files import File, shown
from batch.input.fitting import Fitter
from batch.input.json_columns import REST, RowDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batch.core.records import Failure

MAX_ROWS: Final = 1_000
MAX_BYTES: Final = 8 * 1024 * 1024
_BUFFER: Final = 1024 * 1024


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
            InputError: the file is no whole Parquet file, is encrypted, or has two columns of one name.
        """
        self._path = shown(path)
        self._opened: Any = None
        try:
            # No read-ahead of whole row groups: a file may be one group of 50 GB.
            self._file = pq.ParquetFile(
                self._openable(path), pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True
            )
            columns = self._file.schema_arrow.remove_metadata()
        except (pa.ArrowException, OSError) as exc:
            self._shut()
            raise InputError(_refused(path, exc)) from exc
        twice = sorted({name for name in columns.names if columns.names.count(name) > 1})
        if twice:
            self.close()
            raise InputError(f"{self._path}: has {', '.join(map(repr, twice))} more than once. Rename the columns.")
        fields = [field for field in columns if not (pa.types.is_struct(field.type) and field.type.num_fields == 0)]
        self.schema = pa.schema([_plain(field) for field in fields])
        # Columns are chosen by name only where some were dropped: a name `a.b` would be taken for b inside a.
        self._names = self.schema.names if len(fields) < len(columns) else None
        self.rows: int = self._file.metadata.num_rows

    def batches(self, skip: int) -> Iterator[pa.RecordBatch]:
        """Read batches of `schema` from a row on; inside its row group the rows before it are read and dropped.

        Raises:
            InputError: a row group is broken.
        """
        for number in range(self._file.metadata.num_row_groups):
            group = self._file.metadata.row_group(number)
            if skip >= group.num_rows:
                skip -= group.num_rows
                continue
            step = max(1, min(MAX_ROWS, MAX_BYTES * group.num_rows // max(1, group.total_byte_size)))
            try:
                for batch in self._file.iter_batches(step, row_groups=[number], columns=self._names):
                    if skip < batch.num_rows:
                        yield cast_batch(batch.slice(skip), self.schema)
                    skip = max(0, skip - batch.num_rows)
            except (pa.ArrowException, OSError) as exc:
                raise InputError(
                    f"{self._path}: row group {number} cannot be read: {_first_line(exc)}. Make the file again."
                ) from exc

    def range_of(self, name: str) -> tuple[Any, Any] | None:
        """The lowest and the highest value of a column of numbers, as the file says it; None when it does not."""
        low: list[Any] = []
        high: list[Any] = []
        for number in range(self._file.metadata.num_row_groups):
            group = self._file.metadata.row_group(number)
            chunks = (group.column(place) for place in range(group.num_columns))
            chunk = next((chunk for chunk in chunks if chunk.path_in_schema == name), None)
            known = chunk.statistics if chunk is not None and chunk.is_stats_set else None
            if known is not None and known.has_min_max:
                low.append(known.min)
                high.append(known.max)
            elif group.num_rows and not (known is not None and known.null_count == group.num_rows):
                return None
        return (min(low), max(high)) if low else (0, 0)

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
        self._left: pa.RecordBatch | None = None

    def read(self, max_rows: int, max_bytes: int) -> SourceBatch | None:
        """Read the next rows: at least one, at most `max_rows`, about `max_bytes`; None at the end of the file.

        Raises:
            InputError: the file cannot be read further.
        """
        rest = self._left or next((batch for batch in self._batches if batch.num_rows), None)
        if rest is None:
            self._file.close()
            return None
        before = self._position
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
                failures[index] = input_failure(place, code="unreadable", reason=_first_line(exc))
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


def _plain(field: pa.Field) -> pa.Field:
    """The column as it is read; that its bytes were text to another job says nothing about this one."""
    field = field.remove_metadata() if is_text_bytes(field) else field
    return field.with_type(decoded(field.type))


def _refused(path: Path, exc: Exception) -> str:
    if isinstance(exc, OSError) and exc.errno is not None:
        return f"{shown(path)}: cannot be read: {os.strerror(exc.errno)}."
    with suppress(OSError), path.open("rb") as file:
        if file.read(4) == b"PARE":
            return f"{shown(path)}: is an encrypted Parquet file. Decrypt it first; keys cannot be given here."
    return (
        f"{shown(path)}: is not a whole Parquet file: {_first_line(exc)}. It may have been cut short while it was "
        "written or copied: make it again."
    )


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0].rstrip(".")
