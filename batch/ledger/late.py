"""An answer that came after its call was given up: a further record in the book, which changes no row.

Owns the one transaction that makes it durable, whatever became of the row meanwhile: one that is still asked, one that
has settled, and one that was published and forgotten. It does not know how it came to be so late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import apsw

from batch.core.records import Call
from batch.ledger.group import encode
from batch.ledger.reader import PendingRow
from batch.ledger.statements import INSERT_CALL, SET_RECORD

_REMEMBER: Final = """
INSERT OR IGNORE INTO pending(work, range, idx, row_id, variant, variant_no, row_number, part, fingerprint, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 2)
"""
"""As a row that was published, so that the book can say whose call it was; with the call it is pruned again."""


def late_call(row: PendingRow, number: int, record: Call) -> Callable[[apsw.Connection], None]:
    """The transaction that books a late answer.

    Args:
        row: that was asked.
        number: of the record, new; the call itself has been closed under another.
        record: what came.
    """

    def change(db: apsw.Connection) -> None:
        place = (row.work_id, row.range, row.idx, row.row_id, row.variant, row.variant_no, row.row_number, row.part)
        db.execute(_REMEMBER, (*place, row.fingerprint))
        sent = (number, row.work_id, record.turn, record.attempt, record.client_call_id, record.lane)
        db.execute(INSERT_CALL, (*sent, record.sent_at_us))
        db.execute(SET_RECORD, (number, encode(record)))

    return change
