"""What a pass over the source asks the ledger about the rows it reads, without the questions whose answer is known.

A pass is one reading of the source from its beginning to its end. In the first one all rows are new, and to look for
each at a random place of tables of millions of rows, or to write down there that it was met, takes a third of the time
of planning. Owns what is known beforehand in such a pass. `seen`: this process began the pass, and has surely not met
the id since. `entries`: the pass began when the index knew no row, so that it can know none that is met now. And for
the same reason a row that is in the index, or will be, needs not be written down as met: it was met by this pass, or
it would not be there. In every other case the ledger is asked, and told. What follows from an answer is `planner`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

from batch.ledger.index import IndexReader, Key
from batch.ledger.reader import Entry
from batch.plan.continuation import RunStart
from batch.plan.met import Met
from batch.plan.row_ids import Seen
from batch.plan.unindexed import Unindexed

_ONCE: Final[tuple[int, str | None]] = (1, None)


class Lookups:
    """The look-ups of one pass, over the ranges that were made durable before.

    Args:
        reader: of the ledger.
        nothing_met: no process before this one has met a row of this pass, and this one tells `met` of all it meets.
        nothing_known: the pass began when the index had no row and none was admitted. Whatever is in the index now came
            from rows that this pass met before, and a row that it meets now has another id: a repeat gets its own.
        by_content: rows have no key. Of a key it is written down where it was met first, for whoever has to mend it.
    """

    def __init__(
        self, reader: IndexReader, *, nothing_met: bool = False, nothing_known: bool = False, by_content: bool = False
    ) -> None:
        self.reader = reader
        self._met = Met() if nothing_met else None
        self._nothing_known = nothing_known
        self._unindexed = Unindexed.of(reader) if nothing_known and by_content else None

    @classmethod
    def of_pass(cls, reader: IndexReader, start: RunStart, *, by_content: bool) -> Self:
        """Those of the pass of a run, which is open by now: begun by this process, or by one that was killed."""
        return cls(
            reader,
            nothing_met=start.fresh,
            nothing_known=reader.began_empty(start.run),
            by_content=by_content,
        )

    def seen(self, row_ids: Sequence[str]) -> Mapping[str, tuple[int, str | None]]:
        """How often each of these ids was met in this pass, and where first; without those that were not met."""
        asked = row_ids if self._met is None else self._met.perhaps(row_ids)
        if not asked:
            return {}
        found = self.reader.seen(asked)
        if self._unindexed is not None:
            silent = [row_id for row_id in asked if row_id not in found]
            indexed = self.reader.indexed(silent)
            found |= {row_id: _ONCE for row_id in silent if row_id in indexed or row_id in self._unindexed}
        return found

    def entries(self, row_ids: Sequence[str]) -> Mapping[Key, Entry]:
        """What the index has of rows that the pass meets now, by row id and variant."""
        return {} if self._nothing_known else self.reader.entries(row_ids)

    def met(self, seen: Seen, number: int, admitted: Iterable[str]) -> Seen:
        """A range is made durable next; it is harmless if in the end it is not, and then nothing follows it.

        Args:
            seen: what it met.
            number: of the range.
            admitted: the ids of the rows that it admits.

        Returns:
            What of that the ledger must be told.
        """
        if self._met is not None:
            self._met.add(seen)
        if self._unindexed is None:
            return seen
        oldest = self.reader.oldest_range()
        if oldest is not None:
            self._unindexed.forget_before(oldest)
        ids = set(admitted)
        if not self._unindexed.add(number, ids):
            return seen
        return {row_id: found for row_id, found in seen.items() if found != _ONCE or row_id not in ids}
