"""What the answers in an output folder tell of rows that are not asked yet: their calls, and how long answers are.

Owns the reading of the book of calls for that: the newest calls first, a fixed number at most, the published ones and
those that only the ledger has. It does not know what the next rows ask, and estimates nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from batch.ledger.reader import LedgerReader
from batch.output.folder import OutputFolder
from batch.output.parts import PartReader
from batch.output.unreadable import reading
from batch.tokens.calibration import Answers

MOST_CALLS: Final = 20_000
_BATCH: Final = 5_000
_COLUMNS: Final = (
    *("row_id", "variant", "turn", "sample", "purpose", "state", "provider", "model_asked"),
    *("prompt_tokens", "completion_tokens", "cached_tokens", "latency_ms"),
)
_OF_ANOTHER_MODEL: Final = ("escalate",)

Key = tuple[str, str]
"""(row_id, variant); the variant is empty where the job has none."""


_Asking = tuple[str, str, str, int]
"""(row_id, variant, run, sample)."""


class RowCalls(msgspec.Struct):
    """What one asking of a row came to, so far as its calls were read; a row with several samples has several."""

    model: str
    first: int | None = None
    """Prompt tokens of its first call; None when that was not among those read."""
    prompt: int = 0
    completion: int = 0
    calls: int = 0
    turn: int | None = None
    """The turn of its earliest call that was read; turns are counted through the samples of a row."""


class OfModel(msgspec.Struct):
    """What the calls that asked one model came to."""

    askings: list[RowCalls] = []
    """The askings of rows that begin with this model, each with the calls of its own model."""
    rows: int = 0
    """Of how many rows these are."""
    beside: Answers = msgspec.field(default_factory=Answers)
    """The calls it was asked in the end, for rows that began with another."""
    completions: list[int] = []
    """Completion tokens of each call."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    latency_ms: int = 0
    timed: int = 0

    @property
    def cached(self) -> float:
        """The share of prompt tokens that the service had in its cache."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    @property
    def latency_s(self) -> float | None:
        """How long a call takes; None when that is not known."""
        return self.latency_ms / self.timed / 1_000 if self.timed else None


class History(msgspec.Struct):
    """What the calls of an output folder tell."""

    models: dict[str, OfModel] = {}
    first_tokens: dict[Key, int] = {}
    """Prompt tokens of the first call of a row, of the newest asking."""
    drawn: bool = False
    """Whether these rows were drawn from all that needed work, so that they stand for the others."""
    alike: bool = True
    """Whether they asked just what the job asks now."""

    def of(self, model: str) -> OfModel | None:
        """What is known of a model; None for nothing."""
        return self.models.get(model)


def read(folder: OutputFolder, provider: str, request: str) -> History:
    """Read the newest calls of a folder, at most `MOST_CALLS`; those of this very job if there are some.

    Args:
        folder: its ledger may be missing, and another process may be at work in it.
        provider: calls of another one say nothing.
        request: JSON of the job's request part, by which runs of this very job are known.

    Raises:
        StorageError: the ledger or a file cannot be read.
    """
    if not folder.ledger.is_file():
        return History()
    with LedgerReader(folder.ledger) as reader:
        if not reader.made:
            return History()
        runs = reader.runs()
        same = {run.run for run in runs if run.request == request}
        drawn = {run.run for run in runs if reader.sample(run.run) is not None}
        for chosen in (same, {run.run for run in runs} - same):
            history = _of_runs(folder, reader, provider, chosen)
            if any(found.askings for found in history.models.values()):
                history.alike = chosen is same
                history.drawn = chosen <= drawn
                return history
    return History()


def _of_runs(folder: OutputFolder, reader: LedgerReader, provider: str, runs: set[str]) -> History:
    askings: dict[_Asking, RowCalls] = {}
    history = History()
    number = 0
    for call in _calls(folder, reader, runs):
        if call["state"] != "answered" or call["prompt_tokens"] is None or call["provider"] != provider:
            continue
        _take(history, askings, call)
        number += 1
        if number >= MOST_CALLS:
            break
    for (row_id, variant, _, _), asking in askings.items():
        if asking.first is not None:
            found = history.models.setdefault(asking.model, OfModel())
            found.askings.append(asking)
            found.rows += (row_id, variant) not in history.first_tokens
            history.first_tokens.setdefault((row_id, variant), asking.first)
    return history


def _take(history: History, askings: dict[_Asking, RowCalls], call: Mapping[str, Any]) -> None:
    """Add one answered call to what is known of its model and of its asking."""
    model, purpose, turn = call["model_asked"], call["purpose"], call["turn"]
    prompt, completion = call["prompt_tokens"], call["completion_tokens"] or 0
    found = history.models.setdefault(model, OfModel())
    found.completions.append(completion)
    found.prompt_tokens += prompt
    found.cached_tokens += call["cached_tokens"] or 0
    if call["latency_ms"] is not None:
        found.latency_ms += call["latency_ms"]
        found.timed += 1
    if purpose in _OF_ANOTHER_MODEL:
        found.beside.add_call(prompt, completion, first=True)
        return
    key = (call["row_id"], call["variant"] or "", call["run"], call["sample"])
    asking = askings.setdefault(key, RowCalls(model))
    asking.calls += 1
    asking.prompt += prompt
    asking.completion += completion
    if asking.turn is None or turn < asking.turn:
        # The first call of a later sample is called one, unless that had to be tried again.
        first = turn == 0 if call["sample"] == 0 else purpose in ("sample", "retry")
        asking.turn, asking.first = turn, prompt if first and purpose != "reask" else None


def _calls(folder: OutputFolder, reader: LedgerReader, runs: set[str]) -> Iterator[dict[str, Any]]:
    """The calls of these runs, newest files first; then those that are not published."""
    for run, number in sorted(reader.call_parts(), reverse=True):
        if run not in runs:
            continue
        path = folder.calls_part(run, number)
        with reading(path), PartReader(path) as file:
            names = [name for name in _COLUMNS if name in file.schema_arrow.names]
            for batch in file.iter_batches(_BATCH, columns=names):
                for call in batch.to_pylist():
                    yield {"purpose": None, "sample": 0, **call, "run": run}
    last = max(runs, default="")
    for _, row_id, _, variant, call in reader.final_calls():
        usage = call.usage
        yield {
            "row_id": row_id,
            "variant": variant,
            "turn": call.turn,
            "sample": call.sample,
            "purpose": call.purpose,
            "state": call.state,
            "provider": call.provider,
            "model_asked": call.model_asked,
            "prompt_tokens": usage.prompt_tokens if usage is not None else None,
            "completion_tokens": usage.completion_tokens if usage is not None else None,
            "cached_tokens": usage.cached_tokens if usage is not None else None,
            "latency_ms": call.latency_ms,
            "run": last,
        }
