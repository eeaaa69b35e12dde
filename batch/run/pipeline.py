"""The wiring of a run: planner, feeder, workers, publisher, and the two stops. The only module that knows every stage.

Data goes one way: source → plan → ledger (admission) → feed → workers → ledger (calls, outcomes) → publish. Each
stage is a task of one group; threads do what would block the event loop. A stop ends what sends (`limiter`,
`schedule`), lets what is in flight settle, and then everything that settled is published; so a clean stop and a
finished run end the same way.

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
from batch.core.records import Call, Failure, Outcome, RowRequest
from batch.core.redaction import redact
from batch.http.wirelog import WireLog
from batch.job.options import RunOptions
from batch.ledger.reader import LedgerReader, PendingRow
from batch.ledger.totals import Totals
from batch.ledger.writer import Ledger
from batch.limits.limiter import Limiter
from batch.limits.tokens import TokenEstimator
from batch.output.publish import Publisher
from batch.plan import continuation, planner
from batch.plan.continuation import RunStart
from batch.plan.preflight import CheckedJob
from batch.prompts import conversation
from batch.run import progress, resume
from batch.run.feeder import Feeder
from batch.run.intake import Intake
from batch.run.schedule import Schedule
from batch.run.worker import Settings, Worker
from batch.submit.attempt import CallContext, Policy, Row
from batch.tools.execute import Executor

FOLLOW_UP_WORKERS: Final = 64  # polls and tool turns at the same time; the slots bound what they tend
DRAIN_S: Final = 30.0
TICK_S: Final = 1.0


class Run:
    """One run, from its opening to its close. Use once."""

    def __init__(
        self,
        checked: CheckedJob,
        start: RunStart,
        ledger: Ledger,
        *,
        options: RunOptions,
        clock: Clock,
        on_progress: Callable[[progress.Progress], None],
    ) -> None:
        job = checked.job
        self.checked = checked
        self.start = start
        self.reason = "finished"
        self.totals = Totals()
        self._ledger = ledger
        self._options = options
        self._clock = clock
        self._on_progress = on_progress
        self._fault: BatchError | None = None
        self._stopping = False
        self._collecting = start.mode == "collect"
        self._waiting: Counter[int] = Counter()
        self._ready_parts: set[int] = set()
        self._carried = 0
        self._part_ready = anyio.Event()
        self._meter = progress.Meter()
        self._began = clock.monotonic()
        self._inner = anyio.CancelScope()
        self._outer = anyio.CancelScope()
        self._stack = ExitStack()
        self._reader = self._stack.enter_context(LedgerReader(checked.folder.ledger))
        self._feeder = Feeder(checked.folder, checked.variants)
        self._limiter = Limiter.of(clock, job.limits, estimator=self._estimator())
        self._schedule: Schedule[Row] = Schedule(
            clock,
            open_limit=2 * job.limits.concurrency,
            needs_slot=lambda row: row.call is None and row.replied is None,
        )
        self.intake = Intake(checked, start, ledger, self._schedule, feeder=self._feeder, events=self, clock=clock)
        self.intake.restrict(limit=options.limit, seed=options.sample_seed, kinds=options.kinds)
        self._context = self._make_desk()
        self._wire: WireLog | None = None
        if options.wire_log:
            base_url = checked.endpoint.base_url
            self._wire = WireLog(checked.folder.wire, start.run, base_url=base_url, clock=clock)
            self._context.on_exchange = self._wire
        variants = checked.variants.names
        self._publisher = Publisher(checked.folder, start.run, schema=checked.schema, tags=job.tags, variants=variants)
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
                await self._context.aclose()
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
        self._limiter.close()
        self._schedule.close()
        self.intake.stop()
        self._inner.deadline = anyio.current_time() + DRAIN_S
        logger().info("stop_requested", reason=reason, in_flight=self._limiter.in_flight)

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
        limits = self.checked.job.limits
        last_sent = await to_thread.run_sync(self._reader.last_sent_us)
        since = None if last_sent is None else (self._clock.now_us() - last_sent) / MICROSECONDS
        await self._resume()
        async with anyio.create_task_group() as outer:
            outer.start_soon(self._schedule.keep_time)
            outer.start_soon(self._publish_parts)
            outer.start_soon(self._tick)
            with self._inner:
                self._limiter.start(since)
                async with anyio.create_task_group() as inner:
                    inner.start_soon(self.intake.plan)
                    inner.start_soon(self.intake.feed)
                    worker = self._make_worker()
                    for n in range(limits.concurrency):
                        inner.start_soon(worker.send, name=f"send-{n}")
                    for n in range(min(limits.concurrency, FOLLOW_UP_WORKERS)):
                        inner.start_soon(worker.follow_up, name=f"tend-{n}")
            outer.cancel_scope.cancel()

    async def _resume(self) -> None:
        """Bring back what an earlier process had in its hands; saved ids take their slots without waiting."""
        self.totals = await to_thread.run_sync(self._reader.unpublished)
        published = next((run.totals for run in self._reader.runs() if run.run == self.start.run), None)
        if published is not None:
            self.totals.add(published)
        self._waiting.update(self._reader.unsettled_by_part())
        # What an earlier run began is settled by this one, too, but is not among what this one plans.
        self._carried = self.totals.rows + self._waiting.total() - self.start.planned.admitted
        for pending in self._reader.open_rows():
            self._schedule.resume(self._rebuild(pending))
        self.intake.unsent = self._reader.unsent_count()
        for part in self._reader.parts_with_outcomes():
            self._part_settled(part, 0)

    def _rebuild(self, pending: PendingRow) -> Row:
        # A changed job's template says nothing about the rows of the old one, and nothing more is sent for them.
        asked = self._asked_of_old if self._collecting else self._feeder.asked
        return resume.rebuild(self._reader, pending, asked, self._context, self._rules())

    def _asked_of_old(self, pending: PendingRow) -> RowRequest:
        """What is known of a row of the old job: its model, for the books."""
        return RowRequest([], self.checked.old_models.get(pending.variant, self.checked.job.model.name))

    def range_admitted(self, found: planner.RangePlan, adopted: frozenset[int]) -> None:
        """Count it, and take up rows that come with the id of an overdue task."""
        for row in found.rows:
            if row.outcome is None:
                self._waiting[row.part] += 1
            else:
                self.totals.add_outcome(row.outcome)
        for pending in self._reader.open_rows() if adopted else ():
            if pending.work_id in adopted:
                self._schedule.resume(self._rebuild(pending))
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
        parts = await to_thread.run_sync(self._reader.parts_with_outcomes)
        await self._publish(parts)
        if self.start.closes_as is not None and self.reason == "finished":
            self.reason = self.start.closes_as
        halves = self.reason == "job_changed"
        await self._ledger.execute(continuation.close(self.start.run, self.reason, self._clock.now_us(), halves=halves))
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
            run=self.start.run,
            state=state,
            elapsed_s=now - self._began,
            planned=self.intake.planned,
            totals=self.totals,
            expected=total,
            done=done,
            rate=rate,
            in_flight=self._limiter.in_flight,
            waiting_tasks=self._schedule.waiting,
            held_back=self._limiter.waiting,
            left_s=None if self._stopping else progress.time_left(rate, done, total),
            waits_for=self._limiter.waits_for(),
        )

    def _expected(self) -> int | None:
        """Rows this run will have settled: those begun before it, and those it plans."""
        planned = self.intake.planned
        if self.start.closes_as is not None:
            return self._carried + planned.admitted
        total = progress.expected(planned, self.checked.fraction(self.intake.position))
        if total is not None and (limit := self._options.limit) is not None:
            full = planned.source_rows >= limit
            total = planned.admitted if full else min(total, limit * len(self.checked.variants))
        return None if total is None else self._carried + total

    async def _tick(self) -> None:
        try:
            while True:
                self._on_progress(self.snapshot("stopping" if self._stopping else "running"))
                await anyio.sleep(TICK_S)
        except StorageError as exc:
            self.stop("storage", exc)  # status.json is the first to notice a full disk

    # -- parts of the machine ---------------------------------------------------------------------------------------

    def _estimator(self) -> TokenEstimator:
        schemas = self.checked.tools.schemas()
        carried = msgspec.json.encode(schemas).decode() if schemas else ""
        return TokenEstimator(self.checked.endpoint.dialect.counts, carried=carried)

    def _make_desk(self) -> CallContext:
        job, endpoint = self.checked.job, self.checked.endpoint
        policy = Policy(
            job.model.provider,
            self.checked.tools.schemas(),
            job.limits.call_timeout_s,
            job.limits.first_chunk_timeout_s,
            job.limits.idle_timeout_s,
        )
        context = CallContext(
            policy,
            endpoint.dialect,
            endpoint.base_url,
            ledger=self._ledger,
            limits=self._limiter,
            prices=self.checked.prices,
            clock=self._clock,
            first_call=self._reader.next_number("call"),
        )
        context.on_call = self._on_call
        return context

    def _on_call(self, call: Call) -> None:
        self.totals.add_call(call)

    def _rules(self) -> conversation.Rules:
        job = self.checked.job
        return conversation.Rules(
            max_turns=job.tools.max_turns if job.tools else 1,
            tools=self._collecting or len(self.checked.tools) > 0,
            served=job.model.served,
            keep=job.output.messages,
        )

    def _make_worker(self) -> Worker:
        job = self.checked.job
        settings = Settings(
            lane=job.model.lane,
            rules=self._rules(),
            max_attempts=job.limits.max_attempts,
            task_timeout_s=job.limits.task_timeout_s,
            collect_only=self._collecting,
        )
        tools = Executor(self.checked.tools) if len(self.checked.tools) else None
        return Worker(self._context, self._schedule, settings, tools=tools, events=self)

    def _broken(self) -> None:
        self._stopping = True
        self._outer.cancel()
