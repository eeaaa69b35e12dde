"""The spill: a copy of the input columns of admitted rows, so that the source is read only once.

Owns one file for each range of rows, in Arrow's IPC file format. It is written once, whole or not at all, and then only
read, through a memory map: for prompts, and for the input half of the result table. It does not know which ranges there
are (the ledger does), nor when one may be removed.

Dictionary columns are stored as plain values, because an IPC file allows one dictionary for the whole file while a
source has one in every batch; they are given back as dictionaries.
"""

from __future__ import annotations

import hashlib
import mmap
from bisect import bisect_right
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import pyarrow as pa

from batch.core import openfiles
from batch.core.arrowcommon import cast_batch
from batch.core.durable import AtomicFile
from batch.core.errors import StorageError
from batch.input.json_columns import REST, RowDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

MAX_ROWS: Final = 1_000
MAX_BYTES: Final = 8 * 1024 * 1024
_WANTED: Final = b"promptmill.schema"
_REST_IS_INPUT: Final = b"promptmill.rest_is_input"


class SpillWriter:
    """Writes one spill; there is no file of its name until `close` has returned.

    Attributes:
        footprint: size and digest of the file, after `close`.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, rest_is_input: bool = False) -> None:
        """Prepare to write; the file is made with the first batch, or by `close`.

        Args:
            path: where it will be.
            schema: the columns to keep.
            rest_is_input: whether a column `input_rest` is one of the input, like any other.
        """
        self._path = path
        self._file = AtomicFile(path)
        stored = pa.schema([_decoded(field) for field in schema])
        mark = {_REST_IS_INPUT: b"1"} if rest_is_input else {}
        self._schema = stored.with_metadata({_WANTED: schema.serialize().to_pybytes(), **mark})
        self._writer: Any = None
        self._rows = 0
        self.footprint = (0, b"")

    def add(self, batch: pa.RecordBatch) -> None:
        """Append rows; columns are found by name, and those that are not in the schema are left out.

        Raises:
            StorageError: the disk refuses.
        """
        try:
            writer = self._open()
            rows = batch.num_rows
            batch = cast_batch(batch, self._schema)
            step = max(1, min(MAX_ROWS, rows * MAX_BYTES // max(1, batch.nbytes)))
            for start in range(0, rows, step):
                writer.write_batch(batch.slice(start, step))
            self._rows += rows
        except OSError as exc:
            raise self._refused(exc) from exc

    def close(self) -> int:
        """Finish the file and make it durable; return the number of its rows.

        Raises:
            StorageError: the disk refuses; there is no file of this name.
        """
        try:
            self._open().close()
            self._file.seal()
            self.footprint = self._file.hidden.stat().st_size, digest(self._file.hidden)
            self._file.rename()
            self._file.sync_folder()
        except OSError as exc:
            raise self._refused(exc) from exc
        return self._rows

    def abort(self) -> None:
        """Remove what was written; harmless after `close` and when repeated."""
        # The writer is not closed: it would write a footer into a file that is thrown away.
        self._file.abandon()

    def _open(self) -> Any:
        if self._writer is None:
            self._writer = pa.ipc.new_file(self._file.open(), self._schema)
        return self._writer

    def _refused(self, exc: OSError) -> StorageError:
        self.abort()
        reason = exc.strerror or str(exc)
        advice = openfiles.advice() if openfiles.used_up(exc) else "Make room"
        return StorageError(f"{self._path}: cannot be written: {reason}. {advice}, then run the same command again.")


def digest(path: Path) -> bytes:
    """A hash of all of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()


def _decoded(field: pa.Field) -> pa.Field:
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


class Spill:
    """One spill, read through a memory map: any row at any time, without keeping rows in memory.

    Attributes:
        path: the file.
        rows: how many rows there are.
        schema: the schema with which it was written.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            StorageError: the file is missing or not whole.
        """
        self.path = path
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            reader = pa.ipc.open_file(pa.py_buffer(self._map))
            self._stored = reader.schema
            self._batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        except (OSError, ValueError, pa.ArrowException) as exc:  # an empty file cannot be mapped
            raise StorageError(
                f"{path}: cannot be read: {exc}. Its rows were admitted from it; run the same command again: it finds "
                "them in the input once more."
            ) from exc
        self.schema = pa.ipc.read_schema(pa.py_buffer(self._stored.metadata[_WANTED]))
        self._has_rest = REST in self._stored.names and _REST_IS_INPUT not in self._stored.metadata
        self._starts: list[int] = []
        self.rows = 0
        for batch in self._batches:
            self._starts.append(self.rows)
            self.rows += batch.num_rows
        self._decoders: dict[tuple[str, ...], RowDecoder] = {}
        self._let_go()

    def _let_go(self) -> None:
        """Have the system take back the memory of what was read: pages of a mapped file count as ours until then."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def slice(self, start: int, count: int) -> pa.RecordBatch:
        """The rows from `start` to `start + count`, fewer at the end, as one batch of `schema`."""
        return cast_batch(self._piece(start, count, self._stored), self.schema)

    def take(self, indices: list[int]) -> pa.Table:
        """The rows at these indexes, in this order.

        Raises:
            IndexError: there is no such row.
        """
        batches = [cast_batch(batch, self.schema) for batch in self._at(indices, self._stored.names)]
        self._let_go()
        return pa.Table.from_batches(batches, self.schema)

    def _at(self, indices: list[int], names: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of the rows at these indexes, in their order, from each stored batch by itself.

        To take from all at once, Arrow first puts all text of the spill together.
        """
        if indices and not 0 <= min(indices) <= max(indices) < self.rows:
            raise IndexError(f"{self.path} has {self.rows} rows")
        for number, run in groupby(indices, lambda index: bisect_right(self._starts, index) - 1):
            places = [index - self._starts[number] for index in run]
            first, batch = places[0], self._batches[number].select(names)
            if places == list(range(first, first + len(places))):  # nearly always: all rows of a range settle
                yield batch.slice(first, len(places))
            else:
                yield batch.take(pa.array(places, pa.int64()))

    def records(
        self, start: int, count: int, columns: list[str] | None = None, *, keys: Collection[str] = ()
    ) -> list[dict[str, Any]]:
        """Rows as Python values, just as `SourceBatch.records` had them: values in `input_rest` are put back.

        Args:
            start: index of the first row.
            count: how many rows; there may be fewer at the end.
            columns: the columns to read; None reads all, keys without a column included.
            keys: keys without a column that every row is to have, null where it lacks them.
        """
        return self._records(lambda schema: self._piece(start, count, schema), columns, keys)

    def records_at(
        self, indices: list[int], columns: list[str] | None = None, *, keys: Collection[str] = ()
    ) -> list[dict[str, Any]]:
        """As `records`, of the rows at these indexes, in this order.

        Args:
            indices: of rows that there are.
            columns: the columns to read; None reads all, keys without a column included.
            keys: keys without a column that every row is to have, null where it lacks them.
        """
        return self._records(lambda schema: self._joined(list(self._at(indices, schema.names)), schema), columns, keys)

    def _records(
        self, piece_of: Callable[[pa.Schema], pa.RecordBatch], columns: list[str] | None, keys: Collection[str]
    ) -> list[dict[str, Any]]:
        own = [name for name in self._stored.names if name != REST or not self._has_rest]
        names = [name for name in own if columns is None or name in columns]
        # Without a column Arrow forgets how many rows there are.
        piece = piece_of(pa.schema([self._stored.field(name) for name in names or self._stored.names[:1]]))
        records = self._decoder(names).records(piece.select(names))
        if self._has_rest:
            if keys:
                records = [{**record, **dict.fromkeys(keys)} for record in records]
            rests = piece_of(pa.schema([self._stored.field(REST)])).column(0)
            if rests.null_count < len(rests):
                _merge(records, rests.to_pylist(), columns)
        self._let_go()
        return records

    def close(self) -> None:
        """Close the memory map; batches that were given out stay readable, and keep it for as long."""
        self._batches = []
        with suppress(BufferError):
            self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decoder(self, names: list[str]) -> RowDecoder:
        key = tuple(names)
        if key not in self._decoders:
            self._decoders[key] = RowDecoder(pa.schema([self._stored.field(name) for name in names]))
        return self._decoders[key]

    def _piece(self, start: int, count: int, schema: pa.Schema) -> pa.RecordBatch:
        """Some rows as one batch; only rows from several stored batches need a copy."""
        pieces = []
        stop = min(start + count, self.rows)
        for first, batch in zip(self._starts, self._batches, strict=True):
            begin, end = max(start, first), min(stop, first + batch.num_rows)
            if begin < end:
                pieces.append(batch.slice(begin - first, end - begin).select(schema.names))
        return self._joined(pieces, schema)

    @staticmethod
    def _joined(pieces: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
        """Pieces of several stored batches as one."""
        if len(pieces) == 1:
            return pieces[0]
        table = pa.Table.from_batches(pieces, schema).combine_chunks()
        batches = table.to_batches()
        return (
            batches[0]
            if batches
            else pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
        )


def _merge(records: list[dict[str, Any]], rests: list[str | None], columns: list[str] | None) -> None:
    for record, rest in zip(records, rests, strict=True):
        if rest is None:
            continue
        values: dict[str, Any] = msgspec.json.decode(rest)
        record.update(values if columns is None else {key: value for key, value in values.items() if key in columns})
