"""One CSV file as batches of rows: every cell is text, unless the job or an earlier run gives its column a type.

Owns how the cells of a row are matched with the names in the header. A row with too many or too few cells fails alone,
but no row fails for cells that are empty. An empty cell is null. Where rows end is in `csvrows`, how cells stand in
columns in `jsonl`.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from batch.core.arrowtypes import is_json
from batch.core.canonical import loads
from batch.input.csvheader import header
from batch.input.csvrows import Records, cells, delimiter_of, text_of
from batch.input.files import File
from batch.input.jsonl import LineReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch.input.batches import Position
    from batch.input.jsonl import LineLayout
    from batch.input.lines import Lines

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
        self._header = header(file, limit=layout.limit, delimiter=delimiter)
        self._names = self._header.names
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
        values = self._fitted(cells(text_of(raw), self._delimiter))
        return {
            name: None if not value else value if reader is None else reader(value)
            for name, value, reader in zip(self._names, values, self._readers, strict=True)
        }

    def _fitted(self, values: list[str]) -> list[str]:
        """The cells of a row, one for each name of the header.

        Some programs write a separator behind the last cell: in the header, in the rows, or in both. What is lost or
        added then is empty, and has no name or no value.

        Raises:
            ValueError: there are too many or too few, and something would be lost.
        """
        names, given = len(self._names), len(values)
        if given > names and not any(values[names:]):
            return values[:names]
        if given < names and self._header.unnamed.issuperset(self._names[given:]):
            return values + [""] * (names - given)
        if given != names:
            raise ValueError(
                f"{given} {'cell' if given == 1 else 'cells'}, where the header has {names}; a cell with "
                f"{self._delimiter!r} or a newline in it stands in quotes"
            )
        return values


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
