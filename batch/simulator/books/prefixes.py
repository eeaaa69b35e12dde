"""The simulator's prompt cache: which beginnings of prompts were sent before. Owns what it remembers, not its price."""

from __future__ import annotations

import msgspec

from batch.simulator.books.tokens import of_messages
from batch.simulator.chance import digest64
from batch.simulator.models.completion import Ask

_KEPT = 100_000


class Prefixes:
    """Remembers the beginnings of all prompts, up to a number of them, each with its tokens."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._tokens: dict[int, int] = {}

    def cached(self, key_id: str, ask: Ask) -> int:
        """Tokens of the longest beginning this key has sent before; what is new is remembered."""
        # Only what stands before the last message counts as a prefix: enough for a shared system prompt and for the
        # growing history of a conversation, and cheap to recognise.
        cached = 0
        for end in range(1, len(ask.messages)):
            prefix = digest64(msgspec.json.encode([key_id, ask.model, ask.messages[:end]]))
            if prefix in self._tokens:
                cached = self._tokens[prefix]
            elif len(self._tokens) < _KEPT:
                self._tokens[prefix] = of_messages(ask.messages[:end])
        return cached
