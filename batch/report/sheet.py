"""An XLSX sheet that is written row by row: what a cell of it can hold, and how text stays text.

Owns the limits of the format, and what becomes of a value that is larger. Needs the extra `xlsx`, which is imported
only when a sheet is made. It does not know which rows are written (`export`).
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import IO, Any, Final

import msgspec
import pyarrow as pa

from batch.core import exactjson
from batch.core.errors import RefusedToStart

MOST_ROWS: Final = 1_048_575
"""Under the row of names."""
MOST_COLUMNS: Final = 16_384
MOST_CHARACTERS: Final = 32_767
"""Of one cell, in units of UTF-16: what lies beyond U+FFFF counts twice."""
CUT: Final = " … [cut]"
_DIGITS: Final = 15
"""A number in a sheet is a double, of which a spreadsheet shows so many digits; more digits stay text."""
_FIRST_DAY: Final = date(1900, 3, 1)
"""Spreadsheets count a 29 February 1900, so they do not agree on earlier days."""
_NO_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPE: Final = re.compile("_(?=x[0-9A-Fa-f]{4}_)")


def require(rows: int, columns: int) -> None:
    """Refuse what a sheet cannot hold, and what cannot be written here.

    Raises:
        RefusedToStart: it is too much, or the extra is not installed.
    """
    if rows > MOST_ROWS:
        raise RefusedToStart(
            f"a sheet holds {MOST_ROWS:,} rows, and these are {rows:,}. Export to .csv or .jsonl, or fewer rows "
            "with --failed."
        )
    if columns > MOST_COLUMNS:
        raise RefusedToStart(
            f"a sheet holds {MOST_COLUMNS:,} columns, and these are {columns:,}. Choose some with --columns."
        )
    try:
        import openpyxl  # noqa: F401, PLC0415 - an extra
    except ImportError as exc:
        raise RefusedToStart("an .xlsx file needs one package more: pip install 'promptmill[xlsx]'") from exc


class Sheet:
    """Writes rows into the one sheet of a workbook.

    Args:
        file: takes the workbook, by `close`; until then the rows lie in a temporary file.
        schema: the columns.

    Attributes:
        cut: cells that were too long.
    """

    quoted = 0

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        from openpyxl import Workbook  # noqa: PLC0415 - an extra, slow to import
        from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415 - as above

        self.cut = 0
        self._file = file
        self._cell = WriteOnlyCell
        self._book = Workbook(write_only=True)
        self._sheet = self._book.create_sheet("results")
        self._sheet.freeze_panes = "A2"
        self._sheet.append([self._text(name) for name in schema.names])

    def rows(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        for values in zip(*map(_moments, batch.columns), strict=True):
            self._sheet.append([self._value(value) for value in values])

    def close(self) -> None:
        """Write the workbook."""
        self._book.save(self._file)

    def abandon(self) -> None:
        """Remove the temporary file, harmless after `close`."""
        with suppress(Exception):
            self._sheet.close()
        with suppress(Exception):
            self._sheet._writer.cleanup()  # noqa: SLF001 - nothing public removes it before the interpreter ends

    def _value(self, value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, datetime) or type(value) is date:
            day = value.date() if isinstance(value, datetime) else value
            return value if day >= _FIRST_DAY else self._text(value.isoformat())
        if is_number(value) and _shown_whole(value):
            return float(value) if isinstance(value, Decimal) else value
        return self._text(text_of(value))

    def _text(self, text: str) -> Any:
        text = _NO_XML.sub("\ufffd", text)
        text = _ESCAPE.sub("_x005F_", text)  # else a spreadsheet reads `_x000D_` as the character of that number
        if len(text) > MOST_CHARACTERS // 2 and len(text.encode("utf-16-le")) // 2 > MOST_CHARACTERS:
            self.cut += 1
            units = text.encode("utf-16-le")[: 2 * (MOST_CHARACTERS - len(CUT))]
            text = units.decode("utf-16-le", "ignore") + CUT
        if not text.startswith(("=", "+", "-", "@", "#")):
            return text
        cell = self._cell(self._sheet, value=text)
        cell.data_type = "s"  # whatever it looks like
        if not text.startswith("#"):
            cell.quotePrefix = True  # and it stays text when somebody edits it
        return cell


def _moments(column: pa.Array) -> list[Any]:
    """The cells; moments in UTC without a zone, because a sheet has none; what no datetime holds is text."""
    kind = column.type
    if not pa.types.is_timestamp(kind):
        return cells(column)
    try:
        micros: list[Any] = column.cast(pa.timestamp("us"), safe=False).to_pylist()
    except (pa.ArrowException, ValueError, OverflowError):
        texts: list[Any] = column.cast(pa.string()).to_pylist()
        return texts
    return micros


def cells(column: pa.Array) -> list[Any]:
    """The cells as Python values; those that Python cannot hold are text."""
    try:
        values: list[Any] = column.to_pylist(maps_as_pydicts="lossy")
    except (ValueError, OverflowError, pa.ArrowException):
        values = [_cell_text(column[index : index + 1]) for index in range(len(column))]
    return values


def _cell_text(cell: pa.Array) -> str:
    try:
        return str(cell.cast(pa.string())[0].as_py())
    except (ValueError, OverflowError, pa.ArrowException):
        return str(cell[0])


def is_number(value: Any) -> bool:
    """Whether a cell can be a number; NaN and infinity cannot."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def _shown_whole(value: float | Decimal) -> bool:
    """Whether no digit of it is lost in a double."""
    return isinstance(value, float) or len(Decimal(value).normalize().as_tuple().digits) <= _DIGITS


def text_of(value: Any) -> str:
    """A value as the text of one cell: lists and objects as JSON, empty lists as nothing, bytes as their text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (list, tuple)) and not value:
        return ""
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
    if isinstance(value, (int, float, timedelta, date)):
        return str(value)
    text = exactjson.encoded(value).decode()
    return msgspec.json.decode(text, type=str) if text.startswith('"') else text
