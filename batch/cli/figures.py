"""Figures with their intervals, names and tables in cells of a terminal, for reports that are 80 cells wide.

Owns how an estimate is written and how a name that is too long is cut. It prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.cells import cell_len, set_cell_size

from batch.core.plain import clean

if TYPE_CHECKING:
    from batch.labels.quality import Estimate

WIDTH: Final = 80
NAME: Final = 30
"""Cells of a name."""


def in_percent(found: Estimate) -> str:
    """A share in percent, and its interval."""
    if found.value is None or found.interval is None:
        return "–"
    low, high = found.interval
    return f"{_hundredths(found.value)} % ({_hundredths(low)} to {_hundredths(high)})"


def _hundredths(share: float) -> str:
    """Percent with one decimal; 100 and 0 only where it is all or none."""
    return f"{min(99.9, max(0.1, 100 * share)) if 0 < share < 1 else 100 * share:.1f}"


def decimals(found: Estimate) -> str:
    """A figure with three decimals, and its interval."""
    if found.value is None:
        return "– (there is only one class)"
    if found.interval is None:
        return f"{found.value:.3f}"
    return f"{found.value:.3f} ({found.interval[0]:.3f} to {found.interval[1]:.3f})"


def in_short(found: Estimate) -> str:
    """A figure and its interval as `0.91 .88–.94`, of which three fit into one line; 1.00 is all, 0.00 is none."""
    if found.value is None or found.interval is None:
        return "–"
    share = min(0.99, max(0.01, found.value)) if 0 < found.value < 1 else found.value
    low, high = (f"{end:.2f}".removeprefix("0").replace("1.00", "1") for end in found.interval)
    return f"{share:.2f} {low}–{high}"


def cut(text: str, most: int = NAME) -> str:
    """A name in at most so many cells."""
    text = clean(text) or "(empty)"
    return text if cell_len(text) <= most else set_cell_size(text, most - 1).rstrip() + "…"


def filled(words: Sequence[str]) -> Iterator[str]:
    """Words in lines of at most `WIDTH` cells, all but the first further in."""
    line = " "
    for word in words:
        if cell_len(line) + 1 + cell_len(word) > WIDTH:
            yield line
            line = "   "
        line += f" {word}"
    yield line


def grid(rows: Sequence[tuple[Any, ...]], *, left: frozenset[int] = frozenset({0})) -> Iterator[str]:
    """Aligned lines; measured in cells, because most Chinese signs take two."""
    cells = [[cut(str(cell)) if at in left else str(cell) for at, cell in enumerate(row)] for row in rows]
    widths = [max(cell_len(row[at]) for row in cells) for at in range(len(cells[0]))] if cells else []
    for row in cells:
        padded = []
        for at, cell in enumerate(row):
            blanks = " " * (widths[at] - cell_len(cell))
            padded.append(cell + blanks if at in left else blanks + cell)
        yield f"  {'  '.join(padded)}".rstrip()
