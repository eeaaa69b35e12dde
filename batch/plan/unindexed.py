"""Remembers the ids of rows that are admitted and that the index of the table may not have yet.

Owns these ids, range by range, in bounded memory. A row comes into the index when it is published, a few ranges after
it was admitted; until then its id stands in its record alone, where nobody can look for it quickly. Whether an id was
met is `lookups`' to say.
"""

from __future__ import annotations

from collections import deque
from itertools import groupby
from operator import itemgetter
from typing import Final, Self

from batch.ledger.index import IndexReader

MOST: Final = 100_000
"""So many ids are kept, in some 12 MB; a run that sends each row at once has a few ranges of 10,000."""


class Unindexed:
    """The ids of admitted rows that may not be in the index.

    Args:
        most: so many ids are kept.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._ids: set[str] = set()
        self._ranges: deque[tuple[int, set[str]]] = deque()

    @classmethod
    def of(cls, reader: IndexReader) -> Self:
        """Those that an earlier process of the pass kept when it was killed, however many."""
        kept = cls()
        for number, rows in groupby(reader.unmet(), key=itemgetter(0)):
            kept._keep(number, {row_id for _, row_id in rows})
        return kept

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._ids

    def add(self, number: int, ids: set[str]) -> bool:
        """Keep the ids of a range that is admitted next; False where there is no room for them, and none is kept.

        Args:
            number: of the range; ranges come in the order of their numbers.
            ids: of all rows that it admits.
        """
        if len(self._ids) + len(ids) > self._most:
            return False
        self._keep(number, ids)
        return True

    def _keep(self, number: int, ids: set[str]) -> None:
        self._ranges.append((number, ids))
        self._ids |= ids

    def forget_before(self, number: int) -> None:
        """Forget ranges with lower numbers than this: all of their rows are in the index."""
        while self._ranges and self._ranges[0][0] < number:
            self._ids.difference_update(self._ranges.popleft()[1])
