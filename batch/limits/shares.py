"""How the models of a job share its slots, so that a slow one keeps no other waiting.

Owns who may take a free slot of the job's `concurrency`. Each model is given what it wants, as far as that is no more
than an even part of what there is; what one leaves is divided among the others (max-min fairness). So a model may hold
more than its part while no other wants it. Calls in flight are never cut: a model above its part takes no further slot
while another wants one, and is back at its part when its calls have ended.

A model wants as many slots as it may have at all while somebody waits whom it would let go. One that holds nobody up
wants what it holds. While rows of it are still to come (`expected`), it wants more than that: all it may have until its
first call, for two models that start together would else go in the order of their names; from then on a fourth of an
even part, so that a model that stalls with all it borrowed leaves the others something to go on with. And who holds a
slot leaves one for each model that holds none.

For example, 20 slots and two models. While the second has nothing to send, the first takes 18. Now its answers take ten
minutes. The second has two slots at once, and each that the first gives back, until both have ten.

It does not know what else holds a model back (`model`), nor who is served first (`limiter`). Pure arithmetic.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from batch.limits.model import ModelLimits

KEPT: Final = 4
"""A model that rows are still to come for is kept this part of its even part."""


def may_take(asking: ModelLimits, models: Collection[ModelLimits], slots: int, free: int) -> bool:
    """Whether a model that its own limits let go may take one of the job's free slots.

    Args:
        asking: the model.
        models: all of them, itself among them.
        slots: of the job.
        free: how many of them nobody holds, at least one.
    """
    if len(models) < 2:
        return True
    even, held = slots // len(models), asking.in_flight
    wanted = {limits.name: _wanted(limits, even, asks=limits is asking) for limits in models}
    parts = _parts(wanted, slots)
    # Whoever holds less comes first. So what cannot be divided goes round, and where a model that stalled holds more
    # than its part, another that has its own cannot take the last slot of one that has none.
    above = held >= parts[asking.name]
    missing = 0
    for other in models:
        first = min(wanted[other.name], max(parts[other.name], held) if above else held)
        missing += max(0, first - other.in_flight) if other is not asking else 0
    return free > missing


def _parts(wanted: dict[str, int], slots: int) -> dict[str, int]:
    """How many slots each model may hold while others want some, of those that it wants."""
    parts, left = dict.fromkeys(wanted, 0), slots
    for done, name in enumerate(sorted(wanted, key=wanted.__getitem__)):
        parts[name] = min(wanted[name], left // (len(wanted) - done))
        left -= parts[name]
        if parts[name] < wanted[name]:  # so have all that want more, and none of them comes first
            return {other: min(most, parts[name]) for other, most in wanted.items()}
    return parts


def _wanted(limits: ModelLimits, even: int, *, asks: bool) -> int:
    """How many slots a model wants to hold now."""
    if limits.closed or limits.parked_until is not None:
        return limits.in_flight
    if asks or (limits.queue and limits.wait(limits.queue[0].weight) == 0.0):
        return limits.slots.limit
    if not limits.expected:
        return limits.in_flight
    return max(limits.in_flight, min(limits.concurrency, max(1, even // KEPT) if limits.asked else limits.concurrency))
