"""Writes text for people: numbers, money, aligned tables, and text from outside made harmless.

Owns no decision and no layout of a command; every command prints through it. What a model, a row or a provider said is
shown only after `clean`: control characters could rewrite the terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from batch.core.errors import StorageError

_FORMAT: Final = frozenset(map(chr, (0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))
"""Marks that turn the direction of text and can make it read as something else."""


def clean(text: str, *, lines: bool = False, most: int | None = None) -> str:
    """The text without control characters, direction marks and half surrogates, which become blanks.

    Args:
        text: from outside.
        lines: keep newlines and tabs.
        most: characters after which it is cut with `…`.
    """
    if most is not None and len(text) > most:
        text = f"{text[:most]}…"
    if text.isascii() and text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        char if char in kept or (unicodedata.category(char) not in {"Cc", "Cs"} and char not in _FORMAT) else " "
        for char in text
    )


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


def say(lines: Iterable[str]) -> None:
    """Write lines of data to stdout.

    Raises:
        StorageError: stdout is a file and the disk refused.
    """
    try:
        print("\n".join(lines))
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise StorageError(f"stdout: cannot be written: {exc.strerror}.") from exc
