"""One row of a table by its number: all that is known of it, and the rows before and behind it.

Owns how a number becomes an id, by the footers of a few parts, and what of a long value a page gets: texts are cut, and
bytes are a picture or their number alone. The row itself is put together by `report.row`.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.core import exactjson
from batch.core.canonical import without_surrogates
from batch.core.errors import RefusedToStart, StorageError
from batch.output.folder import OutputFolder
from batch.report.figures.memory import FileMemory
from batch.report.figures.parquet import OpenPart
from batch.report.figures.rows import NUMBER, Rows
from batch.report.figures.tableview import PartEntry, TableView
from batch.report.row import RowView, row_of

LONGEST: Final = 100_000
"""Characters of one text on a page; files of exported rows have all of it."""
LARGEST_PICTURE: Final = 4_000_000
"""Bytes of a picture that a page shows."""
DEEPEST: Final = 50
PICTURES: Final[dict[str, tuple[bytes, ...]]] = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
}
"""Kinds of pictures that browsers show and that run nothing, by how their bytes begin."""
_ID: Final = {NUMBER: pa.int64(), "row_id": pa.string()}


class Cut(msgspec.Struct):
    """How many texts of a row were cut."""

    texts: int = 0


def row_id_of(view: TableView, number: int, memory: FileMemory) -> str:
    """The id of the row with this number.

    Args:
        view: the table.
        number: of the row.
        memory: remembers between which numbers each part lies.

    Raises:
        RefusedToStart: the table has no such row.
        StorageError: a part cannot be read.
    """
    for entry in view.parts[_first_with(view, number, memory) :]:
        with OpenPart(entry.path) as part:
            for group in range(part.groups):
                low, high = part.ends(group).get(NUMBER, (number, number))
                if low is None or not low <= number <= high:
                    continue
                table = part.read(group, _ID)
                found = table.filter(pc.equal(table.column(NUMBER), number)).column("row_id")
                if len(found):
                    return str(found[0].as_py())
        break
    for lost in view.missing:
        raise StorageError(lost.reason)  # it may stand there
    raise RefusedToStart(f"{view.folder.text}: no row of the table has the number {number}.")


def one_row(folder: OutputFolder, row_id: str, *, whole: bool = False) -> dict[str, Any]:
    """All that is known of a row, with one of `views` for each variant as `promptmill show --json` has it.

    Args:
        folder: has the row.
        row_id: of the row.
        whole: give each text whole, not cut.

    Raises:
        RefusedToStart: there is no such row.
        StorageError: a part or the ledger cannot be read.
    """
    views = row_of(folder.place, row_id)
    cut = Cut()
    shown = [_shown(of, cut, None if whole else LONGEST) for of in views]
    return {
        "row_id": shown[0].row_id,
        "row_number": shown[0].row_number,
        "views": exactjson.builtins(shown),
        "cut": cut.texts,
    }


def neighbours(rows: Rows, number: int, memory: FileMemory) -> dict[str, int | None]:
    """The numbers of the rows before and behind one, of those that are asked for; None where there is none.

    Args:
        rows: those that are asked for.
        number: of the row in the middle.
        memory: remembers between which numbers each part lies.

    Raises:
        StorageError: a part cannot be read.
    """
    parts = rows.view.parts
    start = _first_with(rows.view, number, memory)
    behind = (found for found in rows.numbers(parts[start:]) if found > number)
    before = (found for found in rows.numbers(parts[: start + 1], backwards=True) if found < number)
    return {"previous": next(before, None), "next": next(behind, None)}


def shortened(value: Any, longest: int = 2_000) -> Any:
    """The same value, its texts cut.

    Args:
        value: as JSON has it.
        longest: characters of one text.
    """
    return _told(value, Cut(), longest)


# -- inside -----------------------------------------------------------------------------------------------------------


def _first_with(view: TableView, number: int, memory: FileMemory) -> int:
    """The place of the first part that has a row of at least this number; parts lie in the order of their rows."""
    low, high = 0, len(view.parts) - 1
    while low < high:
        middle = (low + high) // 2
        greatest = _greatest(view.parts[middle], memory)
        if greatest is not None and greatest < number:
            low = middle + 1
        else:
            high = middle
    return max(low, 0)


def _greatest(entry: PartEntry, memory: FileMemory) -> int | None:
    """The greatest row number of a part, by its footer."""

    def find(_: Any) -> int | None:
        with OpenPart(entry.path) as part:
            told = [part.ends(group).get(NUMBER, (None, None))[1] for group in range(part.groups)]
        return max((number for number in told if number is not None), default=None)

    return memory.of(entry.path, "greatest number", find)


def _shown(of: RowView, cut: Cut, longest: int | None) -> RowView:
    """The row as a page can have it."""
    columns = {name: _told(value, cut, longest) for name, value in of.inputs.items()}
    outcome = None if of.outcome is None else {n: _told(v, cut, longest) for n, v in of.outcome.items()}
    return msgspec.structs.replace(
        of,
        row_id=without_surrogates(of.row_id),
        inputs=columns,
        outcome=outcome,
        messages=[_told(message, cut, longest) for message in of.messages],
        calls=[_told(call, cut, longest) for call in of.calls],
    )


def _told(value: Any, cut: Cut, longest: int | None, depth: int = 0) -> Any:
    """A value without what no page can show."""
    if isinstance(value, str):
        text: str = without_surrogates(value)
        if longest is None or len(text) <= longest:
            return text
        cut.texts += 1
        return f"{text[:longest]}… [cut: {len(text) - longest:,} more characters]"
    if isinstance(value, bytes):
        kind = _picture_kind(value)
        if kind is not None and len(value) <= LARGEST_PICTURE:
            return f"data:{kind};base64,{b64encode(value).decode()}"
        return {"bytes": len(value), "picture": kind}
    if isinstance(value, dict):
        if depth > DEEPEST:
            return "…"
        return {without_surrogates(str(key)): _told(item, cut, longest, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return "…" if depth > DEEPEST else [_told(item, cut, longest, depth + 1) for item in value]
    return value


def _picture_kind(value: bytes) -> str | None:
    if value[:4] == b"RIFF" and value[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for kind, begins in PICTURES.items() if value.startswith(begins)), None)
