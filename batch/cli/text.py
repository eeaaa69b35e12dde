"""Writes text for people: numbers, money, aligned tables, and the one way to stdout.

Owns no decision and no layout of a command; every command prints through `say` or `say_json`, so nothing that a
terminal obeys (`core.plain`) reaches it from any of them.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TextIO

from batch.core.errors import EXIT_OK, EXIT_STORAGE, StorageError
from batch.core.plain import clean, escaped_json

if TYPE_CHECKING:
    from batch.report.missing import Missing


def count(number: int, noun: str = "", plural: str | None = None) -> str:
    """A number with its noun: `1 row`, `1,319 rows`.

    Args:
        number: how many.
        noun: for one; empty for the number alone.
        plural: for any other number; `noun` with an s by default.
    """
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def decimal(value: Decimal) -> str:
    """An exact amount without needless zeros, but with two decimals at least."""
    whole, _, fraction = f"{value:f}".partition(".")
    fraction = fraction.rstrip("0").ljust(2, "0")
    return f"{int(whole):,}.{fraction}" if not whole.startswith("-") else f"{whole}.{fraction}"


def money(costs: Mapping[str, Decimal]) -> str:
    """Amounts by currency, as `1.20 CNY + 0.0031 USD`; empty when there are none."""
    return " + ".join(f"{decimal(value)} {clean(currency, most=12)}" for currency, value in sorted(costs.items()))


def pairs(items: Iterable[tuple[str, str]], *, indent: int = 2) -> list[str]:
    """Aligned lines of `name   value`; further lines of a value stand under its first. Empty values are left out."""
    listed = [(name, value) for name, value in items if value]
    width = max((len(name) for name, _ in listed), default=0)
    lines = []
    for name, value in listed:
        first, *rest = value.split("\n")
        lines.append(f"{' ' * indent}{name:<{width}}  {first}")
        lines += [f"{' ' * (indent + width + 2)}{line}" for line in rest]
    return lines


def table(rows: Sequence[Sequence[Any]], *, right: frozenset[int] = frozenset(), indent: int = 2) -> list[str]:
    """Rows of cells as aligned lines.

    Args:
        rows: N rows of the same number of cells; None is an empty cell.
        right: the columns, from 0, that are aligned to the right.
        indent: blanks before each line.
    """
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))] if cells else []
    return [
        (
            " " * indent
            + "  ".join(
                cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
                for column, cell in enumerate(row)
            )
        ).rstrip()
        for row in cells
    ]


WIDEST: Final = 100
"""Characters of a line of prose on a wide terminal: longer ones are hard to read."""
_BESIDE: Final = 24
"""Characters of a name that may stand beside its text; longer ones stand above it."""


def wrapped(text: str, indent: int = 0, *, width: int | None = None, less: int = 0) -> list[str]:
    """Lines of one paragraph, no wider than the terminal and never wider than `WIDEST`.

    Args:
        text: one paragraph.
        indent: blanks before each line.
        width: of the terminal, where that is known; else it is looked up.
        less: characters of the line that are taken already.
    """
    room = max(20, min(shutil.get_terminal_size().columns if width is None else width, WIDEST) - less)
    blanks = " " * indent
    return textwrap.wrap(
        text, room, initial_indent=blanks, subsequent_indent=blanks, break_long_words=False, break_on_hyphens=False
    )


def columns(items: Sequence[tuple[str, str]], *, width: int | None = None) -> list[str]:
    """Names in a column and what each is beside it, wrapped; names that are too long stand above their text.

    Args:
        items: name and text, of one paragraph.
        width: of the terminal, where that is known; else it is looked up.
    """
    beside = max((len(name) for name, _ in items if len(name) <= _BESIDE), default=0)
    lines = []
    for name, text in items:
        first, *rest = wrapped(text, width=width, less=beside + 4) or [""]
        if len(name) > beside:
            lines += [f"  {name}", f"{' ' * (beside + 4)}{first}"]
        else:
            lines.append(f"  {name:<{beside}}  {first}".rstrip())
        lines += [f"{' ' * (beside + 4)}{line}" for line in rest]
    return lines


def say(lines: Iterable[str]) -> None:
    """Write lines of data to stdout.

    Raises:
        StorageError: stdout is a file and the disk refused.
    """
    _print("\n".join(clean(line, lines=True) for line in lines))


def incomplete(files: Sequence[Missing], figures: str) -> int:
    """Say on stderr which files what was printed is without; returns the exit code that this makes.

    Args:
        files: those that cannot be read.
        figures: what is incomplete without them.
    """
    if not files:
        return EXIT_OK
    from batch.report.missing import warning

    print(f"promptmill: {clean(warning(files, figures))}", file=sys.stderr)
    return EXIT_STORAGE


def say_json(text: str) -> None:
    """Data for programs: JSON text to stdout, the same value in characters that no terminal obeys.

    Raises:
        StorageError: as `say`.
    """
    _print(escaped_json(text))


def is_gone(exc: OSError, stream: TextIO) -> bool:
    """Whether an error of a stream says that its reader went away: `| head`, or a terminal that was closed."""
    if isinstance(exc, BrokenPipeError):
        return True
    with suppress(OSError, ValueError):
        return exc.errno == errno.EIO and stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
    return False


class Unread(Exception):
    """Nobody reads stdout any more: what is left to print is not wanted."""


def _print(text: str) -> None:
    try:
        print(text)
    except OSError as exc:
        if is_gone(exc, sys.stdout):
            raise Unread from exc
        raise StorageError(f"stdout: cannot be written: {exc.strerror}.") from exc
