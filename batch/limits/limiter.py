"""When a request may leave this process: calls in flight, requests and tokens a minute, pauses and outages.

The only place that waits for capacity. A caller asks for a `Lease`, sends, and gives the lease back with what it heard
of the provider; no other module sleeps because of a limit. Who asks first is served first, whatever its size: only the
head of the queue looks at the budgets, so a large prompt is never passed over.

What must be free at the same time, each owned by a module of its own:

- **in flight** (`concurrency`): a slot is held from the call's `sent` record to its outcome's record. The ledger
  commits in
  order, so giving it back when that record is queued never shows more open calls than slots in any committed state.
  Saved task ids are `adopted`: they count without waiting, even above the limit, and new leases wait until the count is
  below it again. The cap itself is tracked when the provider refuses calls for their number;
- **pace** (`requests`) and **tokens** (`tokens`): the limits of the job, or those the provider's headers tell, if
  tighter.
  A lease held longer than `GRANT_S` before its bytes left is stale and is paced anew;
- **pause**: a refusal with a waiting time slows everybody: nothing is granted before it has passed;
- **health** (`outage`): while the provider is silent, one probe at a time.

One event loop owns a `Limiter`; there is no lock, because nothing awaits between reading a budget and spending it.
"""

from __future__ import annotations

from collections import deque
from typing import Self

import anyio

from batch.core.clock import Clock, describe
from batch.core.logs import logger
from batch.core.records import LimitHeaders, Usage
from batch.job.job import LimitSpec
from batch.limits.concurrency import ConcurrencyLimit
from batch.limits.outage import Observation, OutageDetector
from batch.limits.requests import GRANT_S, RequestRate
from batch.limits.tokens import Grant, TokenBudget, TokenEstimator, TokenWeight

PER_MINUTE_S = 120.0
"""A window of the provider's longer than this is no limit a minute, and is not paced by."""


class LimiterClosed(Exception):
    """The run takes no new sends; whoever waits for capacity is told so instead of being left waiting."""


class Lease:
    """The right to send one call and the slot it takes; give it back exactly once, again is harmless."""

    __slots__ = ("_limits", "grant", "granted", "open", "probe", "row", "wait_ms", "weight")

    def __init__(
        self, limits: Limiter, granted: float, waited_s: float, *, row: int, weight: TokenWeight | None
    ) -> None:
        self._limits = limits
        self.granted = granted
        self.wait_ms = int(waited_s * 1000)
        self.row = row
        self.weight = weight
        self.grant: Grant | None = None
        self.probe = False
        self.open = True

    def taken(self) -> None:
        """The provider took the call and works on it; the slot stays with it."""
        self._limits.record_success(self)

    def release(self, observed: Observation = "nothing", usage: Usage | None = None) -> None:
        """Free the slot. Call it right after the outcome's record was queued, with no await in between."""
        if self.open:
            self.open = False
            self._limits.freed(self, observed, usage)


class Limiter:
    """The budgets of one run against one provider, key and model.

    Args:
        clock: where time comes from.
        concurrency: the most calls in flight.
        requests_per_minute: None paces by what the provider's headers say, if they say it.
        tokens_per_minute: likewise.
        charges: what a request counts for; needed for a token limit to hold.
        adapt: follow the provider's refusals and headers.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        concurrency: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        estimator: TokenEstimator | None = None,
        adapt: bool = True,
    ) -> None:
        self._clock = clock
        self.concurrency = concurrency
        self.in_flight = 0
        self.paused_until = 0.0
        self.slots = ConcurrencyLimit(concurrency, adapt=adapt)
        self.outage = OutageDetector(concurrency)
        self.estimator = estimator
        self._adapt = adapt
        self._asked_rpm = requests_per_minute
        self._asked_tpm = tokens_per_minute
        self._pace = RequestRate(requests_per_minute)
        self._tokens = TokenBudget(tokens_per_minute) if tokens_per_minute is not None else None
        self._queue: deque[anyio.Event] = deque()
        self._scopes: set[anyio.CancelScope] = set()
        self._watchers: list[anyio.Event] = []
        self._closed = False

    @classmethod
    def of(cls, clock: Clock, spec: LimitSpec, *, estimator: TokenEstimator) -> Self:
        """As a job asks for."""
        return cls(
            clock,
            concurrency=spec.concurrency,
            requests_per_minute=spec.requests_per_minute,
            tokens_per_minute=spec.tokens_per_minute,
            estimator=estimator,
            adapt=spec.adapt,
        )

    # -- asking -----------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many callers are held back now."""
        return len(self._queue)

    def start(self, since_last_sent_s: float | None) -> None:
        """Begin as the last process left off: `since_last_sent_s` after the last byte the ledger knows of."""
        if since_last_sent_s is not None:
            self._pace.sent_before(since_last_sent_s)
            if self._tokens is not None:
                self._tokens.sent_before(since_last_sent_s, self._clock.monotonic())

    @property
    def counts_tokens(self) -> bool:
        """Whether requests must say what they count for."""
        return self._tokens is not None

    def exceeds_limit(self, weight: TokenWeight | None) -> float | None:
        """The token limit, when a request alone is surely larger than the whole of it."""
        if weight is None or self._tokens is None or self.estimator is None:
            return None
        limit = self._tokens.per_minute
        return limit if self.estimator.surely(weight) > limit else None

    async def acquire(self, row: int = 0, weight: TokenWeight | None = None) -> Lease:
        """Wait for a slot, for the pace and for the tokens of `weight`, in order of arrival.

        Args:
            row: which row the call is for; failures of several rows tell more than several of one.
            weight: what the call counts for; None counts nothing.

        Raises:
            LimiterClosed: no new sends are taken any more.
        """
        if self._closed:
            raise LimiterClosed
        if not self._queue and self._held_for(weight) == 0.0 and self._pace.open_now:
            await self._pace.take()  # has capacity, so it returns without waiting
            return self._grant(0.0, row, weight)
        asked = self._clock.monotonic()
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await self._wait_in_line(weight)
                if not self._closed:  # it may be closed in the moment of our turn, when no cancel reaches us any more
                    return self._grant(self._clock.monotonic() - asked, row, weight)
            finally:
                self._scopes.discard(scope)
                self._next_in_line()
        raise LimiterClosed

    async def _wait_in_line(self, weight: TokenWeight | None) -> None:
        turn = anyio.Event()
        self._queue.append(turn)
        try:
            if self._queue[0] is not turn:
                await turn.wait()
            await self._wait_for_all(weight)
        finally:
            # Answered on every path: a cancelled head hands the turn on, a cancelled follower just leaves.
            was_head = self._queue[0] is turn
            self._queue.remove(turn)
            if was_head:
                self._next_in_line()

    def _next_in_line(self) -> None:
        if self._queue:
            self._queue[0].set()

    async def _wait_for_all(self, weight: TokenWeight | None) -> None:
        """Return in the moment when everything is free at once."""
        drawn = False
        while True:
            wait = self._held_for(weight)
            if wait == 0.0 and drawn:
                return
            if wait == 0.0:
                await self._pace.take()
                drawn = True
                continue
            await self._until_changed(wait)
            drawn = False  # what was drawn before a wait is stale after it

    def _held_for(self, weight: TokenWeight | None) -> float | None:
        """Seconds until a call may go, the pace apart: 0 now, None until something changes."""
        if self.in_flight >= self.slots.limit:
            opens = self.slots.open_in(self._clock.monotonic())
            if self.in_flight >= self.slots.limit:
                return opens
        outage = self.outage
        if self._tokens is None and not outage.open and not self.paused_until:
            return 0.0
        now = self._clock.monotonic()
        probe = outage.probe_in(now)
        if probe is None:
            return None
        return max(self.paused_until - now, probe, self._tokens_in(weight, now), 0.0)

    def _tokens_in(self, weight: TokenWeight | None, now: float) -> float:
        """Seconds until the tokens of `weight` may leave."""
        if self._tokens is None or self.estimator is None or weight is None:
            return 0.0
        return self._tokens.wait(self.estimator.amount(weight), now)

    def _take_tokens(self, weight: TokenWeight | None, now: float) -> Grant | None:
        if self._tokens is None or self.estimator is None or weight is None:
            return None
        return self._tokens.take(self.estimator.amount(weight), now)

    def _grant(self, waited_s: float, row: int, weight: TokenWeight | None) -> Lease:
        now = self._clock.monotonic()
        lease = Lease(self, now, waited_s, row=row, weight=weight)
        self.in_flight += 1
        lease.grant = self._take_tokens(weight, now)
        if self.outage.open:
            self.outage.probing = lease.probe = True
        return lease

    async def _until_changed(self, seconds: float | None) -> None:
        changed = anyio.Event()
        self._watchers.append(changed)
        try:
            if seconds is None:
                await changed.wait()
            else:
                with anyio.move_on_after(seconds):
                    await changed.wait()
        finally:
            if changed in self._watchers:
                self._watchers.remove(changed)

    def _changed(self) -> None:
        watchers, self._watchers = self._watchers, []
        for events in watchers:
            events.set()

    async def reacquire_if_stale(self, lease: Lease) -> None:
        """Wait for the budgets again, keeping the slot, when the grant has gone stale before the bytes left."""
        while self._clock.monotonic() - lease.granted > GRANT_S:
            if lease.grant is not None and self._tokens is not None:
                self._tokens.settle(lease.grant, 0.0, self._clock.monotonic())
                lease.grant = None
            while True:
                await self._pace.take()
                now = self._clock.monotonic()
                wait = max(self.paused_until - now, self._tokens_in(lease.weight, now))
                if wait <= 0:
                    break  # else what was drawn is stale after the wait
                await self._until_changed(wait)
            lease.granted = self._clock.monotonic()
            lease.grant = self._take_tokens(lease.weight, lease.granted)

    def adopt(self) -> Lease:
        """A slot for a call the provider already holds; taken without waiting, even above the limit."""
        self.in_flight += 1
        return Lease(self, self._clock.monotonic(), 0.0, row=0, weight=None)

    def close(self) -> None:
        """Take no new sends; wake everybody who waits for one with `LimiterClosed`."""
        self._closed = True
        for scope in list(self._scopes):
            scope.cancel()

    # -- hearing ----------------------------------------------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        """Grant nothing for the next `seconds`; a shorter pause never cuts a longer one."""
        now = self._clock.monotonic()
        if self.paused_until <= now and seconds > 0:
            logger().warning("provider_paused", seconds=round(seconds, 3))
        self.paused_until = max(self.paused_until, now + seconds)

    def record_success(self, lease: Lease) -> None:
        """The provider took a call."""
        if self.outage.answered(lease.granted):
            self.slots.restore()
            logger().info("provider_answers_again")
            self._changed()
        before = self.slots.limit
        self.slots.answered(self.in_flight, self._clock.monotonic())
        if self.slots.limit > before:
            self._changed()

    def freed(self, lease: Lease, observed: Observation, usage: Usage | None) -> None:
        """A lease came back; called by `Lease.release` only."""
        if lease.probe:
            self.outage.probing = False
        if observed == "answered":
            self.record_success(lease)
        elif observed != "nothing":
            self._learn_failure(lease, observed)
        self.in_flight -= 1
        if lease.grant is not None and self._tokens is not None and usage is not None:
            self._settle(lease, lease.grant, usage)
        if self._watchers and (lease.probe or self.in_flight < self.slots.limit):
            self._changed()

    def _settle(self, lease: Lease, grant: Grant, usage: Usage) -> None:
        if self._tokens is None or self.estimator is None or lease.weight is None or not usage.total_tokens:
            return  # a refused call stays booked as it was reserved: services count it too
        amount = self.estimator.used(lease.weight, usage)
        if self._tokens.settle(grant, amount, self._clock.monotonic()):
            self._changed()

    def _learn_failure(self, lease: Lease, observed: Observation) -> None:
        now = self._clock.monotonic()
        others = self.in_flight - 1
        if observed == "in_flight":
            self.slots.refused(lease.granted, now, others)
            if others > 0:
                return  # too many at once, so some of them are being served
        elif observed == "overloaded":
            self.slots.overloaded(now)
        if self.outage.failed(lease.row, now, how=observed):
            logger().warning("provider_silent", heard=observed)

    def observe_headers(self, said: LimitHeaders) -> None:
        """What the rate-limit headers of an answer say: a tighter limit is adopted, an empty budget waited for."""
        if not self._adapt:
            return
        now = self._clock.monotonic()
        if said.limit_requests and _a_minute(said.limit_requests, said.remaining_requests, said.reset_requests_s):
            self._adopt_requests(float(said.limit_requests))
        if said.limit_tokens and _a_minute(said.limit_tokens, said.remaining_tokens, said.reset_tokens_s):
            self._adopt_tokens(float(said.limit_tokens), said.remaining_tokens)
        if now < self.paused_until:
            return
        # Refilled all the time, a budget has room for the next request long before it is full again.
        if said.remaining_requests == 0 and said.reset_requests_s and said.limit_requests:
            a_minute = _a_minute(said.limit_requests, 0, said.reset_requests_s)
            self.pause(min(said.reset_requests_s, 120 / said.limit_requests) if a_minute else said.reset_requests_s)
        if said.remaining_tokens == 0 and said.reset_tokens_s:
            self.pause(min(said.reset_tokens_s, 1.0))

    def _adopt_requests(self, told: float) -> None:
        limit = min(told, self._asked_rpm or told)
        if limit != self._pace.per_minute:
            logger().info("limit_adopted", requests_per_minute=limit)
            self._pace.set_limit(limit)

    def _adopt_tokens(self, told: float, left: int | None) -> None:
        limit = min(told, self._asked_tpm or told)
        if self._tokens is None:
            self._tokens = TokenBudget(limit)
            self._tokens.used_before(limit - min(told if left is None else left, limit), self._clock.monotonic())
        elif limit != self._tokens.per_minute:
            self._tokens.set_limit(limit)
        else:
            return
        logger().info("limit_adopted", tokens_per_minute=limit)

    def waits_for(self) -> str | None:
        """What holds callers back now, for people; None when nothing does."""
        now = self._clock.monotonic()
        if self.outage.open:
            return f"the provider, which has not answered for {describe(self.outage.silent_for(now))}"
        if self.paused_until > now:
            return f"the provider's pause, {describe(self.paused_until - now)}"
        if not self._queue:
            return None
        if self.in_flight >= self.slots.limit:
            return "the provider's limit of calls in flight" if self.slots.limit < self.concurrency else None
        return "requests_per_minute" if self._tokens is None or not self._pace.open_now else "tokens_per_minute"


def _a_minute(limit: int, left: int | None, reset_s: float | None) -> bool:
    """Whether a limit is one a minute: what is used up, and when it is full again, tells how fast it refills."""
    if left is None or reset_s is None or left >= limit or reset_s <= 1.0:
        return True
    return reset_s * limit / (limit - left) <= PER_MINUTE_S
