"""One Parquet file, opened: its columns, the ranges of its numbers, and batches a few pages at a time, from any row on.

Owns opening the file, the checks on its schema, and reading batch by batch without ever holding a whole row group. Rows
that cannot be read come as so many `Unread`. It does not know what becomes of them (`parquet`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.core import places
from batch.core.arrowcommon import cast_batch
from batch.core.arrowtypes import decoded, is_text_bytes
from batch.core.errors import InputError
from batch.input import stores
from batch.input.files import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
        self.schema = pa.schema([_plain(field) for field in fields])
        # Columns are chosen by name only where some were dropped: a name `a.b` would be taken for b inside a.
        self._names = self.schema.names if len(fields) < len(columns) else None
        self.rows: int = self._file.metadata.num_rows

    def batches(self, skip: int) -> Iterator[pa.RecordBatch | Unread]:
        """Read batches of `schema` from a row on; inside its row group the rows before it are read and dropped.

        Where a row group is broken, its remaining rows come as one `Unread`.

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
                    if skip < batch.num_rows:
                        yield cast_batch(batch.slice(skip), self.schema)
                    left -= batch.num_rows
                    skip = max(0, skip - batch.num_rows)
            except (pa.ArrowException, OSError) as exc:
                if isinstance(exc, OSError) and exc.errno is not None:
                    raise InputError(f"{self._path}: cannot be read: {os.strerror(exc.errno)}.") from exc
                if left > skip:
                    why = f"row group {number} cannot be read: {first_line(exc)}. Make the file again"
                    yield Unread(left - skip, why)
                skip = 0

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
            return self._opened
        if places.is_store(path):
            self._opened = pa.PythonFile(stores.raw(path), mode="r")  # which tells a store that fails from a bad file
        else:
            self._opened = pa.OSFile(str(path), "rb")
        return self._opened

    def _shut(self) -> None:
        if self._opened is not None:
            self._opened.close()


def _plain(field: pa.Field) -> pa.Field:
    """The column as it is read; that its bytes were text to another job says nothing about this one."""
    field = field.remove_metadata() if is_text_bytes(field) else field
    return field.with_type(decoded(field.type))


def _refused(path: Path, exc: Exception) -> InputError:
    if isinstance(exc, OSError) and exc.errno is not None:
        return InputError(f"{shown(path)}: cannot be read: {os.strerror(exc.errno)}.")
    size = 0
    with suppress(OSError), stores.raw(path) as file:
        if file.read(4) == b"PARE":
            return InputError(
                f"{shown(path)}: is an encrypted Parquet file. Decrypt it first; keys cannot be given here."
            )
        size = file.seek(0, os.SEEK_END)
    why = "it is empty" if not size else first_line(exc)
    return BrokenFileError(
        path,
        f"is not a whole Parquet file: {why}. It may have been cut short while it was written or copied: "
        "make it again.",
    )


def first_line(exc: Exception) -> str:
    """The first line of what an error says, without a full stop."""
    return (str(exc).splitlines() or [type(exc).__name__])[0].rstrip(".")
