"""Admitted rows whose spill is lost or damaged, found again in the source.

A spill is the only place that has the input of a row between its admission and its publication. Copy tools skip
folders, disks lose files: then rows that were never sent give up their admission and are planned again, and of those
that were sent the input is read from the source once more, into a new spill. What the source cannot give any more, for
example because the row was edited, is brought to its end without its input.

Owns which spills are whole and which rows can be found. It sends nothing and decides nothing about the run: that ends
where it stood, and the next one goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import apsw
import msgspec
import pyarrow as pa

from batch.core.errors import StorageError
from batch.core.records import Failure
from batch.input.batches import SourceBatch
from batch.input.spill import Spill, SpillWriter, digest
from batch.ledger.index import drop_refreshed
from batch.ledger.published import PublishedReader
from batch.ledger.reader import PendingRow
from batch.output.folder import OutputFolder
from batch.plan import continuation
from batch.plan.planner import READ_BYTES, READ_ROWS
from batch.plan.preflight import CheckedJob
from batch.plan.question import question
from batch.plan.row_ids import Seen, identify
from batch.prompts.variants import Variants

NO_RANGE: Final = -1
"""The range of a row whose input is nowhere any more."""


class Respilled(msgspec.Struct, frozen=True):
    """What became of the rows of spills that are lost."""

    ranges: list[int]
    """Those that lost their spill."""
    number: int
    """The range that has the rows that were found."""
    places: dict[int, int]
    """Their places in it, by work number."""
    spill: tuple[int, int, bytes] | None
    """Rows, size and digest of it."""
    without: int
    """Rows that were sent and have no input any more."""

    def transaction(self, run: str | None, now_us: int) -> Callable[[apsw.Connection], None]:
        """The transaction that goes with it.

        Args:
            run: the run that was killed; it ends here. None when the last run was closed.
            now_us: wall time of that end.
        """
        places = list(self.places.items())

        def change(db: apsw.Connection) -> None:
            if run is not None:
                continuation.close(run, "killed", now_us)(db)
                db.execute("UPDATE pending SET carried=1 WHERE state < 2")
            drop_refreshed(db, self.ranges)
            for lost in self.ranges:
                db.execute("UPDATE pending SET range=?, idx=0 WHERE range=?", (NO_RANGE, lost))
                db.execute("DELETE FROM ranges WHERE range=?", (lost,))
            db.executemany(f"UPDATE pending SET range={self.number}, idx=?2 WHERE work=?1", places)
            if self.spill is not None:
                db.execute(
                    "INSERT OR REPLACE INTO ranges(range, rows, size, digest) VALUES(?,?,?,?)",
                    (self.number, *self.spill),
                )

        return change


def restore(checked: CheckedJob) -> Respilled | None:
    """Find the rows of lost spills in the source; None when no spill is lost.

    Args:
        checked: the job as it is now; the caller holds the lock of its output folder.

    Raises:
        InputError: the source cannot be read.
        StorageError: the new spill cannot be written.
    """
    with PublishedReader(checked.folder.ledger) as reader:
        kept, needed = reader.spills(), [number for number in reader.ranges() if number >= 0]
        lost = [number for number in needed if not _whole(checked.folder, number, kept.get(number))]
        if not lost:
            return None
        rows = reader.begun_in(lost)
        runs = reader.runs()
    same_job = bool(runs) and runs[-1].request == checked.identity().request
    number = 1 + max([*needed, *kept])
    finder = _Finder(checked, rows, same_job=same_job)
    places, spill = finder.write(number)
    return Respilled(lost, number, places, spill, len(rows) - len(places))


class _Finder:
    """Looks for rows in one pass over the source."""

    def __init__(self, checked: CheckedJob, rows: Sequence[PendingRow], *, same_job: bool) -> None:
        self._checked = checked
        self._variants: Variants = checked.variants
        self._same_job = same_job
        self._wanted: dict[str, list[PendingRow]] = {}
        for row in rows:
            self._wanted.setdefault(row.row_id, []).append(row)
        # An id with a number behind it is met as the one before the number.
        self._met = {*self._wanted, *(row_id.rpartition("-")[0] for row_id in self._wanted)}

    def write(self, number: int) -> tuple[dict[int, int], tuple[int, int, bytes] | None]:
        """Write the rows that are found into the spill of a range; their places by work number, and what it is."""
        checked = self._checked
        columns = list(checked.spilled)
        schema = pa.schema([checked.source.schema.field(name) for name in columns])
        spill = SpillWriter(checked.folder.spill(number), schema, rest_is_input=checked.source.rest_is_input)
        places: dict[int, int] = {}
        written = 0
        seen: Seen = {}
        source = checked.source.reader()
        try:
            while self._wanted and (batch := source.read(READ_ROWS, READ_BYTES)) is not None:
                chosen: list[int] = []
                for index, works in self._found(batch, seen):
                    places |= dict.fromkeys(works, written + len(chosen))
                    chosen.append(index)
                if chosen:
                    spill.add(batch.columns.select(columns).take(pa.array(chosen)))
                    written += len(chosen)
            if not written:
                spill.abort()
                return {}, None
            return places, (spill.close(), *spill.footprint)
        except BaseException:
            spill.abort()
            raise
        finally:
            source.close()

    def _found(self, batch: SourceBatch, seen: Seen) -> list[tuple[int, list[int]]]:
        """Rows of a batch that are looked for, each with the work numbers it is the input of."""
        found = []
        known = identify(batch, self._checked.job.input, seen, _NothingSeen())
        for index, met in enumerate(known):
            noted: Seen = {}
            met.note(noted)
            seen.update({name: value for name, value in noted.items() if name in self._met})
            works = [
                row.work_id
                for row in self._wanted.pop(met.row_id, ())
                if not self._same_job or self._asks_the_same(row, batch, index, met.fault)
            ]
            if works:
                found.append((index, works))
        return found

    def _asks_the_same(self, row: PendingRow, batch: SourceBatch, index: int, fault: Failure | None) -> bool:
        variant = self._variants.named(row.variant)
        if variant is None:
            return False
        return question(variant, batch, index, fault).stands_for(row.fingerprint)


class _NothingSeen:
    """Stands for the ledger in a pass of its own."""

    def seen(self, row_ids: Sequence[str]) -> Mapping[str, tuple[int, str | None]]:  # noqa: ARG002 - the reader's form
        """Nothing."""
        return {}


def _whole(folder: OutputFolder, number: int, kept: tuple[int, int | None, bytes | None] | None) -> bool:
    """Whether the spill of a range is there, and the one that was written."""
    path = folder.spill(number)
    try:
        if kept is not None and kept[1] is not None and kept[2] is not None:
            return path.stat().st_size == kept[1] and digest(path) == kept[2]
        with Spill(path) as spill:
            return kept is None or spill.rows == kept[0]
    except (OSError, StorageError):
        return False
