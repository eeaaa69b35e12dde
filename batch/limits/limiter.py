"""When a request may leave this process: calls in flight, requests and tokens per minute, pauses and outages.

Owns the job's own budgets, the order of those who wait, and the leases of those who may send. A caller asks for a
`Lease` for one model, sends, and gives the lease back with what the call told about the provider; outside this wing
nobody sleeps because of a limit.

What must be free at the same time, each owned by a module of its own:

- **in flight** (`concurrency`): a slot is held from the call's `sent` record to its outcome's record. The ledger
  commits in order, so giving it back when that record is queued never shows more open calls than slots in any committed
  state. Saved task ids are adopted: they count without waiting, even above the limit, and new leases wait until the
  count is below it again. What a model takes is tracked when the provider refuses calls for their number;
- **per minute** (`rates`): requests (`requests`) and tokens (`tokens`); `shared` has what other jobs leave of them;
- **pause**: a refusal with a waiting time slows all who ask that model: nothing is granted before it has passed;
- **outage** (`outage`): while the provider is silent, one probe at a time;
- **hours** (`hours`): outside them nothing is granted, however long that is, and nothing that was counted ages.

In flight and per minute exist twice, for the job as a whole and for each model (`model`); the others belong to a model.
Each model has a queue: its callers are served in the order in which they ask, whatever their size, so a large prompt is
never passed over. Only the heads of the queues look at the budgets. A head that its own model lets go stands in line
for the job's budgets, in order of arrival; one that its own model holds back stands in nobody's way, and neither does
one whose model has its share of the slots (`shares`) while another wants some.

One event loop owns a `Limiter`: nothing awaits between reading a budget and spending it, so it needs no lock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from itertools import count

from batch.core.clock import Clock
from batch.core.records import LimitHeaders, Usage
from batch.job.job import ModelLimitSpec
from batch.limits.hours import Hours
from batch.limits.lease import Lease, Waiter
from batch.limits.model import ModelLimits
from batch.limits.outage import Observation
from batch.limits.rates import RateLimits
from batch.limits.shares import may_take
from batch.limits.tokens import TokenEstimator, TokenWeight


class LimiterClosed(Exception):
    """The run takes no new sends; whoever waits for capacity is told so instead of being left waiting."""


class Limiter:
    """The budgets of one run against one provider and key.

    Args:
        clock: where time comes from.
        concurrency: the most calls in flight, all models together.
        requests_per_minute: of the whole job; None leaves the limit to each model.
        tokens_per_minute: likewise.
        models: limits of single models, by name.
        estimator: makes what knows how many tokens a model's request counts for; a token limit needs it.
        adapt: follow the provider's refusals and headers.
        hours: when requests may leave; None for always.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        concurrency: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        models: Mapping[str, ModelLimitSpec] | None = None,
        estimator: Callable[[], TokenEstimator] | None = None,
        adapt: bool = True,
        hours: Hours | None = None,
    ) -> None:
        self.clock = clock
        self.concurrency = concurrency
        self.in_flight = 0
        self.rates = RateLimits(requests_per_minute, tokens_per_minute)
        self.models: dict[str, ModelLimits] = {}
        self._asked = models or {}
        self._estimator = estimator
        self._adapt = adapt
        self._numbers = count()
        self._last_sent: float | None = None
        """When another process sent last, in monotonic seconds."""
        self.waiting = 0
        """How many callers are held back now."""
        self.hours = hours
        self._closed = False

    def model(self, name: str) -> ModelLimits:
        """The limits of one model, which begin with the first question for them."""
        limits = self.models.get(name)
        if limits is None:
            asked = self._asked.get(name) or ModelLimitSpec()
            limits = self.models[name] = ModelLimits(
                self.clock,
                name,
                concurrency=min(self.concurrency, asked.concurrency or self.concurrency),
                rates=RateLimits(asked.requests_per_minute, asked.tokens_per_minute),
                estimator=None if self._estimator is None else self._estimator(),
                adapt=self._adapt,
            )
            if self._last_sent is not None:
                now = self.clock.monotonic()
                limits.rates.sent_before(now - self._last_sent, now)
        return limits

    def start(self, since_last_sent_s: float | None) -> None:
        """Continue where the last process stopped: `since_last_sent_s` after the last byte the ledger knows of."""
        if since_last_sent_s is not None:
            now = self.clock.monotonic()
            self._last_sent = now - since_last_sent_s
            for rates in (self.rates, *(limits.rates for limits in self.models.values())):
                rates.sent_before(since_last_sent_s, now)

    def expect(self, models: Collection[str]) -> None:
        """Rows are still to come for these models and no others: of the slots they are kept a few."""
        for name in models:
            self.model(name)
        for limits in self.models.values():
            limits.asked, limits.expected = limits.asked and limits.expected, limits.name in models
        if self.waiting:
            self._serve()

    # -- asking -----------------------------------------------------------------------------------------------------

    def counts_tokens(self, model: str) -> bool:
        """Whether requests for this model must say what they count for."""
        return self.rates.tokens is not None or self.model(model).counts_tokens

    def exceeds_limit(self, model: str, weight: TokenWeight | None) -> tuple[float, str] | None:
        """The token limit and its key, when a request alone is surely larger than the whole of it; None otherwise."""
        limits = self.model(model)
        if weight is None or limits.estimator is None:
            return None
        surely = limits.estimator.surely(weight)
        if (limit := limits.rates.exceeded_by(surely)) is not None:
            return limit, f'limits.model."{model}".tokens_per_minute'
        return None if (limit := self.rates.exceeded_by(surely)) is None else (limit, "limits.tokens_per_minute")

    def at_once(self, limits: ModelLimits, row: int, weight: TokenWeight | None = None) -> Lease | None:
        """A lease for a call of a model that has a slot free, where no other limit is in force; else None.

        None says nothing yet: `acquire` looks at every limit, and waits.
        """
        # Whoever waits for another model is held back by that one's own limits, or by its share of the slots.
        free = self.in_flight < self.concurrency and limits.in_flight < limits.slots.limit and not limits.queue
        limited = self._closed or self.rates.in_force or self.hours is not None or limits.closed
        if limited or not free or limits.parked_until is not None or limits.paused_until:
            return None
        if limits.rates.in_force or limits.in_flight >= limits.most:
            return None
        if limits.outage.ongoing or (len(self.models) > 1 and not self._shares(limits)):
            return None
        return self._grant(limits, row, weight)

    async def acquire(self, model: str = "", row: int = 0, weight: TokenWeight | None = None) -> Lease:
        """Wait until everything is free at once: a slot, the pace, the tokens of `weight`. In order of arrival.

        Args:
            model: who is to be asked.
            row: which row the call is for; failures of several rows tell more than several of one.
            weight: what the call counts for; None counts no tokens.

        Raises:
            LimiterClosed: no new sends are taken any more, or none for this model.
        """
        limits = self.model(model)
        if (lease := self.at_once(limits, row, weight)) is not None:
            return lease
        if self._closed or limits.closed:
            raise LimiterClosed
        free = limits.wait(weight) == 0.0 and self._job_wait(limits.amount(weight)) == 0.0
        if free and not self.waiting and self._shares(limits):
            return self._grant(limits, row, weight)
        waiter = Waiter(next(self._numbers), self.clock.monotonic(), row=row, weight=weight)
        limits.queue.append(waiter)
        self.waiting += 1
        try:
            return await self._wait_in_line(limits, waiter)
        except BaseException:
            self._leave_line(limits, waiter)
            raise

    async def _wait_in_line(self, limits: ModelLimits, waiter: Waiter) -> Lease:
        while waiter.lease is None and not (self._closed or limits.closed):
            waiter.due = math.inf
            self._serve(waiter)
            if waiter.lease is None:
                await waiter.wait(self.clock.monotonic())
        if self._closed or waiter.lease is None:  # also in the moment after it was granted: no new sends, not even one
            raise LimiterClosed
        return waiter.lease

    def _leave_line(self, limits: ModelLimits, waiter: Waiter) -> None:
        """Answered on every path: whoever gives up hands on its turn, or what was just granted to it."""
        if waiter.lease is None:
            limits.queue.remove(waiter)
            self.waiting -= 1
            self._serve()
        else:
            waiter.lease.settle(0.0)
            waiter.lease.release()

    def _serve(self, asking: Waiter | None = None) -> None:
        """Grant to every head that may go, first come first served, and tell the others when to look again.

        Args:
            asking: the waiter whose task this is; it reads `due` itself.
        """
        while not self._closed:
            first: ModelLimits | None = None
            for limits in self.models.values():
                if not limits.queue:
                    continue
                wait_s = limits.wait(limits.queue[0].weight)
                if wait_s == 0.0:
                    sooner = first is None or limits.queue[0].number < first.queue[0].number
                    if sooner and self.in_flight < self.concurrency and self._shares(limits):
                        first = limits
                elif wait_s is not None:
                    self._look_again(limits.queue[0], wait_s, asking)
            if first is None:
                return
            head = first.queue[0]
            wait_s = self._job_wait(first.amount(head.weight))
            if wait_s != 0.0:
                if wait_s is not None:
                    self._look_again(head, wait_s, asking)
                return
            first.queue.popleft()
            self.waiting -= 1
            head.lease = self._grant(first, head.row, head.weight, asked_at=head.asked_at)
            head.wake()

    def _shares(self, limits: ModelLimits) -> bool:
        """Whether a model may take a slot that is free, for all that the others want."""
        free = self.concurrency - self.in_flight
        return len(self.models) == 1 or may_take(limits, self.models.values(), self.concurrency, free)

    def _look_again(self, head: Waiter, wait_s: float, asking: Waiter | None) -> None:
        """Have a head look at the budgets in so many seconds, unless it does so before."""
        due = self.clock.monotonic() + wait_s
        if due < head.due:
            head.due = due
            if head is not asking:
                head.wake()

    def _job_wait(self, amount: float | None) -> float | None:
        """The seconds until the job's own budgets let a call go: 0 now, None until something changes."""
        if self.in_flight >= self.concurrency:
            return None
        if self.hours is not None and (shut_s := self.shut_for()) > 0:
            return shut_s
        return self.rates.wait(amount, self.clock.monotonic()) if self.rates.in_force else 0.0

    def shut_for(self) -> float:
        """The seconds until its hours should be looked at again, because they let nothing go; 0 when they do.

        Nobody answers while nobody is asked: that is no silence of the provider, so an outage does not grow older.
        """
        if self.hours is None:
            return 0.0
        before, wait_s = self.hours.shut_s, self.hours.wait()
        if (passed_s := self.hours.shut_s - before) > 0:
            for limits in self.models.values():
                limits.outage.pass_over(passed_s)
        return wait_s

    def _grant(
        self, limits: ModelLimits, row: int, weight: TokenWeight | None, *, asked_at: float | None = None
    ) -> Lease:
        now = self.clock.monotonic()
        lease = Lease(self, limits, now, 0 if asked_at is None else int((now - asked_at) * 1000), row, weight)
        limits.asked = True
        self.in_flight += 1
        limits.in_flight += 1
        if limits.rates.in_force or self.rates.in_force:
            amount = limits.amount(weight)
            lease.grants = (limits.rates.take(amount, now), self.rates.take(amount, now))
            lease.slice = None if limits.shared is None else limits.shared.take(amount, now)
        if limits.outage.ongoing:
            limits.outage.probing = lease.probe = True
        return lease

    def adopt(self, model: str = "") -> Lease:
        """A slot for a call the provider already holds; taken without waiting, even above the limit."""
        limits = self.model(model)
        self.in_flight += 1
        limits.in_flight += 1
        return Lease(self, limits, self.clock.monotonic())

    def close(self) -> None:
        """Take no new sends; wake everybody who waits for one with `LimiterClosed`."""
        self._closed = True
        for limits in self.models.values():
            limits.close()

    def park(self, model: str) -> None:
        """Take no new sends for one model, as `close` does for all."""
        self.model(model).close()
        self._serve()  # whoever stood behind it for the job's budgets may go

    # -- learning from calls ----------------------------------------------------------------------------------------

    def pause(self, model: str, seconds: float) -> None:
        """Grant nothing for this model for the next `seconds`; a shorter pause never cuts a longer one."""
        self.model(model).pause(seconds)
        self._serve()  # whoever stood behind it for the job's budgets may go

    def record_success(self, lease: Lease) -> None:
        """The provider took a call: an outage is over, and there may be room for more calls in flight."""
        if lease.model.answered(lease.granted_at):
            self._serve()

    def take_back(
        self, lease: Lease, observed: Observation = "nothing", usage: Usage | None = None, why: str = ""
    ) -> None:
        """Free the slot of a lease; a second time is harmless. Nothing may await between its record and this.

        Args:
            lease: given back.
            observed: what its call told about the provider.
            usage: the tokens it was billed for, if that is known.
            why: of a call that failed.
        """
        if not lease.open:
            return
        lease.open = False
        limits = lease.model
        if lease.probe:
            limits.outage.probing = False
        # While the slot still counts: the cap is measured by how many calls were there, this one among them.
        if observed == "answered":
            limits.answered(lease.granted_at)
        elif observed != "nothing":
            limits.failed(lease.row, lease.granted_at, observed, why)
        limits.in_flight -= 1
        self.in_flight -= 1
        if lease.weight is not None and (used := limits.used(lease, usage)) is not None:
            lease.settle(used)
        if self.waiting:
            self._serve()

    def observe_headers(self, model: str, headers: LimitHeaders) -> None:
        """Obey the rate-limit headers of an answer of this model."""
        self.model(model).observe_headers(headers)
        if self.waiting:
            self._serve()
