"""When a request may leave this process: calls in flight, requests and tokens per minute, pauses and outages.

Owns the queue of those who wait and the leases of those who may send; it is the only place that waits for capacity. A
caller asks for a `Lease`, sends, and gives the lease back with what the call told about the provider; no other module
sleeps because of a limit. Callers are served in the order in which they ask, whatever their size: only the head of the
queue looks at the budgets, so a large prompt is never passed over.

What must be free at the same time, each owned by a module of its own:

- **in flight** (`concurrency`): a slot is held from the call's `sent` record to its outcome's record. The ledger
  commits in order, so giving it back when that record is queued never shows more open calls than slots in any committed
  state. Saved task ids are adopted: they count without waiting, even above the limit, and new leases wait until the
  count is below it again. The cap itself is tracked when the provider refuses calls for their number;
- **per minute** (`rates`): requests (`requests`) and tokens (`tokens`), within the limits of the job or of the
  provider's headers. A lease held longer than `GRANT_S` before its bytes left is stale and waits for them again;
- **pause**: a refusal with a waiting time slows everybody: nothing is granted before it has passed;
- **outage** (`outage`): while the provider is silent, one probe at a time.

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
from batch.limits.rates import RateLimits, pause_of
from batch.limits.requests import GRANT_S
from batch.limits.tokens import Grant, TokenEstimator, TokenWeight


class LimiterClosed(Exception):
    """The run takes no new sends; whoever waits for capacity is told so instead of being left waiting."""


class Lease:
    """The right to send one call, and the slot it takes. Give it back once; a second time is harmless.

    Args:
        limiter: who granted it, and takes it back.
        granted_at: monotonic seconds.
        waited_s: how long its caller was held back.
        row: which row the call is for.
        weight: what the call counts for; None counts no tokens.
    """

    __slots__ = ("_limiter", "granted_at", "open", "probe", "row", "token_grant", "wait_ms", "weight")

    def __init__(
        self, limiter: Limiter, granted_at: float, waited_s: float, *, row: int, weight: TokenWeight | None
    ) -> None:
        self._limiter = limiter
        self.granted_at = granted_at
        self.wait_ms = int(waited_s * 1000)
        self.row = row
        self.weight = weight
        self.token_grant: Grant | None = None
        """The tokens reserved for it."""
        self.probe = False
        """Its call asks, during an outage, whether the provider answers again."""
        self.open = True
        """Its slot is still taken."""

    def taken(self) -> None:
        """The provider took the call and works on it; the slot stays with it."""
        self._limiter.record_success(self)

    def release(self, observed: Observation = "nothing", usage: Usage | None = None) -> None:
        """Free the slot. Call it right after the outcome's record was queued, with no await in between."""
        if self.open:
            self.open = False
            self._limiter.freed(self, observed, usage)


class Limiter:
    """The budgets of one run against one provider and key. Rows that ask for different models share them.

    Args:
        clock: where time comes from.
        concurrency: the most calls in flight.
        requests_per_minute: None leaves the limit to the provider's headers, if they tell one.
        tokens_per_minute: likewise.
        estimator: what a request counts for; needed for a token limit to hold.
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
        self.rates = RateLimits(requests_per_minute, tokens_per_minute, estimator)
        self.outage = OutageDetector(concurrency)
        self.estimator = estimator
        self._adapt = adapt
        self._queue: deque[anyio.Event] = deque()
        self._scopes: set[anyio.CancelScope] = set()
        self._watchers: list[anyio.Event] = []
        self._closed = False

    @classmethod
    def of(cls, clock: Clock, spec: LimitSpec, *, estimator: TokenEstimator) -> Self:
        """The limiter for a job.

        Args:
            clock: where time comes from.
            spec: the `[limits]` of the job.
            estimator: what a request counts for.
        """
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
        """Continue where the last process stopped: `since_last_sent_s` after the last byte the ledger knows of."""
        if since_last_sent_s is not None:
            self.rates.sent_before(since_last_sent_s, self._clock.monotonic())

    @property
    def counts_tokens(self) -> bool:
        """Whether requests must say what they count for."""
        return self.rates.counts_tokens

    def exceeds_limit(self, weight: TokenWeight | None) -> float | None:
        """The token limit, when a request alone is surely larger than the whole of it; None otherwise."""
        return self.rates.exceeds_limit(weight)

    async def acquire(self, row: int = 0, weight: TokenWeight | None = None) -> Lease:
        """Wait until everything is free at once: a slot, the pace, the tokens of `weight`. In order of arrival.

        Args:
            row: which row the call is for; failures of several rows tell more than several of one.
            weight: what the call counts for; None counts no tokens.

        Raises:
            LimiterClosed: no new sends are taken any more.
        """
        if self._closed:
            raise LimiterClosed
        if not self._queue and self._held_for(weight) == 0.0 and self.rates.requests.has_capacity:
            await self.rates.requests.take()  # has capacity, so it returns without waiting
            return self._grant(0.0, row, weight)
        asked_at = self._clock.monotonic()
        # Closing must reach whoever waits, wherever it waits: each waiter has a scope that `close` cancels.
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await self._wait_in_line(weight)
                if not self._closed:  # it may be closed in the moment of our turn, when no cancel reaches us any more
                    return self._grant(self._clock.monotonic() - asked_at, row, weight)
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
            await self.rates.requests.take_together(lambda: self._held_for(weight), self._until_changed)
        finally:
            # Answered on every path: a cancelled head hands the turn on, a cancelled follower just leaves.
            was_head = self._queue[0] is turn
            self._queue.remove(turn)
            if was_head:
                self._next_in_line()

    def _next_in_line(self) -> None:
        if self._queue:
            self._queue[0].set()

    def _held_for(self, weight: TokenWeight | None) -> float | None:
        """The seconds until a call may go, were it not for the pace of requests: 0 now, None until a change."""
        if self.in_flight >= self.slots.limit:
            widens_in = self.slots.widens_in(self._clock.monotonic())
            if self.in_flight >= self.slots.limit:  # time may just have opened another slot
                return widens_in
        if not self.rates.counts_tokens and not self.outage.ongoing and not self.paused_until:
            return 0.0  # the usual case, asked for every call: it needs no clock
        now = self._clock.monotonic()
        probe_in = self.outage.probe_in(now)
        if probe_in is None:
            return None
        return max(self.paused_until - now, probe_in, self.rates.token_wait(weight, now), 0.0)

    def _grant(self, waited_s: float, row: int, weight: TokenWeight | None) -> Lease:
        now = self._clock.monotonic()
        lease = Lease(self, now, waited_s, row=row, weight=weight)
        self.in_flight += 1
        lease.token_grant = self.rates.take_tokens(weight, now)
        if self.outage.ongoing:
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
        for changed in watchers:
            changed.set()

    async def reacquire_if_stale(self, lease: Lease) -> None:
        """Wait for the budgets again, keeping the slot, when the grant has gone stale before the bytes left."""
        rates = self.rates

        def held_for() -> float:
            now = self._clock.monotonic()
            return max(self.paused_until - now, rates.token_wait(lease.weight, now), 0.0)

        # Again and again: the task may be woken late, and find its new grant stale as well.
        while self._clock.monotonic() - lease.granted_at > GRANT_S:
            rates.give_back(lease.token_grant, self._clock.monotonic())
            lease.token_grant = None
            await rates.requests.take_together(held_for, self._until_changed)
            lease.granted_at = self._clock.monotonic()
            lease.token_grant = rates.take_tokens(lease.weight, lease.granted_at)

    def adopt(self) -> Lease:
        """A slot for a call the provider already holds; taken without waiting, even above the limit."""
        self.in_flight += 1
        return Lease(self, self._clock.monotonic(), 0.0, row=0, weight=None)

    def close(self) -> None:
        """Take no new sends; wake everybody who waits for one with `LimiterClosed`."""
        self._closed = True
        for scope in list(self._scopes):
            scope.cancel()

    # -- learning from calls ----------------------------------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        """Grant nothing for the next `seconds`; a shorter pause never cuts a longer one."""
        now = self._clock.monotonic()
        if self.paused_until <= now and seconds > 0:
            logger().warning("provider_paused", seconds=round(seconds, 3))
        self.paused_until = max(self.paused_until, now + seconds)

    def record_success(self, lease: Lease) -> None:
        """The provider took a call: an outage is over, and there may be room for more calls in flight."""
        if self.outage.answered(lease.granted_at):
            self.slots.restore()
            logger().info("provider_answers_again")
            self._changed()
        before = self.slots.limit
        self.slots.answered(self.in_flight, self._clock.monotonic())
        if self.slots.limit > before:
            self._changed()

    def freed(self, lease: Lease, observed: Observation, usage: Usage | None) -> None:
        """Take a lease back; called by `Lease.release` only.

        Args:
            lease: it counts no longer.
            observed: what its call told about the provider.
            usage: the tokens it was billed for, if that is known.
        """
        if lease.probe:
            self.outage.probing = False
        # While the slot still counts: the cap is measured by how many calls were there, this one among them.
        if observed == "answered":
            self.record_success(lease)
        elif observed != "nothing":
            self._record_failure(lease, observed)
        self.in_flight -= 1
        if self.rates.settle(lease.token_grant, lease.weight, usage, self._clock.monotonic()):
            self._changed()
        if self._watchers and (lease.probe or self.in_flight < self.slots.limit):
            self._changed()

    def _record_failure(self, lease: Lease, observed: Observation) -> None:
        now = self._clock.monotonic()
        others = self.in_flight - 1
        if observed == "in_flight":
            self.slots.refused(lease.granted_at, now, others)
            if others > 0:
                return  # too many at once, so some of them are being served: no sign of an outage
        elif observed == "overloaded":
            self.slots.overloaded(now)
        if self.outage.failed(lease.row, now, how=observed):
            logger().warning("provider_silent", heard=observed)

    def observe_headers(self, headers: LimitHeaders) -> None:
        """Obey the rate-limit headers of an answer: adopt a tighter limit, wait for a budget that is used up."""
        if not self._adapt:
            return
        now = self._clock.monotonic()
        self.rates.observe(headers, now)
        # The headers of answers that arrive in a pause are from before it: they do not make it longer.
        if now >= self.paused_until:
            self.pause(pause_of(headers))

    def waits_for(self) -> str | None:
        """What holds callers back now, for people; None when nothing does."""
        now = self._clock.monotonic()
        if self.outage.ongoing:
            return f"the provider, which has not answered for {describe(self.outage.silent_for(now))}"
        if self.paused_until > now:
            return f"the provider's pause, {describe(self.paused_until - now)}"
        if not self._queue:
            return None
        if self.in_flight >= self.slots.limit:
            return "the provider's limit of calls in flight" if self.slots.limit < self.concurrency else None
        tokens_hold = self.rates.counts_tokens and self.rates.requests.has_capacity
        return "tokens_per_minute" if tokens_hold else "requests_per_minute"
