"""What a worker does with a row: sends its next turn, polls its task, runs its tools, settles it.

A fixed set of workers takes rows from the schedule, one step at a time; between two steps a row is a value in the
schedule and in the ledger. This module turns the results of `submit` into the next step by asking `conversation` and
`retry`, and writes what follows. It decides nothing about limits (`submit`), parts (`pipeline`) or the order of rows
(`schedule`).
"""

from __future__ import annotations

import random

import msgspec

from batch.core.errors import BudgetReached, StorageError
from batch.core.logs import logger
from batch.core.records import NO_SUCH_PATH, Accepted, Failure, Lane, Outcome, Processing, Reply, ToolCall
from batch.labels.samples import SAMPLE
from batch.limits.limiter import LimiterClosed
from batch.limits.outage import LONGEST_PROBE_S
from batch.prompts import conversation, labelled, steps
from batch.prompts.judging import judge
from batch.run.deadlines import Deadlines
from batch.run.outcomes import outcome_of, too_large, unrendered
from batch.run.schedule import Schedule
from batch.run.spending import held_up
from batch.run.state import RunState
from batch.run.stops import Streak, limit_stop, moment, never_in_time, nothing_there, provider_stop
from batch.run.tool_turns import ToolTurns
from batch.submit import afford, retry, stream, sync, task
from batch.submit.attempt import CallContext
from batch.submit.overtime import outlasted
from batch.submit.polls import Polls
from batch.submit.purse import PurseClosed
from batch.submit.results import never_finished, overdue
from batch.submit.rows import OpenCall, Row


class Settings(msgspec.Struct, frozen=True):
    """What of the job the workers need."""

    lane: Lane
    rules: steps.Rules
    max_attempts: int
    task_timeout_s: float
    deadline_s: float | None = None
    likelier_url: str | None = None
    """The base URL that was probably meant, should nothing be served at the job's."""
    collect_only: bool = False
    """The job changed: nothing more is sent for its old form, accepted tasks are collected."""


class Worker:
    """Works on rows until the schedule has none; both crews of a run share one."""

    def __init__(
        self,
        context: CallContext,
        schedule: Schedule[Row],
        settings: Settings,
        *,
        tools: ToolTurns | None,
        state: RunState,
        polls: Polls | None = None,
    ) -> None:
        self._context = context
        self._schedule = schedule
        self._settings = settings
        self._tools = tools
        self._state = state
        self._chance = random.Random()
        self._polls = polls or Polls(context.clock)
        self._deadlines = Deadlines(context.clock, settings.deadline_s)
        self._dated = settings.deadline_s is not None
        self._ask = self._submit if settings.lane == "task" else self._send
        self._streak = Streak()

    async def send(self, model: str) -> None:
        """One of the crew that sends to a model: takes rows that need a slot, one at a time."""
        while (row := await self._schedule.next_to_send(model)) is not None:
            asked = row.model
            try:
                if self._settings.collect_only:
                    self._schedule.done(row)  # nothing more is sent for a job that changed
                elif row.fault is not None:
                    self._settle(row, conversation.after_failure(unrendered(row.fault), retryable=False))
                elif self._dated and self._deadlines.over(row):
                    self._end_overdue(row)
                elif (settled := labelled.enough(row.conversation, self._settings.rules)) is not None:
                    row.conversation = settled[0]
                    self._settle(row, settled[1])
                elif self._others_first(row):
                    self._wait(row, LONGEST_PROBE_S)
                elif (limit := self._context.weigh(row)) is not None:
                    self._settle(row, conversation.after_failure(too_large(*limit), retryable=False))
                elif (why := held_up(self._context.purse, row)) is not None:
                    self._hold_up(row, why)
                elif self._dated and await self._deadlines.cuts(row, self._ask):
                    self._end_overdue(row)
                elif not self._dated:
                    await self._ask(row)
                self._look_for_park(asked)
            except (LimiterClosed, PurseClosed):
                self._schedule.done(row)  # it stays in the ledger as it is; the next run goes on from there
            except (BudgetReached, StorageError) as fault:  # or what was spent today cannot be noted
                self._schedule.done(row)
                self._state.stop("budget" if isinstance(fault, BudgetReached) else "storage", fault)

    def _hold_up(self, row: Row, why: Failure | BudgetReached) -> None:
        """A row that the budget does not let go: at fault itself, or one too many, and then no other is begun."""
        if isinstance(why, Failure):
            self._settle(row, conversation.after_failure(why, retryable=True))
        else:
            self._schedule.done(row)
            self._state.begin_no_more(why)

    def _others_first(self, row: Row) -> bool:
        """Whether the row leaves the next probe of a silent provider to one that never failed, which tells more."""
        outage = self._context.limiter.model(row.model).outage
        return outage.ongoing and row.history.tried and self._schedule.of(row.model).has_unstarted

    async def follow_up(self) -> None:
        """One of the crew that follows up: polls tasks and runs tools, which need no new slot."""
        while (row := await self._schedule.next_follow_up()) is not None:
            if row.call is not None:
                await self._poll(row, row.call)
            elif row.replied is None or self._settings.collect_only:
                self._schedule.done(row)
            else:
                await self._run_tools(row, row.replied.tool_calls)

    def _wait(self, row: Row, seconds: float) -> None:
        """Try the row again in so many seconds, or when it has been open for too long."""
        self._schedule.schedule(row, max(0.0, min(seconds, self._deadlines.left_s(row))) if self._dated else seconds)

    async def keep_deadlines(self) -> None:
        """End the rows whose time is over while they wait for somebody to send them; runs until cancelled."""
        while self._dated and not self._state.stopping:
            await self._context.clock.sleep(self._deadlines.every_s)
            for row in self._schedule.take_ready(self._deadlines.over):
                self._end_overdue(row)

    def _end_overdue(self, row: Row) -> None:
        """The row has been open for too long: it fails for now, and the id of its task is polled first next time."""
        call, row.call = row.call, None
        failure = overdue(row, None if call is None else call.task_id)
        settle = conversation.after_failure(failure, retryable=True)
        if call is None:
            self._settle(row, settle)
        else:
            self._close(row, call, failure, settle, hold=call.turn == row.conversation.began)

    async def _send(self, row: Row) -> None:
        lane = stream if self._settings.lane == "stream" else sync
        call, result = await lane.send(self._context, row)
        self._conclude(row, call, result)

    async def _submit(self, row: Row) -> None:
        call, result = await task.submit(self._context, row)
        if isinstance(result, Accepted):
            most_s = min(self._settings.task_timeout_s, self._deadlines.left_s(row))
            self._schedule.schedule(row, self._polls.first(call, row.conversation.sent, most_s=most_s))
        else:
            self._conclude(row, call, result)

    async def _poll(self, row: Row, call: OpenCall) -> None:
        if (early_s := self._polls.early(call)) > 0:
            self._schedule.schedule(row, early_s)
            return
        result = await task.poll(self._context, call)
        if isinstance(result, Processing):
            if result.too_many:
                self._polls.refused()
            if (left_s := self._context.left_s(call, self._settings.task_timeout_s)) <= 0:
                self._give_up(row, call)
            elif self._deadlines.over(row):
                self._end_overdue(row)
            else:
                most_s = min(left_s, self._deadlines.left_s(row))
                self._schedule.schedule(row, self._polls.next(call, least_s=result.wait_s, most_s=most_s))
            return
        if isinstance(result, Failure) and result.verdict == "stop" and not task.about_the_task(result):
            # The poll was refused, not the task: the id stays in the ledger for a run with a better key.
            self._stop(result)
            self._schedule.done(row)
            return
        row.call = None
        if isinstance(result, Reply):
            self._polls.finished(call)
        self._conclude(row, call, result)

    def _give_up(self, row: Row, call: OpenCall) -> None:
        """A task past its time: `unknown`, its id kept beyond the row and polled first when the row comes again."""
        row.call = None
        if call.late:
            # Booked as unknown by the run that submitted it; asked once more, still nothing: buy it anew.
            self._context.abandon(call)
            self._schedule.requeue(row)
            return
        failure = never_finished(call, self._settings.task_timeout_s)
        logger().warning("task_overdue", row_id=row.pending.row_id, task_id=call.task_id, polls=call.polls)
        settle = conversation.after_failure(failure, retryable=True)
        self._close(row, call, failure, settle, hold=call.turn == row.conversation.began)

    def _conclude(self, row: Row, call: OpenCall, result: Reply | Failure) -> None:
        """Book the call and do what follows; nothing here awaits, so a cancel cannot fall between."""
        failure = judge(result, self._settings.rules) if isinstance(result, Reply) else result
        if failure is not None:
            self._failed(row, call, result, failure)
            return
        assert isinstance(result, Reply)
        model = call.model
        if result.usage is None:
            afford.measure(self._context, row, call)  # what follows is another request
        row.conversation, action = conversation.after_reply(
            row.conversation, result, self._settings.rules, model_asked=model
        )
        row.history = retry.History()
        if isinstance(action, steps.Settle):
            self._close(row, call, result, action)
            return
        then = action.then if isinstance(action, steps.Send) else ""
        if then or result.tokens:  # only of an answer that ends a sample are the tokens looked at again
            result = msgspec.structs.replace(result, then=then, tokens=result.tokens if then == SAMPLE else ())
        self._context.book(row, call, result, reply=result)
        row.replied = result if isinstance(action, steps.RunTools) else None
        row.next_attempt = 0
        self._schedule.requeue(row)

    def _failed(self, row: Row, call: OpenCall, result: Reply | Failure, failure: Failure) -> None:
        now = self._context.clock.monotonic()
        hours = self._context.limiter.hours
        asked_s = now if hours is None else now - hours.shut_s  # outside its hours nobody turns a row away
        model = row.model
        outage = self._context.limiter.model(model).outage
        decision = retry.decide(
            failure,
            row.history,
            max_attempts=self._settings.max_attempts,
            chance=self._chance,
            now=asked_s,
            silent_s=outage.silent_for(now),
            last_ones=not self._schedule.of(model).has_unstarted,
            standing=self._standing(row, failure),
        )
        if failure.wrong_address and decision.action == "stop":
            # Not the service: nothing was bought there, whatever a 200 looks like.
            result = failure = msgspec.structs.replace(failure, answered=True)
        if decision.pause_s:
            self._context.limiter.pause(model, decision.pause_s)
        if decision.action == "fail":
            if not decision.retryable and outlasted(failure):
                failure = never_in_time(failure, self._context.overtime.times(row.pending) + 1)
            elif failure.code == NO_SUCH_PATH and not self._context.evidence.address_answered:
                likelier = self._settings.likelier_url
                failure = nothing_there(failure, base_url=self._context.base_url, likelier=likelier)
            settle = conversation.after_failure(failure, retryable=decision.retryable)
            self._close(row, call, result, settle, decision=decision)
            return
        self._context.book(row, call, result, decision=decision)
        if decision.action in ("park", "stop"):
            self._stop(failure, silent_s=outage.silent_for(now), only=model if decision.action == "park" else None)
            self._schedule.done(row)
            return
        row.history = row.history.after(decision, asked_s)
        self._wait(row, max(decision.wait_s, outage.retry_wait(now)))

    def _standing(self, row: Row, failure: Failure) -> retry.Standing:
        """What is known of the key, the model and the address; a refusal that may be theirs is counted by row."""
        evidence, model = self._context.evidence, row.model
        refused = evidence.record_refusal(model, row.work_id) if failure.verdict == "row_or_key" else 0
        overtime = self._context.overtime.times(row.pending) if outlasted(failure) else 0
        return retry.Standing(evidence.address_answered, evidence.model_answered(model), refused, overtime)

    def _stop(self, failure: Failure, *, silent_s: float = 0.0, only: str | None = None) -> None:
        """The provider refused the key or the money, or answers nobody: no more sends, or none to `only` this model."""
        asked = failure.retry_after_s if only is not None and silent_s <= 0 else None
        until = None if asked is None else moment(self._context.clock.now_us(), asked)
        fault = provider_stop(
            failure,
            base_url=self._context.base_url,
            likelier=self._settings.likelier_url,
            silent_s=silent_s,
            until=until,
        )
        if not self._state.stopping:  # the calls in flight will be refused alike
            logger().error("provider_stopped", kind=failure.kind, code=failure.code, http_status=failure.http_status)
        if only is None:
            self._state.stop("provider", fault)
        else:
            self._context.limiter.model(only).park(asked)
            self._state.park(only, fault)

    def _look_for_park(self, model: str) -> None:
        """Ask a model no more when the headers of an answer said that its limit is used up for long."""
        limits, clock = self._context.limiter.model(model), self._context.clock
        if limits.parked_until is not None and not limits.closed:
            seconds = limits.parked_until - clock.monotonic()
            self._state.park(model, limit_stop(model, seconds, moment(clock.now_us(), seconds)))

    def _close(
        self,
        row: Row,
        call: OpenCall,
        result: Reply | Failure,
        settle: steps.Settle,
        *,
        decision: retry.Decision | None = None,
        hold: bool = False,
    ) -> None:
        """The call's record and the row's outcome in one commit."""
        row.count_tools()
        outcome = self._outcome(row, settle, call.lane)
        self._context.book(row, call, result, decision=decision, outcome=outcome, hold=hold)
        self._after(row, outcome)

    def _after(self, row: Row, outcome: Outcome) -> None:
        self._state.row_settled(row.pending.part, outcome)
        self._state.row_ended(row.work_id)
        if self._context.purse is not None:
            self._context.purse.end_row(row.work_id)
        self._schedule.done(row)
        if (fault := self._streak.add(outcome)) is not None:
            self._state.stop("systematic", fault)

    def _outcome(self, row: Row, settle: steps.Settle, lane: Lane) -> Outcome:
        keep = self._settings.rules.keep
        return outcome_of(
            row, settle, keep=keep, provider=self._context.policy.provider, lane=lane, clock=self._context.clock
        )

    async def _run_tools(self, row: Row, calls: tuple[ToolCall, ...]) -> None:
        """Run what the model asked for, and go on to the next turn unless the row ends here."""
        assert self._tools is not None
        settle = await self._tools.run(row, calls)
        if settle is not None:
            self._settle(row, settle)
            return
        row.tool_results = {}
        row.replied = None
        row.next_attempt = 0
        self._schedule.requeue(row)

    def _settle(self, row: Row, settle: steps.Settle) -> None:
        """The outcome of a row that ends without a call of its own to be booked."""
        row.count_tools()
        outcome = self._outcome(row, settle, self._settings.lane)
        self._context.ledger.settled(row.work_id, outcome)
        self._after(row, outcome)
