"""Publication: final calls and settled rows go from the ledger into Parquet files.

Owns the order of a publication. It writes the calls that became final, then the parts whose rows are settled, and then
commits ONE ledger transaction for both. After a kill anywhere before that transaction, everything is written again over
the same names: the calls part because its number comes from the ledger, a result part because rows replace by key.
Records leave with that transaction or after it, spills only after it. Calls may be published later than their rows;
until then they stay in the ledger. It does not know when to publish. Only a rewrite reads the files back; the ledger is
the truth, and what it says of a row need not be decoded where this process still has it in memory (`unpublished`).

`prepare` and `tidy` run in a thread with a reading connection of their own; `commit` is given to the ledger's writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Final

import apsw
import msgspec
import pyarrow as pa

from batch.core import failpoints
from batch.core.errors import StorageError
from batch.input.spill import Spill
from batch.ledger import index
from batch.ledger.effects import forget_other_questions
from batch.ledger.pruning import drop_published
from batch.ledger.published import Footprint, announced
from batch.ledger.reader import SLICE, PendingRow
from batch.ledger.totals import Totals
from batch.ledger.unpublished import FinalCall, Recent, UnpublishedReader
from batch.output import files, parts, refresh, tables
from batch.output.folder import OutputFolder
from batch.output.input_columns import inputs_of
from batch.output.standing import with_standing
from batch.output.uploads import Uploads

CALLS_BATCH: Final = 1_000
CALLS_OF_A_FILE: Final = 10_000
"""So many calls are worth a file of their own at any time; see `Publisher.prepare`."""
SLICE_BYTES: Final = 4 << 20
"""How many bytes of input columns, and how many of outcomes, are in memory at once while a part is written."""
NEW_PART: Final = ("publish.results_written", "publish.results_named")
OLD_PART: Final = ("publish.rewrite_written", "publish.rewrite_named")
CALLS_PART: Final = ("publish.calls_written", "publish.calls_named")

_INSERT_CALL_PART: Final = """
INSERT INTO call_parts(run, number, rows, size, footer)
VALUES (?, ?, ?, ?, ?)
"""
_INSERT_PARTS: Final = """
INSERT OR REPLACE INTO parts(part, rows, size, footer)
VALUES (?, ?, ?, ?)
"""
_SET_LAST_SENT: Final = """
INSERT INTO meta(key, value)
VALUES ('last_sent', ?1)
ON CONFLICT(key) DO UPDATE SET value = max(value, ?1)
"""
_TOTALS: Final = """
SELECT totals
FROM runs
WHERE run = ?
"""
_SET_TOTALS: Final = """
UPDATE runs
SET totals = ?
WHERE run = ?
"""


_encode = msgspec.msgpack.Encoder().encode


class Publication(msgspec.Struct):
    """What one publication has written, and what its transaction records."""

    run: str
    calls: list[tuple[int, int]] = []
    """Of each call in its file, the number and that of its row."""
    calls_number: int | None = None
    calls_footprint: Footprint | None = None
    parts: dict[int, tuple[int, Footprint]] = {}
    """By part, how many rows its file has now, and what tells it from another."""
    settled: list[index.SettledRow] = []
    """What the index learns, by ascending id."""
    refreshed: dict[int, int] = {}
    """By part, the last work number of the rows of which only the input columns are new."""
    totals: Totals = msgspec.field(default_factory=Totals)
    last_sent_us: int | None = None


class Publisher:
    """Publishes the calls and rows of one run.

    Args:
        folder: the output folder; its ledger exists.
        run: id of the run.
        job: name of the job.
        schema: the columns of the result table.
        tags: the job's tags, which stand beside every call.
        variants: the job's variants in their order; `[None]` when it has none.
        announce: runs a transaction of the ledger, called in the thread of `prepare`.
        recent: what need not be read back from the ledger; None for nothing.
    """

    def __init__(
        self,
        folder: OutputFolder,
        run: str,
        *,
        job: str,
        schema: pa.Schema,
        tags: Mapping[str, str],
        variants: Sequence[str | None] = (None,),
        announce: Callable[[Callable[[apsw.Connection], None]], None],
        recent: Recent | None = None,
    ) -> None:
        self._announce = announce
        self._folder = folder
        self._run = run
        self._job = job
        self._schema = schema
        self._tags = dict(tags)
        self._variants = list(variants)
        self._recent = recent or Recent()
        self._reader = UnpublishedReader(folder.ledger, self._recent)
        self._uploads = Uploads.of(folder)
        self._call_parts = max((n + 1 for run_, n in self._reader.call_parts() if run_ == run), default=0)
        self._booked = 0

    def close(self) -> None:
        """Give the reading connection back."""
        self._reader.close()

    def prepare(self, parts: Sequence[int], *, all_calls: bool = True) -> Publication:
        """Write the files of one publication under their names; none of it counts before `commit`.

        Args:
            parts: numbers of parts; one in which no row has settled since it was published stays as it is.
            all_calls: write every final call. Otherwise only if that doubles what this process has written, or fills a
                file: a slow part is published many times.

        Raises:
            StorageError: a file cannot be written, or a part that was published is gone.
        """
        publication = Publication(self._run)
        with self._reader.snapshot():
            if all_calls or self._reader.final_calls_waiting() >= max(1, min(CALLS_OF_A_FILE, self._booked)):
                self._write_calls(publication)
            for part in parts:
                self._write_part(part, publication)
        publication.settled.sort(key=attrgetter("row_id"))
        return publication

    def commit(self, publication: Publication) -> Callable[[apsw.Connection], None]:
        """The one transaction that makes a publication count, as a function for the ledger's writer."""
        work_ids = [row.work_id for row in publication.settled]

        def change(db: apsw.Connection) -> None:
            if publication.calls_footprint is not None:
                file = (self._run, publication.calls_number, len(publication.calls))
                db.execute(_INSERT_CALL_PART, (*file, *publication.calls_footprint))
            for part, last in publication.refreshed.items():
                index.settle_refreshed(db, part, last)
            index.learn_outcomes(db, publication.settled)
            forget_other_questions(db, work_ids)
            drop_published(db, work_ids, publication.calls)
            db.executemany(
                _INSERT_PARTS, [(part, rows, *footprint) for part, (rows, footprint) in publication.parts.items()]
            )
            self._uploads.record(db)
            _add_totals(db, self._run, publication.totals)
            if publication.last_sent_us is not None:
                db.execute(_SET_LAST_SENT, (publication.last_sent_us,))

        return change

    def forget(self, publication: Publication) -> None:
        """Keep nothing in memory of what is published; for the event loop, once the transaction is durable.

        Until then the next publication writes over the same names: no call stands in two files of the book.
        """
        self._uploads.recorded()
        self._call_parts += publication.calls_footprint is not None
        self._booked += len(publication.calls)
        self._recent.forget([call for call, _ in publication.calls], [row.work_id for row in publication.settled])

    def tidy(self, *, everything: bool = False) -> None:
        """Remove the spills of ranges that have nothing left to publish.

        Args:
            everything: also remove spills of ranges that were never admitted; for the end of a run. While a planner is
                at work, the newest spill may be written and not admitted yet.

        Raises:
            StorageError: a spill cannot be removed.
        """
        spills = {path: path.stem.removeprefix("range-") for path in sorted(self._folder.pending.iterdir())}
        numbers = {int(number) for number in spills.values() if number.isdigit()}
        with self._reader.snapshot():
            # Of one moment: a range that is admitted between the two reads would seem to be needed by nobody.
            needed = set(self._reader.ranges())
            done = {number for number in numbers - needed if everything or self._reader.admitted(number)}
        removed = False
        for path, number in spills.items():
            if (int(number) in done) if number.isdigit() else everything:
                _remove(path)
                removed = True
                failpoints.hit("publish.spill_removed")
        if removed:
            # Before the run is closed: a spill that a power cut brings back later would stay for ever.
            files.sync_folder(self._folder.pending)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _write_calls(self, publication: Publication) -> None:
        found = self._reader.unpublished_calls(CALLS_BATCH)
        first = next(found, None)
        if first is None:
            return
        publication.calls_number = self._call_parts
        target = self._folder.calls_part(self._run, self._call_parts)
        batches = (self._call_batch(calls, publication) for calls in chain((first,), found))
        parts.write_part(target, tables.CALL_SCHEMA, batches, points=CALLS_PART)
        publication.calls_footprint = _footprint(target)
        self._uploads.put(target, "publish.calls_put")

    def _call_batch(self, calls: list[FinalCall], publication: Publication) -> pa.RecordBatch:
        """Some calls as rows of the book, which the publication takes up."""
        numbers, work_ids, row_ids, row_numbers, variants, prints, records = zip(*calls, strict=True)
        publication.calls += zip(numbers, work_ids, strict=True)
        for record in records:
            publication.totals.add_call(record)
        publication.last_sent_us = max(publication.last_sent_us or 0, *[record.sent_at_us for record in records])
        names = [variant or None for variant in variants]
        rows = list(map(tables.CallRow, row_ids, row_numbers, names, records, prints))
        return tables.call_batch(rows, self._tags, run=self._run, job=self._job)

    def _write_part(self, part: int, publication: Publication) -> None:
        if not self._reader.outcomes(part, count=1) and self._reader.last_refreshed(part) is None:
            return
        spills: dict[int, Spill] = {}
        try:
            batches = self._result_batches(part, publication, spills)
            target = self._folder.part(part)
            if self._reader.part_exists(part):
                rows = parts.rewrite_part(
                    target,
                    self._schema,
                    batches,
                    variants=self._variants,
                    points=OLD_PART,
                    announce=lambda footprint: self._announce(announced(part, footprint)),
                    revise=partial(self._refreshed, part, spills),
                )
                if (last := self._reader.last_refreshed(part)) is not None:
                    publication.refreshed[part] = last
            else:
                rows = parts.write_part(target, self._schema, batches, points=NEW_PART)
            publication.parts[part] = rows, _footprint(target)
            self._uploads.put(target, "publish.results_put")
        finally:
            for spill in spills.values():
                spill.close()

    def _refreshed(self, part: int, spills: dict[int, Spill], table: pa.Table) -> pa.Table:
        """Old rows of a part, those with new input columns with these."""
        numbers = table.column("row_number")
        rows = self._reader.refreshed(part, numbers[0].as_py(), numbers[-1].as_py()) if len(numbers) else []
        return refresh.refreshed(table, rows, inputs_of(rows, self._folder, spills, self._schema)) if rows else table

    def _result_batches(
        self, part: int, publication: Publication, spills: dict[int, Spill]
    ) -> Iterator[pa.RecordBatch]:
        after = (-1, -1)
        count = self._slice_rows(part)
        while rows := self._reader.outcomes(part, after=after, count=count, most_bytes=SLICE_BYTES):
            after = (rows[-1].row_number, rows[-1].variant_no)
            rows = with_standing(self._folder.part(part), rows)
            results = []
            for row in rows:
                assert row.outcome is not None
                publication.totals.add_outcome(row.outcome)
                publication.settled.append(_settled(row))
                variant = row.variant or None
                results.append(
                    tables.ResultRow(row.row_id, row.row_number, variant, self._run, row.fingerprint, row.outcome)
                )
            yield tables.result_batch(self._schema, inputs_of(rows, self._folder, spills, self._schema), results)

    def _slice_rows(self, part: int) -> int:
        """How many rows to take at once, so that a thousand large inputs do not lie in memory together."""
        first = self._reader.outcomes(part, count=1)
        if not first or first[0].range < 0:
            return SLICE
        path = self._folder.spill(first[0].range)
        with Spill(path) as spill:
            per_row = path.stat().st_size / max(1, spill.rows)
        return max(1, min(SLICE, int(SLICE_BYTES / max(1.0, per_row))))


def _footprint(target: Path) -> Footprint:
    with files.translated(target):
        return parts.footprint(target)


def _settled(row: PendingRow) -> index.SettledRow:
    outcome = row.outcome
    assert outcome is not None
    label = None if outcome.labelling is None else _encode(outcome.labelling)
    status = 0 if outcome.status == "ok" else 2 if outcome.retryable else 1
    return index.SettledRow(row.row_id, row.variant, row.work_id, status, label)


def _add_totals(db: apsw.Connection, run: str, more: Totals) -> None:
    row = db.execute(_TOTALS, (run,)).fetchone()
    totals = msgspec.json.decode(row[0], type=Totals) if row else Totals()
    totals.add(more)
    db.execute(_SET_TOTALS, (msgspec.json.encode(totals).decode(), run))


def _remove(spill: Path) -> None:
    try:
        spill.unlink(missing_ok=True)
    except OSError as exc:
        raise StorageError(
            f"{spill}: cannot be removed: {exc.strerror}. Check the disk and the permissions of the folder, then run "
            "the same command again."
        ) from exc
