"""Rows that an earlier command left in the middle of their calls, as an estimate finds them in the ledger.

A task or a batch that the provider has taken is collected by the next run and never bought again, so what it comes to
is spent already, although nobody knows it yet. Owns what the ledger knows of such rows, and which of them the job asks
still. It does not know what they cost.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from batch.core.records import Lane
from batch.ledger.index import Key
from batch.ledger.waves import BegunRow, WavesReader
from batch.plan.question import Question


class UnderWay:
    """The rows in the middle of their calls.

    Args:
        ledger: its file; None where there is none.

    Raises:
        StorageError: it cannot be read.
    """

    def __init__(self, ledger: Path | None) -> None:
        self._rows: dict[Key, BegunRow] = {}
        if ledger is not None:
            with WavesReader(ledger) as reader:
                self._rows = {(row.row_id, row.variant): row for row in reader.begun_rows()}

    def take(self, key: Key, asked: Question) -> BegunRow | None:
        """The row with this key, if it was left in the middle of what it asks still; it is not found again then."""
        row = self._rows.get(key)
        return self._rows.pop(key) if row is not None and asked.stands_for(row.fingerprint) else None

    def others(self) -> Counter[Lane]:
        """By lane, the calls at the provider of the rows that were not taken: nobody asks that any more."""
        return Counter(row.bought for row in self._rows.values() if row.bought is not None)
