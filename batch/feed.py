"""Admitted ranges → rows with their messages: what the workers begin next.

Reads the spill, never the source: a row was read once when it was admitted. Runs in a thread of its own, a slice at a
time, with a reading connection of its own; a slice is bounded in rows and, by the size of the spill, in bytes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from batch.folder import OutputFolder
from batch.prompt import Prompt, PromptFault
from batch.records import Message
from batch.replay import PendingRow, Replay
from batch.source import Spill

SLICE_BYTES: Final = 8 << 20
MOST_ROWS: Final = 500


class Fed(msgspec.Struct, frozen=True):
    """One row to begin: its messages, or why they cannot be made (the template changed under a crash)."""

    row: PendingRow
    messages: list[Message]
    fault: str | None = None


class Feeder:
    """Hands out admitted rows in order, each once."""

    def __init__(self, folder: OutputFolder, prompt: Prompt) -> None:
        self._folder = folder
        self._prompt = prompt
        self._replay = Replay(folder.ledger)
        self._columns = sorted(prompt.columns)
        self._after = -1
        self._spill: tuple[int, Spill] | None = None
        self._slice_rows = MOST_ROWS

    def close(self) -> None:
        """Give back the connection and the open spill."""
        self._replay.close()
        if self._spill is not None:
            self._spill[1].close()
            self._spill = None

    def next(self, count: int) -> list[Fed]:
        """Up to `count` rows that were never begun, in the order of admission; empty when all admitted ones were."""
        pending = self._replay.unsent(self._after, max(1, min(count, self._slice_rows)))
        fed: list[Fed] = []
        start = 0
        while start < len(pending):
            end = start
            while end < len(pending) and pending[end].range == pending[start].range:
                end += 1
            fed.extend(self._render(pending[start:end]))
            start = end
        if pending:
            self._after = pending[-1].work
        return fed

    def messages(self, row: PendingRow) -> list[Message]:
        """The first request of one row, for going on in the middle of its conversation.

        Raises:
            PromptFault: the template gives nothing over this row any more.
        """
        record = self._open(row.range).records(row.idx, 1, self._columns)[0]
        return self._prompt.render(record)

    def _render(self, rows: list[PendingRow]) -> list[Fed]:
        spill = self._open(rows[0].range)
        first, last = rows[0].idx, rows[-1].idx
        # Resumed ranges have holes; reading the whole stretch is cheaper than one look-up a row.
        records = spill.records(first, last - first + 1, self._columns)
        fed = []
        for row in rows:
            try:
                fed.append(Fed(row, self._prompt.render(records[row.idx - first])))
            except PromptFault as exc:
                fed.append(Fed(row, [], str(exc)))
        return fed

    def _open(self, number: int) -> Spill:
        if self._spill is None or self._spill[0] != number:
            if self._spill is not None:
                self._spill[1].close()
            path = self._folder.spill(number)
            self._spill = (number, Spill(path))
            per_row = path.stat().st_size / max(1, self._spill[1].rows)
            self._slice_rows = max(1, min(MOST_ROWS, int(SLICE_BYTES / max(1.0, per_row))))
        return self._spill[1]
