"""The source: the Parquet, JSONL or CSV files of one input, read as rows, forwards, in constant memory.

Owns the source as a whole: its files in their order, the columns that they have together, its state on disk. A `Reader`
gives `SourceBatch`es from a `Position` on, file after file; it may stop anywhere, inside a row group too, and another
process may go on from there. A row that cannot be read is a failure beside the others, never an exception. It does not
know which rows are wanted (`batch.plan`), nor how one file is read (`jsonl`, `csvreader`, `parquet`).

JSONL has no schema, so its columns are fixed at the start: by declared types, then by what the first 10,000 lines of
all files show (64 MB at most), or by what an earlier run kept. A value that its column cannot give back unchanged, and
a key without a column, stand in `input_rest` as JSON text. `records` have every value as it came, except where a
declared type says how to read it. A missing key is null. Parquet files need not have the same columns: a column that a
file lacks is null there, and `parquet_columns` knows the types of the others; of several files, one that is not whole
is one failed row. Columns of CSV files are text.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Protocol

import msgspec
import pyarrow as pa

from batch.core import places
from batch.core.arrowtypes import field_of, type_name
from batch.core.errors import InputError
from batch.input import openai_batch, origin, stores
from batch.input.batches import Position, SourceBatch
from batch.input.csvheader import header
from batch.input.csvreader import CsvReader
from batch.input.files import File, Found, find, shown
from batch.input.json_columns import REST
from batch.input.jsonl import LineLayout, LineReader, Unwrap, require_lines
from batch.input.late_keys import find_keys
from batch.input.parquet import BrokenFile, ParquetReader
from batch.input.parquet_columns import Reads, unite
from batch.input.parquet_file import BrokenFileError
from batch.input.reading import MAX_BYTES, FileReader, FilesReader
from batch.input.refusals import require_some
from batch.input.sampling import sample
from batch.input.schemas import line_schema, origin_fields, require_castable, require_key
from batch.job.job import InputSpec


class SourceStat(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of a source on disk, by which a later run knows whether it has changed.

    Of several files it has the size of all together and the newest time.
    """

    path: str
    size: int
    mtime_ns: int
    inode: int
    files: int = 1
    digest: str = ""
    """For a folder or a pattern: a hash of name, size, time and inode of each file."""


class Reader(Protocol):
    """Reads the rows of a source forwards from a position."""

    def read(self, max_rows: int, max_bytes: int = MAX_BYTES) -> SourceBatch | None:
        """Read the next rows of one file: at least one, at most `max_rows` (and 1,000), about `max_bytes`.

        Returns:
            The rows, or None at the end of the source.

        Raises:
            InputError: a file cannot be read further.
        """
        ...

    def close(self) -> None:
        """Close the file before its end; harmless when repeated."""
        ...


class Source:
    """The files of one input, with their columns read and checked.

    Attributes:
        spec: the input section of the job.
        schema: the columns as they will stand in the result table.
        types: the names of their types, to be kept for `fixed_types` of a later run.
        stat: the state of the files when they were found.
        found: the files.
        rows: how many rows there are; None where the format does not say it.
        blank: why no columns are known, for people, with the way out; None when some are.
        keys: keys that rows have although they are no columns, of those that were looked for.
        unsearched: older lines were not searched for keys.
        rest_is_input: whether `input_rest` is a column of the files themselves, like any other.
        header_doubt: what speaks against the first line of a CSV file being its header, for when a column is missing.
        unnamed: columns whose cell in the header of a CSV file is empty.
        clashes: columns some of whose values stand in `input_rest` because files do not agree, and why.
    """

    def __init__(
        self,
        spec: InputSpec,
        found: Found,
        schema: pa.Schema,
        rows: Sequence[int] | None,
        *,
        rest_is_input: bool = False,
    ) -> None:
        """Use `open` instead."""
        self.spec = spec
        self.found = found
        self.schema = schema
        self.stat = _stat(found)
        self.rows = sum(rows) if rows is not None else None
        self.blank: str | None = None
        self.keys: tuple[str, ...] = ()
        self.unsearched = False
        self.rest_is_input = rest_is_input
        self.header_doubt: str | None = None
        self.unnamed: frozenset[str] = frozenset()
        self.clashes: dict[str, str] = {}
        self.types: dict[str, str] = {
            field.name: type_name(field) for field in schema if field.name != REST or rest_is_input
        }
        self._weights = list(accumulate(rows or [file.size for file in found.files], initial=0))

    @classmethod
    def open(
        cls,
        spec: InputSpec,
        *,
        fixed_types: Mapping[str, str] | None = None,
        model: str = "",
        parameters: Mapping[str, Any] | None = None,
        reads: Collection[str] | None = None,
        texts: Collection[str] = (),
    ) -> Source:
        """Find the files and fix their columns; no rows are read, except the first lines that fix the types of JSONL.

        Args:
            spec: the input section of a job.
            fixed_types: `types` of an earlier run over the same output folder.
            model: the model that the job asks; lines of `openai-batch` name it too.
            parameters: the parameters of the job, for the same reason.
            reads: the columns that the job reads or names, None for all: their types must go together.
            texts: those of them that are read as text: bytes in them are decoded.

        Raises:
            InputError: there is no file; one is broken or not supported; the columns of two do not go together; the key
                column is missing; the type of a column cannot be cast without loss to the one kept; or a column of
                bytes is no text.
        """
        found = (stores.find if places.is_store(spec.path) else find)(spec.path)
        kept = pa.schema([field_of(name, text) for name, text in (fixed_types or {}).items()])
        if found.files[0].kind == "parquet":
            key = {spec.key} if spec.key is not None else set()
            read = Reads(None if reads is None else key.union(reads), key.union(texts))
            return _open_parquet(spec, found, kept, read)
        if found.files[0].kind == "csv":
            return _open_csv(spec, found, kept)
        unwrap = openai_batch.BatchFile(model, parameters or {}).unwrap if spec.format == "openai-batch" else None
        return _open_lines(spec, found, kept, unwrap)

    @property
    def names(self) -> list[str]:
        """Everything that can be read of a row: the columns, and the keys that are none."""
        return [*self.schema.names, *self.keys]

    def folder_names(self) -> set[str]:
        """What `key=value` folders around the files could be columns of, whether the job wants them or not."""
        return {name for file in self.found.files for name in origin.partitions(file)}

    def look_for(self, wanted: Iterable[str]) -> None:
        """Look whether rows have these keys, where they are no columns: from then on every row has them, or null.

        Only a source whose columns were fixed by its first lines, or by an earlier run, can have such keys.

        Raises:
            InputError: a file cannot be read.
        """

    def reader(self, position: Position | None = None) -> Reader:
        """A reader that begins at a position, by default at the beginning of the source.

        Raises:
            InputError: the file is gone, or shorter than the position.
        """
        return FilesReader(self.found.files, self._open_file, self._fill, position or Position())

    def fraction(self, position: Position) -> float | None:
        """The part of the source that lies before a position, from 0 to 1; None when it is not known."""
        whole = self._weights[-1]
        if position.file >= len(self.found.files) or not whole:
            return 1.0 if position.end else None
        before, after = self._weights[position.file : position.file + 2]
        if position.end:
            return after / whole
        if self.found.files[position.file].packing is not None:
            return before / whole if before else None
        read = position.row if self.rows is not None else position.byte
        return min(before + read, after) / whole

    def _fill(self, file: File, batch: SourceBatch) -> SourceBatch:
        """What the place of a file says, put into its rows."""
        if self.spec.file_column is None and not self.spec.hive_partitioning:
            return batch
        return origin.Origin(self.spec, file).fill(batch)

    def _open_file(self, file: File, start: Position) -> FileReader:
        raise NotImplementedError


class _Lines(Source):
    """JSONL files."""

    def __init__(self, spec: InputSpec, found: Found, schema: pa.Schema, layout: LineLayout) -> None:
        super().__init__(spec, found, schema, None)
        self._layout = layout

    def look_for(self, wanted: Iterable[str]) -> None:
        missing = sorted(set(wanted).difference(self.names))
        if missing and self.blank is None:
            layout = self._layout
            found, whole = find_keys(self.found.files, missing, limit=layout.limit, unwrap=layout.unwrap)
            self.unsearched = self.unsearched or not whole
            layout.keys = self.keys = (*self.keys, *found)

    def _open_file(self, file: File, start: Position) -> FileReader:
        return LineReader(file, self._layout, start)


class _Csv(Source):
    """CSV files."""

    def __init__(self, spec: InputSpec, found: Found, schema: pa.Schema, layout: LineLayout) -> None:
        super().__init__(spec, found, schema, None)
        self._layout = layout

    def _open_file(self, file: File, start: Position) -> FileReader:
        return CsvReader(file, self._layout, start, delimiter=self.spec.delimiter)


class _Parquet(Source):
    """Parquet files."""

    def _open_file(self, file: File, start: Position) -> FileReader:
        try:
            return ParquetReader(file, self.schema, start, limit=self.spec.max_row_bytes)
        except BrokenFileError as exc:
            if self.found.single:
                raise
            return BrokenFile(file, self.schema, start, exc.reason)


def _stat(found: Found) -> SourceStat:
    files = found.files
    if found.single:
        return SourceStat(shown(found.path), files[0].size, files[0].mtime_ns, files[0].inode)
    digest = blake2b(digest_size=16)
    for file in files:
        digest.update(os.fsencode(file.path) + b"\0" + f"{file.size} {file.mtime_ns} {file.inode}\0".encode())
    return SourceStat(
        path=shown(found.path),
        size=sum(file.size for file in files),
        mtime_ns=max(file.mtime_ns for file in files),
        inode=0,
        files=len(files),
        digest=digest.hexdigest(),
    )


def _open_parquet(spec: InputSpec, found: Found, kept: pa.Schema, reads: Reads) -> Source:
    path = shown(spec.path)
    if spec.types:
        raise InputError(f"{path}: is Parquet, which has types of its own: take input.types out.")
    if spec.format != "rows":
        raise InputError(f'{path}: is Parquet, and input.format = "{spec.format}" is a form of JSONL.')
    if spec.delimiter is not None:
        raise InputError(f"{path}: is Parquet, and input.delimiter is for CSV: take it out.")
    united = unite(found, kept, reads)
    rest_is_input = REST in united.fields
    united.fields |= {field.name: field for field in origin_fields(spec, found, kept, own=united.fields)}
    schema = united.schema()
    require_key(spec, schema.names)
    source = _Parquet(spec, found, schema, united.rows, rest_is_input=rest_is_input)
    source.clashes = united.clashes
    return source


def _open_lines(spec: InputSpec, found: Found, kept: pa.Schema, unwrap: Unwrap | None) -> Source:
    if spec.delimiter is not None:
        raise InputError(f"{shown(spec.path)}: is JSONL, and input.delimiter is for CSV: take it out.")
    for file in found.files:
        require_lines(file)
    if unwrap is not None:
        require_some(found.files, limit=spec.max_row_bytes, unwrap=unwrap)
    types = {**openai_batch.TYPES, **spec.types} if unwrap is not None else spec.types
    blank = None
    if len(kept):
        sampled: list[pa.Field] = []
    else:
        seen = sample(found, limit=spec.max_row_bytes, unwrap=unwrap)
        sampled, blank = [field_of(name, text) for name, text in seen.types.items()], seen.blank
    schema = line_schema(spec, found, kept, types=types, own=sampled)
    layout = LineLayout(schema, declared=types, limit=spec.max_row_bytes, unwrap=unwrap)
    source = _Lines(spec, found, schema, layout)
    source.blank = blank
    if spec.key is not None:
        source.look_for([spec.key])
    require_key(spec, [name for name in source.names if name != REST], blank)
    return source


def _open_csv(spec: InputSpec, found: Found, kept: pa.Schema) -> Source:
    if spec.format != "rows":
        raise InputError(f'{shown(spec.path)}: is CSV, and input.format = "{spec.format}" is a form of JSONL.')
    headers = [header(file, limit=spec.max_row_bytes, delimiter=spec.delimiter) for file in found.files]
    names = dict.fromkeys(name for each in headers for name in each.names)
    if REST in names:
        raise InputError(f"{shown(spec.path)}: the name {REST} is taken for what fits no column. Rename the column.")
    own = [pa.field(name, pa.large_string()) for name in names]
    still = pa.schema([field for field in kept if field.name in names or field.name in spec.types])
    schema = line_schema(spec, found, still, types=spec.types, own=own)
    require_castable(shown(spec.path), kept, schema)
    source = _Csv(spec, found, schema, LineLayout(schema, declared=spec.types, limit=spec.max_row_bytes))
    if not names:
        what = "is empty, without a header" if found.single else "holds empty files only"
        source.blank = (
            f"{shown(spec.path)}: {what}: it has no columns. Write a header and rows into it, then run the same "
            "command again."
        )
    source.unnamed = frozenset().union(*(each.unnamed for each in headers))
    source.header_doubt = next((each.doubt for each in headers if each.doubt is not None), None)
    require_key(spec, [name for name in schema.names if name != REST], source.blank, doubt=source.header_doubt)
    return source
