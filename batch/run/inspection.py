"""What a command looks at and puts right in an output folder before it opens a run.

Owns the order: files against the ledger, columns that are new, spills that are lost. What belongs together is
`integrity`'s to say, where lost rows are found `respill`'s.
"""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

import apsw
import pyarrow as pa
import pyarrow.parquet as pq
from anyio import to_thread

from batch.core.errors import OutputError
from batch.core.logs import logger
from batch.ledger import index
from batch.ledger.published import Footprint, announced
from batch.ledger.reader import LedgerReader
from batch.ledger.writer import Ledger
from batch.output import files, integrity, labelled, mirror, parts, removal, tables
from batch.output.folder import OutputFolder
from batch.output.integrity import Compared
from batch.output.uploads import Uploads
from batch.plan import continuation, preflight, respill
from batch.plan.kept import INPUTS
from batch.plan.preflight import CheckedJob

COLUMNS: Final = "columns"
"""Key of the ledger's `meta` that holds the names of the columns that every part has, one a line."""


class Inspection:
    """One look at an output folder, under its lock.

    Args:
        checked: the job.
        ledger: the one writer.
    """

    def __init__(self, checked: CheckedJob, ledger: Ledger) -> None:
        self._checked = checked
        self._ledger = ledger
        self._doubts_told = False

    def tell_doubts(self) -> None:
        """Log what is to be said against the job, once a command: it starts all the same."""
        if self._doubts_told:
            return
        self._doubts_told = True
        checked = self._checked
        if (short := checked.unmasked_key) is not None:
            logger().warning("key_not_masked", why=short)
        if (fewer := checked.fewer_calls) is not None:
            logger().warning("concurrency_lowered", why=fewer)
        for text in checked.warnings:
            logger().warning("parameter_doubted", doubt=text)
        for text in checked.doubts:
            logger().warning("prompt_doubted", doubt=text)

    async def compare_files(self) -> None:
        """Tidy up the files, and have the ledger know those that it does not know yet.

        Raises:
            OutputError: files are missing, changed, or not named by the ledger.
            StorageError: the disk refused.
        """
        compared, hidden, aside, uploads = await to_thread.run_sync(tidy_files, self._checked.folder)
        if hidden or aside:
            logger().info("strays_removed", files=len(hidden), set_aside=aside)
        if compared.news:
            await self._ledger.execute(compared.transaction())
        if uploads.news:
            await self._ledger.execute(uploads.record)

    async def add_columns(self, reader: LedgerReader) -> None:
        """Columns of the input or of labels that are new since the last run, or wider, are so in every old part, once.

        Raises:
            StorageError: the disk refused.
        """
        kept, labels = reader.meta(INPUTS), reader.meta(tables.LABELS)
        meta = preflight.kept_meta(self._checked)
        more_inputs = kept is not None and kept != meta[INPUTS]
        if more_inputs or (labels is not None and labels != meta[tables.LABELS]):
            await self._learn_votes(reader, labels)
            await self._widen(reader)

        def change(db: apsw.Connection) -> None:
            if more_inputs:
                index.doubt_unknown(db)
            db.executemany("INSERT OR REPLACE INTO meta(key, value) VALUES(?,?)", list(meta.items()))

        await self._ledger.execute(change)

    async def _learn_votes(self, reader: LedgerReader, labels: bytes | None) -> None:
        """Labels that an older version got, which kept no votes, are one vote each, once samples are first asked for.

        Else such rows would be asked for all their samples, the one that they have among them.
        """
        before = pa.ipc.read_schema(pa.py_buffer(labels)).names if labels else []
        if "votes" not in self._checked.label_columns.names or "votes" in before or not before:
            return
        for part in reader.parts():
            votes = await to_thread.run_sync(_votes, self._checked, part)
            await self._ledger.execute(partial(index.learn_votes, votes=votes))

    async def add_our_columns(self, reader: LedgerReader) -> None:
        """Columns of ours that an older version did not have are in every old part, once, before a run adds parts.

        Else the parts would differ, and programs that read the table would refuse it.

        Raises:
            StorageError: the disk refused.
        """
        now = "\n".join(self._checked.schema.names)
        if reader.meta(COLUMNS) == now:
            return
        if [part for part in reader.parts() if await to_thread.run_sync(_lacks, self._checked, part)]:
            await self._widen(reader)
        self._ledger.note(COLUMNS, now)

    async def _widen(self, reader: LedgerReader) -> None:
        for part in reader.parts():
            target = self._checked.folder.part(part)
            uploads = Uploads.of(self._checked.folder, target)
            widened = await to_thread.run_sync(_widen, self._checked, part, self._ledger)
            await to_thread.run_sync(uploads.put, target, "publish.results_put")
            await self._ledger.execute(Compared(parts={part: widened}).transaction())
            await self._ledger.execute(uploads.record)

    async def restore_spills(self, reader: LedgerReader, now_us: int) -> None:
        """Read rows whose spill is lost from the source again.

        Raises:
            InputError: the source cannot be read.
            StorageError: the disk refused.
        """
        found = await to_thread.run_sync(respill.restore, self._checked)
        if found is None:
            return
        last = reader.runs()[-1]
        change = found.transaction(last.run if last.state in continuation.OPEN else None, now_us)
        await self._ledger.execute(change)
        counts = {"ranges": len(found.ranges), "found": len(found.places), "without_input": found.without}
        logger().warning("spill_lost", folder=str(self._checked.folder.pending), **counts)


class Tidied(NamedTuple):
    """What was found among the files of an output folder."""

    compared: Compared
    """What the ledger is to learn, if anything."""
    hidden: list[str]
    """Half-written files that were removed."""
    aside: list[str]
    """Files that were set aside, by their new names."""
    uploads: Uploads
    """What the ledger is to learn of files in a store, if anything."""


def tidy_files(folder: OutputFolder) -> Tidied:
    """Clear away what a killed process left half done, and refuse what does not belong to the ledger.

    Raises:
        OutputError: files are missing, changed, or not named by the ledger.
        StorageError: the disk refused.
    """
    hidden = files.remove_hidden(folder.root)
    fetched = mirror.fetch(folder)
    try:
        compared = integrity.compare(folder)
    except OutputError:
        fetched.take_back()
        raise
    aside = files.set_aside(compared.halves, folder.root)
    for part in compared.removed:
        removal.remove_file(folder, part)
    mirror.settle(folder, fetched, compared)
    return Tidied(compared, hidden, aside, fetched.uploads)


def _lacks(checked: CheckedJob, part: int) -> bool:
    """Whether a part lacks a column that the table has now."""
    target = checked.folder.part(part)
    with files.translated(target):
        return bool(set(checked.schema.names).difference(pq.read_schema(target).names))


def _votes(checked: CheckedJob, part: int) -> list[tuple[bytes, str, str]]:
    return list(labelled.votes_in(checked.folder.part(part)))


def _widen(checked: CheckedJob, part: int, ledger: Ledger) -> Footprint:
    target = checked.folder.part(part)
    parts.rewrite_part(
        target,
        checked.schema,
        [],
        variants=checked.variants.names,
        points=("publish.rewrite_written", "publish.rewrite_named"),
        announce=lambda footprint: ledger.execute_from_thread(announced(part, footprint)),
    )
    return parts.footprint(target)
