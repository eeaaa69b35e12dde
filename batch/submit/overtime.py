"""Count the attempts at a row that took longer than a gateway or a time limit waits, over all runs of the folder.

Each such attempt may have been billed, so they are counted per row and kept in the ledger until the row is answered or
asks something else. Owns the counts; what follows from them is `retry`'s decision.
"""

from __future__ import annotations

from typing import Final

from batch.core.records import Failure
from batch.ledger.reader import LedgerReader, PendingRow
from batch.ledger.writer import Ledger
from batch.limits.outage import Observation
from batch.submit.results import observation_of

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
        self.counted = reader.overtime()
        """By row and variant, the fingerprint that was asked and how often; empty nearly always."""

    def times(self, row: PendingRow) -> int:
        """How often this row, asking what it asks now, has outlasted somebody."""
        fingerprint, times = self.counted.get((row.row_id, row.variant), (row.fingerprint, 0))
        return times if fingerprint == row.fingerprint else 0

    def add(self, row: PendingRow) -> None:
        """Count one more attempt."""
        times = self.times(row) + 1
        self.counted[row.row_id, row.variant] = (row.fingerprint, times)
        self._ledger.count_overtime(row.row_id, row.variant, row.fingerprint, times)

    def observation_of(self, row: PendingRow, failure: Failure) -> Observation:
        """What a failed call of a row tells of the provider; what the row outlasted before tells nothing of it."""
        if not outlasted(failure):
            return observation_of(failure)
        before = self.times(row)
        self.add(row)
        return "nothing" if before else observation_of(failure)

    def clear(self, row: PendingRow) -> None:
        """The row was answered."""
        if self.counted.pop((row.row_id, row.variant), None) is not None:
            self._ledger.count_overtime(row.row_id, row.variant, row.fingerprint, 0)
