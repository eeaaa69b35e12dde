"""How many calls a minute, or a second, lane `sync` makes of one model: by its limits, and by how long calls take.

Owns that estimate. It is a careful one: a limit of the whole job is shared by the models that have rows left, and what
refusals and headers have taught counts beside what the job asks for.
"""

from __future__ import annotations

from typing import Final

from batch.limits.limiter import Limiter
from batch.run.experience import Experience

USED: Final = 0.95
"""How much of a limit per minute is used at least."""


class Pace:
    """The pace of lane `sync` in one run.

    Args:
        limiter: the limits.
        experience: how long calls take.
    """

    def __init__(self, limiter: Limiter, experience: Experience) -> None:
        self._limiter = limiter
        self._experience = experience

    def calls_per_s(self, model: str, beside: int = 1) -> float:
        """How many calls of a model are made in a second, while so many models are asked, this one among them."""
        job, own = self._limiter.rates, self._limiter.model(model).rates
        tokens = max(1.0, self._experience.tokens(model))
        found = [self.slots(model, beside) / max(0.01, self._experience.call_s(model))]
        for rates, share in ((job, beside), (own, 1)):
            if rates.requests.per_minute is not None:
                found.append(USED * rates.requests.per_minute / 60 / share)
            if rates.tokens is not None:
                found.append(USED * rates.tokens.per_minute / tokens / 60 / share)
        return max(1e-6, min(found))

    def slots(self, model: str, beside: int = 1) -> float:
        """How many calls of a model may be in flight, likewise."""
        limits = self._limiter.model(model)
        most = limits.concurrency if limits.slots.starting else limits.slots.limit
        return max(1.0, min(most, self._limiter.concurrency / beside))
