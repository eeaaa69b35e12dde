"""The removal of records that are published, slice by slice between two commits.

Owns what may go: everything of a row whose outcome is in the table and whose calls are in the book.
"""

from __future__ import annotations

from typing import Final

import apsw
import msgspec

from batch.ledger import statements

PRUNE_ROWS: Final = 1_000  # of one slice: about 5 ms


def prune_slice(db: apsw.Connection) -> bool:
    """Delete the records of up to `PRUNE_ROWS` published rows; return whether there may be more."""
    work_ids = [row[0] for row in db.execute(statements.PUBLISHED_WORK, (PRUNE_ROWS,))]
    if not work_ids:
        return False
    listed = msgspec.json.encode(work_ids).decode()
    for table in ("calls", "steps", "pending"):
        db.execute(statements.delete_of_work(table), (listed,))
    return True
