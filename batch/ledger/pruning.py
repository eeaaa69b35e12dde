"""The removal of records that are published: in the transaction that publishes them, or slice by slice between commits.

Owns what may go: everything of a row whose outcome is in the table and whose calls are in the book.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import apsw
import msgspec

from batch.ledger import statements

PRUNE_ROWS: Final = 1_000  # of one slice: about 5 ms
DROPPED_AT_ONCE: Final = 20_000
"""Of more rows the records go slice by slice: a publication holds up every call that is about to leave."""


def drop_published(db: apsw.Connection, work_ids: Sequence[int], calls: Sequence[tuple[int, int]]) -> None:
    """Delete what need not be kept of rows and calls that a publication wrote, and mark the rest as published.

    Args:
        db: inside the transaction of the publication.
        work_ids: of the rows that it wrote.
        calls: number and work id of the calls that it wrote.
    """
    going = frozenset(work_ids if len(work_ids) <= DROPPED_AT_ONCE else ())
    db.executemany(statements.DELETE_CALLS, _runs(call for call, work_id in calls if work_id in going))
    db.executemany(statements.MARK_CALL, [(call,) for call, work_id in calls if work_id not in going])
    before = db.total_changes()
    db.executemany(statements.DELETE_WORK, _runs(going))
    if db.total_changes() - before < len(work_ids):
        # Some have other calls, which wait to be booked or were booked before, or others wait for their outcome.
        db.executemany(statements.MARK_WORK, [(work_id,) for work_id in work_ids])
    if db.execute(statements.ANY_STEP).fetchone():
        db.executemany(statements.DELETE_STEPS, [(work_id,) for work_id in going])


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The first and the last of numbers that follow each other: a statement for a run costs less than one for each."""
    ascending = sorted(numbers)
    start = 0
    for place, number in enumerate(ascending, 1):
        if place == len(ascending) or ascending[place] != number + 1:
            yield ascending[start], number
            start = place


def prune_slice(db: apsw.Connection) -> bool:
    """Delete the records of up to `PRUNE_ROWS` published rows; return whether there may be more."""
    work_ids = [row[0] for row in db.execute(statements.PUBLISHED_WORK, (PRUNE_ROWS,))]
    if not work_ids:
        return False
    listed = msgspec.json.encode(work_ids).decode()
    for table in ("calls", "steps", "pending"):
        db.execute(statements.delete_of_work(table), (listed,))
    return True
