"""What a worker does with a row: sends its next turn, polls its task, runs its tools, settles it.

A fixed set of workers takes rows from the agenda, one step at a time; between two steps a row is a value in the
agenda and in the ledger. This module turns the results of `submit` into the next step by asking `conversation` and
`retry`, and writes what follows. It decides nothing about limits (`submit`), parts (`pipeline`) or the order of rows
(`schedule`).
"""

from __future__ import annotations

import random
from typing import Final, Protocol

import anyio
import msgspec

from batch.core import failpoints
from batch.core.clock import describe
from batch.core.errors import FailureKind
from batch.core.logs import logger
from batch.core.records import Accepted, Failure, Lane, Outcome, Processing, Reply, ToolCall
from batch.core.redaction import redact
from batch.limits.limiter import LimiterClosed
from batch.limits.outage import LONGEST_PROBE_S
from batch.prompts import conversation
from batch.run.schedule import Schedule
from batch.submit import retry, stream, sync, task
from batch.submit.attempt import CallContext, OpenCall, Row
from batch.submit.results import observation_of
from batch.tools.execute import Executor

EARLY_FAILURES: Final = 50  # the first outcomes of a run, all failing with one permanent code, condemn the job
LATER_FAILURES: Final = 200

_encode_reply = msgspec.msgpack.Encoder().encode


class Settings(msgspec.Struct, frozen=True):
    """What of the job the workers need."""

    lane: Lane
    rules: conversation.Rules
    max_attempts: int
    task_timeout_s: float
    collect_only: bool = False
    """The job changed: nothing more is sent for its old form, accepted tasks are collected."""


class WorkerEvents(Protocol):
    """Who is told what the workers see."""

    def row_settled(self, row: Row, outcome: Outcome) -> None:
        """A row has its outcome, queued in the ledger."""

    def provider_stopped(self, failure: Failure) -> None:
        """The provider refused the key, the money or the model: no more sends."""

    def failing_throughout(self, outcome: Outcome, count: int) -> None:
        """`count` outcomes in a row failed with one permanent code: no more sends."""


class Worker:
    """Works on rows until the agenda has none; both crews of a run share one."""

    def __init__(
        self,
        context: CallContext,
        schedule: Schedule[Row],
        settings: Settings,
        *,
        tools: Executor | None,
        events: WorkerEvents,
    ) -> None:
        self._context = context
        self._schedule = schedule
        self._settings = settings
        self._tools = tools
        self._events = events
        self._chance = random.Random()
        self._pace = task.PollInterval()
        self._streak: tuple[str, int] = ("", 0)
        self._settled = 0

    async def send(self) -> None:
        """One of the crew that sends: takes rows that need a slot, one at a time."""
        while (row := await self._schedule.next_to_send()) is not None:
            try:
                if self._settings.collect_only:
                    self._schedule.done()  # nothing more is sent for a job that changed
                elif row.fault is not None:
                    self._unaskable(row, "render", row.fault)
                elif self._others_first(row):
                    self._schedule.schedule(row, LONGEST_PROBE_S)
                elif (most := self._context.weigh(row)) is not None:
                    self._too_large(row, most)
                elif self._settings.lane == "task":
                    await self._submit(row)
                else:
                    await self._send(row)
            except LimiterClosed:
                self._schedule.done()  # it stays in the ledger as it is; the next run goes on from there

    def _others_first(self, row: Row) -> bool:
        """Whether the row leaves the next probe of a silent provider to one that never failed, which tells more."""
        return self._context.limits.outage.ongoing and row.history.tried and self._schedule.has_unstarted

    async def follow_up(self) -> None:
        """One of the crew that tends: polls tasks and runs tools, which need no new slot."""
        while (row := await self._schedule.next_follow_up()) is not None:
            if row.call is not None:
                await self._poll(row, row.call)
            elif row.replied is None or self._settings.collect_only:
                self._schedule.done()
            else:
                await self._run_tools(row, row.replied.tool_calls)

    async def _send(self, row: Row) -> None:
        lane = stream if self._settings.lane == "stream" else sync
        call, result = await lane.send(self._context, row)
        self._conclude(row, call, result)

    async def _submit(self, row: Row) -> None:
        call, result = await task.submit(self._context, row)
        if isinstance(result, Accepted):
            self._schedule.schedule(row, self._pace.first_s())
        else:
            self._conclude(row, call, result)

    async def _poll(self, row: Row, call: OpenCall) -> None:
        result = await task.poll(self._context, call)
        if isinstance(result, Processing):
            if self._context.overdue(call, self._settings.task_timeout_s):
                self._give_up(row, call)
            else:
                self._schedule.schedule(row, max(self._pace.next_s(call.polls), result.wait_s))
            return
        if isinstance(result, Failure) and result.verdict == "stop" and not task.about_the_task(result):
            # The poll was refused, not the task: the id stays in the ledger for a run with a better key.
            self._events.provider_stopped(result)
            self._schedule.done()
            return
        row.call = None
        if isinstance(result, Reply):
            self._pace.learn(self._context.clock.monotonic() - call.started)
        self._conclude(row, call, result)

    def _give_up(self, row: Row, call: OpenCall) -> None:
        """A task past its time: `unknown`, its id kept beyond the row and polled first when the row comes again."""
        row.call = None
        if call.late:
            # Booked as unknown by the run that submitted it; asked once more, still nothing: buy it anew.
            self._context.forget(call)
            self._schedule.requeue(row)
            return
        limit = self._settings.task_timeout_s
        failure = Failure(
            kind="timeout",
            verdict="retry",
            code="task_timeout",
            answered=False,
            message=f"task {call.task_id} not finished after {limit:g} s; its id is kept and polled first next time",
        )
        logger().warning("task_overdue", row_id=row.row_id, task_id=call.task_id, polls=call.polls)
        settle = conversation.after_failure(failure, retryable=True)
        self._close(row, call, failure, settle, hold=call.turn == 0)

    def _conclude(self, row: Row, call: OpenCall, result: Reply | Failure) -> None:
        """Book the call and do what follows; nothing here awaits, so a cancel cannot fall between."""
        failure = conversation.judge(result) if isinstance(result, Reply) else result
        if failure is not None:
            self._failed(row, call, result, failure)
            return
        assert isinstance(result, Reply)
        model = row.request.model
        row.conversation, action = conversation.after_reply(
            row.conversation, result, self._settings.rules, model_asked=model
        )
        row.history = retry.History()
        if isinstance(action, conversation.Settle):
            self._close(row, call, result, action)
            return
        record = self._context.record(call, result)
        self._context.ledger.closed(call.number, record, reply=(row.work_id, call.turn, _encode_reply(result)))
        self._context.booked(row, call, record, result)
        row.replied = result if isinstance(action, conversation.RunTools) else None
        row.next_attempt = 0
        self._schedule.requeue(row)

    def _failed(self, row: Row, call: OpenCall, result: Reply | Failure, failure: Failure) -> None:
        now = self._context.clock.monotonic()
        limits = self._context.limits
        decision = retry.decide(
            failure,
            row.history,
            max_attempts=self._settings.max_attempts,
            chance=self._chance,
            now=now,
            silent_s=limits.outage.silent_for(now),
            last_ones=not self._schedule.has_unstarted,
        )
        if decision.pause_s:
            limits.pause(decision.pause_s)
        if decision.action == "fail":
            self._close(row, call, result, conversation.after_failure(failure, retryable=decision.retryable))
            return
        record = self._context.record(call, result)
        self._context.ledger.closed(call.number, record)
        self._context.booked(row, call, record, result)
        if decision.action == "stop":
            self._events.provider_stopped(self._told(failure, limits.outage.silent_for(now)))
            self._schedule.done()
            return
        row.history = row.history.after(failure, decision, now)
        self._schedule.schedule(row, max(decision.wait_s, limits.outage.retry_wait(now)))

    def _told(self, failure: Failure, silent_s: float) -> Failure:
        """The failure with what it stands for, when it is only the last of many."""
        if silent_s <= retry.MAX_PARK_S:
            return failure
        message = f"nothing was answered for {describe(silent_s)}; the last failure was: {failure.message}"
        return msgspec.structs.replace(failure, message=message)

    def _close(
        self, row: Row, call: OpenCall, result: Reply | Failure, settle: conversation.Settle, *, hold: bool = False
    ) -> None:
        """The call's record and the row's outcome in one commit."""
        record = self._context.record(call, result)
        sums = row.sums
        sums.add(record)
        sums.tool_calls = row.conversation.tool_calls
        outcome = self.outcome(row, settle, lane=call.lane)
        self._context.ledger.closed(call.number, record, outcome=(row.work_id, outcome), hold=hold)
        self._context.on_call(record)
        call.lease.release("nothing" if hold else observation_of(result), record.usage)
        self._after(row, outcome)

    def _too_large(self, row: Row, most: float) -> None:
        message = (
            f"the prompt alone is larger than the whole limit of {most:,.0f} tokens a minute: raise "
            "limits.tokens_per_minute if the provider allows it, or shorten the row"
        )
        self._unaskable(row, "tokens_per_minute", message, kind="too_large")

    def _unaskable(self, row: Row, code: str, why: str, *, kind: FailureKind = "prompt") -> None:
        """The row cannot be sent: its template gives nothing over it any more, or no limit lets it through."""
        failure = Failure(kind=kind, verdict="fail", sent=False, code=code, message=why)
        outcome = self.outcome(row, conversation.after_failure(failure, retryable=False))
        self._context.ledger.settled(row.work_id, outcome)
        self._after(row, outcome)

    def _after(self, row: Row, outcome: Outcome) -> None:
        self._events.row_settled(row, outcome)
        self._schedule.done()
        self._watch(outcome)

    def outcome(self, row: Row, settle: conversation.Settle, *, lane: Lane | None = None) -> Outcome:
        """What the row's line of the result table will say; `lane` is that of its last call."""
        message = settle.error_message
        return Outcome(
            status=settle.status,
            sums=row.sums,
            lane=lane or self._settings.lane,
            provider=self._context.policy.provider,
            model_asked=row.request.model,
            settled_at_us=self._context.clock.now_us(),
            answer=settle.answer,
            reasoning=settle.reasoning,
            finish_reason=settle.finish_reason,
            flags=settle.flags,
            messages=row.conversation.kept(self._settings.rules.keep),
            model=settle.model,
            error_kind=settle.error_kind,
            error_code=settle.error_code,
            error_message=redact(message) if message is not None else None,
            retryable=settle.retryable,
        )

    def _watch(self, outcome: Outcome) -> None:
        """Row after row failing for good with one code means that the job is wrong, not the rows."""
        self._settled += 1
        permanent = outcome.status == "failed" and not outcome.retryable and outcome.sums.calls > 0
        code = f"{outcome.error_kind}/{outcome.error_code}" if permanent else ""
        self._streak = (code, self._streak[1] + 1 if code == self._streak[0] else 1)
        count = self._streak[1]
        if code and (count >= LATER_FAILURES or (count >= EARLY_FAILURES and self._settled == count)):
            self._events.failing_throughout(outcome, count)

    async def _run_tools(self, row: Row, calls: tuple[ToolCall, ...]) -> None:
        """Run what the model asked for, journal each result, and go on to the next turn."""
        assert self._tools is not None
        turn = row.conversation.turn
        contents: dict[int, str] = dict(row.tool_results)
        run_call = self._tools.run_call

        async def run(index: int, call: ToolCall) -> None:
            content = (await run_call(call)).content
            failpoints.hit("tool.ran")
            self._context.ledger.step(row.work_id, turn, index, content.encode("utf-8", "replace"))
            contents[index] = content

        async with anyio.create_task_group() as group:
            for index, call in enumerate(calls):
                if index not in contents:
                    group.start_soon(run, index, call)
        row.tool_results = {}
        row.replied = None
        row.next_attempt = 0
        row.conversation = conversation.after_tools(row.conversation, calls, [contents[i] for i in range(len(calls))])
        self._schedule.requeue(row)
