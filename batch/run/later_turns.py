"""Later turns of conversations whose tasks are paid for, and whose answers were lost with a ledger.

The first turn of such a row gets its task back when the row is admitted. Owns what comes after: before a later turn is
sent, its task is taken, if the book has one. Which task answers which turn is said by `batch.ledger.paid`.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from batch.ledger.paid import adopt_turn
from batch.run.resume import reopened
from batch.run.schedule import Schedule
from batch.submit.attempt import CallContext
from batch.submit.rows import Row


class LaterTurns:
    """Hands rows the tasks of their later turns.

    Args:
        rows: row id and variant of those that have such tasks; nearly always none.
        context: for its ledger and its slots.
        schedule: takes the rows that wait for a task.
    """

    def __init__(self, rows: Collection[tuple[str, str]], context: CallContext, schedule: Schedule[Row]) -> None:
        self._rows = frozenset(rows)
        self._context = context
        self._schedule = schedule

    async def takes(self, row: Row) -> bool:
        """Whether the turn that a row is about to send was paid for already: then the row waits for its task.

        Raises:
            StorageError: the ledger cannot be written.
        """
        turn = row.conversation.turn
        if not turn or (row.pending.row_id, row.pending.variant) not in self._rows:
            return False
        found = await self._context.ledger.execute(partial(adopt_turn, row=row.pending, turn=turn))
        if found is None:
            return False
        row.call = reopened(row, found, self._context, None)
        self._context.tasks += 1
        self._schedule.schedule(row, 0.0)
        return True
