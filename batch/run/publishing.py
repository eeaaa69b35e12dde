"""Publishes parts while a run is at work, and closes the run in the ledger at its end.

Owns when a publication happens: one at a time, when the last admitted row of a part has settled, and once more at the
end for all that is left. How files are written is `output.publish`'s matter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
import apsw
from anyio import to_thread

from batch.core import failpoints
from batch.core.errors import StorageError
from batch.core.logs import logger
from batch.ledger.reader import LedgerReader
from batch.ledger.writer import Ledger
from batch.output.publish import Publisher
from batch.run.state import RunState

PARTS_AT_ONCE: Final = 8
"""Of a large table all parts may have something to publish at the end; memory has room for what a few of them have."""


class Publishing:
    """The publications of one run.

    Args:
        publisher: writes the files.
        ledger: takes the transactions.
        reader: tells which parts have settled rows.
        state: tells which parts are complete, and is told when the disk refuses.
    """

    def __init__(self, publisher: Publisher, ledger: Ledger, reader: LedgerReader, state: RunState) -> None:
        self._publisher = publisher
        self._ledger = ledger
        self._reader = reader
        self._state = state

    async def run(self) -> None:
        """Publish each part when it is complete, until cancelled or the disk refuses."""
        while True:
            parts = await self._state.complete_parts()
            try:
                await self._ledger.committed()
                await self._publish(parts)
            except StorageError as exc:
                # What is in flight is let finish: the ledger may well take it although a part could not be written.
                self._state.stop("storage", exc)
                return

    async def finish(self, close: Callable[[apsw.Connection], None], *, before: Callable[[], Awaitable[None]]) -> None:
        """Publish all that settled and every final call, close the run, and prune.

        Args:
            close: the transaction that closes the run.
            before: what is done when everything is published, before that.

        Raises:
            StorageError: the disk refused.
        """
        await self._ledger.committed()
        parts = await to_thread.run_sync(self._reader.parts_with_outcomes)
        for start in range(0, max(1, len(parts)), PARTS_AT_ONCE):
            await self._publish(parts[start : start + PARTS_AT_ONCE])
        await before()
        await self._ledger.execute(close)
        await self._ledger.pruned()
        await to_thread.run_sync(partial(self._publisher.tidy, everything=True))
        failpoints.hit("run.closed")

    async def _publish(self, parts: list[int]) -> None:
        with anyio.CancelScope(shield=True):
            # Not to be torn by a cancel: the numbers of the publisher go on only after the transaction.
            publication = await to_thread.run_sync(self._publisher.prepare, parts)
            await self._ledger.execute(self._publisher.commit(publication), after="publish.committed")
            await to_thread.run_sync(self._publisher.tidy)
        for part, (rows, _) in publication.parts.items():
            logger().info("part_published", part=part, rows=rows)
