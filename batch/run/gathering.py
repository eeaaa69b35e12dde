"""Rows on their way into batch files: which files are being written, and when one is closed.

Owns the open files. A row whose line is written leaves memory, and is in the ledger only with the whole of its file: if
the process dies before, the row is asked as if nothing had been.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from batch.job.bulkspec import BulkSpec
from batch.run.schedule import Schedule
from batch.run.state import RunState
from batch.submit.attempt import CallContext
from batch.submit.bulk import BatchExchange, OpenWave, line_call
from batch.submit.purse import Reserved
from batch.submit.rows import Row
from batch.submit.wave_holds import WaveHolds

LOOK_AGAIN_S: Final = 0.05


class Gathering:
    """The files that are being written, one for each model.

    Args:
        context: numbers the calls.
        exchange: writes the lines.
        holds: what lines hold of the budget.
        schedule: its rows leave.
        state: says whether the run is to end.
        folder: where the files lie.
        spec: how long a file waits, and how many lines it may have.

    Attributes:
        full: files that are closed and not written down yet.
        most_lines: how many lines a file may have; fewer where the provider has no room.
        first: the number of the next file.
        put_at: the monotonic moment of the last line.
    """

    def __init__(
        self,
        context: CallContext,
        exchange: BatchExchange,
        holds: WaveHolds,
        *,
        schedule: Schedule[Row],
        state: RunState,
        folder: Path,
        spec: BulkSpec,
    ) -> None:
        self._context = context
        self._exchange = exchange
        self._holds = holds
        self._schedule = schedule
        self._state = state
        self._folder = folder
        self._spec = spec
        self._open: dict[str, OpenWave] = {}
        self.full: list[OpenWave] = []
        self.most_lines = spec.lines
        self.first = 0
        self.put_at = 0.0
        self._reserving = 0

    def path(self, number: int) -> Path:
        """Where the file of a wave lies."""
        return self._folder / f"wave-{number:05d}.jsonl"

    @property
    def empty(self) -> bool:
        """Whether no line waits to be sent."""
        return not self._open and not self.full

    async def put(self, row: Row) -> None:
        """Write the next turn of a row into a file; it leaves memory.

        Raises:
            BudgetReached: it can come to more than the budget has left.
            PurseClosed: the run takes no new sends.
            StorageError: the disk refused.
        """
        while self.full and not self._state.stopping:
            await self._context.clock.sleep(LOOK_AGAIN_S)
        held = await self._afforded(row)
        if self._state.stopping:
            self._holds.release(held)
            self._schedule.done(row)  # it lies in the ledger as it was
            return
        request = self._context.sending(row)
        call = line_call(self._context, row, None if held is None else held.at_us)
        text = self._exchange.files.line(request, call.call_id)
        wave = self._open.get(row.model)
        if wave is not None and not (
            wave.fits(len(text), self.most_lines) and self._holds.goes_with(wave.number, held)
        ):
            self.full.append(self._open.pop(row.model))
            wave = None
        now = self.put_at = self._context.clock.monotonic()
        if wave is None:
            wave = self._open[row.model] = OpenWave(self.first, self.path(self.first), model=row.model, began=now)
            self.first += 1
        try:
            wave.add(text, call)
        except BaseException:
            self._holds.release(held)
            raise
        self._holds.add(wave.number, held)
        self._schedule.leave(row)

    async def _afforded(self, row: Row) -> Reserved | None:
        """Hold what the line of a row can come to, as soon as the budget has so much."""
        if not self._holds.counts:
            return None
        self._reserving += 1
        try:
            return await self._holds.reserve(row)
        finally:
            self._reserving -= 1

    @property
    def short(self) -> int:
        """How many rows wait for money that other calls hold; 0 for none."""
        return self._reserving if self._holds.short else 0

    def close(self, *, short: bool = False) -> None:
        """Close the files that have waited for long enough, or into which no row can come.

        Args:
            short: close all of them, for the budget has no more than they hold.
        """
        now = self._context.clock.monotonic()
        for model, wave in list(self._open.items()):
            if short or self.no_more(model) or now - wave.began >= self._spec.wave_wait_s:
                self.full.append(self._open.pop(model))

    def no_more(self, model: str) -> bool:
        """Whether no row can come for a model without an answer of a batch."""
        rows = self._schedule.of(model)
        return rows.ended and not rows.unstarted and not rows.to_send and self._schedule.open == 0

    def quiet(self) -> bool:
        """Whether nothing can come without an answer of a batch, or nothing has come for long."""
        if self.short or all(self.no_more(model) for model in self._schedule.models):
            return True
        # Rows that wait for another's answer keep a model from its end; then it is quiet that tells.
        return self._context.clock.monotonic() - self.put_at >= self._spec.wave_wait_s

    def abandon(self) -> None:
        """Leave no unfinished file behind: none of its lines is in the ledger."""
        for wave in (*self._open.values(), *self.full):
            wave.abandon()
            self._holds.end(wave.number)
