"""Two streams of result rows into one: the rows of an old part and those that replace or join them.

Owns the order of the result table (row number, then variant as the job lists them) and what a replacement means. Works
on Arrow tables in memory and holds one table of each stream at a time; reads and writes nothing. `parts` alone uses it.
"""

from __future__ import annotations

import bisect
import math
from itertools import pairwise
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def merged(old: Iterable[pa.Table], new: Iterable[pa.Table], *, variants: Sequence[str | None]) -> Iterator[pa.Table]:
    """Replace and insert rows, table by table.

    A row of `new` takes the place of the row of `old` with the same `row_id` and `variant`, or is inserted by
    `row_number`, then in the order of `variants`; variants not among them come last, in the order they had.

    Args:
        old: Tables of one schema with `row_id`, `row_number` and `variant`, by ascending `row_number`.
        new: The same; a row keeps its `row_number` for ever, so a replacement has that of the row it replaces.
        variants: The job's variants; `[None]` when it has none.

    Raises:
        ValueError: one of the streams is not in order.
    """
    rank = {variant: place for place, variant in enumerate(variants)}
    sides = _Side(old), _Side(new)
    while True:
        for side in sides:
            side.fill()
        bound = min(side.last for side in sides)
        tables = [table for side in sides if (table := side.take_below(bound)) is not None]
        if tables:
            yield _in_order(pa.concat_tables(tables), rank)
        if all(side.ended for side in sides):
            return


class _Side:
    """One of the two row streams of a merge: the rows taken from it and not yet passed on, by ascending number."""

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        self._tables = iter(tables)
        self._rows: pa.Table | None = None
        self._numbers: list[int] = []
        self.ended = False

    def fill(self) -> None:
        """Hold at least two row numbers, or everything: the rows of one number may go on in the next table."""
        while not self.ended and (not self._numbers or self._numbers[0] == self._numbers[-1]):
            table = next(self._tables, None)
            if table is None:
                self.ended = True
                return
            numbers = self._numbers + table.column("row_number").to_pylist()
            if any(after < before for before, after in pairwise(numbers)):
                raise ValueError("rows to merge must come by ascending row_number")
            self._rows = table if self._rows is None else pa.concat_tables([self._rows, table])
            self._numbers = numbers

    @property
    def last(self) -> float:
        """The highest row number held; infinite when nothing can follow."""
        return math.inf if self.ended else self._numbers[-1]

    def take_below(self, bound: float) -> pa.Table | None:
        """Pass on the rows with a number under `bound`."""
        count = bisect.bisect_left(self._numbers, bound)
        if self._rows is None or count == 0:
            return None
        taken, self._rows = self._rows.slice(0, count), self._rows.slice(count)
        del self._numbers[:count]
        return taken


def _in_order(rows: pa.Table, rank: dict[str | None, int]) -> pa.Table:
    """Old rows followed by their replacements → one row per key, in the order of the result table."""
    numbers = rows.column("row_number").to_pylist()
    if len(set(numbers)) == len(numbers) and numbers == sorted(numbers):
        return rows
    keys = zip(rows.column("row_id").to_pylist(), rows.column("variant").to_pylist(), strict=True)
    # A dict keeps the place of the first entry and the value of the last: just what a replacement means.
    at = {key: index for index, key in enumerate(keys)}
    last = len(rank)
    order = [
        index for (_, variant), index in sorted(at.items(), key=lambda e: (numbers[e[1]], rank.get(e[0][1], last)))
    ]
    return _picked(rows, order)


def _picked(rows: pa.Table, order: list[int]) -> pa.Table:
    try:
        return rows.take(pa.array(order, pa.int64()))
    except pa.ArrowNotImplementedError:
        # View types of an input have no take kernel; slices work for every type, only slower.
        return pa.concat_tables([rows.slice(index, 1) for index in order])
