"""Lane `bulk` at work: rows go into files, files go to the provider, and answers come back to their rows.

Owns what a wave does next: upload, create, ask, collect. Rows that wait in a batch lie in the ledger and in no memory.
Every step is durable before the next one; where a creation was not answered, the provider's list is looked through
before anything is created again. It does not know what an answer means: `bulk_lines` does.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import msgspec
from anyio import to_thread

from batch.core import failpoints
from batch.core.clock import MICROSECONDS
from batch.core.errors import StorageError
from batch.core.logs import logger
from batch.core.records import Failure
from batch.ledger import waves
from batch.ledger.waves import BUILT, COLLECTED, CREATED, UPLOADED, Told, WaveRow, WavesReader
from batch.limits.outage import MAX_PARK_S
from batch.providers.batch_files import Batch
from batch.run.bulk_lines import Lines
from batch.run.gathering import Gathering
from batch.run.overdue import BatchDeadline
from batch.run.resume import Resumer
from batch.run.schedule import Schedule
from batch.run.state import RunState
from batch.run.stops import or_without_batches
from batch.run.wave_work import WaveWork, waits_for
from batch.submit import retry
from batch.submit.attempt import CallContext
from batch.submit.bulk import FILE_LOST, NOT_SENT, QUEUE_FULL, BatchExchange, OpenWave
from batch.submit.rows import Row

TICK_S: Final = 0.2
FIRST_POLL_S: Final = 1.0
LONGEST_POLL_S: Final = 60.0
POLL_PART: Final = 0.1
"""A batch is asked for again when it is older by this part of its age."""
FULL_QUEUE_S: Final = 10.0
LOST_AFTER: Final = 3
"""Answers that a batch, or a file of it, is not known, after which it is given up."""


class Bulk:
    """The batches of one run.

    Args:
        reader: the ledger; it belongs to this object.
        resumer: tells which model the rows of a variant ask.
        context: with the ledger, the clients and the clock.
        lines: conclude what comes back.
        gathering: the files that are being written.
        exchange: makes the calls about waves.
        deadline: says which batches take too long.
        schedule: its rows leave, and are waited for.
        state: is told of faults, and when everything waits.
        folder: where the files lie.
        run: the name of the run.
        no_wait: end when everything is at the provider.
        sends: whether the lane is bulk still; else only what is at the provider is collected.
    """

    def __init__(  # noqa: PLR0913 - it stands between the rows, the ledger and the provider
        self,
        reader: WavesReader,
        resumer: Resumer,
        context: CallContext,
        lines: Lines,
        gathering: Gathering,
        *,
        exchange: BatchExchange,
        deadline: BatchDeadline,
        schedule: Schedule[Row],
        state: RunState,
        folder: Path,
        run: str,
        no_wait: bool,
        sends: bool,
    ) -> None:
        self._reader = reader
        self._resumer = resumer
        self._context = context
        self.lines = lines
        self.gathering = gathering
        self._exchange = exchange
        self._deadline = deadline
        self._schedule = schedule
        self._state = state
        self._folder = folder
        self._run = run
        self._no_wait = no_wait
        self._sends = sends
        self._chance = random.Random()
        self._works: dict[int, WaveWork] = {}
        self._collecting = 0
        self._one_upload = anyio.Lock()

    def begin(self) -> None:
        """Take up what earlier processes left: waves on their way, and rows that wait in them.

        Raises:
            StorageError: the ledger cannot be read.
        """
        self.gathering.first = self._reader.next_wave()
        for wave in self._reader.waves():
            self._works[wave.wave] = WaveWork(wave, doubted=wave.state == UPLOADED)
            if self.lines.holds.counts:
                self.lines.hold(wave)
        for variant, rows in self._reader.away().items():
            self._schedule.expect_back(self._resumer.model_of_variant(variant), rows)
        purse = self._context.purse
        if purse is not None and purse.spec.max_rows is not None:
            for work_id in self._reader.works_away():
                purse.resume_row(work_id)
        named = {self.gathering.path(number).name for number in self._works}
        with suppress(OSError):
            for path in self._folder.iterdir():
                if path.name not in named:
                    path.unlink()  # a file that was never finished, or a download that is made again

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
                    group.start_soon(self._carry, work)
                try:
                    await self._close_waves(lambda work: group.start_soon(self._carry, work))
                except StorageError as exc:  # here and not outside, where it would come in a group
                    self._state.stop("storage", exc)
                group.cancel_scope.cancel()
        finally:
            self.gathering.abandon()

    async def finished(self) -> None:
        """Wait until the waves whose last row has settled are written down as collected; not once the run stops."""
        while self._collecting and not self._state.stopping:
            await self._context.clock.sleep(TICK_S / 4)

    async def _close_waves(self, start: Callable[[WaveWork], object]) -> None:
        while not self._state.stopping:
            # What comes back now gives money back, of which else many small files would be made.
            self.gathering.close(short=self.gathering.short > 0 and not self._collecting)
            while self.gathering.full:
                start(await self._built(self.gathering.full[0]))
                self.gathering.full.pop(0)
            if self._no_wait and self._all_away():
                self._state.stop("waiting")
            await self._context.clock.sleep(TICK_S)

    def _all_away(self) -> bool:
        """Whether nothing is left to be done before a batch ends."""
        if not self.gathering.empty or not self._works or self._schedule.open > self.gathering.short:
            return False
        asked = all(work.asked and work.wave.state == CREATED for work in self._works.values())
        return asked and self.gathering.quiet()

    async def _built(self, wave: OpenWave) -> WaveWork:
        """A file that is whole, known to the ledger with all its calls."""
        digest = await to_thread.run_sync(wave.seal)
        failpoints.hit("bulk.written")
        row = WaveRow(
            wave=wave.number,
            run=self._run,
            model=wave.model,
            base_url=self._exchange.next_target(wave.model).stored,
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

    async def _carry(self, work: WaveWork) -> None:
        """Take one wave to its end, step by step."""
        try:
            while not self._state.stopping and work.wave.state != COLLECTED:
                wait_s = await (self._send(work) if work.wave.state < CREATED else self._ask(work))
                if wait_s > 0:
                    await self._context.clock.sleep(wait_s)
        except StorageError as exc:
            self._state.stop("storage", exc)

    async def _send(self, work: WaveWork) -> float:
        """Bring a wave to the provider; seconds to wait before the next try, 0 when there is one at once."""
        if (shut_s := self._context.limiter.shut_for()) > 0:
            return min(shut_s, LONGEST_POLL_S)
        if work.doubted:
            known = await self._exchange.find(work.wave)
            if isinstance(known, Failure):
                return await self._refused(work, known)
            work.doubted = False
            if known is not None:
                logger().info("batch_adopted", wave=work.wave.wave, batch=known.id)
                await self._created(work, known)
                return 0.0
        if not self._sends:
            message = "the lane was changed before the file of this request was sent"
            unsent = Failure(kind="transport", verdict="retry", code=NOT_SENT, message=message, sent=False)
            return await self._give_up(work, unsent)
        if self._deadline.over(work.wave):
            return await self._give_up(work, self._deadline.unsent(work.wave))
        async with self._one_upload:  # a file is in memory while it is uploaded
            if work.wave.state == BUILT:
                file_id = await self._exchange.upload(work.wave, self.gathering.path(work.wave.wave))
                if isinstance(file_id, Failure):
                    lost = file_id.code == FILE_LOST
                    return await (self._give_up(work, file_id) if lost else self._refused(work, file_id))
                await self._advance(work, "bulk.uploaded", state=UPLOADED, file_id=file_id)
        made = await self._exchange.create(work.wave)
        failpoints.hit("bulk.answered")
        if isinstance(made, Failure):
            work.doubted = made.sent and not made.answered
            if made.kind == "task":  # the file is not known any more, or there is nothing that makes batches
                await self._advance(work, None, state=BUILT, file_id=None)
                work.lost += 1
                made = msgspec.structs.replace(made, verdict="stop" if work.lost >= LOST_AFTER else made.verdict)
            return await self._refused(work, made)
        await self._created(work, made)
        return 0.0

    async def _created(self, work: WaveWork, batch: Batch) -> None:
        work.went_well()
        self._exchange.target(work.wave).evidence.record_answer(work.wave.model)
        await self._advance(work, "bulk.created", state=CREATED, batch_id=batch.id, told=self._told(batch))
        logger().info("batch_created", wave=work.wave.wave, batch=batch.id, lines=work.wave.lines)

    async def _ask(self, work: WaveWork) -> float:
        """Ask for a batch, and collect it if it has ended; seconds until the next time."""
        batch = await self._exchange.retrieve(work.wave)
        if isinstance(batch, Failure):
            return await self._not_had(work, batch)
        await self._tell(work, batch)
        if not batch.final:
            work.went_well()
            work.asked = (left_s := self._deadline.left_s(work.wave)) > 0  # one that is cancelled is waited for
            if not work.asked:
                wait_s = await self._deadline.cancel(work.wave, batch)
                return await self._refused(work, wait_s) if isinstance(wait_s, Failure) else wait_s
            age_s = (self._context.clock.now_us() - work.wave.made_at_us) / MICROSECONDS
            return min(LONGEST_POLL_S, max(FIRST_POLL_S, POLL_PART * age_s), left_s)
        work.asked = False
        failpoints.hit("bulk.ended")
        if batch.status == "failed" and any(error.code in QUEUE_FULL for error in batch.errors):
            return await self._queue_full(work, batch)
        self._collecting += 1
        try:
            failure = await self.lines.collect(work.wave, batch)
            if failure is not None:
                return await self._not_had(work, failure)
            if not self._state.stopping:
                await self._collected(work)
        finally:
            self._collecting -= 1
        return 0.0

    async def _not_had(self, work: WaveWork, failure: Failure) -> float:
        """A batch or a file of its answers was not had; one that is not known, time and again, is given up."""
        work.lost += failure.kind == "task"
        if work.lost >= LOST_AFTER:
            # What was done of it may have been billed, and nobody will ever see it.
            lost = msgspec.structs.replace(failure, code="batch_lost", verdict="retry", answered=False)
            return await self._give_up(work, lost)
        return await self._refused(work, failure)

    async def _queue_full(self, work: WaveWork, batch: Batch) -> float:
        """The provider's queue had no room: the same file is offered again; one that never fits is taken apart."""
        others = any(w.wave.state == CREATED for w in self._works.values() if w is not work)
        if not others and work.wave.lines > 1:
            self.gathering.most_lines = max(1, min(self.gathering.most_lines, work.wave.lines // 2))
            message = f"the provider's queue has no room for {work.wave.lines:,} requests: {batch.errors[0].message}"
            failure = Failure(kind="rate_limit", verdict="retry", code=batch.errors[0].code, message=message)
            return await self._give_up(work, failure)
        await self._advance(work, None, state=UPLOADED, batch_id=None)
        return FULL_QUEUE_S

    async def _refused(self, work: WaveWork, failure: Failure) -> float:
        """What an exchange about a wave came to; seconds until it is tried again."""
        conclusion, now = self.lines.conclusion, self._context.clock.monotonic()
        assert conclusion is not None
        logger().warning("batch_refused", wave=work.wave.wave, kind=failure.kind, code=failure.code)
        if failure.verdict in ("stop", "row_or_key") or failure.wrong_address:
            conclusion.stop(failure if work.wave.state == CREATED else or_without_batches(failure))
            return TICK_S
        if failure.verdict == "fail" and work.wave.state < CREATED:
            return await self._give_up(work, failure)
        refused_s = work.refused(failure, now)
        elsewhere = any(w.wave.state == CREATED and w.failure is None for w in self._works.values())
        if failure.verdict == "park" or (refused_s > MAX_PARK_S and not elsewhere):
            conclusion.stop(failure)
            return TICK_S
        return max(retry.backoff(work.tries, self._chance), failure.retry_after_s or 0.0)

    async def _give_up(self, work: WaveWork, failure: Failure) -> float:
        """End every line of a wave in one way; 0 seconds, for nothing is left to be waited for."""
        self._collecting += 1
        try:
            await self.lines.give_up(work.wave, failure)
            if not self._state.stopping:
                await self._collected(work)
        finally:
            self._collecting -= 1
        return 0.0

    async def _collected(self, work: WaveWork) -> None:
        await self._context.ledger.committed()
        await self._advance(work, "bulk.collected", state=COLLECTED)
        self.lines.holds.end(work.wave.wave)
        del self._works[work.wave.wave]
        with suppress(OSError):
            self.gathering.path(work.wave.wave).unlink(missing_ok=True)
            if not self._works and self.gathering.empty:
                self._folder.rmdir()
        logger().info("batch_collected", wave=work.wave.wave, batch=work.wave.batch_id)

    async def _tell(self, work: WaveWork, batch: Batch) -> None:
        """Keep what the provider says of a batch, where it says something new."""
        told, before = self._told(batch), work.wave.told
        if before is None or msgspec.structs.replace(told, at_s=before.at_s) != before:
            await self._advance(work, None, told=told)

    async def _advance(self, work: WaveWork, after: str | None, **changes: object) -> None:
        """Make a step of a wave durable."""
        wave = msgspec.structs.replace(work.wave, **changes)
        await self._context.ledger.execute(waves.advance(wave), after=after)
        work.wave = wave

    def _told(self, batch: Batch) -> Told:
        at_s = self._context.clock.now_us() / MICROSECONDS
        return Told(batch.status, at_s, batch.expires_s, batch.total, batch.completed, batch.failed)
