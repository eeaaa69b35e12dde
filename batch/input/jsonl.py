"""One JSONL file as batches of rows with fixed types, whatever stands in its lines.

Owns what a line means: the object on it, or the failure of that one row; which values stand in columns, and which in
`input_rest`. It does not know the other files of the source, nor how the types were fixed (`source`), nor how lines are
found (`lines`).
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from batch.core.arrowtypes import is_exact
from batch.core.canonical import bad_line_id, dumps, loads
from batch.core.errors import InputError
from batch.input.batches import Position, SourceBatch, input_failure
from batch.input.files import File, shown
from batch.input.json_columns import REST, RowDecoder, build
from batch.input.lines import Line, Lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from batch.core.records import Failure

Unwrap = Callable[[dict[str, Any]], tuple[dict[str, Any], tuple[str, str] | None]]
"""Takes the object on a line; gives the row in it, and code and reason when the row cannot be asked."""

MAX_ROWS: Final = 1_000
PATIENCE: Final = 256 * 1024 * 1024
"""Bytes of one line that is too long, after which the next file is looked at: a small file may unpack to terabytes."""


class LineLayout:
    """What all files of one source share: the columns, how they are read back, the size limit.

    Args:
        schema: the columns, `input_rest` included.
        declared: names of the columns whose type the job declares.
        limit: the longest line in bytes.
        unwrap: finds the row in the object on a line; None when the object is the row.

    Attributes:
        keys: keys without a column that a row is to have all the same, null where it lacks them.
    """

    def __init__(
        self, schema: pa.Schema, *, declared: Collection[str], limit: int, unwrap: Unwrap | None = None
    ) -> None:
        self.keys: tuple[str, ...] = ()
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

    def row(self, record: dict[str, Any]) -> dict[str, Any]:
        """The object on a line as a row: what it lacks of columns and keys is null."""
        return {**self.empty, **record} if not self.keys else {**self.empty, **dict.fromkeys(self.keys), **record}

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
        for index in [index for index, row in enumerate(rows) if len(row) > columns]:
            late = {key: value for key, value in rows[index].items() if key not in self.empty}
            for key in self.keys:
                if late[key] is None:
                    del late[key]
            if late:
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


def lines_of(file: File, *, limit: int, patience: int | None = None, byte: int = 0) -> Iterator[Line]:
    """The lines of one file, for who looks at them without reading rows.

    Args:
        file: which file.
        limit: the longest line in bytes.
        patience: how many bytes of a line that is too long are passed over before it counts as the last one; None for
            all of them.
        byte: where to begin.

    Raises:
        InputError: the file cannot be read.
    """
    named, packing = bad_line_id, file.packing
    with Lines(file.path, limit=limit, identify=named, packing=packing, byte=byte, patience=patience) as lines:
        yield from lines


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
        self._layout = layout
        if file.packing is None and start.byte > file.size:
            raise InputError(
                f"{shown(file.path)}: is shorter than what was read of it before. Put the whole file back."
            )
        self._position = start
        self._unit = f"{file.name} line"
        self._file = self._open(file, start)
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
        number = last.number + last.more
        self._position = Position(before.file, before.row + len(taken), last.end, end=ended, line=number)
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

    def _open(self, file: File, start: Position) -> Lines:
        """The lines of the file from a position on."""
        how = {"limit": self._layout.limit, "byte": start.byte, "line": start.line}
        return Lines(file.path, identify=bad_line_id, packing=file.packing, **how)

    def _parse(self, raw: bytes) -> dict[str, Any]:
        """The object on a line.

        Raises:
            ValueError: there is none; the text says why.
        """
        return parse(raw)

    def _name(self, line: Line) -> str:
        if line.damage is not None:
            return bad_line_id(self._place(line).encode())
        return line.too_long or bad_line_id(line.raw or b"")

    def _record(self, line: Line) -> tuple[dict[str, Any] | None, Failure | None]:
        """The row on one line, and the failure of a row that cannot be asked."""
        if line.raw is None:
            return None, unread(line, self._place(line), self._layout.limit)
        try:
            record = self._parse(line.raw)
        except ValueError as exc:
            return None, unreadable(line, self._place(line), exc)
        if self._layout.unwrap is None:
            return self._layout.row(record), None
        row, refusal = self._layout.unwrap(record)
        failure = None if refusal is None else input_failure(self._place(line), code=refusal[0], reason=refusal[1])
        return self._layout.row(row), failure

    def _place(self, line: Line) -> str:
        return f"{self._unit} {line.number}"


def parse(raw: bytes) -> dict[str, Any]:
    """The JSON object on one line.

    Raises:
        ValueError: there is none; the text says why.
    """
    record = loads(raw)
    if type(record) is not dict:
        raise ValueError("a JSON object is wanted, one a line")
    return record


def unread(line: Line, place: str, limit: int) -> Failure:
    """The failure of a line that was not read at all.

    Args:
        line: is too long, or the file is damaged there.
        place: where it stands.
        limit: the longest line in bytes.
    """
    if line.damage is None:
        reason = f"{line.size:,} bytes are more than input.max_row_bytes ({limit:,}); not read"
        return input_failure(place, code="too_long", reason=reason)
    reason = (
        f"the compressed data cannot be unpacked after line {line.number - 1} ({line.damage}); what came before is "
        "read, and what should stand here is missing. Make the file again, then run the same command"
    )
    return input_failure(place, code="unreadable", reason=reason)


def unreadable(line: Line, place: str, why: ValueError) -> Failure:
    """The failure of a line that was read and is no row.

    Args:
        line: with its bytes.
        place: where it stands.
        why: what the parser says.
    """
    raw = line.raw or b""
    torn = "; the file ends in this line" if line.torn else ""
    if raw and not raw.strip(b"\0 \t\r\n"):
        # Written by no program: the file had grown when a machine fell, and its content never reached the disk.
        reason = f"NUL bytes and nothing else, as they are left when a machine falls{torn}. Make the file again"
    else:
        reason = f"{why}{torn}{conversion(raw)}"
    return input_failure(place, code="unreadable", reason=reason)


def conversion(raw: bytes) -> str:
    """How text that is no UTF-8 is converted; nothing for text that is."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        if _reads_as_chinese(raw):
            return "; it reads as GB18030, so convert it: iconv -f GB18030 -t UTF-8"
        return "; if the file is Latin-1, convert it: iconv -f LATIN1 -t UTF-8"
    return ""


def _reads_as_chinese(raw: bytes) -> bool:
    """Whether nearly all that is not ASCII would be common Chinese characters in GB18030."""
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError:
        return False
    special = [character for character in text if not character.isascii()]
    common = sum(
        "\u4e00" <= character <= "\u9fff" or character in "，。！？：；“”‘’（）《》、…—" for character in special
    )
    return len(special) > 1 and common >= 0.9 * len(special)
