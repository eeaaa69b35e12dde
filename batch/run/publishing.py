"""Publishes parts while a run is at work, and closes the run in the ledger at its end.

Owns when a publication happens: one at a time, when the last admitted row of a part has settled, from time to time for
a part that still waits for some (`early` says when), and once more at the end for all that is left. How files are
written is `output.publish`'s matter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
import apsw
from anyio import to_thread

from batch.core import failpoints
from batch.core.clock import Clock
from batch.core.errors import StorageError
from batch.core.logs import logger
from batch.ledger.reader import LedgerReader
from batch.ledger.totals import Planned
from batch.ledger.writer import Ledger
from batch.output.publish import Publisher
from batch.run.early import EarlyParts
from batch.run.state import RunState

PARTS_AT_ONCE: Final = 8
"""Of a large table all parts may have something to publish at the end; memory has room for what a few of them have."""


class Publishing:
    """The publications of one run.

    Args:
        publisher: writes the files.
        ledger: takes the transactions.
        reader: tells which parts have settled rows.
        state: tells what has settled in which part, and is told when the disk refuses.
        early: says when a part is published that still waits for rows.
        clock: for `early`.
    """

    def __init__(
        self,
        publisher: Publisher,
        ledger: Ledger,
        reader: LedgerReader,
        *,
        state: RunState,
        early: EarlyParts,
        clock: Clock,
    ) -> None:
        self._publisher = publisher
        self._ledger = ledger
        self._reader = reader
        self._state = state
        self._early = early
        self._clock = clock

    async def run(self) -> None:
        """Publish each part when it is complete or due, until cancelled or the disk refuses."""
        state = self._state
        while True:
            with anyio.move_on_after(self._early.look_s):
                await state.part_complete()
            complete = state.take_complete()
            for part in complete:
                self._early.forget(part)
                del state.settled[part]
            due = self._early.due(self._clock.monotonic(), state.settled, state.unsettled)
            if not (complete or due):
                continue
            outcomes = {part: state.settled.pop(part) for part in due}
            try:
                await self._ledger.committed()
                rows = await self._publish([*complete, *due], all_calls=bool(complete))
                for part in due:
                    self._early.published(part, outcomes[part], rows.get(part))
            except StorageError as exc:
                # What is in flight is let finish: the ledger may well take it although a part could not be written.
                self._state.stop("storage", exc)
                return

    async def finish(
        self, close: Callable[[apsw.Connection], Planned], *, before: Callable[[], Awaitable[None]]
    ) -> Planned:
        """Publish all that settled and every final call, close the run, and prune; returns what `close` does.

        Args:
            close: the transaction that closes the run.
            before: what is done when everything is published, before that.

        Raises:
            StorageError: the disk refused.
        """
        await self._ledger.committed()
        parts = list(await to_thread.run_sync(self._reader.settled_by_part))
        for start in range(0, max(1, len(parts)), PARTS_AT_ONCE):
            await self._publish(parts[start : start + PARTS_AT_ONCE])
        await before()
        planned = await self._ledger.execute(close)
        await self._ledger.tidied()
        await to_thread.run_sync(partial(self._publisher.tidy, everything=True))
        failpoints.hit("run.closed")
        return planned

    async def _publish(self, parts: list[int], *, all_calls: bool = True) -> dict[int, int]:
        """Publish these parts; how many rows the file of each has now, of those that had something to publish."""
        with anyio.CancelScope(shield=True):
            # Not to be torn by a cancel: the numbers of the publisher go on only after the transaction.
            prepare = partial(self._publisher.prepare, parts, all_calls=all_calls)
            publication = await to_thread.run_sync(prepare)
            await self._ledger.execute(self._publisher.commit(publication), after="publish.committed")
            self._publisher.forget(publication)
            await to_thread.run_sync(self._publisher.tidy)
        for part, (rows, _) in publication.parts.items():
            logger().info("part_published", part=part, rows=rows)
        return {part: rows for part, (rows, _) in publication.parts.items()}
