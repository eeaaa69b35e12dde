"""What answers taught about the tokens of each model, kept in the state folder from run to run.

Owns the file `tokens.json`: by model, the sums from which `model` makes its weights, and how long answers were. Several
runs at once add to it under its lock. It only makes estimates better, so whatever is wrong with it stops nothing: a
file that cannot be read counts as empty, is told once, and is written anew by the next run. It holds counts and
names of models, and no text of anybody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from batch.core.errors import StorageError
from batch.core.statefolder import StateFile
from batch.tokens.model import Learned

FILE: Final = "tokens.json"
_FORM: Final = 1
_MOST_ANSWERS: Final = 5_000.0
"""For so many answers what was learned of a model counts at most."""
_MOST_MODELS: Final = 500
"""Beyond that the models that were asked longest ago are forgotten."""

Shape = Literal["text", "labels", "tools"]
"""What answers are: labels are short, and rows with tools have several turns."""


class Answers(msgspec.Struct):
    """Sums over the calls that were answered: how long answers are, and how much is sent after a row's first call."""

    calls: float = 0.0
    firsts: float = 0.0
    """How many of them were the first of their row."""
    first_tokens: float = 0.0
    """Prompt tokens of those."""
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    squares: float = 0.0
    """The sum of the completion tokens squared."""

    def add_call(self, prompt_tokens: int, completion_tokens: int, *, first: bool) -> None:
        """Add one call that was answered."""
        self.calls += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.squares += completion_tokens * completion_tokens
        if first:
            self.firsts += 1
            self.first_tokens += prompt_tokens

    def add(self, other: Answers, factor: float = 1.0) -> None:
        """Add so many times other sums."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + factor * getattr(other, name))


class Notes(msgspec.Struct):
    """What is known of one model."""

    learned: Learned = msgspec.field(default_factory=Learned)
    answers: dict[str, Answers] = {}
    """By shape of the answers."""
    on: str = ""
    """The day on which something was added last, in UTC."""

    def of(self, shape: Shape) -> Answers:
        """The sums over answers of one shape, which begin with the first question for them."""
        return self.answers.setdefault(shape, Answers())

    def add(self, other: Notes, on: str) -> None:
        """Add what was learned on a day."""
        self.learned.add(other.learned)
        self.learned.fade(_MOST_ANSWERS)
        for shape, sums in other.answers.items():
            mine = self.answers.setdefault(shape, Answers())
            mine.add(sums)
            if mine.calls > _MOST_ANSWERS:
                mine.add(mine, _MOST_ANSWERS / mine.calls - 1.0)
        self.on = on


class _File(msgspec.Struct, forbid_unknown_fields=False):
    form: int = _FORM
    models: dict[str, Notes] = {}


class Calibration:
    """The file, as it was when it was read.

    Attributes:
        trouble: why it counts as empty, for people; None when it was read, or is not there.
    """

    def __init__(self, file: StateFile | None) -> None:
        self._file = file
        self.trouble: str | None = None
        self._models = self._read()

    @classmethod
    def load(cls, state: Path | None) -> Calibration:
        """Read the file of a state folder; nothing is known where there is none."""
        return cls(None if state is None else StateFile(state / FILE))

    def of(self, name: str) -> Notes | None:
        """What is known of a model; None for nothing.

        Args:
            name: as `name_of` makes it.
        """
        return self._models.get(name)

    def add(self, learned: Mapping[str, Notes], on: date) -> None:
        """Add what a run has learned, in the file too.

        Args:
            learned: by name of the model.
            on: the day, in UTC.

        Raises:
            StorageError: it cannot be written; nothing else is lost by that.
        """
        if self._file is None:
            return
        with self._file.locked():
            self._models = self._read()
            for name, notes in learned.items():
                self._models.setdefault(name, Notes()).add(notes, on.isoformat())
            if len(self._models) > _MOST_MODELS:
                latest = sorted(self._models.items(), key=lambda item: item[1].on, reverse=True)
                self._models = dict(latest[:_MOST_MODELS])
            self._file.write(msgspec.json.encode(_File(models=self._models)))

    def _read(self) -> dict[str, Notes]:
        if self._file is None:
            return {}
        try:
            data = self._file.read()
        except StorageError as exc:
            self.trouble = str(exc)
            return {}
        if data is None:
            return {}
        with suppress(ValueError, RecursionError):
            kept = msgspec.json.decode(data, type=_File)
            if kept.form == _FORM and all(notes.learned.sound for notes in kept.models.values()):
                return kept.models
        self.trouble = (
            f"{self._file.path}: what earlier runs learned of tokens cannot be read, so estimates begin anew. The next "
            "run writes the file again; nothing else depends on it."
        )
        return {}


def name_of(provider: str, model: str, base_url: str, usual_url: str | None) -> str:
    """The name under which a model is kept: `provider/model`, with the host where it is not the provider's own.

    Args:
        provider: as the job names it.
        model: who is asked.
        base_url: where requests go.
        usual_url: where this provider's requests usually go; None when there is no such place.
    """
    host = urlsplit(base_url).hostname or ""
    usual = urlsplit(usual_url).hostname if usual_url else None
    return f"{provider}/{model}" if host == usual else f"{provider}@{host}/{model}"
