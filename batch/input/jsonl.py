"""One JSONL file as batches of rows with fixed types, whatever stands in its lines.

Owns what a line means: the object on it, or the failure of that one row; which values stand in columns, and which in
`input_rest`. It does not know the other files of the source, nor how the types were fixed (`source`), nor how lines are
found (`lines`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from batch.core.arrowtypes import is_exact
from batch.core.canonical import bad_line_id, dumps, loads
from batch.core.errors import InputError
from batch.input.batches import Position, SourceBatch, input_failure
from batch.input.files import File, shown
from batch.input.json_columns import REST, RowDecoder, Sketch, build
from batch.input.lines import Line, Lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from batch.core.records import Failure

Unwrap = Callable[[dict[str, Any]], tuple[dict[str, Any], tuple[str, str] | None]]
"""Takes the object on a line; gives the row in it, and code and reason when the row cannot be asked."""

MAX_ROWS: Final = 1_000
CONDEMNED: Final = 50
"""When this many first lines cannot be asked for one reason, the whole source is refused."""
SAMPLE_LINES: Final = 10_000
SAMPLE_BYTES: Final = 64 * 1024 * 1024


class LineLayout:
    """What all files of one source share: the columns, how they are read back, the size limit.

    Args:
        schema: the columns, `input_rest` included.
        declared: names of the columns whose type the job declares.
        limit: the longest line in bytes.
        unwrap: finds the row in the object on a line; None when the object is the row.
    """

    def __init__(
        self, schema: pa.Schema, *, declared: Collection[str], limit: int, unwrap: Unwrap | None = None
    ) -> None:
        self.schema = schema
        self.limit = limit
        self.unwrap = unwrap
        self.fields = [field for field in schema if field.name != REST]
        self.empty: dict[str, Any] = dict.fromkeys(field.name for field in self.fields)
        self.read_back = {
            field.name: RowDecoder(pa.schema([field]))
            for field in self.fields
            if field.name in declared or not is_exact(field)
        }

    def columns(self, records: list[dict[str, Any] | None]) -> pa.RecordBatch:
        """Build the Arrow columns of some records.

        Where a declared type reads a value in its own way, that value is put back into the record.
        """
        rows = [record or self.empty for record in records]
        rests: dict[int, dict[str, Any]] = {}
        arrays = []
        for field in self.fields:
            name = field.name
            decoder = self.read_back.get(name)
            array, misfits = build(list(map(itemgetter(name), rows)), field, declared=decoder is not None)
            for index in misfits:
                rests.setdefault(index, {})[name] = rows[index][name]
            if decoder is not None:
                _put_back(records, array, name, decoder=decoder, but=set(misfits))
            arrays.append(array)
        columns = len(self.empty)
        for index, row in enumerate(rows):
            if len(row) > columns:
                late = {key: value for key, value in row.items() if key not in self.empty}
                rests.setdefault(index, {}).update(late)
        texts = [dumps(rests[index]) if index in rests else None for index in range(len(rows))] if rests else None
        arrays.append(pa.array(texts, pa.large_string()) if texts else pa.nulls(len(rows), pa.large_string()))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _put_back(
    records: list[dict[str, Any] | None], array: pa.Array, name: str, *, decoder: RowDecoder, but: set[int]
) -> None:
    cells = decoder.records(pa.RecordBatch.from_arrays([array], names=[name]))
    for index, (record, cell) in enumerate(zip(records, cells, strict=True)):
        if record is not None and index not in but:
            record[name] = cell[name]


def require_lines(file: File) -> None:
    """Refuse a file that does not hold JSON lines, before anything of the source is read.

    Raises:
        InputError: the file cannot be opened, is UTF-16 or Parquet, is compressed in another way than its ending says,
            or is one JSON document and not one object a line.
    """
    with Lines(file.path, limit=0, identify=bad_line_id, packing=file.packing) as lines:
        head = lines.head().lstrip()
    first, newline, more = head.partition(b"\n")
    # `[` alone on a line begins a printed array; many programs write a whole array on one line as .json.
    whole = head.startswith(b"[") and not more.strip() and ".json" in file.path.suffixes
    if (newline and first.strip() in (b"[", b"{")) or whole:
        way_out = f"jq -c '{'.[]' if head[:1] == b'[' else '.'}' {shown(file.path.name)} > rows.jsonl"
        raise InputError(
            f"{shown(file.path)}: is one JSON document, where one object a line is wanted. Convert it: {way_out}"
        )


def sample(files: Iterable[File], *, limit: int, unwrap: Unwrap | None) -> dict[str, str]:
    """The types that the first lines of the source show, from as many files as needed.

    Args:
        files: the files in their order.
        limit: the longest line in bytes; longer ones, and lines that cannot be read, are ignored.
        unwrap: as for `LineLayout`.

    Raises:
        InputError: a file cannot be read.
    """
    sketch = Sketch()
    size = count = 0
    for file in files:
        with Lines(file.path, limit=limit, identify=bad_line_id, packing=file.packing) as lines:
            for line in islice(lines, SAMPLE_LINES - count):
                if line.raw is not None:
                    _sketch(sketch, line.raw, unwrap)
                count += 1
                size += line.size
                if size >= SAMPLE_BYTES:
                    break
        if count >= SAMPLE_LINES or size >= SAMPLE_BYTES:
            break
    return sketch.types()


def require_some(files: Iterable[File], *, limit: int, unwrap: Unwrap) -> None:
    """Refuse a source whose first 50 lines cannot be asked for one and the same reason: then the job is wrong.

    Args:
        files: the files in their order.
        limit: the longest line in bytes.
        unwrap: as for `LineLayout`.

    Raises:
        InputError: the source is refused; the message is that of the first line.
    """
    first: Failure | None = None
    count = 0
    for file in files:
        with Lines(file.path, limit=limit, identify=bad_line_id, packing=file.packing) as lines:
            for line in islice(lines, CONDEMNED - count):
                refusal = _refusal(line, unwrap)
                if refusal is None or (first is not None and first.code != refusal[0]):
                    return
                code, reason = refusal
                first = first or input_failure(f"{file.name} line {line.number}", code=code, reason=reason)
                count += 1
        if first is not None and count >= CONDEMNED:
            raise InputError(f"{first.message}. So it is with all of the first {count} lines.")


def _refusal(line: Line, unwrap: Unwrap) -> tuple[str, str] | None:
    """Code and reason when the row on a line cannot be asked; None when it can, or when the line is no object."""
    with suppress(ValueError):
        record = loads(line.raw or b"")
        return unwrap(record)[1] if isinstance(record, dict) else None
    return None


def _sketch(sketch: Sketch, raw: bytes, unwrap: Unwrap | None) -> None:
    try:
        record = loads(raw)
    except ValueError:
        return
    if isinstance(record, dict):
        sketch.add(unwrap(record)[0] if unwrap is not None else record)


class LineReader:
    """Reads the rows of one file forwards from a position."""

    def __init__(self, file: File, layout: LineLayout, start: Position) -> None:
        """Open the file.

        Args:
            file: which file.
            layout: what all files of the source share.
            start: where to begin.

        Raises:
            InputError: the file is gone, or shorter than the position.
        """
        self._source = file
        self._layout = layout
        if file.packing is None and start.byte > file.size:
            raise InputError(
                f"{shown(file.path)}: is shorter than what was read of it before. Put the whole file back."
            )
        self._position = start
        self._unit = f"{file.name} line"
        self._file = Lines(
            file.path,
            limit=layout.limit,
            identify=bad_line_id,
            packing=file.packing,
            byte=start.byte,
            line=start.line,
        )
        self._lines = iter(self._file)

    def read(self, max_rows: int, max_bytes: int) -> SourceBatch | None:
        """Read the next rows: at least one, at most `max_rows`, about `max_bytes`; None at the end of the file.

        Raises:
            InputError: the file cannot be read further.
        """
        taken: list[Line] = []
        size = 0
        for line in self._lines:
            taken.append(line)
            size += line.size if line.raw is not None else 0
            if len(taken) >= min(max_rows, MAX_ROWS) or size >= max_bytes:
                break
        if not taken:
            self._file.close()
            return None
        before, last = self._position, taken[-1]
        ended = last.damage is not None
        self._position = Position(before.file, before.row + len(taken), last.end, end=ended, line=last.number)
        records: list[dict[str, Any] | None] = []
        failures: list[Failure | None] = []
        ids: list[str | None] = []
        for line in taken:
            record, failure = self._record(line)
            records.append(record)
            failures.append(failure)
            ids.append(None if record is not None else self._name(line))
        columns = self._layout.columns(records)
        numbers = [line.number for line in taken]
        return SourceBatch(columns, records, numbers, failures, ids, size, self._position, self._unit)

    def close(self) -> None:
        """Close the file before its end; harmless when repeated."""
        self._file.close()

    def _name(self, line: Line) -> str:
        if line.damage is not None:
            return bad_line_id(f"{self._unit} {line.number}".encode())
        return line.too_long or bad_line_id(line.raw or b"")

    def _record(self, line: Line) -> tuple[dict[str, Any] | None, Failure | None]:
        """The row on one line, and the failure of a row that cannot be asked."""
        place = f"{self._unit} {line.number}"
        if line.raw is None:
            return None, self._unread(line, place)
        try:
            record = loads(line.raw)
        except ValueError as exc:
            torn = "; the file ends in this line" if line.torn else ""
            return None, input_failure(place, code="unreadable", reason=f"{exc}{torn}{_way_out(line.raw)}")
        if type(record) is not dict:
            return None, input_failure(place, code="unreadable", reason="a JSON object is wanted, one a line")
        if self._layout.unwrap is None:
            return {**self._layout.empty, **record}, None
        row, refusal = self._layout.unwrap(record)
        failure = None if refusal is None else input_failure(place, code=refusal[0], reason=refusal[1])
        return {**self._layout.empty, **row}, failure

    def _unread(self, line: Line, place: str) -> Failure:
        limit = self._layout.limit
        if line.damage is None:
            reason = f"{line.size:,} bytes are more than input.max_row_bytes ({limit:,}); not read"
            return input_failure(place, code="too_long", reason=reason)
        reason = (
            f"the compressed data cannot be unpacked after line {line.number - 1} ({line.damage}); what came before is "
            "read, and what should stand here is missing. Make the file again, then run the same command"
        )
        return input_failure(place, code="unreadable", reason=reason)


def _way_out(raw: bytes) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return "; if the file is Latin-1, convert it: iconv -f LATIN1 -t UTF-8"
    return ""
