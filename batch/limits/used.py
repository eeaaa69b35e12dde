"""How much of each limit is in use, for monitors and live views.

Owns the window over which requests are counted for that: what was sent in the last minute, by the sums of the run. It
reads a `Limiter` and holds nothing back; that a limit is kept is `limiter`'s matter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from batch.limits.limiter import Limiter
from batch.limits.rates import RateLimits

WINDOW_S: Final = 60.0


class LimitUse(msgspec.Struct, frozen=True):
    """One limit, and how much of it is in use."""

    name: str
    """As in `[limits]`: `concurrency`, `requests_per_minute` or `tokens_per_minute`."""
    model: str | None
    """Whose limit it is; None for the job's own."""
    limit: float
    used: float
    """Calls in flight, or what left within the last minute."""


class LimitUses:
    """How much of the limits of one run is in use; asked about once a second."""

    def __init__(self) -> None:
        self._sent: deque[tuple[float, int, dict[str, int]]] = deque()

    def used(self, limiter: Limiter, ended: Mapping[str, int], now: float) -> tuple[LimitUse, ...]:
        """Each limit that is in force now.

        Args:
            limiter: the run's.
            ended: by model, how many calls have ended.
            now: monotonic seconds.
        """
        sent = {name: ended.get(name, 0) + limits.in_flight for name, limits in limiter.models.items()}
        total = sum(ended.values()) + limiter.in_flight
        self._sent.append((now, total, sent))
        while len(self._sent) > 1 and now - self._sent[1][0] >= WINDOW_S:
            self._sent.popleft()
        _, total_before, before = self._sent[0]
        found = [LimitUse("concurrency", None, limiter.concurrency, limiter.in_flight)]
        found += _rates(limiter.rates, None, total - total_before, now)
        for name, limits in limiter.models.items():
            if limits.slots.limit < limiter.concurrency:
                found.append(LimitUse("concurrency", name, limits.slots.limit, limits.in_flight))
            found += _rates(limits.rates, name, sent[name] - before.get(name, 0), now)
        return tuple(found)


def _rates(rates: RateLimits, model: str | None, requests: int, now: float) -> Iterator[LimitUse]:
    if rates.requests.per_minute is not None:
        yield LimitUse("requests_per_minute", model, rates.requests.per_minute, requests)
    if rates.tokens is not None:
        yield LimitUse("tokens_per_minute", model, rates.tokens.per_minute, round(rates.tokens.used(now)))
