"""Take up the tasks whose ids are saved, a few at a time, beside everything else that a run does.

A restart may find a hundred thousand ids. All of them hold their slots at once, so that nothing new is sent above the
limit, but only some of the rows are in memory, and only so many are polled for the first time in a second. Owns which
ids still lie in the ledger and how fast they are taken up; a row itself is brought back by `resume`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import anyio
from anyio import to_thread

from batch.core.errors import StorageError
from batch.ledger.reader import PendingRow
from batch.ledger.saved import SavedReader
from batch.limits.lease import Lease
from batch.run.resume import Resumer
from batch.run.schedule import Schedule
from batch.run.state import RunState
from batch.submit.attempt import CallContext
from batch.submit.rows import Row

PER_S: Final = 200
"""Rows taken up in a second, each of which is polled at once."""
EVERY_S: Final = 0.1
IN_HAND: Final = 2_000  # rows that wait for tasks, in memory, besides as many as the limit lets be submitted
AT_ONCE: Final = 100  # rows brought back before anything else happens: a run of an ordinary size begins with all it has


class Adoption:
    """The saved tasks of one run.

    Args:
        reader: the ledger; it belongs to this object.
        resumer: brings back a row.
        context: gives saved ids their slots.
        schedule: takes the rows.
        state: is told of a ledger that cannot be read.
    """

    def __init__(
        self,
        reader: SavedReader,
        resumer: Resumer,
        context: CallContext,
        *,
        schedule: Schedule[Row],
        state: RunState,
    ) -> None:
        self._reader = reader
        self._resumer = resumer
        self._context = context
        self._schedule = schedule
        self._state = state
        self._left: deque[tuple[int, str, Lease]] = deque()
        self._more = anyio.Event()

    async def begin(self) -> None:
        """Bring back the rows that wait for no task, and give the tasks of the others their slots.

        Raises:
            StorageError: the ledger cannot be read.
        """
        for pending in await to_thread.run_sync(self._reader.begun):
            self._schedule.resume(self._resumer.rebuild(pending))
            await anyio.lowlevel.checkpoint()
        saved = await to_thread.run_sync(self._reader.saved_tasks)
        self.take_up((work_id, self._resumer.model_of_variant(variant)) for work_id, variant in saved)
        purse = self._context.purse
        # What they can come to must be held before anything new is afforded, and that is known of whole rows only.
        everything = purse is not None and purse.spec.bounds_calls
        while self._left and (everything or self._taken_up(len(saved)) < AT_ONCE):
            await self._take(AT_ONCE)

    def _taken_up(self, saved: int) -> int:
        return saved - len(self._left)

    def take_up(self, rows: Iterable[tuple[int, str]]) -> None:
        """Poll for these rows, given by work id and model, in their turn; from now on their tasks hold slots."""
        for work_id, model in rows:
            self._left.append((work_id, model, self._context.limiter.adopt(model)))
            self._schedule.expect(model)
            self._context.tasks += 1
        self._more.set()

    async def run(self) -> None:
        """Take rows up as long as there are some; runs until the run stops, or is cancelled."""
        try:
            while not self._state.stopping:  # then the ids are left to the next run
                if not self._left:
                    self._more = anyio.Event()
                    await self._more.wait()
                in_hand = self._context.tasks - len(self._left)
                if in_hand < IN_HAND + self._context.limiter.concurrency:
                    await self._take(round(PER_S * EVERY_S))
                await self._context.clock.sleep(EVERY_S)
        except StorageError as exc:
            self._state.stop("storage", exc)

    async def _take(self, count: int) -> None:
        some = [self._left.popleft() for _ in range(min(count, len(self._left)))]
        pending = await to_thread.run_sync(self._reader.rows, [work_id for work_id, _, _ in some])
        rows = {row.work_id: row for row in pending}
        for work_id, model, lease in some:
            self._adopt(rows[work_id], model, lease)
            await anyio.lowlevel.checkpoint()  # one row costs a millisecond, and the answers of others come meanwhile

    def _adopt(self, pending: PendingRow, model: str, lease: Lease) -> None:
        self._context.tasks -= 1
        row = self._resumer.rebuild(pending, lease)
        if row.call is None or row.call.lease is not lease:
            lease.release()  # it asks another model by now
        self._schedule.resume(row, expected=model)
