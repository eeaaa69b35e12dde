"""What becomes of rows of the table that a run did not meet in its whole input: most stay and are counted as gone.

Owns what follows once a run has read the source to its end, after everything is published and before the run is closed.
A row that stood for an unreadable line leaves the table once that line is gone from the input. Any other row that is
not in the input any more stays and is counted, because its answer was paid for and many inputs hold yesterday's rows
only. Sends nothing.
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


async def follow_input(checked: CheckedJob, run: str, ledger: Ledger) -> Gone:
    """Take rows of vanished unreadable lines out of the table; count the other rows that the source has no more.

    Args:
        checked: the job.
        run: the run that read the source to its end.
        ledger: the one writer.

    Returns:
        How many rows are gone from the input; the ledger now knows it, too.

    Raises:
        StorageError: the disk refused.
    """
    removed, gone = await to_thread.run_sync(_follow, checked, ledger)
    await ledger.execute(partial(index.keep_gone, gone=gone, run=run))
    if removed:
        logger().info("rows_removed", rows=removed, why="their lines are not in the input any more")
    return gone


def _follow(checked: CheckedJob, ledger: Ledger) -> tuple[int, Gone]:
    with IndexReader(checked.folder.ledger) as reader:
        removed = 0
        for part, keys in reader.failed_and_gone():
            removed += removal.remove_unasked(checked.folder, part, keys, ledger.execute_from_thread)
        return removed, reader.count_gone([variant.name for variant in checked.variants])
