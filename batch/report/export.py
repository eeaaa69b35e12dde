"""Writes a table as a file that a spreadsheet opens, or a program without Parquet: CSV, XLSX or JSONL.

Owns what becomes of a value in each of the three. Text is text: what a spreadsheet would take for a formula never
becomes one. Reads the published parts only, some rows at a time, and writes as it reads, so a table of any size fits;
the file appears whole or not at all. `sheet` knows what an XLSX file can hold.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch.core import exactjson
from batch.core.arrowtypes import is_json
from batch.core.durable import AtomicFile
from batch.core.errors import RefusedToStart, StorageError
from batch.core.nearest import suggestion
from batch.ledger.reader import LedgerReader
from batch.output import tables
from batch.output.folder import OutputFolder
from batch.output.parts import PartReader
from batch.output.unreadable import unreadable
from batch.plan.kept import INPUTS
from batch.report import sheet
from batch.report.folders import opened
from batch.report.missing import opening

FORMATS: Final = (".csv", ".xlsx", ".jsonl")
READ_ROWS: Final = 200
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a cell begins with that a spreadsheet takes for a formula, or takes away before it looks for one."""
_JSON_TEXTS: Final = ("messages", "input_rest")
_BOM: Final = b"\xef\xbb\xbf"


class Exported(msgspec.Struct, frozen=True):
    """What was written."""

    path: Path
    rows: int
    columns: int
    cut: int = 0
    """Cells of a sheet that were too long for it, and end where it could take no more."""
    quoted: int = 0
    """Cells of a CSV file with an apostrophe before their text, so that it stays text."""


class Writer(Protocol):
    """Writes rows in one format, into a file that is open."""

    cut: int
    quoted: int

    def rows(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        ...

    def close(self) -> None:
        """Write what ends the file, which stays open."""
        ...

    def abandon(self) -> None:
        """Give up what lies elsewhere until `close`."""
        ...


def export(out: Path, target: Path, *, columns: Sequence[str] = (), failed: bool = False) -> Exported:
    """Write a table, or a part of it, into one file.

    Args:
        out: the output folder; its run may be at work.
        target: the file, whose ending says the format; one that is there is replaced.
        columns: which, in this order; all by default.
        failed: rows that failed alone.

    Raises:
        OutputError: `out` is no output folder.
        RefusedToStart: the file cannot be made there, or a column does not exist, or a sheet cannot hold so much.
        StorageError: a part cannot be read, or the disk refused a write.
    """
    folder = opened(out)
    with LedgerReader(folder.ledger) as reader:
        parts = [folder.part(number) for number in reader.parts()]
        sources = {run.source for run in reader.runs()}
        none = None if parts else _without_rows(reader)
    if not parts and none is None:
        raise RefusedToStart(f"{folder.text}: has no results yet. Export once a part is published.")
    if lost := opening(folder, parts)[1]:
        raise StorageError(lost[0].reason)
    path = target_of(folder, target, sources)
    if path.suffix.lower() not in FORMATS:
        raise RefusedToStart(f"{target}: the ending of the file says its format: {', '.join(FORMATS)}.")
    schema = _chosen(folder, _schema(parts[-1]) if none is None else none, columns)
    if path.suffix.lower() == ".xlsx":
        sheet.require(_count(parts, failed=failed), len(schema))
    return _write(path, schema, parts, failed=failed)


def _write(path: Path, schema: pa.Schema, parts: Sequence[Path], *, failed: bool) -> Exported:
    file = AtomicFile(path)
    try:
        stream = file.open()
    except OSError as exc:
        raise _cannot_be_made(path, exc) from exc
    writer: Writer | None = None
    rows = 0
    try:
        writer = WRITERS[path.suffix.lower()](stream, schema)
        for batch in _batches(parts, schema, failed=failed):
            writer.rows(batch)
            rows += batch.num_rows
        writer.close()
        file.commit()
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise StorageError(f"{path}: cannot be written: {reason}. Make room, then run the same command again.") from exc
    finally:
        if writer is not None:
            writer.abandon()
        file.abandon()
    return Exported(path, rows, len(schema), writer.cut, writer.quoted)


def _cannot_be_made(path: Path, exc: OSError) -> RefusedToStart:
    return RefusedToStart(f"{path}: cannot be made: {exc.strerror or exc}. Choose another place or name.")


# -- what is read -----------------------------------------------------------------------------------------------------


def target_of(folder: OutputFolder, target: Path, sources: Collection[str]) -> Path:
    """The file to write, once it is sure that nothing else is lost by it.

    Args:
        folder: whose table is read.
        target: as a person typed it.
        sources: the inputs that its runs read, as the ledger has them.

    Raises:
        RefusedToStart: the file cannot be made there, or would replace the input or a part of the table.
    """
    path = target.expanduser().resolve()
    try:
        taken = path.exists()
    except OSError as exc:
        raise _cannot_be_made(target, exc) from exc
    if taken and not path.is_file():
        raise RefusedToStart(f"{target}: is no file. Give the name of the file to write.")
    if not path.parent.is_dir():
        raise RefusedToStart(f"{target}: there is no folder {path.parent}. Make it first.")
    inside = {folder.results, folder.calls, folder.runs, folder.pending}
    if {place.resolve() for place in inside}.intersection(path.parents):
        raise RefusedToStart(f"{target}: lies among the files of the table. Choose a place beside {folder.text}.")
    for source in sources:
        try:
            read = Path(msgspec.json.decode(source)["path"])
            if taken and path.samefile(read):
                raise RefusedToStart(f"{target}: is the input of this job, and would be replaced. Choose another name.")
        except (ValueError, TypeError, KeyError, OSError):
            continue
    return path


def _without_rows(reader: LedgerReader) -> pa.Schema | None:
    """The columns of a table whose last run came to its end and found no row; None where rows are still to come."""
    runs, inputs = reader.runs(), reader.meta(INPUTS)
    if not runs or runs[-1].state != "finished" or inputs is None:
        return None
    labels = reader.meta(tables.LABELS)
    of_labels = () if labels is None else pa.ipc.read_schema(pa.py_buffer(labels))
    return tables.result_schema(pa.ipc.read_schema(pa.py_buffer(inputs)), None, of_labels)


def _schema(part: Path) -> pa.Schema:
    try:
        return pq.read_schema(part)
    except (OSError, pa.ArrowException) as exc:
        raise unreadable(part, exc) from exc


def _chosen(folder: OutputFolder, schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    """The columns to write, of those of the table; the newest part has all of them."""
    chosen = []
    for text in columns:
        names = [text] if text in schema.names else [name.strip() for name in text.split(",") if name.strip()]
        for name in names:
            if name not in schema.names:
                hint = suggestion(name, schema.names, f"It has: {', '.join(schema.names)}.")
                raise RefusedToStart(f"{folder.text}: the table has no column {name!r}. {hint}")
        chosen += names
    return pa.schema([schema.field(name) for name in dict.fromkeys(chosen)]) if chosen else schema


def _count(parts: Sequence[Path], *, failed: bool) -> int:
    """How many rows there are to write."""
    if failed:
        status = pa.schema([("status", pa.string())])
        return sum(batch.num_rows for batch in _batches(parts, status, failed=True))
    rows = 0
    for part in parts:
        try:
            rows += int(pq.read_metadata(part).num_rows)
        except (OSError, pa.ArrowException) as exc:
            raise unreadable(part, exc) from exc
    return rows


def _batches(parts: Sequence[Path], schema: pa.Schema, *, failed: bool) -> Iterator[pa.RecordBatch]:
    """The rows under one schema; a column that a part lacks is null there."""
    for part in parts:
        try:
            with PartReader(part, pre_buffer=False, buffer_size=1 << 20) as file:
                have = [name for name in schema.names if name in file.schema_arrow.names]
                places = [*have, *(["status"] if failed and "status" not in have else [])]
                for batch in file.iter_batches(batch_size=READ_ROWS, columns=places):
                    kept = batch.filter(pc.equal(batch.column("status"), "failed")) if failed else batch
                    if kept.num_rows:
                        yield _under(kept, schema)
        except (OSError, pa.ArrowException) as exc:
            raise unreadable(part, exc) from exc


def _under(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        batch.column(field.name) if field.name in batch.schema.names else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, names=schema.names)


# -- values -----------------------------------------------------------------------------------------------------------


def plain(column: pa.Array) -> list[Any]:
    """The cells as Python values; times as text, because Python has no nanoseconds and no year 10000."""
    types = pa.types
    kind = column.type
    if types.is_timestamp(kind) and kind.tz is not None:
        # Moments are told in UTC, whatever zone they were written down in.
        column = column.cast(pa.timestamp(kind.unit, "UTC"))
    if types.is_temporal(kind) and not types.is_duration(kind) and not types.is_interval(kind):
        return [text if text is None else text.replace(" ", "T", 1) for text in column.cast(pa.string()).to_pylist()]
    return sheet.cells(column)


def _digits(column: pa.Array) -> list[Any]:
    """The cells, exact decimals in them as their digits."""
    cells = plain(column)
    return [exactjson.plain(cell) for cell in cells] if "decimal" in str(column.type) else cells


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


class _Jsonl:
    """One object a line; JSON that stands in the table as text is JSON here."""

    cut = quoted = 0

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self._file = file
        self._names = schema.names
        self._raw = [is_json(field) or field.name in _JSON_TEXTS for field in schema]

    def rows(self, batch: pa.RecordBatch) -> None:
        columns = [
            [_raw(cell) for cell in cells] if raw else cells
            for raw, cells in zip(self._raw, map(_digits, batch.columns), strict=True)
        ]
        for values in zip(*columns, strict=True):
            self._file.write(_encoded(dict(zip(self._names, values, strict=True))) + b"\n")

    def close(self) -> None:
        """Nothing ends a file of lines."""

    def abandon(self) -> None:
        """Nothing lies elsewhere."""


def _raw(text: Any) -> Any:
    """JSON text as what it says; text that is none stays text."""
    try:
        return text if text is None else msgspec.Raw(_encoded(msgspec.json.decode(text)))
    except (msgspec.DecodeError, RecursionError):
        return text


class Csv:
    """Comma, quotes around all text, CR LF, and the mark by which Excel knows UTF-8.

    CSV has no types: a cell that begins like a formula gets an apostrophe before it, as spreadsheets write it
    themselves where text is meant. Text is always in quotes, so that a comma or semicolon in it begins no cell.
    """

    cut = 0

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self.quoted = 0
        self._file = file
        file.write(_BOM + self.line(schema.names))

    def rows(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        for values in zip(*map(plain, batch.columns), strict=True):
            self._file.write(self.line(values))

    def close(self) -> None:
        """Nothing ends the file."""

    def abandon(self) -> None:
        """Nothing lies elsewhere."""

    def line(self, values: Sequence[Any]) -> bytes:
        """One row of cells."""
        return (",".join(map(self._cell, values)) + "\r\n").encode("utf-8", "replace")

    def _cell(self, value: Any) -> str:
        if value is None:
            return ""
        text = sheet.text_of(value)
        if sheet.is_number(value):
            return text
        if text.startswith(FORMULA):
            self.quoted += 1
            text = f"'{text}"
        return '"' + text.replace('"', '""') + '"'


WRITERS: Final[dict[str, Callable[[IO[bytes], pa.Schema], Writer]]] = {
    ".csv": Csv,
    ".jsonl": _Jsonl,
    ".xlsx": sheet.Sheet,
}
"""What writes each format, by the ending of the file."""
