"""Count the attempts at a row that took longer than a gateway or a time limit waits, over all runs of the folder.

Each such attempt may have been billed, so they are counted per row and kept in the ledger until the row is answered or
asks something else. Owns the counts; what follows from them is `retry`'s decision.
"""

from __future__ import annotations

from typing import Final

from batch.core.records import Failure
from batch.ledger.reader import LedgerReader, PendingRow
from batch.ledger.writer import Ledger

GATEWAY_TIMEOUTS: Final = frozenset({504, 524})
"""Statuses with which a gateway says that the service took longer than it waits."""


def outlasted(failure: Failure) -> bool:
    """Whether the attempt was sent and took longer than somebody waited; it may be billed all the same."""
    return failure.sent and (failure.kind == "timeout" or failure.http_status in GATEWAY_TIMEOUTS)


class Overtime:
    """The counts of one folder.

    Args:
        reader: gives the counts of earlier runs.
        ledger: keeps them.
    """

    def __init__(self, reader: LedgerReader, ledger: Ledger) -> None:
        self._ledger = ledger
        self._times = reader.overtime()

    def times(self, row: PendingRow) -> int:
        """How often this row, asking what it asks now, has outlasted somebody."""
        fingerprint, times = self._times.get((row.row_id, row.variant), (row.fingerprint, 0))
        return times if fingerprint == row.fingerprint else 0

    def add(self, row: PendingRow) -> None:
        """Count one more attempt."""
        times = self.times(row) + 1
        self._times[row.row_id, row.variant] = (row.fingerprint, times)
        self._ledger.count_overtime(row.row_id, row.variant, row.fingerprint, times)

    def clear(self, row: PendingRow) -> None:
        """The row was answered."""
        if self._times and self._times.pop((row.row_id, row.variant), None) is not None:
            self._ledger.count_overtime(row.row_id, row.variant, row.fingerprint, 0)
