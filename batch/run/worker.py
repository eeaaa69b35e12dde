"""What a worker does with a row: sends its next turn, polls its task, or runs its tools.

A fixed set of workers takes rows from the schedule, one step at a time; between two steps a row is a value in the
schedule and in the ledger. Owns which step a row is ready for. How an ordinary row goes is `ordinary`'s, what follows
from a result `conclusion`'s; limits belong to `submit`, parts to `pipeline`, the order of rows to `schedule`.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from batch.core.errors import BudgetReached, StorageError
from batch.core.logs import logger
from batch.core.records import Accepted, Failure, Outcome, Processing, Reply, ToolCall
from batch.limits.limiter import LimiterClosed
from batch.limits.outage import LONGEST_PROBE_S
from batch.prompts import conversation, labelled
from batch.run import ordinary
from batch.run.bulk import Bulk
from batch.run.conclusion import Conclusion, Settings
from batch.run.deadlines import Deadlines
from batch.run.later_turns import LaterTurns
from batch.run.outcomes import too_large, unrendered
from batch.run.schedule import Schedule
from batch.run.spending import held_up
from batch.run.state import RunState
from batch.run.tool_turns import ToolTurns
from batch.submit import stream, sync, task
from batch.submit.attempt import CallContext
from batch.submit.polls import Polls
from batch.submit.purse import PurseClosed
from batch.submit.results import never_finished, overdue
from batch.submit.rows import OpenCall, Row

GATHER_S: Final = 0.05
"""How long whoever brings rows into batch files waits for the next ones."""


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
        bulk: Bulk | None = None,
        later: LaterTurns | None = None,
    ) -> None:
        self._context = context
        self._schedule = schedule
        self._settings = settings
        self._tools = tools
        self._state = state
        # A budget and a deadline are looked at in every call, and another lane has steps of its own.
        looked_at = settings.collect_only or context.purse is not None or settings.deadline_s is not None
        self._ordinary = settings.lanes == ("sync",) and not looked_at and bulk is None
        self._polls = polls or Polls(context.clock)
        self._deadlines = Deadlines(context.clock, settings.deadline_s)
        self._auto = None if bulk is None else bulk.auto
        learned = None if self._auto is None else self._auto.experience
        self._conclusion = Conclusion(
            context, schedule, settings, deadlines=self._deadlines, state=state, experience=learned
        )
        self._dated = settings.deadline_s is not None
        self._later = later
        self._bulk = bulk
        if bulk is not None:
            bulk.concludes(self._conclusion)

    async def send(self, model: str) -> None:
        """One of the crew that sends to a model: takes rows that need a slot, one at a time."""
        while (row := await self._schedule.next_to_send(model)) is not None:
            await self._step(row)

    async def fill_files(self, model: str) -> None:
        """Bring the new rows of a model into batch files, where what these leave has a lane of its own.

        A file takes no slot, so it waits for nobody who does: rows that batches left behind may keep all that send busy
        for hours.
        """
        while not self._schedule.over(model):
            into_files = self._auto is None or not self._auto.straight(model)
            row = self._schedule.begin(model) if into_files else None
            if row is None:
                await self._context.clock.sleep(GATHER_S)
            else:
                await self._step(row)

    @property
    def fills_files(self) -> bool:
        """Whether new rows go into batch files, and others into another lane."""
        return len(self._settings.lanes) > 1 and not self._settings.collect_only

    async def _step(self, row: Row) -> None:
        """Take the next step of a row that is to be sent."""
        short = self._ordinary and ordinary.is_ordinary(row)
        asked = row.request.model if short else row.model
        try:
            ended = await ordinary.ask(self._context, row, self._settings.rules) if short else None
            if isinstance(ended, Outcome):
                self._conclusion.after(row, ended)
            elif ended is not None:  # it only seemed ordinary
                self._conclusion.conclude(row, *ended)
            else:
                await self._go_on(row)
            limits = self._context.limiter.models.get(asked)
            if limits is not None and limits.parked_until is not None:
                self._conclusion.look_for_park(asked)
        except (LimiterClosed, PurseClosed):
            self._schedule.done(row)  # it stays in the ledger as it is; the next run goes on from there
        except (BudgetReached, StorageError) as fault:  # or what was spent today cannot be noted
            self._schedule.done(row)
            self._state.stop("budget" if isinstance(fault, BudgetReached) else "storage", fault)

    async def _go_on(self, row: Row) -> None:
        """Take the next step of a row that is not ordinary: its next turn, or its end before it is sent."""
        if self._settings.collect_only:
            self._schedule.done(row)  # nothing more is sent for a job that changed
        elif row.fault is not None:
            self._conclusion.settle(row, conversation.after_failure(unrendered(row.fault), retryable=False))
        elif self._dated and self._deadlines.over(row):
            self._end_overdue(row)
        elif (settled := labelled.enough(row.conversation, self._settings.rules)) is not None:
            row.conversation = settled[0]
            self._conclusion.settle(row, settled[1])
        elif self._later is not None and await self._later.takes(row):
            pass  # it is asked for what was paid for already
        elif self._others_first(row):
            self._conclusion.wait(row, LONGEST_PROBE_S)
        elif (limit := self._context.weigh(row)) is not None:
            self._conclusion.settle(row, conversation.after_failure(too_large(*limit), retryable=False))
        elif (why := held_up(self._context.purse, row)) is not None:
            self._hold_up(row, why)
        else:
            await self._take_turn(row)

    def _hold_up(self, row: Row, why: Failure | BudgetReached) -> None:
        """A row that the budget does not let go: at fault itself, or one too many, and then no other is begun."""
        if isinstance(why, Failure):
            self._conclusion.settle(row, conversation.after_failure(why, retryable=True))
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

    async def _take_turn(self, row: Row) -> None:
        if not self._dated:
            await self._ask(row)
        elif await self._deadlines.cuts(row, self._ask):
            self._end_overdue(row)

    async def keep_deadlines(self) -> None:
        """End the rows whose time is over while they wait for somebody to send them; runs until cancelled."""
        while self._dated and not self._state.stopping:
            await self._context.clock.sleep(self._deadlines.every_s)
            for row in self._schedule.take_ready(self._deadlines.over):
                self._end_overdue(row)

    def _end_overdue(self, row: Row) -> None:
        """The row has been open for too long: it fails for now, and the id of its task is polled first next time."""
        call, row.call = row.call, None
        if call is not None:
            self._polls.forget(call)
        failure = overdue(row, None if call is None else call.task_id)
        settle = conversation.after_failure(failure, retryable=True)
        if call is None:
            self._conclusion.settle(row, settle)
        else:
            self._conclusion.close(row, call, failure, settle, hold=call.turn == row.conversation.began)

    async def _ask(self, row: Row) -> None:
        """Send the next turn of a row the way it travels now."""
        if self._bulk is not None and await self._bulk.takes(row):
            return
        lane = self._settings.lane_of(row)
        if lane == "bulk" and self._auto is not None and self._auto.straight(row.model):
            row.left_batches = True
            lane = self._settings.lane_of(row)
        if lane == "bulk":
            assert self._bulk is not None
            await self._bulk.gathering.put(row)
        elif lane == "task":
            await self._submit(row)
        else:
            await self._send(row, stream if lane == "stream" else sync)

    async def _send(self, row: Row, lane: ModuleType) -> None:
        call, result = await lane.send(self._context, row)
        self._conclusion.conclude(row, call, result)

    async def _submit(self, row: Row) -> None:
        call, result = await task.submit(self._context, row)
        if isinstance(result, Accepted):
            most_s = min(self._settings.task_timeout_s, self._deadlines.left_s(row))
            self._schedule.schedule(row, self._polls.first(call, row.conversation.sent, most_s=most_s))
        else:
            self._conclusion.conclude(row, call, result)

    async def _poll(self, row: Row, call: OpenCall) -> None:
        if (early_s := self._polls.early(call)) > 0:
            self._schedule.schedule(row, early_s)
            return
        result = await task.poll(self._context, call)
        if isinstance(result, Processing):
            if result.too_many:
                self._polls.refused()
            if (left_s := self._left_s(call, told=result.told)) <= 0:
                self._give_up(row, call)
            elif self._deadlines.over(row):
                self._end_overdue(row)
            else:
                most_s = min(left_s, self._deadlines.left_s(row))
                self._schedule.schedule(row, self._polls.next(call, least_s=result.wait_s, most_s=most_s))
            return
        if isinstance(result, Failure) and result.verdict == "stop" and not task.about_the_task(result):
            # The poll was refused, not the task: the id stays in the ledger for a run with a better key.
            self._conclusion.stop(result)
            self._schedule.done(row)
            return
        row.call = None
        if not isinstance(result, Reply):
            self._polls.forget(call)
        elif self._polls.finished(call):
            self._schedule.hasten(lambda row: row.call is not None and self._polls.blind(row.call))
        self._conclusion.conclude(row, call, result)

    def _left_s(self, call: OpenCall, *, told: bool) -> float:
        """How much is left of the time of a task that is not finished, as far as one knows.

        Args:
            call: the task. One that is asked for once more may be older than any is to become: it is given up when the
                provider says that it is not finished, and else after so long in this process.
            told: whether the provider said so.
        """
        most_s = self._settings.task_timeout_s
        if call.late and not told:
            return most_s - (self._context.clock.monotonic() - call.started)
        return self._context.left_s(call, most_s)

    def _give_up(self, row: Row, call: OpenCall) -> None:
        """A task past its time: `unknown`, its id kept beyond the row and polled first when the row comes again."""
        row.call = None
        self._polls.forget(call)
        if call.late:
            # Booked as unknown by the run that submitted it; asked once more, still nothing: buy it anew.
            self._context.abandon(call)
            self._schedule.requeue(row)
            return
        failure = never_finished(call, self._settings.task_timeout_s)
        logger().warning("task_overdue", row_id=row.pending.row_id, task_id=call.task_id, polls=call.polls)
        settle = conversation.after_failure(failure, retryable=True)
        self._conclusion.close(row, call, failure, settle, hold=call.turn == row.conversation.began)

    async def _run_tools(self, row: Row, calls: tuple[ToolCall, ...]) -> None:
        """Run what the model asked for, and go on to the next turn unless the row ends here."""
        assert self._tools is not None
        settle = await self._tools.run(row, calls)
        if settle is not None:
            self._conclusion.settle(row, settle)
            return
        row.tool_results = {}
        row.replied = None
        row.next_attempt = 0
        self._schedule.requeue(row)
