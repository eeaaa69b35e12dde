"""The rows of one CSV file: where each ends, and its cells.

Owns quoting, which is that of RFC 4180: a quoted cell may hold newlines. A quote that is never closed costs its line
alone; reading goes on with the next. What all text files have in common is in `lines`. It knows no header (`csvheader`)
and no columns (`csvreader`).

Arrow's own reader for CSV is not used: it gives no place from which another process could go on, holds a row that does
not end in memory, and ends the file where one row is broken.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from batch.core.canonical import bad_line_id
from batch.input.lines import Line, Lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch.input.files import File


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


def text_of(raw: bytes) -> str:
    """The text of one row.

    Raises:
        ValueError: it is no UTF-8.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise ValueError(f"not UTF-8: byte 0x{raw[exc.start]:02x} at byte {exc.start}") from exc


def _without_end(raw: bytes) -> bytes:
    return raw.removesuffix(b"\n").removesuffix(b"\r")
