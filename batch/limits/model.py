"""What one model allows: its limits as asked for, and what refusals, headers and silence have taught about it.

Owns the budgets that hold for one model of a job beside the job's own: calls in flight, requests and tokens per minute,
pauses, outages, the estimate of tokens, and the queue of those who wait to ask this model. Two models of one service
have limits of their own, and tokenizers too, so nothing that was learned of one is believed of another. Grants nothing:
that is `limiter`'s, which knows the job's budgets as well.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from batch.core.clock import Clock, describe
from batch.core.logs import logger
from batch.core.records import LimitHeaders, Message, Usage
from batch.limits.concurrency import ConcurrencyLimit
from batch.limits.door import Door
from batch.limits.lease import Lease, Waiter
from batch.limits.outage import LONGEST_WHY, MAX_PARK_S, Observation, OutageDetector
from batch.limits.rates import RateLimits, pause_of
from batch.limits.shared import MANY, SharedLimits
from batch.limits.tokens import TokenEstimator, TokenWeight

if TYPE_CHECKING:
    from batch.limits.endpoints import EndpointLimits

LATE_S: Final = 0.1
"""How soon is looked again whether calls that were let go before have left."""
TOLD_S: Final = 1.0
"""A silence that is shorter is told without its length: it has only just been noticed."""


class ModelLimits:
    """The limits of one model.

    Args:
        clock: where time comes from.
        name: of the model, for people.
        concurrency: the most calls in flight.
        rates: its requests and tokens per minute.
        estimator: what a request counts for; needed for a token limit to hold.
        adapt: follow the provider's refusals and headers.

    Attributes:
        in_flight: calls that hold a slot now.
        slots: how many calls may.
        outage: whether the provider answers at all.
        parked_until: when it may be asked again, in monotonic seconds, if that is too long to wait for; else None.
        queue: who waits to ask this model, in order of arrival.
        door: where those who were let go wait until their bytes may leave.
        expected: rows are still to come that ask it.
        asked: a call of it was let go since they were expected.
    """

    def __init__(
        self,
        clock: Clock,
        name: str,
        *,
        concurrency: int,
        rates: RateLimits,
        estimator: TokenEstimator | None,
        adapt: bool,
    ) -> None:
        self._clock = clock
        self.name = name
        self.concurrency = concurrency
        self.in_flight = 0
        self.paused_until = 0.0
        self.parked_until: float | None = None
        self.slots = ConcurrencyLimit(concurrency, adapt=adapt)
        self.rates = rates
        self.outage = OutageDetector(concurrency)
        self.estimator = estimator
        self.queue: deque[Waiter] = deque()
        self.door = Door()
        self.expected = self.asked = False
        self.closed = False
        """No new sends are taken."""
        self.shared: SharedLimits | None = None
        """What other jobs use of the same budget; None while nobody looks."""
        self.most = MANY
        """How many calls in flight these leave it."""
        self._adapt = adapt
        self._poll_error: str | None = None

    def sent_before(self, seconds: float, now: float) -> None:
        """Continue the windows of another process, whose last request left `seconds` before `now`."""
        self.rates.sent_before(seconds, now)

    # -- what it counts for, and whether it may go --------------------------------------------------------------------

    def weight(self, messages: Iterable[Message], parameters: Mapping[str, Any]) -> TokenWeight | None:
        """What a request counts for; None when no tokens are estimated."""
        return None if self.estimator is None else self.estimator.of(messages, parameters)

    def amount(self, weight: TokenWeight | None) -> float | None:
        """How many tokens to reserve for a request, by what is known now."""
        return None if weight is None or self.estimator is None else self.estimator.amount(weight)

    def used(self, lease: Lease, usage: Usage | None) -> float | None:
        """How many tokens a call counted for in the end, and learn from it; None when its reservation stays."""
        nothing = lease.slice is None and not any(lease.grants)
        if nothing or lease.weight is None or self.estimator is None:
            return None
        if usage is None or not usage.total_tokens:
            return None  # a refused call stays booked as it was reserved: services count it too
        return self.estimator.used(lease.weight, usage)

    def wait(self, weight: TokenWeight | None) -> float | None:
        """The seconds until this model lets another call go: 0 now, None until something changes."""
        if self.closed or self.parked_until is not None:
            return None
        if self.in_flight >= self.slots.limit:
            widens_in = self.slots.widens_in(self._clock.monotonic())
            if self.in_flight >= self.slots.limit:  # time may just have opened another slot
                return widens_in
        if self.in_flight >= self.most and self.shared is not None:
            slot_s = self.shared.slot_wait(self._clock.monotonic())
            if self.in_flight >= self.most:
                return slot_s
        if not self.paused_until and not self.outage.ongoing and not self.rates.in_force:
            return 0.0  # the usual case, asked for every call: it needs no clock
        now = self._clock.monotonic()
        probe_in = self.outage.probe_in(now)
        if probe_in is None:
            return None
        amount = self.amount(weight)
        wait_s = max(self.pause_left(now), probe_in, self.rates.wait(amount, now))
        if self.door.is_late(now):
            wait_s = max(wait_s, LATE_S)  # whoever was let go then would be late, too
        if wait_s > 0.0 or self.shared is None:
            return wait_s
        return self.shared.wait(amount, now)  # last of all: what it gives cannot be kept for long

    def pause_left(self, now: float) -> float:
        """The seconds until the provider's pause is over; 0 without one."""
        if self.paused_until <= now:
            self.paused_until = 0.0
        return max(0.0, self.paused_until - now)

    def silent_for(self, now: float) -> float:
        """The seconds since the provider answered; 0 while it does."""
        return self.outage.silent_for(now)

    def close(self) -> None:
        """Take no new sends; wake everybody who waits for one."""
        self.closed = True
        for waiter in self.queue:
            waiter.wake()

    members: Sequence[EndpointLimits] = ()
    """The addresses it is asked at, where there are several."""

    def choose(self, weight: TokenWeight | None) -> EndpointLimits | None:  # noqa: ARG002 - there is one address
        """Where the next call goes; None where there is one address."""
        return None

    # -- what calls teach ---------------------------------------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        """Let nothing go for the next `seconds`; a shorter pause never cuts a longer one."""
        if seconds <= 0:
            return
        now = self._clock.monotonic()
        if self.paused_until <= now:
            logger().warning("provider_paused", seconds=round(seconds, 3), **self._which)
        self.paused_until = max(self.paused_until, now + seconds)
        if self.shared is not None:
            self.shared.pause(self.paused_until)

    def hold_until(self, moment: float) -> None:
        """Let nothing go before a monotonic moment, because another job was told so."""
        self.paused_until = max(self.paused_until, moment)

    def answered(self, granted_at: float) -> bool:
        """The provider took a call that was granted then; whether there is more room than before."""
        ended = not self.outage.calm and self.outage.answered(granted_at)
        if ended:
            self.slots.restore()
            logger().info("provider_answers_again", **self._which)
        slots, before = self.slots, self.slots.limit
        in_flight = self.in_flight if self.shared is None else self.in_flight + self.shared.in_flight_elsewhere
        slots.answered(in_flight, self._clock.monotonic())
        return ended or slots.limit > before

    def failed(self, row: int, granted_at: float, observed: Observation, why: str = "") -> None:
        """A call of this row failed, while its slot still counts.

        Args:
            row: which row it was for.
            granted_at: when it was let go, in monotonic seconds.
            observed: what it told about the provider.
            why: the same in words.
        """
        now = self._clock.monotonic()
        others = self.in_flight - 1 + (0 if self.shared is None else self.shared.in_flight_elsewhere)
        if observed == "in_flight":
            self.slots.refused(granted_at, now, others)
            if others > 0:
                return  # too many at once, so some of them are being served: no sign of an outage
        elif observed == "overloaded":
            self.slots.overloaded(now)
        if self.outage.failed(row, now, how=observed, why=why):
            logger().warning("provider_silent", heard=observed, error=self.outage.last_error, **self._which)

    def polled(self, error: str | None) -> None:
        """A poll of a task went through, or could not be made: no call fails by that, but nothing comes back either."""
        if error is not None and self._poll_error is None:
            logger().warning("provider_silent", heard="poll", error=error[:LONGEST_WHY], **self._which)
        self._poll_error = error

    def observe_headers(self, headers: LimitHeaders) -> None:
        """Obey the rate-limit headers of an answer: adopt a tighter limit, wait for a budget that is used up."""
        if not self._adapt:
            return
        now = self._clock.monotonic()
        if adopted := self.rates.observe(headers, now):
            logger().info("limit_adopted", **adopted, **self._which)
        seconds = pause_of(headers)
        if seconds > MAX_PARK_S:
            self.park(seconds)
        elif not self.pause_left(now):
            # The headers of answers that arrive in a pause are from before it: they do not make it longer.
            self.pause(seconds)

    def park(self, seconds: float | None) -> None:
        """Let nothing go any more: it is not worth waiting for. `seconds` as the provider says; None: it does not."""
        if self.parked_until is None:
            logger().warning("model_parked", seconds=None if seconds is None else round(seconds), **self._which)
            self.parked_until = math.inf if seconds is None else self._clock.monotonic() + seconds

    @property
    def counts_tokens(self) -> bool:
        """Whether requests must say what they count for."""
        return self.rates.tokens is not None or (self.shared is not None and self.shared.tokens is not None)

    @property
    def _which(self) -> dict[str, str]:
        return {"model": self.name} if self.name else {}

    def waits_for(self) -> str | None:
        """What holds its callers back now, for people; None when nothing of this model does."""
        now = self._clock.monotonic()
        if self.parked_until is not None:
            left_s = self.parked_until - now  # this run asks no more, even when the time is over
            return f"its limit, {describe(left_s)}" if 0 < left_s < math.inf else "another run"
        if self.outage.ongoing:
            error = f": {self.outage.last_error}" if self.outage.last_error else ""
            silent_s = self.outage.silent_for(now)
            how = f"has not answered for {describe(silent_s)}" if silent_s >= TOLD_S else "does not answer"
            return f"the provider, which {how}{error}"
        if self._poll_error is not None:
            return f"the provider, which cannot be asked for its tasks: {self._poll_error[:LONGEST_WHY]}"
        if pause_s := self.pause_left(now):
            return f"the provider's pause, {describe(pause_s)}"
        if not self.queue:
            return None
        if self.in_flight >= self.slots.limit:
            return "the provider's limit of calls in flight" if self.slots.limit < self.concurrency else None
        amount = self.amount(self.queue[0].weight)
        own = self.rates.binding(amount, now)
        if self.shared is None or not self.shared.others:
            return own
        which = self.shared.binding(amount, now) or own
        return None if which is None else f"{which}, {self.shared.with_whom}"
