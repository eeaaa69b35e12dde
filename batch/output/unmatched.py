"""Calls of the book whose answer is in no row of the table, told apart by whether the provider can give it once more.

An answer is in its row when the row settled after it came; one that came late, for a row that had another by then, is
missed by nobody. Owns that comparison, over the temporary tables that `reindex` made of the published files; what can
be had again, by the id of a task or a batch, goes into the new ledger's table `paid`. A task that was given up because
it took too long is no answer, and may be one by now: its id is kept, as a ledger keeps it, and polled first. Of rows
that were pruned only the book tells, and it cannot tell why they are in no part: they count, too.
"""

from __future__ import annotations

from typing import Any, Final

import apsw
import msgspec

from batch.core.records import Call
from batch.ledger import paid
from batch.ledger.late import KEEP_UNLESS_KEPT, LATE, Task

_UNMATCHED: Final = f"""
SELECT b.call_id, b.row_id, b.variant, b.fingerprint, b.record
FROM book b
LEFT JOIN rows r USING (row_id, variant)
WHERE b.answered_at IS NOT NULL
    AND (r.row_id IS NULL OR (r.settled_at < b.answered_at AND NOT (r.status = 0 AND b.call_id LIKE '%{LATE}')))
"""
_GIVEN_UP: Final = f"""
SELECT b.row_id, b.variant, b.fingerprint, b.call_id, b.record
FROM book b
WHERE b.answered_at IS NULL AND b.fingerprint IS NOT NULL
    AND b.call_id || '{LATE}' NOT IN (SELECT call_id FROM book)
    AND b.call_id || '{LATE}' NOT IN (SELECT call_id FROM calls)
ORDER BY b.row_id, b.variant
"""
_KNOWN: Final = """
DELETE FROM paid
WHERE call_id IN (SELECT call_id FROM calls)
"""
_IN_LEDGER: Final = """
DELETE FROM gone
WHERE call_id IN (
    SELECT c.call_id
    FROM calls c
    JOIN pending p USING (work)
    WHERE p.state = 1 OR EXISTS (SELECT 1 FROM steps s WHERE s.work = c.work AND s.turn = c.turn)
)
"""
"""The answers that the old ledger had kept: as the outcome of a row, or as a turn that a conversation goes on from."""
_ROWS: Final = """
SELECT count(*)
FROM (SELECT DISTINCT row_id, variant FROM {table})
"""
_call = msgspec.msgpack.Decoder(Call).decode


class Unmatched(msgspec.Struct, frozen=True):
    """How many rows such calls are of."""

    again: int = 0
    """Rows that can have their answers from the provider once more."""
    gone: int = 0
    """Rows whose answers nobody has any more."""


def find(db: apsw.Connection) -> None:
    """Write down the calls whose answer is in no row: in `paid`, or in a temporary table where nobody has it.

    Args:
        db: a new ledger inside its transaction, with the temporary tables `book` and `rows`.
    """
    db.execute("CREATE TEMP TABLE gone(call_id TEXT NOT NULL, row_id TEXT NOT NULL, variant TEXT NOT NULL)")
    found: Any = db.execute(_UNMATCHED)
    for call_id, row_id, variant, fingerprint, record in found:
        call = _call(record)
        print_ = bytes.fromhex(fingerprint or "")
        if call.batch_id is None and (call.task_id is None or not print_):
            db.execute("INSERT INTO gone VALUES(?,?,?)", (call_id, row_id, variant))
            continue
        place = None if call.endpoint is None else f"#{call.endpoint}"
        where = call.task_id, place, call.batch_id
        db.execute(paid.INSERT, (call_id, row_id, variant, print_, call.turn, call.attempt, call.sent_at_us, *where))


def keep_late_tasks(db: apsw.Connection) -> None:
    """Keep the ids of tasks that were booked as unknown and never heard of again; of several of a row, the newest.

    What the old ledger had kept for a row stays. That rows have their answer by now is looked at later.

    Args:
        db: as above; `calls` and `held` have what the old ledger knew.
    """
    newest: dict[tuple[str, str], tuple[Any, ...]] = {}
    for row_id, variant, fingerprint, call_id, record in db.execute(_GIVEN_UP):
        call = _call(record)
        if call.state != "unknown" or call.task_id is None or call.turn:
            continue
        place = "" if call.endpoint is None else f"#{call.endpoint}"
        task = Task(call.task_id, place, call_id, call.attempt, call.sent_at_us)
        known = newest.get((row_id, variant))
        if known is None or task.sent_at_us > known[1].sent_at_us:
            newest[row_id, variant] = bytes.fromhex(fingerprint), task
    for (row_id, variant), (print_, task) in newest.items():
        db.execute(KEEP_UNLESS_KEPT, (row_id, variant, print_, *task))


def count(db: apsw.Connection) -> Unmatched:
    """How many rows there are, without those whose calls the new ledger has open, or whose answers it has.

    Args:
        db: the same, once what the old ledger knew is in it.
    """
    db.execute(_KNOWN)
    db.execute(_IN_LEDGER)
    (again,) = db.execute(_ROWS.format(table="paid")).fetchone() or (0,)
    (gone,) = db.execute(_ROWS.format(table="gone")).fetchone() or (0,)
    return Unmatched(again, gone)
