"""Rows that wait for the answer to another row of the run, which asks the same: they get it, or are asked in its place.

Owns when that is looked at: soon after a row has ended that may have been asked for others too, a few of them at a
time, and once more at the end. What becomes of the rows in the ledger is `ledger.copies`'s to say. A row that waits
holds no slot and is not among the rows to be sent; memory has their number alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import anyio
from anyio import to_thread

from batch.core.clock import Clock
from batch.core.errors import StorageError
from batch.core.records import NOTHING, RowRequest
from batch.labels.samples import NO_SAMPLES, Sampling
from batch.ledger.copies import CopiesReader, Ends, look_at_ends, settle_slice
from batch.ledger.reader import PendingRow
from batch.ledger.writer import Ledger
from batch.prompts.template import PromptFault
from batch.run.schedule import Schedule
from batch.run.state import RunState
from batch.submit.rows import Row

LOOK_S: Final = 0.05
"""How long ends are gathered, so that the ledger is not asked after each of them."""
MOST_ENDS: Final = 500
"""Of one transaction."""


class Copies:
    """The rows of one run that wait for another's answer.

    Args:
        ledger: the one writer.
        reader: tells what an earlier process left.
        state: tells which rows have ended, and is told which got their answer.
        schedule: takes the rows that are asked after all.
        clock: for the time between two looks.
        model_of: the model of a variant.
        request_of: what a row asks; it may raise `PromptFault`.
        samples_of: the samples that earlier runs asked of a row.
    """

    def __init__(
        self,
        ledger: Ledger,
        reader: CopiesReader,
        *,
        state: RunState,
        schedule: Schedule[Row],
        clock: Clock,
        model_of: Callable[[str], str],
        request_of: Callable[[PendingRow], RowRequest],
        samples_of: Callable[[PendingRow], Sampling] = lambda _: NO_SAMPLES,
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._state = state
        self._schedule = schedule
        self._clock = clock
        self._model_of = model_of
        self._request_of = request_of
        self._samples_of = samples_of
        self._waiting: Counter[str] = Counter()
        self._ready = False
        self._working = False
        self.asked: Counter[str] = Counter()
        """By model, rows that waited and were handed to the schedule in place of one that failed."""

    def restore(self) -> None:
        """Go on from what an earlier process left."""
        self.admitted(self._reader.waiting_by_variant())
        self._ready = self._reader.any_ready()
        self._state.watch_ends(self._reader.ended())

    def admitted(self, rows: Mapping[str, int]) -> None:
        """So many rows, by variant, are durable and wait; for some the answer may be there."""
        for variant, count in rows.items():
            self._waiting[self._model_of(variant)] += count
        if rows:
            self._ready = True
            self._state.look_at_ends()

    @property
    def waiting(self) -> bool:
        """Whether any row waits."""
        return any(count > 0 for count in self._waiting.values())

    def over(self, model: str) -> bool:
        """Whether no more rows of a model will be asked in place of others: none waits, or for none that is open."""
        if self._waiting[model] <= 0:
            return True
        rows = self._schedule.of(model)
        return not (rows.open or rows.unstarted or self._ready or self._working or self._state.ends)

    async def run(self) -> None:
        """Look at what has ended, until cancelled."""
        while True:
            await self._state.an_end()
            try:
                await self.look()
            except StorageError as exc:
                self._state.stop("storage", exc)
                return
            self._schedule.look_again()
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Settle every row whose answer is there, and have the next one asked where a row failed."""
        with anyio.CancelScope(shield=True):  # what the ledger did must be told to the state
            self._working = True
            try:
                await self._ledger.committed()
                while ends := self._state.take_ends(MOST_ENDS):
                    found = await self._ledger.execute(partial(look_at_ends, works=ends), after="copies.ended")
                    await self._ask_next(found)
                while self._ready:
                    await self._settle()
            finally:
                self._working = False

    async def _ask_next(self, found: Ends) -> None:
        self._ready = self._ready or found.ready
        if self._state.stopping:
            return  # they stay in the ledger
        for pending in found.asked_next:
            model = self._model_of(pending.variant)
            row = await to_thread.run_sync(self._row, pending, self._samples_of(pending))
            self._waiting[model] -= 1
            self.asked[model] += 1
            self._schedule.add(model, [row])

    async def _settle(self) -> None:
        self._ready = False
        while settled := await self._ledger.execute(
            partial(settle_slice, now_us=self._clock.now_us()), after="copies.settled"
        ):
            for copy in settled:
                self._waiting[self._model_of(copy.variant)] -= 1
                self._state.row_settled(copy.part, copy.outcome)

    def _row(self, pending: PendingRow, had: Sampling) -> Row:
        try:
            return Row(pending, self._request_of(pending), sampling=had)
        except PromptFault as exc:
            return Row(pending, NOTHING, str(exc))
