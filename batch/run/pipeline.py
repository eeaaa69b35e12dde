"""One run at work: starts its stages, lets them end, and publishes what settled.

Each stage is a task of one group; threads do what would block the event loop. A stop ends what sends, lets what is in
flight settle, and then everything that settled is published; so a clean stop and a finished run end the same way. A
fault of the run itself is kept and raised after publishing. A storage fault skips that: the ledger says enough to go
on.

Owns the order of the stages' lives; what each is made of is `wiring`'s, what they share is `state`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import anyio
import msgspec
from anyio import to_thread

from batch.core.clock import MICROSECONDS, Clock
from batch.core.errors import BatchError, StorageError
from batch.job.options import RunOptions
from batch.ledger.model_sums import calls_of
from batch.ledger.totals import Totals
from batch.ledger.writer import Ledger
from batch.limits.holding import held_by
from batch.limits.used import LimitUses
from batch.plan import continuation
from batch.plan.continuation import RunStart
from batch.plan.numbers import Least
from batch.plan.preflight import CheckedJob
from batch.run import progress
from batch.run.learning import OFTEN
from batch.run.oldest import oldest
from batch.run.spending import money_left, use_of, waits_for_money
from batch.run.whole_pass import follow_input
from batch.run.wiring import OPEN_BYTES, wire
from batch.submit.observer import Observer

if TYPE_CHECKING:
    from batch.run.fleet.transport import Begin

FOLLOW_UP_WORKERS: Final = 64
"""Polls and tool turns at the same time; the slots bound the rows they are for."""
TICK_S: Final = 1.0


class Run:
    """One run, from its start to its close. Use once.

    Args:
        checked: the job.
        start: which run it is, and from where it goes on.
        ledger: the one writer.
        options: what this command adds to the job.
        clock: for every stage.
        on_progress: called about once a second with a snapshot; the one call upward, because who shows it came before.
        observer: is told of calls, polls and rows; None for nobody.
        begin: starts a worker elsewhere; None for this machine.
    """

    def __init__(
        self,
        checked: CheckedJob,
        start: RunStart,
        ledger: Ledger,
        *,
        options: RunOptions,
        clock: Clock,
        on_progress: Callable[[progress.Progress], None],
        observer: Observer | None = None,
        begin: Begin | None = None,
    ) -> None:
        self._checked = checked
        self._start = start
        self._ledger = ledger
        self._options = options
        self._clock = clock
        self._on_progress = on_progress
        self._began = clock.monotonic()
        self._meter = progress.Meter()
        self._limit_uses = LimitUses()
        self._stack = ExitStack()
        self._stages = wire(checked, start, options, ledger=ledger, clock=clock, stack=self._stack, begin=begin)
        self._stages.context.observer = observer
        self._state = self._stages.state
        # The other call upward: the ledger's thread is the first to know that nothing can be written any more.
        ledger.on_broken(self._state.break_off)

    @property
    def reason(self) -> str:
        """What the run closes with."""
        return self._state.reason

    @property
    def totals(self) -> Totals:
        """Sums over its rows and calls so far."""
        return self._state.totals

    def stop(self, reason: str, fault: BatchError | None = None) -> None:
        """The first stop; see `RunState.stop`."""
        self._state.stop(reason, fault)

    def cut(self) -> None:
        """The second stop: calls in flight are cancelled and become `unknown`."""
        self._state.cut()

    async def execute(self) -> str:
        """Run to the end and return the reason it closed with.

        Raises:
            BatchError: the fault that stopped it; everything settled was published before, unless storage failed.
        """
        state = self._state
        try:
            with state.whole:
                await self._restore()
                await self._work()
            if self._ledger.broken is not None:
                raise self._ledger.broken
            if not isinstance(state.fault, StorageError):
                await self._close()
        finally:
            with anyio.CancelScope(shield=True):
                await self._stages.context.aclose()
            self._stack.close()
        if state.fault is not None:
            raise state.fault
        return state.reason

    async def _restore(self) -> None:
        """Bring back what an earlier process had in its hands; saved ids take their slots without waiting."""
        reader, state = self._stages.reader, self._state
        last_sent = await to_thread.run_sync(reader.last_sent_us)
        since = None if last_sent is None else (self._clock.now_us() - last_sent) / MICROSECONDS
        state.totals.add(await to_thread.run_sync(reader.unpublished))
        published = next((run.totals for run in reader.runs() if run.run == self._start.run), None)
        if published is not None:
            state.totals.add(published)
        # What an earlier run began is settled by this one, too, but is not among what this one plans.
        state.restore(reader.unsettled_by_part(), reader.settled_by_part(), planned=self._start.planned.admitted)
        if self._stages.bulk is not None:
            await to_thread.run_sync(self._stages.bulk.begin)
            await self._stages.bulk.find_lost()
        await self._stages.adoption.begin()
        if state.purse is not None:
            await self._ledger.committed()  # what died with the process before is in the book by now
            await state.purse.open(use_of(self._checked.folder, self._start.run))
        self._stages.intake.restore(reader.unsent_by_variant(), Least.of(reader))
        if self._stages.copies is not None:
            self._stages.copies.restore()
        self._stages.limiter.start(since)

    async def _work(self) -> None:
        stages = self._stages
        async with anyio.create_task_group() as outer:
            outer.start_soon(stages.schedule.keep_time)
            outer.start_soon(stages.publishing.run)
            outer.start_soon(stages.adoption.run)
            if stages.bulk is not None:
                outer.start_soon(stages.bulk.run)
            outer.start_soon(stages.worker.keep_deadlines)
            outer.start_soon(stages.sharing.run)
            if stages.copies is not None:
                outer.start_soon(stages.copies.run)
            outer.start_soon(self._tick)
            if stages.crew is not None:
                outer.start_soon(stages.crew.run)
            with self._state.sending:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(stages.intake.plan)
                    if stages.crew is not None:
                        await stages.crew.ready()  # the first rows are planned while processes start
                    for model in stages.intake.models:
                        inner.start_soon(stages.intake.feed, model)
                    for model in stages.schedule.models:
                        # As many as its slots: all of them may wait, and yet keep nobody else from sending.
                        for n in range(stages.limiter.model(model).concurrency):
                            inner.start_soon(stages.worker.send, model, name=f"send-{model}-{n}")
                    for model in stages.schedule.models if stages.worker.fills_files else ():
                        inner.start_soon(stages.worker.fill_files, model, name=f"files-{model}")
                    for n in range(min(stages.limiter.concurrency, FOLLOW_UP_WORKERS)):
                        inner.start_soon(stages.worker.follow_up, name=f"follow-up-{n}")
            if stages.bulk is not None:
                await stages.bulk.finished()
            self._state.stop_if_done()
            outer.cancel_scope.cancel()

    async def _close(self) -> None:
        state = self._state
        if self._start.closes_as is not None and state.reason == "finished":
            state.reason = self._start.closes_as
        if self._stages.copies is not None:
            await self._stages.copies.look()
        halves = state.reason == "job_changed"
        intake = self._stages.intake
        close = continuation.close(
            self._start.run,
            state.reason,
            self._clock.now_us(),
            halves=halves,
            # The limit may have been reached with the very last row.
            all_read=self._checked.fraction(intake.position) == 1.0,
        )
        closed = await self._stages.publishing.finish(close, before=self._follow_input)
        await self._stages.learning.save()
        if state.purse is not None:
            await state.purse.give_back()
        looked = intake.planned
        intake.planned = msgspec.structs.replace(closed, gone=looked.gone, gone_variants=looked.gone_variants)

    async def _follow_input(self) -> None:
        """After a pass over the whole source, what that says of the rows of the table."""
        planned = self._stages.intake.planned
        if planned.complete and self._start.closes_as is None:
            gone = await follow_input(self._checked, self._start.run, self._ledger)
            planned.gone, planned.gone_variants = gone.total, gone.variants

    async def _tick(self) -> None:
        try:
            while True:
                self._on_progress(self.snapshot("stopping" if self._state.stopping else "running"))
                await self._stages.learning.save(at_least=OFTEN)
                if self._state.stopping:
                    await anyio.sleep(TICK_S)
                else:  # a stop is told at once, and not with the next tick
                    with anyio.move_on_after(TICK_S):
                        await self._state.stop_asked.wait()
        except StorageError as exc:
            self.stop("storage", exc)  # status.json is the first to notice a full disk

    def snapshot(self, state: str = "running") -> progress.Progress:
        """How far the run is now; `state` is the word for it."""
        stages, now = self._stages, self._clock.monotonic()
        total, done = self._expected(), self.totals.rows
        rate = self._meter.rate(now, done)
        return progress.Progress(
            run=self._start.run,
            state=state,
            elapsed_s=now - self._began,
            planned=stages.intake.planned,
            totals=self.totals,
            expected=total,
            done=done,
            rate=rate,
            in_flight=stages.limiter.in_flight,
            waiting_tasks=stages.context.tasks,
            waiting_rows=stages.schedule.waiting,
            held_back=stages.limiter.waiting,
            left_s=None if self._state.stopping else progress.time_left(rate, done, total),
            waits_for=None if self._state.stopping else self._waits_for(),  # nothing is held back any more
            projected=progress.projected(self.totals, done, total),
            oldest=oldest(stages.schedule, stages.limiter, now),
            budget={} if self._state.purse is None else money_left(self._state.purse),
            shared_with=stages.sharing.others,
            auto=None if stages.bulk is None else stages.bulk.decided,
            limits=self._limit_uses.used(stages.limiter, calls_of(self.totals.models), now),
        )

    def _waits_for(self) -> str | None:
        stages, purse = self._stages, self._state.purse
        memory = f"memory: open rows ask for {OPEN_BYTES >> 20} MB" if stages.schedule.held_by_size else None
        batches = None if stages.bulk is None else stages.bulk.waits_for
        held = (held_by(stages.limiter), stages.intake.waits_for, memory, batches)
        said = "; ".join(text for text in held if text is not None)
        return said or (None if purse is None else waits_for_money(purse))

    def _expected(self) -> int | None:
        """Rows this run will have settled: those begun before it, and those it plans."""
        intake = self._stages.intake
        if self._start.closes_as is not None:
            return self._state.carried + intake.planned.admitted
        total = progress.expected(
            intake.planned,
            self._checked.fraction(intake.position),
            limit=self._options.limit,
            variants=len(self._checked.variants),
        )
        return None if total is None else self._state.carried + total
