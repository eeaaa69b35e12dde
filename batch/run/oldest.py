"""The rows that have been open for longest, and what each of them waits for now, for people who watch a run.

Owns the words for what a row waits for. It looks at rows and never changes one.
"""

from __future__ import annotations

from typing import Final

from batch.core.clock import describe
from batch.limits.holding import held_by
from batch.limits.limiter import Limiter
from batch.run.progress import OldRow
from batch.run.schedule import Schedule
from batch.submit.rows import Row

SHOWN: Final = 5
AMONG: Final = 100  # rows are begun nearly in the order of their first calls, so the oldest are among these


def oldest(schedule: Schedule[Row], limiter: Limiter, now: float) -> tuple[OldRow, ...]:
    """The oldest open rows of a run, the oldest first.

    Args:
        schedule: has all rows.
        limiter: knows who is held back.
        now: monotonic seconds.
    """
    begun = [(row.left_at, row) for row in schedule.first_begun(AMONG) if row.left_at is not None]
    begun.sort(key=lambda pair: pair[0])
    rows = [row for _, row in begun[:SHOWN]]
    due = schedule.due(rows)
    return tuple(
        OldRow(
            row.pending.row_id,
            row.pending.variant or None,
            round(max(0.0, now - (row.left_at or now)), 1),
            _waits_for(row, due.get(id(row)), limiter, now),
        )
        for row in rows
    )


def _waits_for(row: Row, due: float | None, limiter: Limiter, now: float) -> str:
    left = None if due is None else describe(max(0.0, due - now))
    if row.call is not None:
        return f"task {row.call.task_id}, polled {'now' if left is None else f'in {left}'}"
    if row.replied is not None:
        return "its tools"
    if left is not None:
        return f"another try in {left}"
    if any(waiter.row == row.work_id for waiter in limiter.model(row.model).queue):
        return f"a limit: {held_by(limiter) or 'calls in flight'}"
    return "an answer, or its turn to be sent"
