"""Merging: the rows of an old part, and the rows that replace them or join them, become one stream.

Owns the order of the result table (by row number, then by variant as the job lists them) and what a replacement means.
It works on Arrow tables in memory, one of each stream at a time; it reads and writes no file.
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
        old: tables of one schema with `row_id`, `row_number` and `variant`, by ascending `row_number`.
        new: the same; a row keeps its `row_number` for ever, so a replacement has that of the row it replaces.
        variants: the job's variants; `[None]` when it has none.

    Raises:
        ValueError: one of the streams is not in order.
    """
    rank = {variant: index for index, variant in enumerate(variants)}
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
    """One of the two streams of a merge: it holds the rows that were taken from it and not passed on yet."""

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        self._tables = iter(tables)
        self._rows: pa.Table | None = None
        self._numbers: list[int] = []
        self.ended = False

    def fill(self) -> None:
        """Take tables until two row numbers are held, or all rows: those of one number may go on in the next table."""
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
        """The highest row number that is held; infinite when the stream has ended."""
        return math.inf if self.ended else self._numbers[-1]

    def take_below(self, bound: float) -> pa.Table | None:
        """Pass on the rows with a row number below `bound`; None when there is none."""
        count = bisect.bisect_left(self._numbers, bound)
        if self._rows is None or count == 0:
            return None
        taken, self._rows = self._rows.slice(0, count), self._rows.slice(count)
        del self._numbers[:count]
        return taken


def _in_order(rows: pa.Table, rank: dict[str | None, int]) -> pa.Table:
    """From old rows followed by their replacements, one row for each key, in the order of the result table."""
    numbers = rows.column("row_number").to_pylist()
    if len(set(numbers)) == len(numbers) and numbers == sorted(numbers):
        return rows
    keys = zip(rows.column("row_id").to_pylist(), rows.column("variant").to_pylist(), strict=True)
    # A dict keeps the place of the first entry and the value of the last: just what a replacement means.
    index_of = {key: index for index, key in enumerate(keys)}
    last = len(rank)
    ordered = sorted(index_of.items(), key=lambda entry: (numbers[entry[1]], rank.get(entry[0][1], last)))
    order = [index for _, index in ordered]
    return picked(rows, order)


def picked(rows: pa.Table, order: list[int]) -> pa.Table:
    """The rows at these places, in this order."""
    try:
        return rows.take(pa.array(order, pa.int64()))
    except pa.ArrowNotImplementedError:
        # View types of an input have no take kernel; slices work for every type, only slower.
        return pa.concat_tables([rows.slice(index, 1) for index in order])
