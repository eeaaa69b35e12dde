"""The wiring of a run: planner, feeder, workers, publisher, and the two stops. The only module that knows every stage.

Data goes one way: source → plan → ledger (admission) → feed → workers → ledger (calls, outcomes) → publish. Each stage is a
task of one group; threads do what would block the event loop. A stop ends what sends (`limits`, `agenda`), lets what is in
flight settle, and then everything that settled is published; so a clean stop and a finished run end the same way.

A fault of the run itself is kept and raised after publishing. A storage fault skips that: the ledger says enough to go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

import anyio
import msgspec
from anyio import to_thread

from batch import failpoints, opening, plan, progress, resume, turns
from batch.advance import Settings, Worker
from batch.agenda import Agenda
from batch.clock import MICROSECONDS, Clock
from batch.errors import BatchError, ProviderStop, StorageError, SystematicFailure
from batch.events import logger, redact
from batch.feed import Fed, Feeder
from batch.ledger import Ledger
from batch.limits import Limits
from batch.opening import Opening
from batch.prepared import Prepared
from batch.publish import Publisher
from batch.records import Call, Failure, Outcome
from batch.replay import PendingRow, Replay
from batch.source import Position
from batch.submit.attempt import Desk, Policy, Row
from batch.tools.execute import Executor
from batch.totals import Planned, Totals

TENDERS: Final = 64  # polls and tool turns at the same time; the slots bound what they tend
DRAIN_S: Final = 30.0
TICK_S: Final = 1.0
LOW_WATER: Final = 1_000  # admitted and unsent rows below which the next range is admitted, or twice the concurrency


class Wishes(msgspec.Struct, frozen=True):
    """What the command line adds to a job for one run."""

    limit: int | None = None
    sample_seed: int | None = None
    """Draw the `limit` rows by this seed instead of taking the first ones."""


class Run:
    """One run, from its opening to its close. Use once."""

    def __init__(
        self,
        prepared: Prepared,
        opened: Opening,
        ledger: Ledger,
        *,
        wishes: Wishes,
        clock: Clock,
        on_progress: Callable[[progress.Progress], None],
    ) -> None:
        job = prepared.job
        self.prepared = prepared
        self.opened = opened
        self.reason = "finished"
        self.totals = Totals()
        self.planned = opened.planned
        self._ledger = ledger
        self._wishes = wishes
        self._clock = clock
        self._on_progress = on_progress
        self._fault: BatchError | None = None
        self._stopping = False
        self._collecting = opened.mode == "collect"
        self._position = opened.position
        self._unsent = 0
        self._room = anyio.Event()
        self._planned_all = opened.mode in ("collect", "finish")
        self._admitted = anyio.Event()
        self._waiting: Counter[int] = Counter()
        self._ready_parts: set[int] = set()
        self._part_ready = anyio.Event()
        self._meter = progress.Meter()
        self._began = clock.monotonic()
        self._inner = anyio.CancelScope()
        self._outer = anyio.CancelScope()
        self._sample: list[str] | None = None
        self._stack = ExitStack()
        self._replay = self._stack.enter_context(Replay(prepared.folder.ledger))
        self._feeder = Feeder(prepared.folder, prepared.prompt)
        self._limits = Limits(
            clock, concurrency=job.limits.concurrency, requests_per_minute=job.limits.requests_per_minute
        )
        self._agenda: Agenda[Row] = Agenda(
            clock, open_limit=2 * job.limits.concurrency, needs_slot=lambda row: row.call is None and row.replied is None
        )
        self._agenda.on_begin = self._begun
        self._desk = self._make_desk()
        self._publisher = Publisher(prepared.folder, opened.run, schema=prepared.schema, tags=job.tags)
        ledger.on_broken(self._broken)

    # -- what the command does ------------------------------------------------------------------------------------

    async def execute(self) -> str:
        """Run to the end and return the reason it closed with.

        Raises:
            BatchError: the fault that stopped it; everything settled was published before, unless storage failed.
        """
        try:
            with self._outer:
                await self._stages()
            if self._ledger.broken is not None:
                raise self._ledger.broken
            if not isinstance(self._fault, StorageError):
                await self._close()
        finally:
            with anyio.CancelScope(shield=True):
                await self._desk.aclose()
            self._publisher.close()
            self._feeder.close()
            self._stack.close()
        if self._fault is not None:
            raise self._fault
        return self.reason

    def stop(self, reason: str, fault: BatchError | None = None) -> None:
        """The first stop: no new sends; what is in flight gets `DRAIN_S`, tasks are left with their ids."""
        self._fault = self._fault or fault
        if self._stopping:
            return
        self._stopping = True
        self.reason = reason
        self._limits.close()
        self._agenda.close()
        for waited_for in (self._room, self._admitted, self._agenda.taken):
            waited_for.set()  # planner and feeder look up and see that it is over
        self._inner.deadline = anyio.current_time() + DRAIN_S
        logger().info("stop_requested", reason=reason, in_flight=self._limits.in_flight)

    def cut(self) -> None:
        """The second stop: calls in flight are cancelled and become `unknown`."""
        self._inner.cancel()

    # -- what the workers report ------------------------------------------------------------------------------------

    def row_settled(self, row: Row, outcome: Outcome) -> None:
        """Count it, and publish its part when it was the last one."""
        self.totals.add_outcome(outcome)
        self._part_settled(row.part, 1)

    def provider_stopped(self, failure: Failure) -> None:
        """The provider refused the key, the money or the model."""
        said = f"{failure.code}: {failure.message}" if failure.code else failure.message
        advice = {
            "auth": "Check the key and its rights",
            "balance": "Top up or renew the plan",
            "model": "Check model.name and what this key may use",
            "quota": "Wait until the limit is reset",
        }.get(failure.kind, "Look at what the provider says")
        logger().error("provider_stopped", kind=failure.kind, code=failure.code, http_status=failure.http_status)
        self.stop(
            "provider",
            ProviderStop(redact(f"the provider stopped this run: {said} {advice}, then run the same command again.")),
        )

    def failing_throughout(self, outcome: Outcome, count: int) -> None:
        """The job is wrong, not the rows."""
        fault = SystematicFailure(
            f"{count} rows in a row failed with {outcome.error_kind}/{outcome.error_code}: {outcome.error_message} "
            "The job is at fault, not the rows: correct it and run again."
        )
        self.stop("systematic", fault)

    # -- stages -----------------------------------------------------------------------------------------------------

    async def _stages(self) -> None:
        limits = self.prepared.job.limits
        last_sent = await to_thread.run_sync(self._replay.last_sent_us)
        since = None if last_sent is None else (self._clock.now_us() - last_sent) / MICROSECONDS
        await self._resume()
        async with anyio.create_task_group() as outer:
            outer.start_soon(self._agenda.keep_time)
            outer.start_soon(self._publish_parts)
            outer.start_soon(self._tick)
            with self._inner:
                await self._limits.start(since)
                async with anyio.create_task_group() as inner:
                    if not self._planned_all:
                        inner.start_soon(self._plan)
                    inner.start_soon(self._feed)
                    worker = self._make_worker()
                    for n in range(limits.concurrency):
                        inner.start_soon(worker.send, name=f"send-{n}")
                    for n in range(min(limits.concurrency, TENDERS)):
                        inner.start_soon(worker.tend, name=f"tend-{n}")
            outer.cancel_scope.cancel()

    async def _resume(self) -> None:
        """Bring back what an earlier process had in its hands; saved ids take their slots without waiting."""
        self.totals = await to_thread.run_sync(self._replay.unpublished)
        published = next((run.totals for run in self._replay.runs() if run.run == self.opened.run), None)
        if published is not None:
            self.totals.add(published)
        self._waiting.update(self._replay.unsettled_by_part())
        for pending in self._replay.open_rows():
            self._agenda.resume(self._rebuild(pending))
        self._unsent = self._replay.unsent_count()
        for part in self._replay.parts_with_outcomes():
            self._part_settled(part, 0)

    def _rebuild(self, pending: PendingRow) -> Row:
        # A changed job's template says nothing about the rows of the old one, and nothing more is sent for them.
        messages = (lambda _: []) if self._collecting else self._feeder.messages
        return resume.rebuild(self._replay, pending, messages, self._desk, self._rules())

    async def _plan(self) -> None:
        """Admit range after range, as long as few admitted rows wait to be sent."""
        low = max(LOW_WATER, 2 * self.prepared.job.limits.concurrency)
        try:
            planner = await to_thread.run_sync(self._make_planner)
            if self._sample is not None:
                # Durable before the first range: drawn again after a kill, it would be another sample.
                await self._ledger.execute(plan.keep_sample(self.opened.run, self._sample))
            limit = self._wishes.limit
            while not self._stopping and not self.planned.complete:
                if limit is not None and self.planned.admitted >= limit:
                    break
                if self._unsent >= low:
                    self._room = anyio.Event()
                    await self._room.wait()
                    continue
                found = await to_thread.run_sync(planner.next_range)
                adopted = await self._ledger.execute(plan.admit(found, self.opened.run), after="admitted.committed")
                self._note(found, set(adopted))
        except BatchError as exc:
            self.stop("storage" if isinstance(exc, StorageError) else "input", exc)
        finally:
            self._planned_all = True
            self._admitted.set()

    def _note(self, found: plan.RangePlan, adopted: set[int]) -> None:
        """Count an admitted range and wake the feeder."""
        self.planned = found.planned
        self._position = found.position
        touched = set()
        for index, row in enumerate(found.rows):
            touched.add(row.part)
            if row.outcome is not None:
                self.totals.add_outcome(row.outcome)
                continue
            self._waiting[row.part] += 1
            if found.first_work + index not in adopted:
                self._unsent += 1
        for pending in self._replay.open_rows() if adopted else ():
            if pending.work in adopted:
                self._agenda.resume(self._rebuild(pending))
        for part in touched:
            self._part_settled(part, 0)
        self._admitted.set()
        if found.rows:
            logger().info(
                "range_admitted", range=found.range, rows=len(found.rows), read=self.planned.read, new=self.planned.new
            )

    async def _feed(self) -> None:
        """Hand admitted rows to the agenda, a few ahead of the workers."""
        ahead = max(64, self.prepared.job.limits.concurrency)
        while not self._stopping:
            if self._agenda.fresh >= ahead:
                self._agenda.taken = anyio.Event()
                await self._agenda.taken.wait()
                continue
            done = self._planned_all
            self._admitted = anyio.Event()
            fed = await to_thread.run_sync(self._feeder.next, 2 * ahead)
            if fed:
                self._agenda.add([self._fresh(item) for item in fed])
            elif done:
                self._agenda.end()
                return
            elif not self._planned_all:
                await self._admitted.wait()

    def _fresh(self, fed: Fed) -> Row:
        pending = fed.row
        row = Row(pending.work, pending.row_id, pending.variant, row_number=pending.row_number, part=pending.part)
        row.conversation = turns.start(fed.messages)
        row.fault = fed.fault
        return row

    def _begun(self) -> None:
        """A new row was taken by a worker: there may be room for the next range."""
        self._unsent -= 1
        if self._unsent < max(LOW_WATER, 2 * self.prepared.job.limits.concurrency):
            self._room.set()

    # -- publishing -------------------------------------------------------------------------------------------------

    def _part_settled(self, part: int, rows: int) -> None:
        self._waiting[part] -= rows
        if self._waiting[part] <= 0:
            del self._waiting[part]
            self._ready_parts.add(part)
            self._part_ready.set()

    async def _publish_parts(self) -> None:
        """Publish each part when the last admitted row of it has settled."""
        while True:
            if not self._ready_parts:
                self._part_ready = anyio.Event()
                await self._part_ready.wait()
            parts = sorted(self._ready_parts)
            self._ready_parts.clear()
            try:
                await self._ledger.committed()
                await self._publish(parts)
            except StorageError as exc:
                self.stop("storage", exc)
                self._inner.cancel()
                return

    async def _publish(self, parts: list[int]) -> None:
        with anyio.CancelScope(shield=True):
            # Not to be torn by a cancel: the numbers of the publisher go on only after the transaction.
            publication = await to_thread.run_sync(self._publisher.prepare, parts)
            await self._ledger.execute(self._publisher.commit(publication), after="publish.committed")
            await to_thread.run_sync(self._publisher.tidy)
        for part, rows in publication.parts.items():
            logger().info("part_published", part=part, rows=rows)

    async def _close(self) -> None:
        """Publish all that settled and every final call, close the run in the ledger, and prune."""
        await self._ledger.committed()
        parts = await to_thread.run_sync(self._replay.parts_with_outcomes)
        await self._publish(parts)
        closed_as = opening.closed_as(self.opened.mode)
        if closed_as is not None and self.reason == "finished":
            self.reason = closed_as
        halves = self.reason == "job_changed"
        await self._ledger.execute(opening.close(self.opened.run, self.reason, self._clock.now_us(), halves=halves))
        await self._ledger.pruned()
        await to_thread.run_sync(partial(self._publisher.tidy, everything=True))
        failpoints.hit("run.closed")

    # -- telling ----------------------------------------------------------------------------------------------------

    def snapshot(self, state: str = "running") -> progress.Progress:
        """How far the run is now."""
        now = self._clock.monotonic()
        fraction = self.prepared.fraction(self._position)
        total = progress.expected(self.planned, fraction)
        if total is not None and self._wishes.limit is not None:
            total = min(total, self._wishes.limit)
        done = self.totals.rows
        rate = self._meter.rate(now, done)
        pause = self._limits.paused_until - now
        waits = f"the provider's pause, {pause:.0f} s" if pause > 0 else None
        if waits is None and self._limits.waiting and self._limits.in_flight < self.prepared.job.limits.concurrency:
            waits = "requests_per_minute"
        return progress.Progress(
            run=self.opened.run,
            state=state,
            elapsed_s=now - self._began,
            planned=self.planned,
            totals=self.totals,
            expected=total,
            done=done,
            rate=rate,
            in_flight=self._limits.in_flight,
            waiting_tasks=self._agenda.waiting,
            held_back=self._limits.waiting,
            left_s=None if self._stopping else progress.time_left(rate, done, total),
            waits_for=waits,
        )

    async def _tick(self) -> None:
        while True:
            self._on_progress(self.snapshot("stopping" if self._stopping else "running"))
            await anyio.sleep(TICK_S)

    # -- parts of the machine ---------------------------------------------------------------------------------------

    def _make_desk(self) -> Desk:
        job, endpoint = self.prepared.job, self.prepared.endpoint
        policy = Policy(
            job.model.provider,
            job.model.name,
            job.model.parameters,
            self.prepared.tools.schemas(),
            job.limits.call_timeout_s,
        )
        desk = Desk(
            policy,
            endpoint.dialect,
            endpoint.base_url,
            ledger=self._ledger,
            limits=self._limits,
            prices=self.prepared.prices,
            clock=self._clock,
            first_call=self._replay.next_number("call"),
        )
        desk.on_call = self._on_call
        return desk

    def _on_call(self, call: Call) -> None:
        self.totals.add_call(call)

    def _rules(self) -> turns.Rules:
        job = self.prepared.job
        return turns.Rules(
            max_turns=job.tools.max_turns if job.tools else 1,
            tools=self._collecting or len(self.prepared.tools) > 0,
            served=job.model.served,
            keep=job.output.messages,
        )

    def _make_worker(self) -> Worker:
        job = self.prepared.job
        settings = Settings(
            lane=job.model.lane,
            rules=self._rules(),
            max_attempts=job.limits.max_attempts,
            task_timeout_s=job.limits.task_timeout_s,
            collect_only=self._collecting,
        )
        tools = Executor(self.prepared.tools) if len(self.prepared.tools) else None
        return Worker(self._desk, self._agenda, settings, tools=tools, overseer=self)

    def _make_planner(self) -> plan.Planner:
        """The planner of this pass; a sample is drawn first, by a planner of its own."""
        made = partial(
            plan.Planner,
            self.prepared.job,
            self.prepared.source,
            self.prepared.prompt,
            self.prepared.fingerprint(),
            self.prepared.folder,
            spilled=self.prepared.spilled,
            clock=self._clock,
        )
        sample = self._replay.sample(self.opened.run)
        if sample is None and self._wishes.sample_seed is not None and self._wishes.limit is not None:
            with Replay(self.prepared.folder.ledger) as reading:
                scout = made(replay=reading)
                scout.start(Position(), Planned())
                sample = plan.draw(scout.candidates(), count=self._wishes.limit, seed=self._wishes.sample_seed)
        self._sample = sample
        planner = made(replay=self._stack.enter_context(Replay(self.prepared.folder.ledger)))
        planner.restrict(limit=self._wishes.limit, sample=sample)
        planner.start(self.opened.position, self.opened.planned)
        return planner

    def _broken(self) -> None:
        self._stopping = True
        self._outer.cancel()
