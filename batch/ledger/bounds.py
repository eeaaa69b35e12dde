"""What each call under way can come to, kept from before it is sent until it is booked, for a job with a budget.

When a process is killed, the next one books its calls as unknown, and a budget counts the most that they can have come
to. What a call asked can often be made again then, but not when the job or a file that its row names was changed
meanwhile. Owns how they are read again. How that most is reckoned, and what a budget makes of it, is not known here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from batch.ledger.reader import LedgerReader

_OPEN: Final = """
SELECT b.call_id, b.tokens, b.cost, b.currency, b.known
FROM bounds b
JOIN calls c USING (call, call_id)
WHERE c.record IS NULL
"""
"""By its id, too: calls of a later run are numbered anew, and a kill may leave a call here that was booked."""


class CallBound(NamedTuple):
    """The most that one call can come to."""

    tokens: int
    cost: int
    """In 10⁻¹² of the unit of `currency`; 0 where no money is counted."""
    currency: str
    """Empty where no money is counted."""
    known: bool
    """Whether it cannot come to more; else something in it has no bound, and this is the most of all the rest."""


class BoundsReader(LedgerReader):
    """A reader that knows what calls under way can come to."""

    def open_bounds(self) -> dict[str, CallBound]:
        """Those of the calls that an earlier process sent and did not book, by call id."""
        return {row[0]: CallBound(row[1], row[2], row[3], bool(row[4])) for row in self._rows(_OPEN)}
