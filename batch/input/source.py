"""The source: the Parquet or JSONL files of one input, read as rows, forwards, in constant memory.

Owns the source as a whole: its files in their order, the columns that they have together, its state on disk. A `Reader`
gives `SourceBatch`es from a `Position` on, file after file; it may stop anywhere, inside a row group too, and another
process may go on from there. A row that cannot be read is a failure beside the others, never an exception. It does not
know which rows are wanted (`batch.plan`), nor how one file is read (`jsonl`, `parquet`).

JSONL has no schema, so its columns are fixed at the start: by declared types, then by what the first 10,000 lines of
all files show (64 MB at most), or by what an earlier run kept. A value that its column cannot give back unchanged, and
a key without a column, stand in `input_rest` as JSON text. `records` have every value as it came, except where a
declared type says how to read it. A missing key is null. Parquet files need not have the same columns: a column that a
file lacks is null there, and `parquet_columns` knows the types of the others.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Final, Protocol

import msgspec
import pyarrow as pa

from batch.core.arrowcommon import check_schema
from batch.core.arrowtypes import field_of, json_field, type_name
from batch.core.errors import InputError
from batch.input import openai_batch
from batch.input.batches import Position, SourceBatch
from batch.input.files import File, Found, find, shown
from batch.input.json_columns import REST
from batch.input.jsonl import LineLayout, LineReader, Unwrap, require_lines, require_some, sample
from batch.input.parquet import ParquetReader
from batch.input.parquet_columns import Reads, unite
from batch.job.job import InputSpec

MAX_BYTES: Final = 8 * 1024 * 1024


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


class _FileReader(Protocol):
    """Reads the rows of one file; `jsonl` and `parquet` have one each."""

    def read(self, max_rows: int, max_bytes: int) -> SourceBatch | None: ...

    def close(self) -> None: ...


class Source:
    """The files of one input, with their columns read and checked.

    Attributes:
        spec: the input section of the job.
        schema: the columns as they will stand in the result table.
        types: the names of their types, to be kept for `fixed_types` of a later run.
        stat: the state of the files when they were found.
        found: the files.
        rows: how many rows there are; None where the format does not say it.
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
        found = find(spec.path)
        kept = pa.schema([field_of(name, text) for name, text in (fixed_types or {}).items()])
        if found.files[0].kind == "parquet":
            key = {spec.key} if spec.key is not None else set()
            read = Reads(None if reads is None else key.union(reads), key.union(texts))
            return _open_parquet(spec, found, kept, read)
        unwrap = openai_batch.BatchFile(model, parameters or {}).unwrap if spec.format == "openai-batch" else None
        return _open_lines(spec, found, kept, unwrap)

    def reader(self, position: Position | None = None) -> Reader:
        """A reader that begins at a position, by default at the beginning of the source.

        Raises:
            InputError: the file is gone, or shorter than the position.
        """
        return _Reader(self.found.files, self._open_file, position or Position())

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

    def _open_file(self, file: File, start: Position) -> _FileReader:
        raise NotImplementedError


class _Lines(Source):
    """JSONL files."""

    def __init__(self, spec: InputSpec, found: Found, schema: pa.Schema, layout: LineLayout) -> None:
        super().__init__(spec, found, schema, None)
        self._layout = layout

    def _open_file(self, file: File, start: Position) -> _FileReader:
        return LineReader(file, self._layout, start)


class _Parquet(Source):
    """Parquet files."""

    def _open_file(self, file: File, start: Position) -> _FileReader:
        return ParquetReader(file, self.schema, start, limit=self.spec.max_row_bytes)


class _Reader:
    """Reads the files of a source one after another (`Reader`)."""

    def __init__(
        self, files: Sequence[File], open_file: Callable[[File, Position], _FileReader], start: Position
    ) -> None:
        self._files = files
        self._open_file = open_file
        self._number = start.file
        self._file: _FileReader | None = None
        if start.end:
            self._next()
        elif start.file < len(files):
            self._file = open_file(files[start.file], start)

    def read(self, max_rows: int, max_bytes: int = MAX_BYTES) -> SourceBatch | None:
        """See `Reader.read`."""
        while self._file is not None:
            batch = self._file.read(max_rows, max_bytes)
            if batch is not None:
                return batch
            self._file.close()
            self._next()
        return None

    def close(self) -> None:
        """See `Reader.close`."""
        if self._file is not None:
            self._file.close()

    def _next(self) -> None:
        self._number += 1
        more = self._number < len(self._files)
        self._file = self._open_file(self._files[self._number], Position(self._number)) if more else None


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
    united = unite(found, kept, reads)
    schema = united.schema()
    _require_key(spec, schema.names)
    source = _Parquet(spec, found, schema, united.rows, rest_is_input=REST in united.fields)
    source.clashes = united.clashes
    return source


def _open_lines(spec: InputSpec, found: Found, kept: pa.Schema, unwrap: Unwrap | None) -> Source:
    for file in found.files:
        require_lines(file)
    if unwrap is not None:
        require_some(found.files, limit=spec.max_row_bytes, unwrap=unwrap)
    types = {**openai_batch.TYPES, **spec.types} if unwrap is not None else spec.types
    declared = {name: json_field(name, text) for name, text in types.items() if name != REST}
    _require_castable(shown(spec.path), kept, pa.schema(declared.values()))
    if len(kept):
        # A kept column stays as it is; a column that is declared now and was not kept comes after them.
        fields = {**declared, **{field.name: field for field in kept}}
        names = [*kept.names, *(name for name in declared if name not in kept.names)]
    else:
        sampled = sample(found.files, limit=spec.max_row_bytes, unwrap=unwrap)
        fields = {**{name: field_of(name, text) for name, text in sampled.items()}, **declared}
        names = list(fields)
    _require_key(spec, names)
    schema = pa.schema([*(fields[name] for name in names), pa.field(REST, pa.large_string())])
    layout = LineLayout(schema, declared=types, limit=spec.max_row_bytes, unwrap=unwrap)
    return _Lines(spec, found, schema, layout)


def _require_castable(path: str, kept: pa.Schema, now: pa.Schema) -> None:
    if faults := check_schema(kept, now):
        raise InputError(f"{path}: " + "\n  ".join(faults))


def _require_key(spec: InputSpec, names: list[str]) -> None:
    key = spec.key
    if key is None or key in names:
        return
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    shown_names = f"{', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
    hint = f"It has: {shown_names}." if names else "It has no columns."
    if near:
        hint = f"Did you mean {' or '.join(map(repr, near))}?"
    raise InputError(f"{shown(spec.path)}: no column is called {key!r} (input.key). {hint}")
