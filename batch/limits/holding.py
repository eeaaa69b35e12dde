"""What holds the callers of a run back now, in words for people.

Owns how the limits of several models are told in one line. It reads a `Limiter` and changes nothing.
"""

from __future__ import annotations

from batch.limits.limiter import Limiter
from batch.limits.model import ModelLimits


def held_by(limiter: Limiter) -> str | None:
    """What holds callers back now; None when nothing does."""
    if limiter.waiting and limiter.hours is not None and limiter.shut_for() > 0:
        return limiter.hours.waits_for()
    found = [(limits, text) for limits in limiter.models.values() if (text := _of_model(limiter, limits)) is not None]
    if len(limiter.models) < 2:
        return found[0][1] if found else None
    return "; ".join(f"{limits.name}: {text}" for limits, text in found) or None


def _of_model(limiter: Limiter, limits: ModelLimits) -> str | None:
    text = limits.waits_for()
    if text is not None or not limits.queue or limiter.in_flight >= limiter.concurrency:
        return text
    return limiter.rates.binding(limits.amount(limits.queue[0].weight), limiter.clock.monotonic())
