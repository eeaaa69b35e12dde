"""A model that is not sure: asked the same again and again, it comes to one label now and to another then.

Owns when that is so: by how often the same was asked, so that the same requests in the same order get the same answers.
"""

from __future__ import annotations

import msgspec

from batch.simulator.chance import chance, digest64, mixed
from batch.simulator.models.completion import Ask

_FURTHEST = 2
"""So many places behind the label that fits best is the other one, at most."""


class Wavering:
    """Counts how often the same was asked.

    Args:
        seed: decides every draw.
        share: of the answers that give another label, from 0 to 1.
    """

    def __init__(self, seed: int, share: float) -> None:
        self._seed = seed
        self._share = share
        self._asked: dict[int, int] = {}

    def taken(self, ask: Ask) -> Ask:
        """The request as it is taken this time."""
        if not self._share:
            return ask
        conversation = digest64(msgspec.json.encode([ask.model, ask.messages]))
        times = self._asked[conversation] = self._asked.get(conversation, 0) + 1
        if chance(self._seed, conversation, times) >= self._share:
            return ask
        return msgspec.structs.replace(ask, another=1 + mixed(conversation, times) % _FURTHEST)
