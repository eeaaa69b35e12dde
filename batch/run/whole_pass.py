"""What a run that read its whole source leaves of the table: rows that never were rows go, the others are counted.

Owns what follows from a pass to the end of the source, after everything is published and before the run is closed: a
row that stood for a line which could not be read leaves the table once that line is gone; a row that the source has no
more stays and is counted, because answers are money and yesterday's rows are a common input. Sends nothing.
"""

from __future__ import annotations

from functools import partial

from anyio import to_thread

from batch.core.logs import logger
from batch.ledger import index
from batch.ledger.index import Gone, IndexReader
from batch.ledger.writer import Ledger
from batch.output import removal
from batch.plan.preflight import CheckedJob


async def look_at_table(checked: CheckedJob, run: str, ledger: Ledger) -> Gone:
    """Take what never was a row out of the table, and count and keep what the source has no more.

    Args:
        checked: the job.
        run: the run that read the source to its end.
        ledger: the one writer.

    Raises:
        StorageError: the disk refused.
    """
    removed, gone = await to_thread.run_sync(_look, checked, ledger)
    await ledger.execute(partial(index.keep_gone, gone=gone, run=run))
    if removed:
        logger().info("rows_removed", rows=removed, why="their lines are not in the input any more")
    return gone


def _look(checked: CheckedJob, ledger: Ledger) -> tuple[int, Gone]:
    with IndexReader(checked.folder.ledger) as reader:
        removed = 0
        for part, keys in reader.failed_and_gone():
            removed += removal.remove_unasked(checked.folder, part, keys, ledger.execute_from_thread)
        return removed, reader.count_gone([variant.name for variant in checked.variants])
