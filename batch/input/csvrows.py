"""One CSV file as batches of rows: every cell is text, unless the job or an earlier run gives its column a type.

Owns where a row of CSV ends (a quoted cell may hold newlines), what its cells are, and the header. Quoting is that of
RFC 4180. A row with too many or too few cells, or with a quote that is never closed, fails alone; reading goes on with
the next line. An empty cell is null. What all text files have in common is in `lines`, how cells stand in columns in
`jsonl`.

Arrow's own reader for CSV is not used: it gives no place from which another process could go on, holds a row that does
not end in memory, and ends the file where one row is broken.
"""

from __future__ import annotations

import math
import re
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from batch.core.arrowtypes import is_json
from batch.core.canonical import bad_line_id, loads
from batch.core.errors import InputError
from batch.input.files import File, shown
from batch.input.jsonl import LineReader, conversion
from batch.input.lines import Line, Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batch.input.batches import Position
    from batch.input.jsonl import LineLayout

_OTHER_DELIMITERS: Final = (";", "\t", "|")
_WHOLE: Final = re.compile(r"[+-]?\d{1,4000}")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_TRUTH: Final = {"true": True, "false": False}


class CsvReader(LineReader):
    """Reads the rows of one file forwards from a position."""

    def __init__(self, file: File, layout: LineLayout, start: Position, *, delimiter: str | None) -> None:
        """Open the file.

        Args:
            file: which file.
            layout: what all files of the source share.
            start: where to begin.
            delimiter: what stands between cells; None for what the ending of the file says.

        Raises:
            InputError: the file is gone, shorter than the position, or has no header.
        """
        self._delimiter = delimiter_of(file, delimiter)
        self._names = header(file, limit=layout.limit, delimiter=delimiter)
        fields = {field.name: field for field in layout.fields}
        self._readers = [_reader(fields[name]) if name in fields else None for name in self._names]
        super().__init__(file, layout, start)

    def _open(self, file: File, start: Position) -> Lines:
        how = {"limit": self._layout.limit, "byte": start.byte, "line": start.line}
        lines = Records(file, delimiter=self._delimiter, **how)
        if not start.byte:
            next(iter(lines), None)  # the header
        return lines

    def _parse(self, raw: bytes) -> dict[str, Any]:
        values = cells(_text(raw), self._delimiter)
        if len(values) != len(self._names):
            raise ValueError(
                f"{len(values)} cells, where the header has {len(self._names)}; a cell with {self._delimiter!r} or a "
                "newline in it stands in quotes"
            )
        return {
            name: None if not value else value if reader is None else reader(value)
            for name, value, reader in zip(self._names, values, self._readers, strict=True)
        }


class Records(Lines):
    """Iterates over the rows of a CSV file: a line, or several of them where a quoted cell has newlines."""

    def __init__(self, file: File, *, delimiter: str, limit: int, byte: int = 0, line: int = 0) -> None:
        """Open the file.

        Args:
            file: which file.
            delimiter: what stands between cells.
            limit: the longest row in bytes.
            byte: where to begin, the `end` of an earlier row.
            line: how many lines are before that.

        Raises:
            InputError: the file cannot be opened, or is no text.
        """
        how = {"limit": limit, "byte": byte, "line": line}
        super().__init__(file.path, identify=bad_line_id, packing=file.packing, **how)
        self._opens = delimiter.encode() + b'"'
        self._again: deque[bytes] = deque()

    def _readline(self, limit: int) -> bytes:
        return self._again.popleft() if self._again else super()._readline(limit)

    def __iter__(self) -> Iterator[Line]:
        window = self._limit + 2
        while raw := self._readline(window):
            self._number += 1
            if len(raw) == window and not raw.endswith(b"\n"):
                size, name = self._pass_over(raw)
                self._byte += size
                yield Line(self._number, None, size, self._byte, too_long=name)
                continue
            rest = self._rest(raw, window)
            whole = b"".join((raw, *rest))
            self._byte += len(whole)
            line = Line(self._number, _without_end(whole), len(whole), self._byte, not whole.endswith(b"\n"))
            line.more = len(rest)
            self._number += line.more
            if whole.strip(b" \r\n"):  # a row of tabs has cells
                yield line
        if self._damage is not None:
            yield Line(self._number + 1, None, 0, self._byte, damage=self._damage)

    def _rest(self, first: bytes, window: int) -> list[bytes]:
        """The further lines of the row that begins with this one; none when a quote in it is never closed."""
        quoted = first.startswith(b'"')
        inside = b'"' in first and self._open_after(first, inside=quoted, place=int(quoted))
        taken: list[bytes] = []
        size = len(first)
        while inside:
            piece = self._readline(window)
            if piece:
                taken.append(piece)
            size += len(piece)
            if not piece or size > window:
                # Read again, each line for itself: one stray quote must not swallow the rest of the file.
                self._again.extendleft(reversed(taken))
                return []
            inside = self._open_after(piece, inside=True, place=0)
        return taken

    def _open_after(self, line: bytes, *, inside: bool, place: int) -> bool:
        """Whether a quoted cell is open at the end of a line.

        Args:
            line: with its end.
            inside: whether one is open at `place`.
            place: where in the line to begin.
        """
        while True:
            place = line.find(b'"' if inside else self._opens, place)
            if place < 0:
                return inside
            if not inside:
                inside, place = True, place + len(self._opens)
            elif line[place + 1 : place + 2] == b'"':
                place += 2
            else:
                inside, place = False, place + 1


def cells(text: str, delimiter: str) -> list[str]:
    """The cells of one row, quotes taken off.

    Raises:
        ValueError: a quote is not closed, or something stands behind a quoted cell.
    """
    if '"' not in text:
        return text.split(delimiter)
    found: list[str] = []
    place = 0
    while True:
        if text.startswith('"', place):
            end = _closing(text, place + 1)
            if end < 0:
                raise ValueError(
                    f"cell {len(found) + 1} begins with a quote that is never closed; in text it is written twice"
                )
            found.append(text[place + 1 : end].replace('""', '"'))
            if end + 1 == len(text):
                return found
            if not text.startswith(delimiter, end + 1):
                raise ValueError(
                    f"cell {len(found)} goes on behind its closing quote; a quote inside a quoted cell is written twice"
                )
            place = end + 2
            continue
        end = text.find(delimiter, place)
        if end < 0:
            found.append(text[place:])
            return found
        found.append(text[place:end])
        place = end + 1


def _closing(text: str, place: int) -> int:
    """Where the quoted cell that is open at a place ends; -1 when it does not."""
    while (place := text.find('"', place)) >= 0 and text.startswith('"', place + 1):
        place += 2
    return place


def delimiter_of(file: File, declared: str | None) -> str:
    """What stands between the cells of a file: what the job says, else a tab in .tsv and a comma in .csv."""
    name = file.path.stem if file.packing is not None else file.path.name
    return declared or ("\t" if name.lower().endswith(".tsv") else ",")


def header(file: File, *, limit: int, delimiter: str | None) -> list[str]:
    """The names of the columns of a file, in its order; none for a file without a line.

    A column without a name, which many programs write for their row numbers, is called after its place: `column_1`.

    Args:
        file: which file.
        limit: the longest row in bytes.
        delimiter: as the job says it.

    Raises:
        InputError: the file cannot be opened, or its first row is no header.
    """
    between = delimiter_of(file, delimiter)
    with Records(file, delimiter=between, limit=limit) as lines:
        first = next(iter(lines), None)
    if first is None:
        return []
    where = f"{shown(file.path)} line {first.number}"
    if first.raw is None:
        why = first.damage or f"{first.size:,} bytes are more than input.max_row_bytes ({limit:,})"
        raise InputError(f"{where}: the header cannot be read: {why}. Make the file again.")
    try:
        names = [name.strip() or f"column_{number}" for number, name in enumerate(cells(_text(first.raw), between), 1)]
    except ValueError as exc:
        raise InputError(f"{where}: the header cannot be read: {exc}{conversion(first.raw)}.") from exc
    if names[0].lower().startswith("sep="):
        raise InputError(
            f"{where}: {names[0][:80]!r} is a line for Excel, not the header. Take it out; input.delimiter says what "
            "separates the cells."
        )
    if any("\r" in name.replace("\r\n", "") for name in names):
        raise InputError(
            f"{where}: the lines end in CR alone, as old programs write them, so the file is one line. Turn them into "
            "line feeds: tr '\\r' '\\n' < OLD > NEW"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{where}: has {', '.join(map(repr, twice))} more than once. Rename the columns.")
    other = next((mark for mark in _OTHER_DELIMITERS if mark in names[0]), None)
    if len(names) == 1 and other is not None and delimiter is None:
        raise InputError(
            f"{where}: the header is one cell, {names[0][:80]!r}. If its cells are separated by {other!r}, set "
            f"input.delimiter = {_toml(other)}."
        )
    return names


def _text(raw: bytes) -> str:
    """The text of one row.

    Raises:
        ValueError: it is no UTF-8.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise ValueError(f"not UTF-8: byte 0x{raw[exc.start]:02x} at byte {exc.start}") from exc


def _toml(mark: str) -> str:
    return '"\\t"' if mark == "\t" else f'"{mark}"'


def _without_end(raw: bytes) -> bytes:
    return raw.removesuffix(b"\n").removesuffix(b"\r")


def _reader(field: pa.Field) -> Callable[[str], Any] | None:
    """What makes a value of JSON out of a cell of this column; None where text is wanted.

    What cannot be read so stays the text it is, which then fits no column of this type and stands in `input_rest`.
    """
    kind = field.type
    if is_json(field) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _json
    if pa.types.is_boolean(kind):
        return lambda text: _TRUTH.get(text.strip().lower(), text)
    if pa.types.is_integer(kind):
        return lambda text: int(text) if _WHOLE.fullmatch(text.strip()) else text
    return _number if pa.types.is_floating(kind) else None


def _json(text: str) -> Any:
    try:
        return loads(text)
    except ValueError:
        return text


def _number(text: str) -> Any:
    number = float(text) if _NUMBER.fullmatch(text.strip()) else math.inf
    return number if math.isfinite(number) else text
