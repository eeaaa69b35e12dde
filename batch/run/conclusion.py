"""What follows from what came of a call: the row goes on, waits, or settles, or the run asks nobody any more.

Owns the step from a result to what is booked and what is next, by asking `conversation` and `retry`. Nothing here
awaits, so a cancel cannot fall between an answer and its record. It sends nothing; when a row is handed out again is
`schedule`'s.
"""

from __future__ import annotations

import random

import msgspec

from batch.core.logs import logger
from batch.core.records import NO_SUCH_PATH, Failure, Lane, Outcome, Reply
from batch.labels.samples import SAMPLE
from batch.prompts import conversation, steps
from batch.prompts.judging import judge
from batch.run.deadlines import Deadlines
from batch.run.elsewhere import leave
from batch.run.experience import Experience
from batch.run.outcomes import outcome_of
from batch.run.schedule import Schedule
from batch.run.state import RunState
from batch.run.stops import Streak, limit_stop, moment, never_in_time, nothing_there, provider_stop
from batch.submit import afford, retry
from batch.submit.attempt import CallContext
from batch.submit.bulk import STAYS
from batch.submit.overtime import outlasted
from batch.submit.rows import OpenCall, Row
from batch.submit.targets import Target


class Settings(msgspec.Struct, frozen=True):
    """What of the job the workers, and what follows from their work, need."""

    lanes: tuple[Lane, ...]
    """How a request travels, and how what a batch did not answer does."""
    rules: steps.Rules
    max_attempts: int
    task_timeout_s: float
    deadline_s: float | None = None
    likelier_url: str | None = None
    """The base URL that was probably meant, should nothing be served at the job's."""
    collect_only: bool = False
    """The job changed: nothing more is sent for its old form, accepted tasks are collected."""

    def lane_of(self, row: Row) -> Lane:
        """How the next turn of a row travels."""
        return self.lanes[-1 if row.left_batches else 0]


class Conclusion:
    """What follows in one run.

    Args:
        context: books the calls, and knows the limits.
        schedule: takes the rows that go on.
        settings: what of the job counts here.
        deadlines: say for how long a row may still wait.
        state: is told of rows that settled, and of what stops the run.
        experience: is told how long calls take; None where nobody asks.
    """

    def __init__(
        self,
        context: CallContext,
        schedule: Schedule[Row],
        settings: Settings,
        *,
        deadlines: Deadlines,
        state: RunState,
        experience: Experience | None = None,
    ) -> None:
        self._experience = experience
        self._context = context
        self._schedule = schedule
        self._settings = settings
        self._deadlines = deadlines
        self._state = state
        self._chance = random.Random()
        self._streak = Streak()

    def conclude(self, row: Row, call: OpenCall, result: Reply | Failure, *, last: bool = False) -> None:
        """Book the call and do what follows; nothing here awaits, so a cancel cannot fall between.

        Args:
            row: whose call it is.
            call: the call.
            result: what came of it.
            last: a row that was not answered goes into no other batch, not even where the job has no other lane.
        """
        rules = self._settings.rules
        if isinstance(result, Reply):
            if self._experience is not None and call.lane != "bulk":
                tokens = None if result.usage is None else result.usage.total_tokens
                self._experience.learn_call(call.model, self._context.clock.monotonic() - call.started, tokens)
            end = conversation.plain_end(row.conversation, result, rules, model_asked=call.model)
            if end is not None:  # as nearly always; what follows comes to the same, step by step
                messages = (*row.conversation.messages, result.message)
                row.conversation = msgspec.structs.replace(row.conversation, messages=messages)
                row.history = retry.History()
                self.close(row, call, result, end)
                return
        elif call.booked:  # what the book has is not to be had a second time: the row asks anew
            self._context.abandon(call)
            self._schedule.requeue(row)
            return
        failure = judge(result, rules) if isinstance(result, Reply) else result
        if failure is not None:
            self._failed(row, call, result, failure, last=last)
            return
        assert isinstance(result, Reply)
        model = call.model
        if result.usage is None:
            afford.measure(self._context, row, call)  # what follows is another request
        row.conversation, action = conversation.after_reply(row.conversation, result, rules, model_asked=model)
        row.history = retry.History()
        if isinstance(action, steps.Settle):
            self.close(row, call, result, action)
            return
        then = action.then if isinstance(action, steps.Send) else ""
        if then or result.tokens:  # only of an answer that ends a sample are the tokens looked at again
            result = msgspec.structs.replace(result, then=then, tokens=result.tokens if then == SAMPLE else ())
        self._context.book(row, call, result, reply=result)
        row.replied = result if isinstance(action, steps.RunTools) else None
        row.next_attempt = 0
        self._schedule.requeue(row)

    def _failed(self, row: Row, call: OpenCall, result: Reply | Failure, failure: Failure, *, last: bool) -> None:
        now = self._context.clock.monotonic()
        hours = self._context.limiter.hours
        asked_s = now if hours is None else now - hours.shut_s  # outside its hours nobody turns a row away
        model, target = row.model, call.target or self._context.target
        limits = self._context.limiter.model(model)
        decision = retry.decide(
            failure,
            row.history,
            max_attempts=self._settings.max_attempts,
            chance=self._chance,
            now=asked_s,
            silent_s=limits.silent_for(now),
            last_ones=not self._schedule.of(model).has_unstarted,
            standing=self._standing(row, call, failure),
        )
        if call.lease.place is not None:
            decision = leave(limits.members, call.lease.place, failure, decision)
        if call.lane == "bulk":
            decision = self._after_batch(row, failure, decision, last=last)
        if failure.wrong_address and decision.action == "stop":
            # Not the service: nothing was bought there, whatever a 200 looks like.
            result = failure = msgspec.structs.replace(failure, answered=True)
        if decision.pause_s:
            self._context.limiter.pause(model, decision.pause_s, call.lease.place)
        if decision.action == "fail":
            if not decision.retryable and outlasted(failure):
                failure = never_in_time(failure, self._context.overtime.times(row.pending) + 1)
            elif failure.code == NO_SUCH_PATH and not target.evidence.address_answered:
                likelier = self._likelier(target)
                failure = nothing_there(failure, base_url=target.base_url, likelier=likelier)
            settle = conversation.after_failure(failure, retryable=decision.retryable)
            self.close(row, call, result, settle, decision=decision)
            return
        self._context.book(row, call, result, decision=decision)
        if decision.action in ("park", "stop"):
            only = model if decision.action == "park" else None
            self.stop(failure, silent_s=limits.silent_for(now), only=only, target=target)
            self._schedule.done(row)
            return
        moves = call.lane == "bulk" and self._settings.lane_of(row) != "bulk"
        row.history = retry.History() if moves else row.history.after(decision, asked_s)
        # What goes into a batch takes nothing from calls that are answered at once, so it need not leave one by one;
        # and what a batch did not do says nothing of whether the provider answers such calls.
        bulk = "bulk" in (call.lane, self._settings.lane_of(row))
        spared = bulk or failure.code == retry.NOT_TAKEN  # likewise what never left
        turn_s = 0.0 if spared else call.lease.where.outage.retry_wait(now)
        self.wait(row, max(decision.wait_s, turn_s))

    def _after_batch(self, row: Row, failure: Failure, decision: retry.Decision, *, last: bool) -> retry.Decision:
        """What follows where a batch did not answer a row: another lane with attempts of its own, if there is one."""
        passing = decision.action == "again" or (decision.action == "fail" and decision.retryable)
        if not passing or failure.code in STAYS:
            return decision
        row.left_batches = True
        if self._settings.lane_of(row) != "bulk":
            return msgspec.structs.replace(decision, action="again", wait_s=0.0, counted=False, once=None)
        return msgspec.structs.replace(decision, action="fail", retryable=True) if last else decision

    def _likelier(self, target: Target) -> str | None:
        return self._settings.likelier_url if target.name is None else target.likelier_url

    def _standing(self, row: Row, call: OpenCall, failure: Failure) -> retry.Standing:
        """What is known of the key, the model and the address; a refusal that may be theirs is counted by row."""
        evidence, model = (call.target or self._context.target).evidence, row.model
        refused = evidence.record_refusal(model, row.work_id) if failure.verdict == "row_or_key" else 0
        overtime = self._context.overtime.times(row.pending) if outlasted(failure) else 0
        return retry.Standing(evidence.address_answered, evidence.model_answered(model), refused, overtime)

    def stop(
        self, failure: Failure, *, silent_s: float = 0.0, only: str | None = None, target: Target | None = None
    ) -> None:
        """The provider refused the key or the money, or answers nobody: no more sends, or none to `only` this model.

        Args:
            failure: the last one.
            silent_s: for how long nobody was answered.
            only: the model that is asked no more; None for all.
            target: where it was asked last; None for the first address.
        """
        target = target or self._context.target
        asked = failure.retry_after_s if only is not None and silent_s <= 0 else None
        until = None if asked is None else moment(self._context.clock.now_us(), asked)
        fault = provider_stop(
            failure,
            base_url=target.base_url,
            likelier=self._likelier(target),
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

    def look_for_park(self, model: str) -> None:
        """Ask a model no more when the headers of an answer said that its limit is used up for long."""
        limits, clock = self._context.limiter.model(model), self._context.clock
        if limits.parked_until is not None and not limits.closed:
            seconds = limits.parked_until - clock.monotonic()
            self._state.park(model, limit_stop(model, seconds, moment(clock.now_us(), seconds)))

    def close(
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
        self.after(row, outcome)

    def after(self, row: Row, outcome: Outcome) -> None:
        """A row has its outcome, and it is booked."""
        self._state.row_settled(row.pending.part, outcome)
        if self._state.ends is not None:
            self._state.row_ended(row.work_id)
        if self._context.purse is not None:
            self._context.purse.end_row(row.work_id)
        self._schedule.done(row)
        if self._context.observer is not None:
            self._context.observer.settled(row, outcome)
        if (fault := self._streak.add(outcome)) is not None:
            self._state.stop("systematic", fault)

    def _outcome(self, row: Row, settle: steps.Settle, lane: Lane) -> Outcome:
        keep = self._settings.rules.keep
        ended = self._context.clock.now_us(), self._context.clock.monotonic()
        provider = self._context.policy.provider
        return outcome_of(row, settle, keep=keep, provider=provider, lane=lane, ended=ended)

    def settle(self, row: Row, settle: steps.Settle) -> None:
        """The outcome of a row that ends without a call of its own to be booked."""
        row.count_tools()
        outcome = self._outcome(row, settle, self._settings.lane_of(row))
        self._context.ledger.settled(row.work_id, outcome)
        self.after(row, outcome)

    def wait(self, row: Row, seconds: float) -> None:
        """Try the row again in so many seconds, or when it has been open for too long."""
        self._schedule.schedule(row, max(0.0, min(seconds, self._deadlines.left_s(row))))
