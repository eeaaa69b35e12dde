"""What a caller waits with, and what it gets: its place in the queue of a model, and the lease of one call.

Owns the last step before the bytes leave: a commit lies between the grant and it, so departures are evened out there,
and a lease held longer than `GRANT_S` is stale and waits for its tokens again. Who is granted when, and what a lease
given back means, is `limiter`'s.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

import msgspec

from batch.core.records import Usage
from batch.limits.outage import Observation
from batch.limits.requests import GRANT_S
from batch.limits.tokens import Grant, TokenWeight

if TYPE_CHECKING:
    from batch.limits.limiter import Limiter
    from batch.limits.model import ModelLimits

LOOK_AGAIN_S: Final = 1.0  # a stale lease waits at most so long before it asks its budgets again


class Lease(msgspec.Struct, eq=False, gc=False):
    """The right to send one call, and the slot it takes. Give it back once; a second time is harmless."""

    limiter: Limiter
    """Who granted it, and takes it back."""
    model: ModelLimits
    """Whose slot it holds besides the job's."""
    granted_at: float
    """In monotonic seconds."""
    wait_ms: int = 0
    """How long its caller was held back."""
    row: int = 0
    """Which row the call is for."""
    weight: TokenWeight | None = None
    """What the call counts for; None counts no tokens."""
    grants: tuple[Grant | None, Grant | None] = (None, None)
    """The tokens reserved for it: the model's and the job's."""
    slice: Grant | None = None
    """The tokens reserved for it in a budget that other jobs share."""
    probe: bool = False
    """Its call asks, during an outage, whether the provider answers again."""
    open: bool = True
    """Its slot is still taken."""

    def taken(self) -> None:
        """The provider took the call and works on it; the slot stays with it."""
        self.limiter.record_success(self)

    def release(self, observed: Observation = "nothing", usage: Usage | None = None, why: str = "") -> None:
        """Free the slot. Call it right after the outcome's record was queued, with no await in between.

        Args:
            observed: what the call told about the provider.
            usage: the tokens it was billed for, if that is known.
            why: of a call that failed.
        """
        self.limiter.take_back(self, observed, usage, why)

    def settle(self, amount: float) -> None:
        """Correct what it has reserved, of its model and of the job, to `amount` tokens."""
        now = self.limiter.clock.monotonic()
        of_model, of_job = self.grants
        self.model.rates.settle(of_model, amount, now)
        self.limiter.rates.settle(of_job, amount, now)
        if self.slice is not None and self.model.shared is not None:
            self.model.shared.settle(self.slice, amount)

    def may_depart(self) -> bool:
        """Whether the bytes of the call may leave at once, which they nearly always may; if not, await `depart`."""
        limiter, model = self.limiter, self.model
        if model.rates.requests.per_minute is not None or limiter.rates.requests.per_minute is not None:
            return False
        return limiter.clock.monotonic() - self.granted_at <= GRANT_S

    async def depart(self) -> None:
        """Return when the bytes of the call may leave.

        It waits when departures would bunch, and when the grant has gone stale: then for the pause and the tokens
        again, keeping the slot.
        """
        clock, model, job = self.limiter.clock, self.model.rates, self.limiter.rates
        while True:
            if model.requests.per_minute is not None:
                await model.requests.leave(clock.monotonic())
            if job.requests.per_minute is not None:
                await job.requests.leave(clock.monotonic())
            passed_at = clock.monotonic()
            if passed_at - self.granted_at <= GRANT_S:
                return
            await self._grant_again()
            if clock.monotonic() - passed_at <= GRANT_S:
                return

    async def _grant_again(self) -> None:
        """Give the tokens back and reserve them anew, once the model's pause is over and they may go."""
        self.settle(0.0)
        clock, model, job = self.limiter.clock, self.model, self.limiter.rates
        while True:
            now = clock.monotonic()
            amount = model.amount(self.weight)
            shut_s = self.limiter.shut_for()
            wait_s = max(
                shut_s, model.pause_left(now), model.rates.token_wait(amount, now), job.token_wait(amount, now)
            )
            if wait_s <= 0 and model.shared is not None:
                wait_s = model.shared.wait(amount, now)
            if wait_s <= 0:
                break
            await clock.sleep(min(wait_s, LOOK_AGAIN_S))
        self.granted_at = now
        self.grants = (model.rates.take_tokens(amount, now), job.take_tokens(amount, now))
        if model.shared is not None:
            self.slice = model.shared.take(amount, now)


class Waiter:
    """One caller in the queue of a model.

    Args:
        number: callers are served in the order of their numbers, all models together.
        asked_at: monotonic seconds.
        row: which row the call is for.
        weight: what the call counts for.
    """

    __slots__ = ("_woken", "asked_at", "due", "lease", "number", "row", "weight")

    def __init__(self, number: int, asked_at: float, *, row: int, weight: TokenWeight | None) -> None:
        self.number = number
        self.asked_at = asked_at
        self.row = row
        self.weight = weight
        self.lease: Lease | None = None
        """What was granted to it, taken up when it wakes."""
        self.due = math.inf
        """When it wakes by itself to look at the budgets, in monotonic seconds."""
        self._woken: asyncio.Future[None] | None = None

    async def wait(self, now: float) -> None:
        """Wait until it is due, or until somebody wakes it."""
        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()  # once a call where slots are scarce: no Event and no scope, for time
        timer = None if self.due == math.inf else loop.call_later(self.due - now, self.wake)
        try:
            await self._woken
        finally:
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        """Have it look at what was granted to it, or at the budgets."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)
