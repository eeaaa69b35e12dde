"""What came after its call was given up: an answer is a further record in the book, the id of a task is kept.

Owns the transactions that make these durable, whatever became of the row meanwhile: one that is still asked, one that
has settled, and one that was published and forgotten. None of them changes a row. It does not know how they came to be
so late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import apsw

from batch.core.records import Call
from batch.ledger.group import encode
from batch.ledger.reader import PendingRow
from batch.ledger.statements import INSERT_CALL, SET_RECORD

LATE: Final = "-late"
"""Behind the id of a call's further record; the provider knows the call under the id without this."""

_REMEMBER: Final = """
INSERT OR IGNORE INTO pending(work, range, idx, row_id, variant, variant_no, row_number, part, fingerprint, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 2)
"""
"""As a row that was published, so that the book can say whose call it was; with the call it is pruned again."""


_KEEP: Final = """
INSERT OR REPLACE INTO held(row_id, variant, fingerprint, task, base_url, call_id, attempt, sent_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
KEEP_UNLESS_KEPT: Final = _KEEP.replace("REPLACE", "IGNORE")
"""The same for a task of the book, which knows less than a ledger that kept one for the row."""
_DROP: Final = """
DELETE FROM held
WHERE row_id = ? AND variant = ? AND task = ?
"""


class Task(NamedTuple):
    """A task whose id came late, with its call."""

    task_id: str
    base_url: str
    """Where it can be polled; as much of it as is known, for the book has only the name of an address."""
    call_id: str
    attempt: int
    sent_at_us: int


def kept_task(row: PendingRow, held: Task) -> Callable[[apsw.Connection], None]:
    """The transaction that keeps a task, to be polled before its row is asked again by a later run."""

    def change(db: apsw.Connection) -> None:
        db.execute(_KEEP, (row.row_id, row.variant, row.fingerprint, *held))

    return change


def dropped_task(row: PendingRow, held: Task) -> Callable[[apsw.Connection], None]:
    """The transaction that keeps it no more: it brought nothing."""

    def change(db: apsw.Connection) -> None:
        db.execute(_DROP, (row.row_id, row.variant, held.task_id))

    return change


def late_call(
    row: PendingRow, number: int, record: Call, held: Task | None = None
) -> Callable[[apsw.Connection], None]:
    """The transaction that books a late answer.

    Args:
        row: that was asked.
        number: of the record, new; the call itself has been closed under another.
        record: what came.
        held: the task that it is the answer of, which is not kept any more.
    """

    def change(db: apsw.Connection) -> None:
        place = (row.work_id, row.range, row.idx, row.row_id, row.variant, row.variant_no, row.row_number, row.part)
        db.execute(_REMEMBER, (*place, row.fingerprint))
        sent = (number, row.work_id, record.turn, record.attempt, record.client_call_id, record.lane)
        db.execute(INSERT_CALL, (*sent, record.sent_at_us))
        db.execute(SET_RECORD, (number, encode(record)))
        if held is not None:
            db.execute(_DROP, (row.row_id, row.variant, held.task_id))

    return change
