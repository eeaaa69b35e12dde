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
from batch.limits.rates import RateLimits
from batch.limits.requests import GRANT_S
from batch.limits.tokens import Grant, TokenWeight

if TYPE_CHECKING:
    from batch.limits.endpoints import EndpointLimits
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
    place: EndpointLimits | None = None
    """Where it goes, of several addresses; None where there is one."""
    grants: tuple[Grant | None, ...] = ()
    """The tokens reserved for it: of the model, the job, and the address."""
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
        now, shared = self.limiter.clock.monotonic(), self.where.shared
        for rates, grant in zip(self._rates, self.grants, strict=False):
            rates.settle(grant, amount, now)
        if self.slice is not None and shared is not None:
            shared.settle(self.slice, amount)

    def put(self, place: EndpointLimits) -> None:
        """Count it where it goes, of several addresses."""
        if self.open and self.place is None:
            self.place = place
            place.in_flight += 1

    @property
    def where(self) -> ModelLimits:
        """The limits of the model where it goes: what its call tells is learned of these."""
        return self.place or self.model

    @property
    def _rates(self) -> tuple[RateLimits, ...]:
        """The limits per minute that it keeps to."""
        own = (self.model.rates, self.limiter.rates)
        return own if self.place is None else (*own, self.place.rates)

    def reserve(self, now: float, *, anew: bool = False) -> None:
        """Choose the address, where there are several, and take the request and its tokens out of all limits.

        Args:
            now: monotonic seconds.
            anew: the request is counted already, and only its tokens are taken again.
        """
        if self.place is None and (place := self.model.choose(self.weight)) is not None:
            self.put(place)
        amount, shared = self.model.amount(self.weight), self.where.shared
        take = RateLimits.take_tokens if anew else RateLimits.take
        self.grants = tuple(take(rates, amount, now) for rates in self._rates)
        self.slice = None if shared is None else shared.take(amount, now)

    def may_depart(self) -> bool:
        """Whether the bytes of the call may leave at once, which they nearly always may; if not, await `depart`."""
        limiter, model, place = self.limiter, self.model, self.place
        if model.rates.requests.per_minute is not None or limiter.rates.requests.per_minute is not None:
            return False
        if place is not None and place.rates.requests.per_minute is not None:
            return False
        return limiter.clock.monotonic() - self.granted_at <= GRANT_S

    async def depart(self) -> None:
        """Return when the bytes of the call may leave.

        It waits when departures would bunch, and when the grant has gone stale: then for the pause and the tokens
        again, keeping the slot.
        """
        clock = self.limiter.clock
        async with self.where.door.turn(self):
            while True:
                if clock.monotonic() - self.granted_at > GRANT_S:
                    await self._grant_again()
                for rates in self._rates:
                    if rates.requests.per_minute is not None:
                        await rates.requests.leave(clock.monotonic())
                if clock.monotonic() - self.granted_at <= GRANT_S:
                    return

    async def _grant_again(self) -> None:
        """Give the tokens back and reserve them anew, once the model's pause is over and they may go.

        Only where every gate is open, too: a gate that was passed opens for the next request alone, which at a low
        limit is later than what was reserved here is good for.
        """
        self.settle(0.0)
        clock, where = self.limiter.clock, self.where
        while True:
            now = clock.monotonic()
            amount = self.model.amount(self.weight)
            waits = (max(rates.token_wait(amount, now), rates.requests.gate_wait(now)) for rates in self._rates)
            wait_s = max(self.limiter.shut_for(), where.pause_left(now), *waits)
            if wait_s <= 0 and where.shared is not None:
                wait_s = where.shared.wait(amount, now)
            if wait_s <= 0:
                break
            await clock.sleep(min(wait_s, LOOK_AGAIN_S))
        self.granted_at = now
        self.reserve(now, anew=True)


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
