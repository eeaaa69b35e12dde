"""Learns during a run what requests of each model count for, from some of the answers.

Owns which answers: the first few hundred, then one of so many by chance, so that measuring them costs a run next to
nothing. What it learned is taken from it now and then and kept by `calibration`. One event loop owns it; it reads and
writes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from batch.core.records import Call, Request
from batch.tokens import measure
from batch.tokens.calibration import Notes, Shape
from batch.tokens.measure import Measure
from batch.tokens.model import plain

FIRST: Final = 400
"""So many requests are measured one after the other."""
THEN: Final = 64
"""Of those that follow one of so many is: some 2,000 in a run of 100,000 rows."""
LONGEST: Final = 100_000
"""Characters of a request that is measured: more would hold up the event loop, and teach no more."""
_ABSURD: Final = 50.0
"""A usage so many times larger or smaller than a request can be says nothing of a tokenizer."""


class Learner:
    """What one run learns.

    Args:
        name: the name under which a model is kept.
        carried: what goes with every request to a model besides its messages; see `measure.of_request`.
        shape: what the job's answers are.

    Attributes:
        answers: how many answers taught it since something was taken from it last.
    """

    def __init__(self, name: Callable[[str], str], carried: Callable[[str], tuple[float, float]], shape: Shape) -> None:
        self._name = name
        self._carried = carried
        self._shape: Shape = shape
        self._chance = random.Random(0)
        self._measured = 0
        self._notes: dict[str, Notes] = {}
        self.answers = 0

    def size(self, request: Request) -> Measure | None:
        """The counts of a request that is sent now; None when its answer is not wanted."""
        if self._measured >= FIRST and self._chance.random() * THEN >= 1.0:
            return None
        if measure.characters(request.messages) > LONGEST:
            return None
        self._measured += 1
        return measure.of_request(request.messages, self._carried(request.model))

    def answered(self, size: Measure, call: Call) -> None:
        """Learn from a call that has ended.

        Args:
            size: the counts of its request.
            call: its record; one without usage teaches nothing.
        """
        usage = call.usage
        if call.state != "answered" or usage is None or usage.estimated:
            return
        likely = plain(size)
        if not likely / _ABSURD <= usage.prompt_tokens <= likely * _ABSURD:
            return
        notes = self._notes.setdefault(call.model_asked, Notes())
        notes.learned.learn(size, usage.prompt_tokens)
        if call.purpose != "escalate":
            notes.of(self._shape).add_call(usage.prompt_tokens, usage.completion_tokens, first=self._first(call))
        self.answers += 1

    def _first(self, call: Call) -> bool:
        """Whether it is the first call of an asking; each sample of a row is one."""
        if call.sample == 0:
            return call.turn == 0 and call.purpose in (None, "first", "retry")
        # Turns are counted through the samples. What is tried again for a label is the first turn, unless a user or
        # tools have more to say, which is rare beside samples.
        return call.purpose == "sample" or (call.purpose == "retry" and self._shape == "labels")

    def take(self) -> dict[str, Notes]:
        """What was learned since this was asked last, by the name under which it is kept."""
        taken = {self._name(model): notes for model, notes in self._notes.items()}
        self._notes = {}
        self.answers = 0
        return taken
