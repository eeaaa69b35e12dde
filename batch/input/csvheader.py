"""The header of a CSV file: the names of its columns, and what speaks against its first line being one.

Owns the words for first lines that are something else: data, a line for Excel, JSON, cells with another separator
between them. Where a row ends, and what its cells are, is in `csvrows`.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from batch.core.canonical import loads
from batch.core.errors import InputError
from batch.input.csvrows import Records, cells, delimiter_of, text_of
from batch.input.files import File, shown
from batch.input.jsonl import conversion

_OTHER_DELIMITERS: Final = (";", "\t", "|", ",")
_VALUE: Final = re.compile(
    r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d{1,3})?%?"  # a number
    r"|\d{4}-\d\d-\d\d([ T].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}"  # a date
    r"|[a-z][a-z0-9+.-]*://\S*|[^\s@]+@[^\s@]+\.[^\s@]+"  # an address
)
"""What stands in rows, and hardly ever in a header."""
_YEAR: Final = re.compile(r"(19|20)\d\d")
"""Numbers that do stand in headers: a table may have a column for each year."""
_SHOWN: Final = 5


class Header(msgspec.Struct, frozen=True):
    """The first row of a CSV file, read as the names of its columns."""

    names: list[str]
    """In the order of the file; none for a file without a line."""
    unnamed: frozenset[str] = frozenset()
    """Those that stand for an empty cell, and are called after its place: `column_1`."""
    doubt: str | None = None
    """What speaks against it being a header, for people, with the way out; for when a column is missing."""


def header(file: File, *, limit: int, delimiter: str | None) -> Header:
    """The names of the columns of a file.

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
        return Header([])
    where = f"{shown(file.path)} line {first.number}"
    if first.raw is None:
        why = first.damage or f"{first.size:,} bytes are more than input.max_row_bytes ({limit:,})"
        raise InputError(f"{where}: the header cannot be read: {why}. Make the file again.")
    try:
        text = text_of(first.raw)
        given = [name.strip() for name in cells(text, between)]
    except ValueError as exc:
        mark = None if delimiter is not None else _better(first.raw.decode(errors="replace"), between)
        way_out = f". {_separated(mark)}" if mark is not None else f"{conversion(first.raw)}."
        raise InputError(f"{where}: the header cannot be read: {exc}{way_out}") from exc
    _require_header(where, text, given)
    names = [name or f"column_{number}" for number, name in enumerate(given, 1)]
    _require_names(where, names, given)
    other = _better(text, between) if delimiter is None else None
    if len(names) == 1 and other not in (None, ","):  # a comma may well be part of a name
        raise InputError(f"{where}: the header is one cell, {names[0][:80]!r}. {_separated(other)}")
    unnamed = frozenset(name for name, cell in zip(names, given, strict=True) if not cell)
    return Header(names, unnamed, _doubt(f"line {first.number} of {file.name}", given, other))


def _require_header(where: str, text: str, given: list[str]) -> None:
    """Refuse a first line that certainly is something else.

    Args:
        where: file and line, for the message.
        text: the line.
        given: its cells.

    Raises:
        InputError: with what it is.
    """
    if "\0" in text:
        raise InputError(
            f"{where}: the header has NUL bytes in it, so the file is damaged or no text. Make the file again."
        )
    if given[0].lower().startswith("sep="):
        raise InputError(
            f"{where}: {given[0][:80]!r} is a line for Excel, not the header. Take it out; input.delimiter says what "
            "separates the cells."
        )
    if any("\r" in name.replace("\r\n", "") for name in given):
        raise InputError(
            f"{where}: the lines end in CR alone, as old programs write them, so the file is one line. Turn them into "
            "line feeds: tr '\\r' '\\n' < OLD > NEW"
        )
    if _is_json(text):
        raise InputError(f"{where}: is JSON, not the header of a CSV file. Give the file the ending .jsonl.")


def _require_names(where: str, names: list[str], given: list[str]) -> None:
    """Refuse a header in which two columns have one name.

    Args:
        where: file and line, for the message.
        names: of the columns.
        given: the same as they stand in the file, empty where a column has no name of its own.

    Raises:
        InputError: with the names.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if not twice:
        return
    if _value(given) is not None:
        raise InputError(
            f"{where}: is taken for the header, and reads as data: {_listed(given)}. Put a line with the names of the "
            "columns on top; or, if these are the names, take care that none is there twice."
        )
    empty = [name for name in twice if name not in given or given.count(name) < names.count(name)]
    also = f" ({empty[0]} is what an empty cell of the header is called)" if empty else ""
    raise InputError(
        f"{where}: has {', '.join(map(repr, twice))} more than once{also}. Rename the columns; or, if it is data, put "
        "a line with the names of the columns on top."
    )


def _doubt(where: str, given: list[str], other: str | None) -> str | None:
    """What speaks against a line being a header, a whole sentence; None when nothing does.

    Args:
        where: the line, for the message.
        given: its cells.
        other: what may separate its cells just as well.
    """
    begin = where[0].upper() + where[1:]
    if other is not None:
        return f"{begin} can be cut at {other!r}, too. {_separated(other)}"
    if any(len(name) > 1 and name[0] == name[-1] == '"' for name in given):
        return f"{begin} has blanks before its quotes, so the quotes are part of the names. Take the blanks out."
    if (value := _value(given)) is not None:
        return (
            f"{begin} is taken for the header, and reads as data ({value[:40]}). If it is data, put a line with the "
            "names of the columns on top."
        )
    if "" in given:
        number = given.index("") + 1
        return (
            f"Cell {number} of {where} is empty, so its column is called column_{number}. If the names of the columns "
            "stand in a later line, take out the lines above it."
        )
    return None


def _value(given: list[str]) -> str | None:
    """The first cell that is no name of a column but a value; None when there is none."""
    return next((name for name in given if _VALUE.fullmatch(name) and not _YEAR.fullmatch(name)), None)


def _is_json(text: str) -> bool:
    if not text.startswith("{"):
        return False
    try:
        return isinstance(loads(text), dict)
    except ValueError:
        return False


def _better(text: str, between: str) -> str | None:
    """What cuts a line into at least as many cells as the separator that is used, and two; None when nothing does."""
    found = {mark: _count(text, mark) for mark in _OTHER_DELIMITERS if mark != between}
    best = max(found, key=lambda mark: found[mark])
    return best if found[best] >= max(2, _count(text, between)) else None


def _count(text: str, mark: str) -> int:
    try:
        return len(cells(text, mark))
    except ValueError:
        return 0


def _separated(mark: str) -> str:
    written = '"\\t"' if mark == "\t" else f'"{mark}"'
    return f"If {mark!r} stands between its cells, set input.delimiter = {written}."


def _listed(given: list[str]) -> str:
    few = [name if len(name) <= 40 else f"{name[:39]}…" for name in given[:_SHOWN]]
    return f"{', '.join(name or '(empty)' for name in few)}{', …' if len(given) > _SHOWN else ''}"
