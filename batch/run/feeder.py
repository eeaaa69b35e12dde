"""Hand out admitted rows with their messages, a few ahead of the workers.

Planning has made the messages of each row for its fingerprint; those of the first rows of a range are kept in memory,
as many as there is room for (`keep`, `ready`). All others are read back from the spill and rendered again (`next`), as
all are by a process that goes on after a kill: in a thread, a slice at a time, with a reading connection of its own; a
slice is bounded in rows, in bytes of the spill and in bytes of what is rendered. The source is never read: a row was
read once when it was admitted. What is handed out is what was admitted: a row whose messages are another now, because a
file that they name was changed, is handed out with a fault.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from itertools import groupby, takewhile
from typing import Any, Final, NamedTuple

import msgspec

from batch.core.records import NOTHING, RowRequest
from batch.input.spill import Spill
from batch.labels.samples import NO_SAMPLES, Sampling
from batch.ledger.index import IndexReader
from batch.ledger.reader import PendingRow
from batch.output.folder import OutputFolder
from batch.prompts.template import PromptFault
from batch.prompts.variants import Packed, Variants

INPUT_LOST: Final = "its input is lost: it is neither in pending/ nor in the source as it was asked"
SLICE_BYTES: Final = 4 << 20
MOST_ROWS: Final = 500


class ReadyRow(msgspec.Struct, frozen=True):
    """One row to begin: what it asks, or why that cannot be said (the template changed under a crash)."""

    row: PendingRow
    request: RowRequest
    fault: str | None = None
    sampling: Sampling = NO_SAMPLES
    """The samples that earlier runs asked for."""


class Stretch(NamedTuple):
    """Rows of a range whose messages are kept from planning, in order."""

    first: int
    """The work number of the first row of the range."""
    last: int
    """The work number up to which every row of this feeder's is among them that is to be asked."""
    rows: deque[tuple[tuple[Any, ...], Packed]]
    """Of each the values of its `PendingRow`, and what it asks."""
    bytes: int
    """What all of them ask."""


class Feeder:
    """Hands out admitted rows in order, each once.

    One task asks it for rows, with `ready` or `next`; only `keep`, `request` and `requests` may be called meanwhile.

    Attributes:
        kept_bytes: what the rows take that are kept from planning.

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
        self._kept: deque[tuple[Stretch, frozenset[int]]] = deque()
        self.kept_bytes = 0

    def close(self) -> None:
        """Give back the connection and the open spill."""
        self._reader.close()
        if self._spill is not None:
            self._spill[1].close()
            self._spill = None
        self._kept.clear()

    def keep(self, stretch: Stretch, *, but: frozenset[int] = frozenset()) -> None:
        """Take rows of a range that is durable by now.

        Args:
            stretch: the rows.
            but: work numbers of those among them that are not handed out: others take care of them.
        """
        self._kept.append((stretch, but))
        self.kept_bytes += stretch.bytes

    def ready(self, count: int, most_bytes: float = math.inf) -> list[ReadyRow]:
        """The next rows, if they are kept; reads nothing. Empty when `next` is to be asked, or none is left.

        Args:
            count: rows, at most.
            most_bytes: of their messages together; a single row may have more.
        """
        taken: list[ReadyRow] = []
        variants = self._variants.by_name
        while self._kept and self._kept[0][0].first <= self._after + 1:
            (_, last, rows, _), but = self._kept[0]
            while rows:
                size: int = rows[0][1][0]
                if len(taken) >= count or (taken and size > most_bytes):
                    return taken
                values, packed = rows.popleft()
                self.kept_bytes -= size
                # One of them may have been read from the spill by a `next` that found the range before it was kept.
                if values[0] > self._after and values[0] not in but:
                    row = tuple.__new__(PendingRow, values)  # once a row: without the Python call of its own `_make`
                    variant = variants[row.variant]
                    taken.append(ReadyRow(row, variant.unpacked(packed)))
                    most_bytes -= size
                    self._after = values[0]
            self._kept.popleft()
            self._after = max(self._after, last)
        return taken

    def next(self, count: int, most_bytes: float = math.inf) -> list[ReadyRow]:
        """The next rows from the spill that come before those that are kept, of rows that were never begun.

        Args:
            count: rows, at most.
            most_bytes: of their messages together; a single row may have more.
        """
        newest = self._reader.next_number("work") - 1
        before = self._kept[0][0].first if self._kept else math.inf
        pending = self._reader.unsent(self._after, max(1, min(count, MOST_ROWS)), variants=self._only)
        if not pending or pending[0].work_id >= before:
            # So that the rows of other variants are passed over only once.
            self._after = int(max(self._after, min(newest, before - 1)))
            return []
        first = pending[0]
        end = first.idx + self._open(first.range)
        rows = takewhile(lambda row: row.range == first.range and row.idx < end and row.work_id < before, pending)
        ready = self._render(list(rows), most_bytes)
        self._after = ready[-1].row.work_id
        return ready

    def request(self, row: PendingRow) -> RowRequest:
        """What one row asks, for going on in the middle of its conversation.

        Opens the spill for itself, because the event loop asks while a thread is in `next`.

        Raises:
            PromptFault: the template gives nothing over this row any more.
        """
        if row.range < 0:
            raise PromptFault(INPUT_LOST)
        with Spill(self._folder.spill(row.range)) as spill:
            return self._ask(row, spill.records(row.idx, 1, self._columns, keys=self._keys)[0])

    def requests(self, rows: Sequence[PendingRow]) -> list[RowRequest | PromptFault]:
        """What each of these rows asks, or why that cannot be said; as `request`, each spill opened once for its rows.

        Raises:
            StorageError: a spill is missing or not whole.
        """
        found: dict[int, RowRequest | PromptFault] = {}
        for number, some in groupby(sorted(rows, key=_place), lambda row: row.range):
            if number < 0:
                found.update((row.work_id, PromptFault(INPUT_LOST)) for row in some)
                continue
            of_range = list(some)
            places = sorted({row.idx for row in of_range})
            with Spill(self._folder.spill(number)) as spill:
                records = dict(zip(places, spill.records_at(places, self._columns, keys=self._keys), strict=True))
            for row in of_range:
                try:
                    found[row.work_id] = self._ask(row, records[row.idx])
                except PromptFault as exc:
                    found[row.work_id] = exc
        return [found[row.work_id] for row in rows]

    def _render(self, rows: list[PendingRow], most_bytes: float) -> list[ReadyRow]:
        """The first of these rows with their messages, as far as these have room; at least one."""
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
            most_bytes -= fed[-1].request.bytes
            if most_bytes <= 0:
                break
        return fed

    def _ask(self, row: PendingRow, record: dict[str, Any]) -> RowRequest:
        variant = self._variants.named(row.variant)
        if variant is None:
            raise PromptFault(f"the job has no variant {row.variant!r} any more")
        request = variant.request(record)
        if variant.reads_files and variant.fingerprint(request) != row.fingerprint:
            raise PromptFault(
                "a file that its prompt reads was changed since the row was admitted; nothing was sent. Run the same "
                "command again: it asks with the file as it is then"
            )
        return request

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


def _place(row: PendingRow) -> tuple[int, int]:
    """Where the input of a row lies."""
    return row.range, row.idx


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
