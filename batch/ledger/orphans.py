"""Lines of batches whose calls were lost with a ledger: what each asked, until a row that asks the same takes it.

A ledger that was made again knows nothing of what was on its way in batches; the next run finds the batches at the
provider and writes down what their lines asked (`register`). A row that asks the same takes a line instead of buying it
again: its call is that line from then on. What nobody takes is forgotten with its wave. Owns how these lines are read
and written; the table (`orphan_table`) is made when a ledger is opened, so that an older one needs no new format.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

import apsw
import msgspec

from batch.ledger.paid import PaidReader

LOST: Final = "batches_lost"
"""Key of `meta`: the ledger was made again, and nobody has looked yet for batches that it does not know."""
_INSERT: Final = """
INSERT INTO orphans(wave, line, call_id, asks)
SELECT ?1, ?2, ?3, ?4
WHERE NOT EXISTS (SELECT 1 FROM calls WHERE call_id = ?3)
"""
_UNCLAIMED: Final = """
SELECT id, wave, line, call_id
FROM orphans
WHERE asks = ?
ORDER BY id
"""
_BY_WAVE: Final = """
SELECT o.wave, count(*), w.made_at
FROM orphans o
JOIN waves w USING (wave)
GROUP BY o.wave
"""
_CLAIMED: Final = """
SELECT l.wave, count(*)
FROM lines l
JOIN calls c USING (call)
WHERE c.record IS NULL AND l.wave IN (SELECT wave FROM orphans)
GROUP BY l.wave
"""
_BATCHES: Final = """
SELECT batch
FROM waves
WHERE batch IS NOT NULL
"""
_CALL_IDS: Final = """
SELECT call_id
FROM calls
WHERE lane = 'bulk' AND call_id IN (SELECT value FROM json_each(?))
"""


class Orphan(NamedTuple):
    """One line that no row has taken yet."""

    id: int
    wave: int
    line: int
    call_id: str


class Lost(NamedTuple):
    """One line as it is written down: its place in the file, from 1, its call id, and what it asks as a hash."""

    line: int
    call_id: str
    asks: bytes


class OrphansReader(PaidReader):
    """A reader that knows lines without a row."""

    @property
    def lost(self) -> bool:
        """Whether batches are to be looked for that the ledger does not know."""
        return self.meta(LOST) is not None

    def unclaimed(self, asks: bytes) -> list[Orphan]:
        """The lines that ask this, in the order in which they were found."""
        return [Orphan(*row) for row in self._rows(_UNCLAIMED, (asks,))]

    def unclaimed_by_wave(self) -> dict[int, tuple[int, int]]:
        """By number of a wave, how many of its lines no row has taken, and when it was made, in microseconds."""
        return {row[0]: (row[1], row[2]) for row in self._rows(_BY_WAVE)}

    def claimed_by_wave(self) -> dict[int, int]:
        """Of the waves that have such lines, how many of their other lines are open calls of rows."""
        return dict(self._rows(_CLAIMED))

    def batches(self) -> set[str]:
        """The ids of all batches that the ledger knows, collected ones too."""
        return {row[0] for row in self._rows(_BATCHES)}

    def known_ids(self, call_ids: Collection[str]) -> set[str]:
        """Those of these that are ids of calls of the ledger."""
        return {row[0] for row in self._rows(_CALL_IDS, (msgspec.json.encode(list(call_ids)).decode(),))}


def register(wave: int, lines: Sequence[Lost]) -> Callable[[apsw.Connection], None]:
    """The change that writes down what the lines of a wave ask.

    Args:
        wave: its number.
        lines: those whose calls are not booked.
    """

    def change(db: apsw.Connection) -> None:
        db.executemany(_INSERT, ((wave, *line) for line in lines))

    return change


def looked(db: apsw.Connection) -> None:
    """Write down that batches that the ledger did not know were looked for."""
    db.execute("DELETE FROM meta WHERE key = ?", (LOST,))
