"""Lane `bulk` at work: rows go into files, files go to the provider, and answers come back to their rows.

Owns the waves of one run: which there are, when a file is closed and built, when nothing is left but to wait. Rows that
wait in a batch lie in the ledger and in no memory. What a wave does next is `carrying`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import msgspec
from anyio import to_thread

from batch.core import failpoints
from batch.core.errors import StorageError
from batch.core.logs import logger
from batch.ledger import waves
from batch.ledger.waves import BUILT, CREATED, UPLOADED, WaveRow, WavesReader
from batch.run.auto import Auto
from batch.run.carrying import TICK_S, Carrier
from batch.run.conclusion import Conclusion
from batch.run.gathering import Gathering
from batch.run.lost_batches import LostBatches
from batch.run.resume import Resumer
from batch.run.schedule import Schedule
from batch.run.state import RunState
from batch.run.wave_work import WaveWork, left_cancelled, not_ended, waits_for
from batch.submit.attempt import CallContext
from batch.submit.bulk import OpenWave
from batch.submit.rows import Row


class Bulk:
    """The batches of one run.

    Args:
        reader: the ledger; it belongs to this object.
        resumer: tells which model the rows of a variant ask.
        context: with the ledger and the clock.
        gathering: the files that are being written.
        carrier: takes a wave to its end.
        lost: batches that were lost with the ledger.
        works: the waves that are not collected, by number, which the carrier knows, too.
        schedule: its rows leave, and are waited for.
        state: is told of faults, and when everything waits.
        folder: where the files lie.
        run: the name of the run.
        no_wait: end when everything is at the provider.
        auto: decides which batches are taken back; None where the lane is no such.
    """

    def __init__(  # noqa: PLR0913 - it stands between the rows, the ledger and the provider
        self,
        reader: WavesReader,
        resumer: Resumer,
        context: CallContext,
        gathering: Gathering,
        carrier: Carrier,
        *,
        lost: LostBatches,
        works: dict[int, WaveWork],
        schedule: Schedule[Row],
        state: RunState,
        folder: Path,
        run: str,
        no_wait: bool,
        auto: Auto | None = None,
    ) -> None:
        self._reader = reader
        self._resumer = resumer
        self._context = context
        self.gathering = gathering
        self._carrier = carrier
        self._lost = lost
        carrier.lines.partly = lost.partly
        self._works = works
        self._schedule = schedule
        self._state = state
        self._folder = folder
        self._run = run
        self._no_wait = no_wait
        self.auto = auto

    @property
    def decided(self) -> str | None:
        """What lane `auto` has decided and why, for people; None in another lane."""
        return None if self.auto is None else self.auto.text()

    def concludes(self, conclusion: Conclusion) -> None:
        """Have what comes back be concluded; said before the run begins."""
        self._carrier.lines.conclusion = conclusion

    def begin(self) -> None:
        """Take up what earlier processes left: waves on their way, and rows that wait in them.

        Raises:
            StorageError: the ledger cannot be read.
        """
        self.gathering.first = self._reader.next_wave()
        for wave in self._reader.waves():
            self._works[wave.wave] = WaveWork(wave, doubted=wave.state == UPLOADED)
            if self._carrier.lines.holds.counts:
                self._carrier.lines.hold(wave)
        for variant, rows in self._reader.away().items():
            self._schedule.expect_back(self._resumer.model_of_variant(variant), rows)
        purse = self._context.purse
        if purse is not None and purse.spec.max_rows is not None:
            for work_id in self._reader.works_away():
                purse.resume_row(work_id)
        self._lost.begin()

    async def find_lost(self) -> None:
        """Have batches known again that were lost with the ledger, before anything is bought.

        Raises:
            StorageError: the disk refused.
        """
        conclusion = self._carrier.lines.conclusion
        failure = await self._lost.look(self.gathering.first)
        if failure is not None and conclusion is not None:
            message = (
                f"batches that were lost with the ledger are looked for before anything is bought: {failure.message}"
            )
            conclusion.stop(msgspec.structs.replace(failure, message=message))
            return
        for wave in await to_thread.run_sync(self._reader.waves):
            self._works.setdefault(wave.wave, WaveWork(wave, doubted=False))
        self.gathering.first = max([self.gathering.first, *(number + 1 for number in self._works)])
        self.gathering.put_at = self._context.clock.monotonic()
        named = {self.gathering.path(number).name for number in self._works}
        with suppress(OSError):
            for path in self._folder.iterdir():
                if path.name not in named:
                    path.unlink()  # a file that was never finished, or a download that is made again

    async def takes(self, row: Row) -> bool:
        """Whether a line that was lost with the ledger asks what a row asks; then the row waits for it, unsent."""
        line = self._lost.claim(row)
        if line is None:
            return False
        if not line.booked:
            self._carrier.lines.holds.adopt(line.wave, row, self._works[line.wave].wave.made_at_us)
        self.gathering.put_at = self._context.clock.monotonic()
        self._schedule.leave(row)
        await self._lost.committed()
        return True

    @property
    def waits_for(self) -> str | None:
        """What is waited for, for people; None when no batch is at the provider."""
        said = waits_for(self._works.values())
        return f"{said}; they hold what is left of the budget" if said and self.gathering.short else said

    async def run(self) -> None:
        """Carry the waves until the run stops, or this is cancelled."""
        try:
            async with anyio.create_task_group() as group:
                for work in list(self._works.values()):
                    group.start_soon(self._carrier.carry, work)
                try:
                    await self._close_waves(lambda work: group.start_soon(self._carrier.carry, work))
                except StorageError as exc:  # here and not outside, where it would come in a group
                    self._state.stop("storage", exc)
                group.cancel_scope.cancel()
        finally:
            self.gathering.abandon()

    async def finished(self) -> None:
        """Wait until the waves whose last row has settled are written down as collected; not once the run stops."""
        while self._carrier.collecting and not self._state.stopping:
            await self._context.clock.sleep(TICK_S / 4)
        if self._state.leaves_rows or self._lost.partial:
            return
        for work in list(self._works.values()):
            if work.wave.wave in self._lost.waves:
                await self._carrier.forget(work)  # nobody asks for the rest of it any more

    async def _close_waves(self, start: Callable[[WaveWork], object]) -> None:
        while not self._state.stopping:
            if self.auto is not None:
                self.auto.look()
            # What comes back now gives money back, of which else many small files would be made.
            self.gathering.close(short=self.gathering.short > 0 and not self._carrier.collecting)
            while self.gathering.full:
                start(await self._built(self.gathering.full[0]))
                self.gathering.full.pop(0)
            if self._idle() and (fault := not_ended(self._awaited)) is not None:
                self._state.stop("waiting", fault)
            if self._no_wait and self._all_away():
                self._state.stop("waiting", left_cancelled(self._awaited))
            await self._context.clock.sleep(TICK_S)

    @property
    def _awaited(self) -> list[WaveWork]:
        """The waves that rows wait for: all but lost ones, of whose lines no row has asked for any."""
        quiet, works = self.gathering.quiet, self._works.values()
        return [work for work in works if not self._lost.awaits_rows(work.wave.wave, quiet=quiet)]

    def _all_away(self) -> bool:
        """Whether nothing is left to be done before a batch ends."""
        awaited = self._awaited
        asked = bool(awaited) and all(work.asked and work.wave.state == CREATED for work in awaited)
        return asked and self._idle() and (self.auto is None or self.auto.may_leave)

    def _idle(self) -> bool:
        """Whether nothing can be done but to wait for the batches there are."""
        if not self.gathering.empty or not self._works or self._schedule.open > self.gathering.short:
            return False
        return self.gathering.quiet()

    async def _built(self, wave: OpenWave) -> WaveWork:
        """A file that is whole, known to the ledger with all its calls."""
        digest = await to_thread.run_sync(wave.seal)
        failpoints.hit("bulk.written")
        row = WaveRow(
            wave=wave.number,
            run=self._run,
            model=wave.model,
            base_url=self.gathering.next_place(wave.model),
            state=BUILT,
            lines=len(wave.calls),
            size=wave.size,
            digest=digest,
            made_at_us=self._context.clock.now_us(),
        )
        await self._context.ledger.execute(waves.build(row, wave.calls), after="bulk.built")
        work = self._works[row.wave] = WaveWork(row, doubted=False)
        logger().info("batch_file_built", wave=row.wave, model=row.model, lines=row.lines, bytes=row.size)
        return work
