"""What lane `auto` has learned of a provider: how long calls, batches and cancellations take, and who comes back when.

Owns these numbers, what is taken for them as long as nothing was seen, and how they are written down: they are kept in
the ledger of the output folder, so that the next night knows more than the first. What follows from them is `auto`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

KEY: Final = "auto"
"""Where the ledger keeps it."""
FIRST_CALL_S: Final = 10.0
"""How long a call is taken to last as long as none was seen."""
FIRST_TOKENS: Final = 2_000.0
"""How many tokens a call is taken to use as long as none was seen."""
FIRST_BATCH_S: Final = 1_800.0
"""How soon a batch is taken to bring anything at best as long as none was seen."""
FIRST_CANCEL_S: Final = 600.0
"""How long a cancellation is taken to last as long as none was seen: OpenAI names ten minutes as the longest."""
_MEMORY: Final = 200
"""Calls that the mean of their times looks back over."""
_BATCHES: Final = 20
_CANCELLATIONS: Final = 5
_OFTEN: Final = 1_024
"""Calls after which what they taught is written down at the latest."""


class Seen(msgspec.Struct):
    """What was seen of one model."""

    calls: int = 0
    call_s: float = FIRST_CALL_S
    tokens: float = FIRST_TOKENS
    batches_s: list[float] = []
    """Of its last batches that had an answer, for how long they were at the provider."""


class Visits(msgspec.Struct):
    """When commands that do not wait came back for one moment."""

    by_us: int = 0
    last_us: int = 0
    longest_s: float = 0.0
    """Between two of them; 0 as long as only one came."""


class Kept(msgspec.Struct):
    """All of it, as it is written down."""

    models: dict[str, Seen] = {}
    cancellations_s: list[float] = []
    visits: Visits = msgspec.field(default_factory=Visits)


class Experience:
    """What was learned in one output folder.

    Args:
        kept: what earlier processes wrote down; None in a new folder.
        keep: writes it down.
    """

    def __init__(self, kept: str | None, keep: Callable[[str], None]) -> None:
        self._keep = keep
        self._kept = Kept()
        if kept is not None:
            with suppress(msgspec.DecodeError):  # of another version: it is learned again
                self._kept = msgspec.json.decode(kept, type=Kept)

    def call_s(self, model: str) -> float:
        """How long a call of a model lasts."""
        return self._of(model).call_s

    def tokens(self, model: str) -> float:
        """How many tokens it uses."""
        return self._of(model).tokens

    def knows_calls(self, model: str) -> bool:
        """Whether a call of the model was seen."""
        return self._of(model).calls > 0

    def batch_s(self, model: str) -> float:
        """How soon a batch of a model brings anything at best."""
        return min(self._of(model).batches_s, default=FIRST_BATCH_S)

    def knows_batches(self, model: str) -> bool:
        """Whether a batch of the model was seen that had an answer."""
        return bool(self._of(model).batches_s)

    @property
    def cancel_s(self) -> float:
        """How long a cancellation takes: half as much again as the longest of the last ones."""
        seen = self._kept.cancellations_s
        return 10.0 + 1.5 * max(seen) if seen else FIRST_CANCEL_S

    @property
    def gap_s(self) -> float:
        """The longest time between two commands that came for one moment and did not wait; 0 before the second."""
        return self._kept.visits.longest_s

    def learn_call(self, model: str, seconds: float, tokens: int | None) -> None:
        """A call of a model was answered.

        Args:
            model: that answered.
            seconds: how long it took.
            tokens: what it used; None where that is not known.
        """
        seen = self._kept.models.setdefault(model, Seen())
        seen.calls += 1
        part = 1 / min(seen.calls, _MEMORY)
        seen.call_s += (seconds - seen.call_s) * part
        if tokens is not None:
            seen.tokens += (tokens - seen.tokens) * part
        if seen.calls & (seen.calls - 1) == 0 or seen.calls % _OFTEN == 0:
            self._write()

    def learn_batch(self, model: str, seconds: float) -> None:
        """A batch of a model that had an answer ended after so many seconds."""
        seen = self._kept.models.setdefault(model, Seen())
        seen.batches_s = [*seen.batches_s, round(seconds, 1)][-_BATCHES:]
        self._write()

    def learn_cancel(self, seconds: float) -> None:
        """A batch had ended so many seconds after it was to be cancelled."""
        self._kept.cancellations_s = [*self._kept.cancellations_s, round(seconds, 1)][-_CANCELLATIONS:]
        self._write()

    def visit(self, by_us: int, now_us: int) -> None:
        """A command that does not wait came, for the moment at which all is to be done."""
        visits = self._kept.visits
        if visits.by_us != by_us:
            self._kept.visits = Visits(by_us, now_us)
        else:
            visits.longest_s = max(visits.longest_s, (now_us - visits.last_us) / 1e6)
            visits.last_us = now_us
        self._write()

    def _of(self, model: str) -> Seen:
        return self._kept.models.get(model) or Seen()

    def _write(self) -> None:
        self._keep(msgspec.json.encode(self._kept).decode())
