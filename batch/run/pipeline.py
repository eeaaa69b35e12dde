"""The wiring of a run: planner, feeder, workers, publisher, and the two stops. The only module that knows every stage.

Data goes one way: source → plan → ledger (admission) → feed → workers → ledger (calls, outcomes) → publish. Each
stage is a task of one group; threads do what would block the event loop. A stop ends what sends (`limits`, `agenda`),
lets what is in flight settle, and then everything that settled is published; so a clean stop and a finished run end
the same way.

A fault of the run itself is kept and raised after publishing. A storage fault skips that: the ledger says enough to
go on.
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

from batch.core import failpoints
from batch.core.clock import MICROSECONDS, Clock
from batch.core.errors import BatchError, ProviderStop, StorageError, SystematicFailure
from batch.core.logs import logger
from batch.core.records import Asked, Call, Failure, Outcome
from batch.core.redaction import redact
from batch.http.wirelog import WireLog
from batch.job.options import Wishes
from batch.ledger.reader import PendingRow, Replay
from batch.ledger.totals import Totals
from batch.ledger.writer import Ledger
from batch.limits.limiter import Limits
from batch.limits.tokens import Charges
from batch.output.publish import Publisher
from batch.plan import continuation, planner
from batch.plan.continuation import Opening
from batch.plan.preflight import Prepared
from batch.prompts import conversation
from batch.run import progress, resume
from batch.run.feeder import Feeder
from batch.run.intake import Intake
from batch.run.schedule import Agenda
from batch.run.worker import Settings, Worker
from batch.submit.attempt import Desk, Policy, Row
from batch.tools.execute import Executor

TENDERS: Final = 64  # polls and tool turns at the same time; the slots bound what they tend
DRAIN_S: Final = 30.0
TICK_S: Final = 1.0


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
        self._ledger = ledger
        self._wishes = wishes
        self._clock = clock
        self._on_progress = on_progress
        self._fault: BatchError | None = None
        self._stopping = False
        self._collecting = opened.mode == "collect"
        self._waiting: Counter[int] = Counter()
        self._ready_parts: set[int] = set()
        self._carried = 0
        self._part_ready = anyio.Event()
        self._meter = progress.Meter()
        self._began = clock.monotonic()
        self._inner = anyio.CancelScope()
        self._outer = anyio.CancelScope()
        self._stack = ExitStack()
        self._replay = self._stack.enter_context(Replay(prepared.folder.ledger))
        self._feeder = Feeder(prepared.folder, prepared.questions)
        self._limits = Limits.of(clock, job.limits, charges=self._charges())
        self._agenda: Agenda[Row] = Agenda(
            clock,
            open_limit=2 * job.limits.concurrency,
            needs_slot=lambda row: row.call is None and row.replied is None,
        )
        self.intake = Intake(prepared, opened, ledger, self._agenda, feeder=self._feeder, watcher=self, clock=clock)
        self.intake.restrict(limit=wishes.limit, seed=wishes.sample_seed, kinds=wishes.kinds)
        self._desk = self._make_desk()
        self._wire: WireLog | None = None
        if wishes.wire_log:
            base_url = prepared.endpoint.base_url
            self._wire = WireLog(prepared.folder.wire, opened.run, base_url=base_url, clock=clock)
            self._desk.on_exchange = self._wire
        variants = prepared.questions.variants
        self._publisher = Publisher(
            prepared.folder, opened.run, schema=prepared.schema, tags=job.tags, variants=variants
        )
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
                if self._wire is not None:
                    await to_thread.run_sync(self._wire.close)
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
        self.intake.stop()
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
            "transport": "Check base_url and the way to it",
        }.get(failure.kind, "Look at what the provider says")
        if not self._stopping:  # the calls in flight will be refused alike
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
                self._limits.start(since)
                async with anyio.create_task_group() as inner:
                    inner.start_soon(self.intake.plan)
                    inner.start_soon(self.intake.feed)
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
        # What an earlier run began is settled by this one, too, but is not among what this one plans.
        self._carried = self.totals.rows + self._waiting.total() - self.opened.planned.admitted
        for pending in self._replay.open_rows():
            self._agenda.resume(self._rebuild(pending))
        self.intake.unsent = self._replay.unsent_count()
        for part in self._replay.parts_with_outcomes():
            self._part_settled(part, 0)

    def _rebuild(self, pending: PendingRow) -> Row:
        # A changed job's template says nothing about the rows of the old one, and nothing more is sent for them.
        asked = self._asked_of_old if self._collecting else self._feeder.asked
        return resume.rebuild(self._replay, pending, asked, self._desk, self._rules())

    def _asked_of_old(self, pending: PendingRow) -> Asked:
        """What is known of a row of the old job: its model, for the books."""
        return Asked([], self.prepared.old_models.get(pending.variant, self.prepared.job.model.name))

    def range_admitted(self, found: planner.RangePlan, adopted: frozenset[int]) -> None:
        """Count it, and take up rows that come with the id of an overdue task."""
        for row in found.rows:
            if row.outcome is None:
                self._waiting[row.part] += 1
            else:
                self.totals.add_outcome(row.outcome)
        for pending in self._replay.open_rows() if adopted else ():
            if pending.work in adopted:
                self._agenda.resume(self._rebuild(pending))
        for part in {row.part for row in found.rows}:
            self._part_settled(part, 0)
        if found.rows:
            read, new = self.intake.planned.read, self.intake.planned.new
            logger().info("range_admitted", range=found.range, rows=len(found.rows), read=read, new=new)

    def intake_failed(self, fault: BatchError) -> None:
        """The source or the disk does not go on."""
        self.stop("storage" if isinstance(fault, StorageError) else "input", fault)

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
                # What is in flight is let finish: the ledger may well take it although a part could not be written.
                self.stop("storage", exc)
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
        if self.opened.closes_as is not None and self.reason == "finished":
            self.reason = self.opened.closes_as
        halves = self.reason == "job_changed"
        await self._ledger.execute(
            continuation.close(self.opened.run, self.reason, self._clock.now_us(), halves=halves)
        )
        await self._ledger.pruned()
        await to_thread.run_sync(partial(self._publisher.tidy, everything=True))
        failpoints.hit("run.closed")

    # -- telling ----------------------------------------------------------------------------------------------------

    def snapshot(self, state: str = "running") -> progress.Progress:
        """How far the run is now."""
        now = self._clock.monotonic()
        total = self._expected()
        done = self.totals.rows
        rate = self._meter.rate(now, done)
        return progress.Progress(
            run=self.opened.run,
            state=state,
            elapsed_s=now - self._began,
            planned=self.intake.planned,
            totals=self.totals,
            expected=total,
            done=done,
            rate=rate,
            in_flight=self._limits.in_flight,
            waiting_tasks=self._agenda.waiting,
            held_back=self._limits.waiting,
            left_s=None if self._stopping else progress.time_left(rate, done, total),
            waits_for=self._limits.waits_for(),
        )

    def _expected(self) -> int | None:
        """Rows this run will have settled: those begun before it, and those it plans."""
        planned = self.intake.planned
        if self.opened.closes_as is not None:
            return self._carried + planned.admitted
        total = progress.expected(planned, self.prepared.fraction(self.intake.position))
        if total is not None and (limit := self._wishes.limit) is not None:
            full = planned.source_rows >= limit
            total = planned.admitted if full else min(total, limit * len(self.prepared.questions))
        return None if total is None else self._carried + total

    async def _tick(self) -> None:
        try:
            while True:
                self._on_progress(self.snapshot("stopping" if self._stopping else "running"))
                await anyio.sleep(TICK_S)
        except StorageError as exc:
            self.stop("storage", exc)  # status.json is the first to notice a full disk

    # -- parts of the machine ---------------------------------------------------------------------------------------

    def _charges(self) -> Charges:
        schemas = self.prepared.tools.schemas()
        carried = msgspec.json.encode(schemas).decode() if schemas else ""
        return Charges(self.prepared.endpoint.dialect.counts, carried=carried)

    def _make_desk(self) -> Desk:
        job, endpoint = self.prepared.job, self.prepared.endpoint
        policy = Policy(
            job.model.provider,
            self.prepared.tools.schemas(),
            job.limits.call_timeout_s,
            job.limits.first_chunk_timeout_s,
            job.limits.idle_timeout_s,
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

    def _rules(self) -> conversation.Rules:
        job = self.prepared.job
        return conversation.Rules(
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

    def _broken(self) -> None:
        self._stopping = True
        self._outer.cancel()
