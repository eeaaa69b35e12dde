"""One batch file on its way: uploaded, made a batch of, asked for, collected, step by step.

Every step is durable before the next one; where a creation was not answered, the provider's list is looked through
before anything is created again. Owns what a wave does next, and what follows where the provider refuses. It does not
know what an answer means (`bulk_lines`), nor when a file is full or the run may end (`bulk`).
"""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import msgspec

from batch.core import failpoints
from batch.core.clock import MICROSECONDS
from batch.core.errors import StorageError
from batch.core.logs import logger
from batch.core.records import Failure
from batch.ledger import waves
from batch.ledger.waves import BUILT, COLLECTED, CREATED, UPLOADED, Told
from batch.limits.outage import MAX_PARK_S
from batch.providers.batch_files import Batch
from batch.run.bulk_lines import Lines
from batch.run.gathering import Gathering
from batch.run.lost_batches import LostBatches
from batch.run.overdue import BatchDeadline
from batch.run.state import RunState
from batch.run.stops import or_without_batches
from batch.run.wave_work import WaveWork
from batch.submit import retry
from batch.submit.attempt import CallContext
from batch.submit.bulk import FILE_LOST, NOT_SENT, QUEUE_FULL, BatchExchange

TICK_S: Final = 0.2
FIRST_POLL_S: Final = 1.0
LONGEST_POLL_S: Final = 60.0
POLL_PART: Final = 0.1
"""A batch is asked for again when it is older by this part of its age."""
FULL_QUEUE_S: Final = 10.0
LOST_AFTER: Final = 3
"""Answers that a batch, or a file of it, is not known, after which it is given up."""
UNWRITTEN_S: Final = (1.0, 2.0, 4.0)
"""A batch that has ended and counts answers, but names no file of them, is asked for again after so long each time.

Its answers were paid for, and would be lost; the end may be told a moment before the file.
"""


class Carrier:
    """Carries the waves of one run, any number at once.

    Args:
        context: with the ledger, the clients and the clock.
        lines: conclude what comes back.
        gathering: knows where the files lie, and how large the next may be.
        exchange: makes the calls about waves.
        lost: batches that were lost with the ledger.
        deadline: says which batches take too long.
        works: the waves that are not collected, by number; one that is leaves it.
        state: is told of faults.
        folder: where the files lie.
        sends: whether the lane is bulk still; else only what is at the provider is collected.

    Attributes:
        lines: conclude what comes back.
        collecting: how many waves are having their last rows concluded.
    """

    def __init__(  # noqa: PLR0913 - it stands between the ledger and the provider
        self,
        context: CallContext,
        lines: Lines,
        gathering: Gathering,
        exchange: BatchExchange,
        *,
        lost: LostBatches,
        deadline: BatchDeadline,
        works: dict[int, WaveWork],
        state: RunState,
        folder: Path,
        sends: bool,
    ) -> None:
        self._context = context
        self.lines = lines
        self._gathering = gathering
        self._exchange = exchange
        self._lost = lost
        self._deadline = deadline
        self._works = works
        self._state = state
        self._folder = folder
        self._sends = sends
        self._chance = random.Random()
        self._one_upload = anyio.Lock()
        self.collecting = 0

    async def carry(self, work: WaveWork) -> None:
        """Take one wave to its end, step by step."""
        try:
            while not self._state.stopping and work.wave.wave in self._works:
                if self._lost.awaits_rows(work.wave.wave, quiet=self._gathering.quiet):
                    await self._context.clock.sleep(TICK_S)
                    continue
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
                file_id = await self._exchange.upload(work.wave, self._gathering.path(work.wave.wave))
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
        self._exchange.target(work.wave.base_url).evidence.record_answer(work.wave.model)
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
            if (left_s := self._deadline.left_s(work.wave)) <= 0:
                wait_s = await self._deadline.cancel(work.wave, batch)
                work.asked = work.lingers = self._deadline.lingers(work.wave)
                work.stays_s = self._deadline.stays(work.wave)
                return await self._refused(work, wait_s) if isinstance(wait_s, Failure) else wait_s
            work.asked, work.lingers = True, False  # one may be given more time after all
            age_s = (self._context.clock.now_us() - work.wave.made_at_us) / MICROSECONDS
            return min(LONGEST_POLL_S, max(FIRST_POLL_S, POLL_PART * age_s), left_s)
        work.asked, work.lingers, work.stays_s = False, False, None
        if batch.unwritten and work.unwritten < len(UNWRITTEN_S):
            work.unwritten += 1
            return UNWRITTEN_S[work.unwritten - 1]
        failpoints.hit("bulk.ended")
        self._deadline.learn(work.wave, batch)
        if batch.status == "failed" and any(error.code in QUEUE_FULL for error in batch.errors):
            return await self._queue_full(work, batch)
        self.collecting += 1
        try:
            failure = await self.lines.collect(work.wave, batch)
            if failure is not None:
                return await self._not_had(work, failure)
            if not self._state.stopping:
                await self.collected(work)
        finally:
            self.collecting -= 1
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
            self._gathering.most_lines = max(1, min(self._gathering.most_lines, work.wave.lines // 2))
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
        self.collecting += 1
        try:
            await self.lines.give_up(work.wave, failure)
            if not self._state.stopping:
                await self.collected(work)
        finally:
            self.collecting -= 1
        return 0.0

    async def collected(self, work: WaveWork) -> None:
        """Every line of a wave that has a row is concluded: it leaves those that are carried."""
        await self._context.ledger.committed()
        if self._lost.collected(work.wave.wave):
            return  # other rows may still ask what its other lines asked
        await self.forget(work)

    async def forget(self, work: WaveWork) -> None:
        """Nothing more comes of a wave, whatever it held."""
        await self._advance(work, "bulk.collected", state=COLLECTED)
        self.lines.holds.end(work.wave.wave)
        self._works.pop(work.wave.wave, None)
        with suppress(OSError):
            self._gathering.path(work.wave.wave).unlink(missing_ok=True)
            if not self._works and self._gathering.empty:
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
