"""What a pass over the source asks the ledger about the rows it reads, without the questions whose answer is known.

A pass is one reading of the source from its beginning to its end. In the first one all rows are new, and to look for
each at a random place of tables of millions of rows takes a third of the time of planning. Owns the two cases in which
it is known beforehand that nothing would be found. `seen`: this process began the pass, and has surely not met the id
since. `entries`: the pass began when the index knew no row, so that it can know none that is met now. In every other
case the ledger is asked. What follows from an answer is `planner`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Self

from batch.ledger.index import IndexReader, Key
from batch.ledger.reader import Entry
from batch.plan.continuation import RunStart
from batch.plan.met import Met


class Lookups:
    """The look-ups of one pass, over the ranges that were made durable before.

    Args:
        reader: of the ledger.
        nothing_met: no process before this one has met a row of this pass, and this one tells `met` of all it meets.
        nothing_known: the pass began when the index had no row and none was admitted. Whatever is in the index now came
            from rows that this pass met before, and a row that it meets now has another id: a repeat gets its own.
    """

    def __init__(self, reader: IndexReader, *, nothing_met: bool = False, nothing_known: bool = False) -> None:
        self.reader = reader
        self._met = Met() if nothing_met else None
        self._nothing_known = nothing_known

    @classmethod
    def of_pass(cls, reader: IndexReader, start: RunStart) -> Self:
        """Those of the pass of a run, which is open by now: begun by this process, or by one that was killed."""
        return cls(reader, nothing_met=start.fresh, nothing_known=reader.began_empty(start.run))

    def seen(self, row_ids: Sequence[str]) -> Mapping[str, tuple[int, str | None]]:
        """How often each of these ids was met in this pass, and where first; without those that were not met."""
        if self._met is None:
            return self.reader.seen(row_ids)
        perhaps = self._met.perhaps(row_ids)
        return self.reader.seen(perhaps) if perhaps else {}

    def entries(self, row_ids: Sequence[str]) -> Mapping[Key, Entry]:
        """What the index has of rows that the pass meets now, by row id and variant."""
        return {} if self._nothing_known else self.reader.entries(row_ids)

    def met(self, row_ids: Collection[str]) -> None:
        """These are met by a range that is made durable next; it is harmless if in the end it is not."""
        if self._met is not None:
            self._met.add(row_ids)
