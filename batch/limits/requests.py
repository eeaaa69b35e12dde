"""How fast requests may leave: a limit of requests per minute, kept as an even pace.

Owns two counts of the same limit. The *pace* says when the next request may be granted; it is arithmetic, so that
`limiter` can ask it beside its other budgets. The *gate* is passed in the moment when the bytes leave: between the two
lies a commit, which takes now one millisecond and now fifty, and what is even when it is granted arrives in bunches.
What the gate holds back there is milliseconds. The gate is aiolimiter's bucket; every caller takes 1, because
aiolimiter serves small amounts before large ones.

The limit N holds over any window of its own length, and nearly so over each second, because some services judge by the
second. The rate is 0.99 of it, and a request may be early by `EARLY_S` at most, so that the lateness of timers is not
lost. A window of t seconds sees at most 0.99·N/60·(t + 0.1) + 1: for 60 s that is 0.9917·N + 1, which is N when
rounded down, and for one second 1.09 times the even share and one request more.

For example, 3,000 requests per minute: one leaves every 20.2 ms, five in close order after a rest; a second sees at
most 55 of them, 60 s see 2,975.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

PACE: Final = 0.99  # of the limit; see the module docstring
EARLY_S: Final = 0.1
SLACK_S: Final = 0.01  # the pace is that much stricter than the gate, which so lets through what is hardly late
LOOK_S: Final = 0.05  # so often a gate that is shut is looked at by whoever does not stand before it
GRANT_S: Final = 0.4  # how long a grant is good for before its bytes leave


class RequestRate:
    """The pace and the gate of one limit; without a limit, every request may leave at once.

    Args:
        per_minute: the limit in requests per minute; None is no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self.per_minute = per_minute
        self._interval_s = 0.0
        """From one request to the next, at an even pace."""
        self._even_at = -math.inf
        """When the next request would be granted if all were even, in monotonic seconds."""
        self._full_at = -math.inf
        """When the bucket was last filled by others than those who passed its gate, in monotonic seconds."""
        self._gate: AsyncLimiter | None = None
        if per_minute is not None:
            self._make(per_minute)

    def set_limit(self, per_minute: float, now: float) -> None:
        """Continue under another limit, as if its last request had left just now."""
        if per_minute != self.per_minute:
            self._make(per_minute)
            self.sent_before(0.0, now)

    def sent_before(self, seconds: float, now: float) -> None:
        """Continue the window of another process, whose last request left `seconds` before `now`."""
        if self._gate is not None:
            self._full_at = now - max(0.0, seconds)
            self._even_at = self._full_at + self._interval_s + EARLY_S - SLACK_S

    def wait(self, now: float) -> float:
        """The seconds until the next request may be granted; 0 when it may at once."""
        return max(0.0, self._even_at - (EARLY_S - SLACK_S) - now)

    def take(self, now: float) -> None:
        """Grant one request; the caller has asked `wait` first."""
        if self._gate is not None:
            self._even_at = max(self._even_at, now) + self._interval_s

    def gate_wait(self, now: float) -> float:
        """The seconds until it is worth looking again whether the gate is open; 0 when it is."""
        if self._gate is None:
            return 0.0
        filled = max(0.0, self._gate.max_rate - (now - self._full_at) / self._interval_s)
        return 0.0 if self._gate.has_capacity(1 + filled) else min(self._interval_s, LOOK_S)

    async def leave(self, now: float) -> None:
        """Pass the gate: return when the bytes of a granted request may leave; nearly always at once.

        Args:
            now: monotonic seconds.
        """
        while (gate := self._gate) is not None:
            filled = gate.max_rate - (now - self._full_at) / self._interval_s
            if filled > 0:
                await gate.acquire(filled)  # it is empty, so this returns at once
            self._full_at = -math.inf
            await gate.acquire()
            if gate is self._gate:  # else the limit changed meanwhile, and this one counts in the new gate
                return

    def _make(self, per_minute: float) -> None:
        from aiolimiter import AsyncLimiter  # noqa: PLC0415 - its loading costs a start more than all limits here

        self.per_minute = per_minute
        self._interval_s = 60 / (per_minute * PACE)
        self._full_at = -math.inf
        capacity = 1 + EARLY_S / self._interval_s
        self._gate = AsyncLimiter(capacity, capacity * self._interval_s)
