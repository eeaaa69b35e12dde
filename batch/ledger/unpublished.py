"""What is settled or final and not published yet: the ledger says which, and memory says what, where it still has it.

A row that this process settled need not be decoded from the ledger to be published a moment later. Owns the memory of
such outcomes and calls, bounded in bytes, and the reader that takes them from there and everything else (what another
process left, what found no room) from the ledger. Memory is never asked whether something is there to be published.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from batch.core.records import Call, Outcome
from batch.ledger import statements
from batch.ledger.index import IndexReader
from batch.ledger.reader import SLICE, PendingRow

MOST_BYTES: Final = 64 << 20
_VALUE_BYTES: Final = 1_000
"""What a call or an outcome takes in memory beside its long texts: measured at 900 and 700."""
_CALLS: Final = 5_000
"""How many calls are read at once."""
_FIRST_CALL: Final = -(1 << 63)
_FIRST: Final = itemgetter(0)
_new: Final = tuple.__new__  # once a row: without the Python call of a named tuple's own `_make`

_call = msgspec.msgpack.Decoder(Call).decode
_outcome = msgspec.msgpack.Decoder(Outcome).decode


class FinalCall(NamedTuple):
    """One call that is final and not published, and the row that it was made for."""

    call: int
    work_id: int
    row_id: str
    row_number: int
    variant: str
    fingerprint: bytes
    record: Call


class Recent:
    """The calls and outcomes of this process that wait to be published; the event loop writes it, any thread reads it.

    Args:
        most_bytes: how much it takes; what finds no room is read from the ledger.

    Attributes:
        bytes: about how much it takes now.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._calls: dict[int, tuple[Call, int]] = {}
        """By number, each with its size."""
        self._outcomes: dict[int, tuple[Outcome, int]] = {}
        self._most = most_bytes
        self.bytes = 0

    def add_call(self, call: int, record: Call, size: int) -> None:
        """Keep the final state of a call.

        Args:
            call: number of the call.
            record: as the ledger has it.
            size: bytes that it has there.
        """
        if (before := self._calls.pop(call, None)) is not None:
            self.bytes -= before[1]
        size += _VALUE_BYTES
        if self.bytes + size <= self._most:
            self._calls[call] = record, size
            self.bytes += size

    def add_outcome(self, work_id: int, outcome: Outcome, size: int) -> None:
        """Keep the outcome of a row.

        Args:
            work_id: number of the row.
            outcome: as the ledger has it.
            size: bytes that it has there.
        """
        if (before := self._outcomes.pop(work_id, None)) is not None:
            self.bytes -= before[1]
        size += _VALUE_BYTES
        for text in (outcome.answer, outcome.reasoning, outcome.messages):
            if text is not None:
                size += text.__sizeof__()  # as `sys.getsizeof` says, in a fifth of its time
        if self.bytes + size <= self._most:
            self._outcomes[work_id] = outcome, size
            self.bytes += size

    def forget(self, calls: Iterable[int], work_ids: Iterable[int]) -> None:
        """Forget what is published: the numbers of rows are given again."""
        for call in calls:
            if (record := self._calls.pop(call, None)) is not None:
                self.bytes -= record[1]
        for work_id in work_ids:
            if (outcome := self._outcomes.pop(work_id, None)) is not None:
                self.bytes -= outcome[1]

    def call(self, call: int) -> Call | None:
        """The final state of a call, or None if it is not here."""
        found = self._calls.get(call)
        return None if found is None else found[0]

    def outcome(self, work_id: int) -> Outcome | None:
        """The outcome of a row, or None if it is not here."""
        found = self._outcomes.get(work_id)
        return None if found is None else found[0]


class UnpublishedReader(IndexReader):
    """A reader of what is to be published.

    Args:
        path: of the ledger.
        recent: what need not be read from it.
    """

    def __init__(self, path: Path, recent: Recent) -> None:
        super().__init__(path)
        self._recent = recent

    def outcomes(
        self, part: int, *, after: tuple[int, int] = (-1, -1), count: int = SLICE, most_bytes: float = 1e18
    ) -> list[PendingRow]:
        """As `LedgerReader.outcomes`, and of as many bytes at most; a single row may have more."""
        rows = []
        for row in self._rows(statements.SETTLED_ROWS, (part, *after, count)):
            rows.append(row)
            most_bytes -= row[-1]
            if most_bytes <= 0:
                break
        recent = list(map(self._recent.outcome, map(_FIRST, rows)))
        missing = [row[0] for row, outcome in zip(rows, recent, strict=True) if outcome is None]
        kept = self._values(statements.OUTCOMES_OF, missing)
        return [
            _new(PendingRow, (*row[:-1], outcome or _outcome(kept[row[0]])))
            for row, outcome in zip(rows, recent, strict=True)
        ]

    def unpublished_calls(self, count: int = _CALLS) -> Iterator[list[FinalCall]]:
        """Every final call that is not published, by its number; so many at once, fewer at the end."""
        last = _FIRST_CALL
        while rows := list(self._rows(statements.FINAL_CALLS_AFTER, (last, count))):
            last = rows[-1][0]
            recent = list(map(self._recent.call, map(_FIRST, rows)))
            missing = [row[0] for row, record in zip(rows, recent, strict=True) if record is None]
            kept = self._values(statements.RECORDS_OF, missing)
            yield [
                _new(FinalCall, (*row, record or _call(kept[row[0]]))) for row, record in zip(rows, recent, strict=True)
            ]

    def _values(self, statement: str, numbers: list[int]) -> dict[int, Any]:
        """By number, what the ledger has of these."""
        if not numbers:
            return {}
        return dict(self._rows(statement, (msgspec.json.encode(numbers).decode(),)))
