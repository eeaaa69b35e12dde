"""What a request costs the simulated model: its words, and their tokens. Owns what of a scenario changes either."""

from __future__ import annotations

from batch.simulator.books.prefixes import Prefixes
from batch.simulator.models import speaker
from batch.simulator.models.completion import Ask, Completion, Usage
from batch.simulator.models.wavering import Wavering
from batch.simulator.scenario import Scenario


class Model:
    """All models of one provider: they differ in name only."""

    def __init__(self, scenario: Scenario) -> None:
        """Speak as this scenario says."""
        self._scenario = scenario
        self._prefixes = Prefixes()
        self._wavering = Wavering(scenario.seed, scenario.wavers)

    def work(self, key_id: str, ask: Ask) -> tuple[Completion, Usage]:
        """What the model says to a request of a key, and the tokens of it."""
        completion = speaker.complete(self._wavering.taken(ask))
        if self._scenario.escaped_arguments:
            completion = completion.escaped()
        cached = self._prefixes.cached(key_id, ask) if self._scenario.cached_prefix else 0
        reasoning = completion.reasoning_tokens * ask.choices
        return completion, Usage(ask.prompt_tokens, completion.tokens * ask.choices, cached, reasoning)
