"""Read admitted rows back from the spill and render their messages, a few ahead of the workers.

Reads the spill, never the source: a row was read once when it was admitted. Runs in a thread of its own, a slice at a
time, with a reading connection of its own; a slice is bounded in rows and, by the size of the spill, in bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import takewhile
from typing import Any, Final

import msgspec

from batch.core.records import NOTHING, RowRequest
from batch.input.spill import Spill
from batch.labels.samples import NO_SAMPLES, Sampling
from batch.ledger.index import IndexReader
from batch.ledger.reader import PendingRow
from batch.output.folder import OutputFolder
from batch.prompts.template import PromptFault
from batch.prompts.variants import Variants

SLICE_BYTES: Final = 8 << 20
MOST_ROWS: Final = 500


class ReadyRow(msgspec.Struct, frozen=True):
    """One row to begin: what it asks, or why that cannot be said (the template changed under a crash)."""

    row: PendingRow
    request: RowRequest
    fault: str | None = None
    sampling: Sampling = NO_SAMPLES
    """The samples that earlier runs asked for."""


class Feeder:
    """Hands out admitted rows in order, each once.

    Args:
        folder: with the ledger and the spills.
        variants: of the job.
        only: names of the variants whose rows are handed out; None for all.
        keys: keys that templates read and that are no columns of the source.
        samples: how often a row is asked; None where no row of the folder was ever asked more than once.
    """

    def __init__(
        self,
        folder: OutputFolder,
        variants: Variants,
        *,
        only: Sequence[str] | None = None,
        keys: Collection[str] = (),
        samples: int | None = None,
    ) -> None:
        self._samples = samples
        self._folder = folder
        self._variants = variants
        self._only = only
        self._reader = IndexReader(folder.ledger)
        self._columns = sorted(variants.columns)
        self._keys = keys
        self._after = -1
        self._spill: tuple[int, Spill] | None = None
        self._slice_rows = MOST_ROWS

    def close(self) -> None:
        """Give back the connection and the open spill."""
        self._reader.close()
        if self._spill is not None:
            self._spill[1].close()
            self._spill = None

    def next(self, count: int) -> list[ReadyRow]:
        """Up to `count` rows that were never begun, in the order of admission; empty when all admitted ones were."""
        newest = self._reader.next_number("work") - 1
        pending = self._reader.unsent(self._after, max(1, min(count, MOST_ROWS)), variants=self._only)
        if not pending:
            self._after = max(self._after, newest)  # so that the rows of other variants are passed over only once
            return []
        first = pending[0]
        end = first.idx + self._open(first.range)
        rows = list(takewhile(lambda row: row.range == first.range and row.idx < end, pending))
        self._after = rows[-1].work_id
        return self._render(rows)

    def request(self, row: PendingRow) -> RowRequest:
        """What one row asks, for going on in the middle of its conversation.

        Opens the spill for itself, because the event loop asks while a thread is in `next`.

        Raises:
            PromptFault: the template gives nothing over this row any more.
        """
        if row.range < 0:
            raise PromptFault("its input is lost: it is neither in pending/ nor in the source as it was asked")
        with Spill(self._folder.spill(row.range)) as spill:
            return self._ask(row, spill.records(row.idx, 1, self._columns, keys=self._keys)[0])

    def _render(self, rows: list[PendingRow]) -> list[ReadyRow]:
        assert self._spill is not None
        first, last = rows[0].idx, rows[-1].idx
        # Resumed ranges have holes; reading the stretch, no longer than a slice, is cheaper than many look-ups.
        records = self._spill[1].records(first, last - first + 1, self._columns, keys=self._keys)
        earlier = earlier_samples(self._reader, rows, samples=self._samples)
        fed = []
        for row in rows:
            try:
                asked = self._ask(row, records[row.idx - first])
                fed.append(ReadyRow(row, asked, sampling=earlier.get(row.work_id, NO_SAMPLES)))
            except PromptFault as exc:
                fed.append(ReadyRow(row, NOTHING, str(exc), earlier.get(row.work_id, NO_SAMPLES)))
        return fed

    def _ask(self, row: PendingRow, record: dict[str, Any]) -> RowRequest:
        variant = self._variants.named(row.variant)
        if variant is None:
            raise PromptFault(f"the job has no variant {row.variant!r} any more")
        return variant.request(record)

    def _open(self, number: int) -> int:
        """Have the spill of this range open; the number of its rows that make a slice is returned."""
        if self._spill is None or self._spill[0] != number:
            if self._spill is not None:
                self._spill[1].close()
                self._spill = None
            path = self._folder.spill(number)
            self._spill = (number, Spill(path))
            per_row = path.stat().st_size / max(1, self._spill[1].rows)
            self._slice_rows = max(1, min(MOST_ROWS, int(SLICE_BYTES / max(1.0, per_row))))
        return self._slice_rows


def earlier_samples(reader: IndexReader, rows: Sequence[PendingRow], *, samples: int | None) -> dict[int, Sampling]:
    """By work id, the samples that earlier runs asked of some rows, for the question that is asked now.

    Args:
        reader: the ledger.
        rows: admitted ones.
        samples: how often the job asks a row; None where the folder has no samples, and nothing is looked up.
    """
    if samples is None:
        return {}
    kept = reader.labellings([row.work_id for row in rows])
    return {work_id: Sampling.of(labelling, samples=samples) for work_id, labelling in kept.items()}
