"""Which rows wait for a task whose id is saved, read from the ledger a few at a time.

A restart may find a hundred thousand of them. Owns these questions; who takes the rows up, and how fast, is the run's
matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from batch.ledger import statements
from batch.ledger.reader import LedgerReader, PendingRow

_LIVE: Final = "c.task IS NOT NULL AND c.record IS NULL AND coalesce(c.late, 0) != 2"
_SAVED: Final = f"""
SELECT DISTINCT p.work, p.variant
FROM calls c
JOIN pending p USING (work)
WHERE {_LIVE} AND p.state = 0
ORDER BY p.work
"""
_BEGUN: Final = f"""
SELECT {statements.PENDING}
FROM pending p
WHERE state = 0 AND (
    EXISTS (SELECT 1 FROM calls c WHERE c.work = p.work)
    OR EXISTS (SELECT 1 FROM steps s WHERE s.work = p.work)
) AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.work = p.work AND {_LIVE})
    AND NOT EXISTS (SELECT 1 FROM calls c JOIN lines USING (call) WHERE c.work = p.work AND c.record IS NULL)
ORDER BY work
"""
_COUNT_BEGUN: Final = """
SELECT count(*)
FROM pending p
WHERE state = 0 AND (
    EXISTS (SELECT 1 FROM calls c WHERE c.work = p.work)
    OR EXISTS (SELECT 1 FROM steps s WHERE s.work = p.work)
)
"""
_ROWS: Final = f"""
SELECT {statements.PENDING}
FROM pending
WHERE work IN (SELECT value FROM json_each(?))
ORDER BY work
"""

_OLDEST: Final = """
SELECT p.row_id, p.variant, min(c.sent_at), max(CASE WHEN c.record IS NULL THEN c.task END),
    max(CASE WHEN c.record IS NULL AND c.lane = 'bulk' THEN c.call END)
FROM calls c
JOIN pending p USING (work)
WHERE p.state = 0
GROUP BY p.work
ORDER BY 3
LIMIT ?
"""


_ONLY_HERE: Final = """
SELECT
    (SELECT count(*) FROM pending WHERE state IN (0, 1, 4)),
    (SELECT count(*) FROM waves WHERE state < 3),
    (SELECT count(*) FROM held),
    (SELECT count(*) FROM effects)
"""


class OnlyHere(NamedTuple):
    """What of a ledger stands in no published file, and so would be lost with it."""

    rows: int
    """Rows that are not in the table yet."""
    batches: int
    tasks: int
    """Ids of tasks that were overdue, and are polled first by the next run."""
    effects: int
    """Calls of tools with effects, which are not made a second time."""


class SavedReader(LedgerReader):
    """A reader that knows which rows wait for tasks."""

    def saved_tasks(self) -> list[tuple[int, str]]:
        """Work id and variant of each row that waits for a task of an earlier process, in the order of admission."""
        return list(self._rows(_SAVED))

    def begun(self) -> list[PendingRow]:
        """The rows in the middle of a call or conversation that wait for no task and in no batch."""
        return [PendingRow(*row) for row in self._rows(_BEGUN)]

    def count_begun(self) -> int:
        """How many rows are not settled though something was sent for them."""
        return int(self._first(_COUNT_BEGUN)[0])

    def oldest(self, count: int) -> list[tuple[str, str, int, str | None, int | None]]:
        """The open rows whose first calls were sent first: row id, variant, that moment, open task, open batch call.

        The moment is UTC wall time in microseconds.
        """
        return list(self._rows(_OLDEST, (count,)))

    def only_here(self) -> OnlyHere:
        """What would be lost with this ledger, although all files were published; of a ledger of this version."""
        return OnlyHere(*self._first(_ONLY_HERE))

    def rows(self, work_ids: Sequence[int]) -> list[PendingRow]:
        """The admitted rows with these work ids, in their order."""
        return [PendingRow(*row) for row in self._rows(_ROWS, (msgspec.json.encode(work_ids).decode(),))]
