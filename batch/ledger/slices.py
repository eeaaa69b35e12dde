"""The cut of what is read from the ledger at once, by bytes.

Owns that one rule. A slice has one row at least, so that whoever asks again and again comes to the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def within(rows: Iterable[Any], most_bytes: float, *, column: int) -> Iterator[Any]:
    """The first rows, until one column of them has this many bytes together.

    Args:
        rows: of a statement; no more of it are read than are given.
        most_bytes: when to stop; the row that passes it is still given.
        column: the place of the column, whose values are bytes.
    """
    for row in rows:
        yield row
        most_bytes -= len(row[column])
        if most_bytes <= 0:
            return
