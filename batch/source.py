"""Parquet and JSONL files → rows, range by range, forwards, in constant memory.

Owns reading: a `Source` knows the file, its schema and its state on disk; a `Reader` gives `SourceBatch`es from a
`Position` on and may stop anywhere, inside a row group too, and go on in another process. A row that cannot be read is
a failure beside the others, never an exception. It does not know which rows are wanted (`plan`).

JSONL has no schema, so one is fixed: declared types first, then what the first 10,000 lines show (64 MB at most), or
what an earlier run kept. A value that its column cannot give back unchanged, and a key that has no column, stands in
`input_rest` as JSON text; `records` have every value as it came, except where a declared type says how to read it. A
missing key is null. The spill (`batch.spill`) is part of this module's interface.
"""

from __future__ import annotations

import difflib
import stat
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import pyarrow as pa

from batch.arrowtypes import check_schema, field_of, type_name
from batch.codec import bad_line_id, dumps, loads
from batch.columns import REST, RowDecoder, Sketch, build, is_exact, json_field
from batch.errors import InputError
from batch.lines import Line, Lines
from batch.parquet import ParquetRows
from batch.records import Failure
from batch.spill import Spill, SpillWriter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batch.job import InputSpec

__all__ = ["Position", "Reader", "Source", "SourceBatch", "SourceStat", "Spill", "SpillWriter", "check_schema"]

MAX_ROWS: Final = 1_000
MAX_BYTES: Final = 8 * 1024 * 1024
SAMPLE_LINES: Final = 10_000
SAMPLE_BYTES: Final = 64 * 1024 * 1024


class SourceStat(msgspec.Struct, frozen=True):
    """What tells that a file is the one an earlier run read."""

    path: str
    size: int
    mtime_ns: int
    inode: int


class Position(msgspec.Struct, frozen=True, array_like=True):
    """How far a source was read; `row` and `byte` count what was consumed of the file number `file`."""

    file: int = 0
    row: int = 0
    byte: int = 0
    end: bool = False
    line: int = 0
    """JSONL: lines consumed, blank ones included."""


class SourceBatch(msgspec.Struct, frozen=True):
    """Some rows; all lists and `columns` have one entry a row."""

    columns: pa.RecordBatch
    records: list[dict[str, Any] | None]
    lines: list[int]
    """1-based line of a JSONL file, 0-based row index of a Parquet file."""
    failures: list[Failure | None]
    raw_ids: list[str | None]
    bytes: int
    """Approximate size of the rows as they were read."""
    position: Position
    """Where to go on after this batch."""


class Reader(Protocol):
    """Reads forwards from a position."""

    def read(self, max_rows: int, max_bytes: int = MAX_BYTES) -> SourceBatch | None:
        """At most `max_rows` (never over 1,000) rows and about `max_bytes`, at least one row; None at the end.

        Raises:
            InputError: the file itself cannot be read on.
        """
        ...

    def close(self) -> None:
        """Close the file before the end of it; harmless when repeated."""
        ...


class Source:
    """One input file, its schema read and checked.

    Attributes:
        schema: the columns as they will stand in the result table.
        types: their names as text, to be kept for `fixed_types` of a later run.
        stat: the file's state when it was opened.
    """

    def __init__(self, spec: InputSpec, schema: pa.Schema, stat: SourceStat) -> None:
        """Use `open`."""
        self.spec = spec
        self.schema = schema
        self.stat = stat
        self.types: dict[str, str] = {
            field.name: type_name(field) for field in schema if not _is_rest(field, spec.path)
        }

    @classmethod
    def open(cls, spec: InputSpec, *, fixed_types: Mapping[str, str] | None = None) -> Source:
        """Open a file and settle its schema; rows are not read, but for the sample that fixes JSONL types.

        Args:
            spec: the input section of a job.
            fixed_types: `types` of an earlier run over the same output folder.

        Raises:
            InputError: missing, not a regular file, not of a supported kind, broken, without the key column, or with a
                column whose type does not cast without loss to the one kept.
        """
        state = _stat(spec.path)
        kept = _kept_schema(fixed_types or {})
        settle = _parquet_schema if spec.path.suffix == ".parquet" else _jsonl_schema
        schema = settle(spec, kept)
        names = [name for name in schema.names if name != REST or spec.path.suffix == ".parquet"]
        if spec.key is not None and spec.key not in names:
            raise InputError(f"{spec.path}: no column is called {spec.key!r} (input.key). {_nearest(spec.key, names)}")
        return cls(spec, schema, state)

    def reader(self, position: Position | None = None) -> Reader:
        """A reader that goes on at `position`, by default at the beginning.

        Raises:
            InputError: the file is gone, or shorter than the position.
        """
        start = position or Position()
        return _ParquetReader(self, start) if self.spec.path.suffix == ".parquet" else _LineReader(self, start)


def _is_rest(field: pa.Field, path: Path) -> bool:
    return field.name == REST and path.suffix != ".parquet"


def _stat(path: Path) -> SourceStat:
    """Check the kind of file before anything is read from it."""
    try:
        state = path.stat()
    except FileNotFoundError as exc:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Correct input.path; it is taken from the job's folder."
        raise InputError(f"{path}: there is no such file. {hint}") from exc
    except OSError as exc:
        raise InputError(f"{path}: cannot be read: {exc.strerror}.") from exc
    supported = "input.path takes one .parquet or .jsonl file"
    if stat.S_ISDIR(state.st_mode):
        raise InputError(f"{path}: is a folder; {supported}.")
    if not stat.S_ISREG(state.st_mode):
        raise InputError(f"{path}: is no regular file; {supported}.")
    if path.suffix not in (".parquet", ".jsonl"):
        raise InputError(f"{path}: {path.suffix or 'a name without an ending'} is not supported; {supported}.")
    return SourceStat(str(path), state.st_size, state.st_mtime_ns, state.st_ino)


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}?"
    return f"It has: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}." if names else "It has no columns."


def _kept_schema(types: Mapping[str, str]) -> pa.Schema:
    return pa.schema([field_of(name, text) for name, text in types.items()])


def _require_castable(path: Path, kept: pa.Schema, now: pa.Schema) -> None:
    if faults := check_schema(kept, now):
        raise InputError(f"{path}: " + "\n  ".join(faults))


def _parquet_schema(spec: InputSpec, kept: pa.Schema) -> pa.Schema:
    file = ParquetRows(spec.path)
    file.close()
    _require_castable(spec.path, kept, file.schema)
    return pa.schema([kept.field(field.name) if field.name in kept.names else field for field in file.schema])


def _jsonl_schema(spec: InputSpec, kept: pa.Schema) -> pa.Schema:
    declared = {name: json_field(name, text) for name, text in spec.types.items() if name != REST}
    _require_castable(spec.path, kept, pa.schema(declared.values()))
    if len(kept):
        # A kept column stays as it is; what is declared anew comes behind.
        fields = {**declared, **{field.name: field for field in kept}}
        names = [*kept.names, *(name for name in declared if name not in kept.names)]
    else:
        fields = {**{name: field_of(name, text) for name, text in _sample(spec).items()}, **declared}
        names = list(fields)
    return pa.schema([*(fields[name] for name in names), pa.field(REST, pa.large_string())])


def _sample(spec: InputSpec) -> dict[str, str]:
    """The types that the first lines show; lines that cannot be read say nothing."""
    sketch = Sketch()
    size = 0
    with Lines(spec.path, limit=spec.max_row_bytes, identify=bad_line_id) as lines:
        for count, line in enumerate(lines, 1):
            if line.raw is not None:
                with suppress(ValueError):
                    if isinstance(record := loads(line.raw), dict):
                        sketch.add(record)
            size += line.size
            if count >= SAMPLE_LINES or size >= SAMPLE_BYTES:
                break
    return sketch.types()


def _fault(path: Path, place: str, *, code: str, reason: str) -> Failure:
    return Failure(kind="input", verdict="fail", sent=False, code=code, message=f"{path.name} {place}: {reason}")


class _LineReader:
    """JSONL."""

    def __init__(self, source: Source, start: Position) -> None:
        self._path = source.spec.path
        self._limit = source.spec.max_row_bytes
        self._schema = source.schema
        self._fields = [field for field in source.schema if field.name != REST]
        self._empty: dict[str, Any] = dict.fromkeys(field.name for field in self._fields)
        self._read_back = {
            field.name: RowDecoder(pa.schema([field]))
            for field in self._fields
            if field.name in source.spec.types or not is_exact(field)
        }
        if start.byte > source.stat.size:
            raise InputError(f"{self._path}: is shorter than what was read of it before. Put the whole file back.")
        self._position = start
        self._file = Lines(self._path, limit=self._limit, identify=bad_line_id, byte=start.byte, line=start.line)
        self._lines = iter(self._file)

    def read(self, max_rows: int, max_bytes: int = MAX_BYTES) -> SourceBatch | None:
        """See `Reader.read`."""
        taken: list[Line] = []
        size = 0
        for line in self._lines:
            taken.append(line)
            size += line.size if line.raw is not None else 0
            if len(taken) >= min(max_rows, MAX_ROWS) or size >= max_bytes:
                break
        before = self._position
        if not taken:
            self._position = Position(before.file, before.row, before.byte, end=True, line=before.line)
            self._file.close()
            return None
        last = taken[-1]
        self._position = Position(before.file, before.row + len(taken), last.end, end=False, line=last.number)
        records: list[dict[str, Any] | None] = []
        failures: list[Failure | None] = []
        ids: list[str | None] = []
        for line in taken:
            record = self._record(line)
            if isinstance(record, dict):
                records.append({**self._empty, **record})
                failures.append(None)
                ids.append(None)
            else:
                records.append(None)
                failures.append(record)
                ids.append(line.too_long or bad_line_id(line.raw or b""))
        columns = self._columns(records)
        return SourceBatch(columns, records, [line.number for line in taken], failures, ids, size, self._position)

    def close(self) -> None:
        """See `Reader.close`."""
        self._file.close()

    def _record(self, line: Line) -> dict[str, Any] | Failure:
        """The object on one line, or why there is none."""
        place = f"line {line.number}"
        if line.raw is None:
            reason = f"{line.size:,} bytes are more than input.max_row_bytes ({self._limit:,}); not read"
            return _fault(self._path, place, code="too_long", reason=reason)
        try:
            record = loads(line.raw)
        except ValueError as exc:
            torn = "; the file ends in this line" if line.torn else ""
            return _fault(self._path, place, code="broken_line", reason=f"{exc}{torn}")
        if type(record) is dict:
            return record
        return _fault(self._path, place, code="broken_line", reason="a JSON object is wanted, one a line")

    def _columns(self, records: list[dict[str, Any] | None]) -> pa.RecordBatch:
        """Build the Arrow columns; values that a declared type reads are put back into the records."""
        rows = [record or self._empty for record in records]
        rests: dict[int, dict[str, Any]] = {}
        arrays = []
        for field in self._fields:
            name = field.name
            decoder = self._read_back.get(name)
            array, misfits = build(list(map(itemgetter(name), rows)), field, declared=decoder is not None)
            for index in misfits:
                rests.setdefault(index, {})[name] = rows[index][name]
            if decoder is not None:
                self._put_back(records, array, name, decoder=decoder, but=set(misfits))
            arrays.append(array)
        known = len(self._empty)
        for index, row in enumerate(rows):
            if len(row) > known:
                late = {key: value for key, value in row.items() if key not in self._empty}
                rests.setdefault(index, {}).update(late)
        texts = [dumps(rests[index]) if index in rests else None for index in range(len(rows))] if rests else None
        arrays.append(pa.array(texts, pa.large_string()) if texts else pa.nulls(len(rows), pa.large_string()))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    @staticmethod
    def _put_back(
        records: list[dict[str, Any] | None], array: pa.Array, name: str, *, decoder: RowDecoder, but: set[int]
    ) -> None:
        cells = decoder.records(pa.RecordBatch.from_arrays([array], names=[name]))
        for index, (record, cell) in enumerate(zip(records, cells, strict=True)):
            if record is not None and index not in but:
                record[name] = cell[name]


class _ParquetReader:
    """One Parquet file, decoded a few pages at a time."""

    def __init__(self, source: Source, start: Position) -> None:
        self._path = source.spec.path
        self._limit = source.spec.max_row_bytes
        self._schema = source.schema
        self._decoder = RowDecoder(source.schema)
        self._position = start
        self._file = ParquetRows(self._path)
        if start.row > self._file.rows:
            raise InputError(
                f"{self._path}: has {self._file.rows} rows, fewer than were read of it before. Put the whole file back."
            )
        self._batches = self._file.batches(start.row, self._schema)
        self._left: pa.RecordBatch | None = None

    def read(self, max_rows: int, max_bytes: int = MAX_BYTES) -> SourceBatch | None:
        """See `Reader.read`."""
        rest = self._left or next((batch for batch in self._batches if batch.num_rows), None)
        before = self._position
        if rest is None:
            self._position = Position(before.file, before.row, end=True)
            self._file.close()
            return None
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
            keep = pa.array([None if fault else index for index, fault in enumerate(failures)], pa.int64())
            batch = batch.take(keep)
        return SourceBatch(batch, records, numbers, failures, ids, size, self._position)

    def close(self) -> None:
        """See `Reader.close`."""
        self._file.close()

    def _records(
        self, batch: pa.RecordBatch, first: int
    ) -> tuple[list[dict[str, Any] | None], list[Failure | None], list[str | None]]:
        """Rows as Python values; when one of them resists, or is too large, each is tried by itself."""
        none: list[None] = [None] * batch.num_rows
        if batch.nbytes <= self._limit:
            try:
                return [*self._decoder.records(batch)], [*none], [*none]
            except ValueError:
                pass
        records: list[dict[str, Any] | None] = [*none]
        failures: list[Failure | None] = [*none]
        ids: list[str | None] = [*none]
        for index in range(batch.num_rows):
            row = batch.slice(index, 1)
            try:
                if row.nbytes > self._limit:
                    reason = f"{row.nbytes:,} bytes are more than input.max_row_bytes ({self._limit:,})"
                    failures[index] = _fault(self._path, f"row {first + index}", code="too_long", reason=reason)
                else:
                    records[index] = self._decoder.records(row)[0]
            except ValueError as exc:
                failures[index] = _fault(self._path, f"row {first + index}", code="broken_row", reason=str(exc))
            if failures[index] is not None:
                ids[index] = bad_line_id(batch.take([index]).serialize().to_pybytes())
        return records, failures, ids
