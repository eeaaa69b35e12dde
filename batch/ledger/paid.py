"""Answers that were paid for and are in no row: the book has their calls, and the provider may still have what it said.

A ledger that is lost takes with it the answers that no part of the table had yet, but their calls may be in the book
by then. `rebuild` writes down which these are. A row that comes again and asks the same takes its own answer from the
provider once more, by the id of the task or of the batch: that costs nothing, and the call is not booked again. Owns
the table of them, and how a row gets the task that answered it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import apsw

from batch.ledger.reader import JournaledCall, LedgerReader, PendingRow

INSERT: Final = """
INSERT INTO paid(call_id, row_id, variant, fingerprint, turn, attempt, sent_at, task, place, batch)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_OF_BATCH: Final = """
SELECT call_id, row_id, variant, fingerprint, turn
FROM paid
WHERE batch = ?
"""
_TASKS: Final = """
SELECT p.work, d.call_id, d.attempt, d.sent_at, d.task, d.place
FROM pending p
JOIN paid d USING (row_id, variant, fingerprint)
WHERE p.work BETWEEN ? AND ? AND p.state = 0 AND d.task IS NOT NULL AND d.turn = 0
    AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.work = p.work AND c.record IS NULL)
    AND NOT EXISTS (SELECT 1 FROM steps s WHERE s.work = p.work)
ORDER BY p.work, d.sent_at
"""
_LATER: Final = """
SELECT row_id, variant
FROM paid
WHERE task IS NOT NULL AND turn > 0
"""
_TURN: Final = """
SELECT call_id, attempt, sent_at, task, place
FROM paid d
WHERE row_id = ? AND variant = ? AND fingerprint = ? AND turn = ? AND task IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.work = ? AND c.sent_at > d.sent_at)
ORDER BY sent_at DESC
LIMIT 1
"""
"""Not one that is older than a call of the row: its conversation was another before, if it was only bought since."""
_LOWEST: Final = """
SELECT min(0, coalesce(min(call), 0))
FROM calls
"""
_INSERT_CALL: Final = """
INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at, task, base_url, late, published)
VALUES (?, ?, ?, ?, ?, 'task', ?, ?, ?, 1, 1)
"""
_DELETE: Final = """
DELETE FROM paid
WHERE call_id = ?
"""


class Paid(NamedTuple):
    """One call of a batch whose answer is in no row."""

    call_id: str
    row_id: str
    variant: str
    fingerprint: bytes
    """Of what its row asked; empty in the book of an older version."""
    turn: int


class PaidReader(LedgerReader):
    """A reader that knows which answers were paid for and are in no row."""

    def paid_in(self, batch_id: str) -> dict[str, Paid]:
        """Those that a batch has, by call id."""
        return {row[0]: Paid(*row) for row in self._rows(_OF_BATCH, (batch_id,))}

    def with_later_turns(self) -> set[tuple[str, str]]:
        """Row id and variant of those that have the task of a turn after the first."""
        return set(self._rows(_LATER))


def adopt_tasks(db: apsw.Connection, first: int, last: int) -> list[int]:
    """Give rows that were not answered and have no call under way the tasks that answered what they ask, as open calls.

    Their numbers are negative, as those of overdue tasks are: the event loop numbers the calls it makes from 0.

    Args:
        db: inside the transaction that admits the rows, or takes them over from an old ledger.
        first: the work number of the first of them.
        last: of the last.

    Returns:
        The work numbers of the rows that have one.
    """
    found: list[Any] = db.execute(_TASKS, (first, last)).fetchall()
    newest = {work: task for work, *task in found}
    (number,) = db.execute(_LOWEST).fetchone() or (0,)
    for work, (call_id, attempt, sent_at, task, place) in newest.items():
        number -= 1
        db.execute(_INSERT_CALL, (number, work, 0, attempt, call_id, sent_at, task, place))
        db.execute(_DELETE, (call_id,))
    return list(newest)


def adopt_turn(db: apsw.Connection, row: PendingRow, turn: int) -> JournaledCall | None:
    """Give a row the task that answered a later turn of what it asks, as an open call; None where there is none.

    Args:
        db: inside a transaction.
        row: that is about to send this turn, and has no call under way.
        turn: from 1.
    """
    of_row = row.row_id, row.variant, row.fingerprint
    found: Any = db.execute(_TURN, (*of_row, turn, row.work_id)).fetchone()
    if found is None:
        return None
    call_id, attempt, sent_at, task, place = found
    number = int(db.execute(_LOWEST).get) - 1
    db.execute(_INSERT_CALL, (number, row.work_id, turn, attempt, call_id, sent_at, task, place))
    db.execute(_DELETE, (call_id,))
    of_turn = number, row.work_id, turn, attempt
    return JournaledCall(*of_turn, call_id, "task", sent_at, task, place, late=1, record=None, booked=True)
