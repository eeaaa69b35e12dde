"""Several addresses that one model is asked at, each with limits of its own.

Owns where the next call goes: where its limits let it, and among those where fewest calls are in flight for its weight.
One that does not answer is left alone but for the probes of `outage`, and the last rows are not spent on these. What is
learned from a call is learned of its address alone. The limits of the job and of the model stand above all of them, in
`limiter` and `model`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from batch.core.clock import Clock
from batch.limits.model import ModelLimits
from batch.limits.rates import RateLimits
from batch.limits.tokens import TokenEstimator, TokenWeight

if TYPE_CHECKING:
    from batch.job.endpointspec import EndpointSpec, ModelLimitSpec


class EndpointLimits(ModelLimits):
    """The limits of one model at one address.

    Attributes:
        endpoint: the name of the address.
        part: how many calls it has in flight beside those of the others.
    """

    endpoint: str
    part: float

    def wait(self, weight: TokenWeight | None) -> float | None:
        """The seconds until it lets another call go: 0 now, None until something changes."""
        if self.parked_until is not None:
            left_s = self.parked_until - self._clock.monotonic()
            if left_s > 0:
                return None if left_s == math.inf else left_s
            self.parked_until = None  # it named a time, and the others did its work until then
        return super().wait(weight)

    def leave_out(self, seconds: float | None) -> None:
        """Ask it no more for so long; None for the rest of the run."""
        self.parked_until = math.inf if seconds is None else self._clock.monotonic() + seconds

    @property
    def out(self) -> bool:
        """Whether it is asked no more for now."""
        return self.parked_until is not None or self.outage.ongoing


class PooledLimits(ModelLimits):
    """The limits of one model that is asked at several addresses.

    Args:
        clock: where time comes from.
        name: of the model.
        concurrency: the most calls in flight, all addresses together.
        rates: of the model, all addresses together.
        estimator: what a request counts for.
        adapt: follow the refusals and headers of each address.
        endpoints: the addresses.
    """

    members: Sequence[EndpointLimits]

    def __init__(
        self,
        clock: Clock,
        name: str,
        *,
        concurrency: int,
        rates: RateLimits,
        estimator: TokenEstimator | None,
        adapt: bool,
        endpoints: Sequence[EndpointSpec],
    ) -> None:
        super().__init__(clock, name, concurrency=concurrency, rates=rates, estimator=estimator, adapt=False)
        self.members = tuple(_member(clock, name, spec, concurrency, estimator, adapt=adapt) for spec in endpoints)
        self.rates.in_force = True  # whoever asks looks at every limit

    def wait(self, weight: TokenWeight | None) -> float | None:
        """The seconds until one of them lets another call go: 0 now, None until something changes."""
        if (parked_until := self.parked_until) is not None:
            return None if parked_until == math.inf else parked_until - self._clock.monotonic()
        own = super().wait(weight)
        if own is None or own > 0.0:
            return own
        return min((wait_s for one in self.members if (wait_s := self._wait(one, weight)) is not None), default=None)

    def choose(self, weight: TokenWeight | None) -> EndpointLimits:
        """Where the next call goes, after `wait` has said that it may.

        The last moment may have changed that, for a slice of a shared budget ended. It goes all the same, where it
        would wait least, and is counted there as any other.
        """

        def rank(one: EndpointLimits) -> tuple[float, tuple[bool, bool, float]]:
            wait_s = self._wait(one, weight)
            return math.inf if wait_s is None else wait_s, _load(one)

        return min(self.members, key=rank)

    def _wait(self, one: EndpointLimits, weight: TokenWeight | None) -> float | None:
        if one.outage.ongoing and not self.expected and not all(other.out for other in self.members):
            return None  # the last rows are not spent on finding out
        return one.wait(weight)

    def sent_before(self, seconds: float, now: float) -> None:
        """Continue the windows of another process, at every address."""
        super().sent_before(seconds, now)
        for one in self.members:
            one.sent_before(seconds, now)

    @property
    def parked_until(self) -> float | None:
        """When one of them may be asked again, while all are asked no more; None while one is."""
        now = self._clock.monotonic()
        times = [one.parked_until for one in self.members if one.parked_until is not None and one.parked_until > now]
        return min(times, default=None) if len(times) == len(self.members) else None

    @parked_until.setter
    def parked_until(self, _: float | None) -> None:
        """Nothing is kept beside what they have."""

    def silent_for(self, now: float) -> float:
        """The seconds since anybody answered; 0 while one does."""
        return min((one.silent_for(now) for one in self.members if one.parked_until is None), default=0.0)

    @property
    def counts_tokens(self) -> bool:
        """Whether requests must say what they count for."""
        return super().counts_tokens or any(one.counts_tokens for one in self.members)

    def waits_for(self) -> str | None:
        """What holds its callers back now, and which addresses are out, for people."""
        own = super().waits_for()
        told = [f"{one.endpoint}: {text}" for one in self.members if (text := one.waits_for()) is not None]
        if own is not None or not (self.queue or (self.in_flight and any(one.out for one in self.members))):
            return own
        idle = [one for one in self.members if self.queue and not one.out and one.waits_for() is None]
        told += [f"{one.endpoint}: {text}" for one in idle if (text := self._held(one)) is not None]
        return "; ".join(told) or None

    def _held(self, one: EndpointLimits) -> str | None:
        amount = self.amount(self.queue[0].weight)
        if one.in_flight >= one.slots.limit:
            return "its limit of calls in flight"
        now = self._clock.monotonic()
        return (one.shared.binding(amount, now) if one.shared is not None else None) or one.rates.binding(amount, now)


def limits_of(
    clock: Clock,
    name: str,
    asked: ModelLimitSpec,
    *,
    most: int,
    estimator: TokenEstimator | None,
    adapt: bool,
    endpoints: Sequence[EndpointSpec],
) -> ModelLimits:
    """The limits of one model.

    Args:
        clock: where time comes from.
        name: of the model.
        asked: what the job says of it.
        most: calls in flight of the whole job.
        estimator: what a request counts for.
        adapt: follow refusals and headers.
        endpoints: where it is asked; empty for one address.
    """
    concurrency = min(most, asked.concurrency or most)
    rates = RateLimits(asked.requests_per_minute, asked.tokens_per_minute)
    if not endpoints:
        return ModelLimits(clock, name, concurrency=concurrency, rates=rates, estimator=estimator, adapt=adapt)
    return PooledLimits(
        clock, name, concurrency=concurrency, rates=rates, estimator=estimator, adapt=adapt, endpoints=endpoints
    )


def _member(
    clock: Clock,
    model: str,
    spec: EndpointSpec,
    concurrency: int,
    estimator: TokenEstimator | None,
    *,
    adapt: bool,
) -> EndpointLimits:
    asked = spec.limits
    one = EndpointLimits(
        clock,
        f"{model} at {spec.called}",
        concurrency=min(concurrency, asked.concurrency or concurrency),
        rates=RateLimits(asked.requests_per_minute, asked.tokens_per_minute),
        estimator=estimator,
        adapt=adapt,
    )
    one.endpoint, one.part = spec.called, spec.weight
    return one


def _load(one: EndpointLimits) -> tuple[bool, bool, float]:
    """Which comes next, by the least: a probe that is due, then who answers, then who has least to do."""
    return (not one.outage.ongoing, one.outage.failing, one.in_flight / one.part)
