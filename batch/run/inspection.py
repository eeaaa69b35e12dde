"""What a command looks at and puts right in an output folder before it opens a run.

Owns the order: files against the ledger, columns that are new, spills that are lost. What belongs together is
`integrity`'s to say, where lost rows are found `respill`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import apsw
import pyarrow as pa
import pyarrow.parquet as pq
from anyio import to_thread

from batch.core.logs import logger
from batch.ledger.published import Footprint
from batch.ledger.reader import LedgerReader
from batch.ledger.writer import Ledger
from batch.output import files, integrity, parts, tables
from batch.output.publish import announced
from batch.plan import preflight, respill
from batch.plan.preflight import INPUTS, OURS, CheckedJob


class Inspection:
    """One look at an output folder, under its lock.

    Args:
        checked: the job.
        ledger: the one writer.
    """

    def __init__(self, checked: CheckedJob, ledger: Ledger) -> None:
        self._checked = checked
        self._ledger = ledger

    async def compare_files(self) -> None:
        """Clear away what a killed process left half done, and refuse what does not belong to the ledger.

        Raises:
            OutputError: files are missing, changed, or not named by the ledger.
            StorageError: the disk refused.
        """
        folder = self._checked.folder
        gone = files.remove_hidden(folder.root)
        compared = await to_thread.run_sync(integrity.compare, folder)
        aside = files.set_aside(compared.halves, folder.root)
        if gone or aside:
            logger().info("strays_removed", files=len(gone), set_aside=aside)
        if compared.parts or compared.calls:
            await self._ledger.execute(compared.transaction())

    async def add_columns(self, reader: LedgerReader) -> None:
        """Input columns that are new since the last run, or wider, are so in every old part, once.

        Raises:
            StorageError: the disk refused.
        """
        kept = reader.meta(INPUTS)
        meta = preflight.kept_meta(self._checked)
        if kept is not None and kept != meta[INPUTS]:
            await self._widen_parts(reader)
        await self._keep(meta)

    async def add_our_columns(self, reader: LedgerReader) -> None:
        """Columns of ours that an older version did not write are added to every old part, once, before a run opens.

        Raises:
            StorageError: the disk refused.
        """
        names = ",".join(tables.result_schema(pa.schema([]), None).names)
        if reader.meta(OURS) != names:
            await self._widen_parts(reader)
            await self._keep({OURS: names})

    async def _widen_parts(self, reader: LedgerReader) -> None:
        for part in reader.parts():
            widened = await to_thread.run_sync(_widen, self._checked, part, self._ledger)
            if widened is not None:
                await self._ledger.execute(integrity.Compared(parts={part: widened}).transaction())

    async def _keep(self, meta: Mapping[str, bytes | str]) -> None:
        def change(db: apsw.Connection) -> None:
            db.executemany("INSERT OR REPLACE INTO meta(key, value) VALUES(?,?)", list(meta.items()))

        await self._ledger.execute(change)

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
        change = found.transaction(last.run if last.state == "running" else None, now_us)
        await self._ledger.execute(change)
        counts = {"ranges": len(found.ranges), "found": len(found.places), "without_input": found.without}
        logger().warning("spill_lost", folder=str(self._checked.folder.pending), **counts)


def _widen(checked: CheckedJob, part: int, ledger: Ledger) -> Footprint | None:
    """Write a part under the schema of now; None when it has it."""
    target = checked.folder.part(part)
    with suppress(OSError, pa.ArrowException):  # a part that cannot be read is told of when it is rewritten
        if pq.read_schema(target).equals(checked.schema):
            return None
    parts.rewrite_part(
        target,
        checked.schema,
        [],
        variants=checked.variants.names,
        points=("publish.rewrite_written", "publish.rewrite_named"),
        announce=lambda footprint: ledger.execute_from_thread(announced(part, footprint)),
    )
    return parts.footprint(target)
