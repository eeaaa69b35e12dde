"""How many calls and tokens the rows to be asked will take, from the best that is known.

That is answers to other rows of the job, else what earlier jobs taught of the model, else a guess that is called one.

Owns the way from the size of first requests to all that rows send and get: later turns, tools, labels asked for again,
another model in the end, and how long answers are. Every number has its range, and every range says what it rests on.
It knows no price and reads no file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from batch.job.job import Job
from batch.plan.history import History, OfModel
from batch.plan.survey import Load
from batch.tokens import measure
from batch.tokens.calibration import Notes, Shape
from batch.tokens.model import WIDE, Range, TokenModel, around

Basis = Literal["answers", "learned", "guess"]
"""What a number rests on: answers to rows of this job; answers of the model to other jobs; nothing but experience."""
ENOUGH_ROWS: Final = 5
"""Rows of this job that tell more than all else."""
_ENOUGH_ANSWERS: Final = 20
_DRAWN: Final = 0.01
_CHOSEN: Final = 0.10
_OTHERWISE: Final = 0.30
"""How far rows that were asked are from the others on the whole: where they were drawn from them; where they were the
first ones, say; where the job asked otherwise then."""
_OF_THE_MODEL: Final = 0.5
"""How far the answers of another job are from those of this one."""
_LABEL: Final = Range(8, 1, 40)
_TEXT: Final = Range(250, 20, 1_500)
"""Tokens of an answer of which nothing is known."""
_PART: Final = 0.6
"""Of the tokens that an answer may have, where that is fewer than most answers have."""
_TURNS: Final = Range(2.2, 1, 5)
"""Calls of a row with tools of which nothing is known."""
_REASKED: Final = Range(1.02, 1.0, 1.2)
"""Calls of a row that is asked for a label, likewise."""
_ESCALATED: Final = Range(0.02, 0.0, 0.15)
"""The part of the rows that another model is asked in the end, when nothing is known of it."""
_NEVER: Final = 3.0
"""What never happened in n cases happens less often than this in n, in 19 of 20 cases."""
NONE: Final = Range(0.0, 0.0, 0.0)


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows to be asked will take of one model."""

    model: str
    rows: int
    """Rows that begin with it; none for a model that is only asked in the end."""
    askings: int = 0
    """How often these are asked; as many as there are rows, unless rows get several samples."""
    calls: Range
    prompt: Range
    completion: Range
    basis: Basis
    """What the answers' length and the number of calls rest on."""
    answers: int
    """How many rows, or for `learned` calls, that is."""
    prompt_basis: Basis
    prompt_answers: int
    completions: Sequence[int] = ()
    """Lengths of answers that are known."""
    cached: float = 0.0
    latency_s: float | None = None


class Known(NamedTuple):
    """What is known of one model."""

    history: History
    """What the output folder tells of rows that were answered."""
    notes: Notes
    """What earlier jobs taught."""
    tokens: TokenModel
    prompt_basis: Basis
    """What `tokens` rests on."""


def begun(job: Job, model: str, loads: Sequence[Load], known: Known, shape: Shape) -> Spending:
    """What the rows that begin with a model will take of it.

    Args:
        job: for its bounds on answers and turns.
        model: its name.
        loads: the sizes of the rows' requests.
        known: of the model.
        shape: what the job's answers are.
    """
    tokens = known.tokens
    first = tokens.of(measure.total(tuple(load.first) for load in loads), squares=sum(load.squares for load in loads))
    first += _exactly(sum(load.known for load in loads))
    before = known.history.of(model)
    if before is not None and before.rows >= ENOUGH_ROWS:
        return _from_answers(model, loads, first, before, known)
    later = tokens.of(measure.total(tuple(load.later) for load in loads))
    told = known.notes.answers.get(shape)
    learned = told is not None and told.firsts >= _ENOUGH_ANSWERS
    answer, turns = _answer(job, shape), _turns(job, shape)
    if told is not None and learned:
        mean, ratio = told.completion_tokens / told.calls, told.calls / told.firsts
        answer = _within(Range(mean, mean * (1 - _OF_THE_MODEL), mean * (1 + 2 * _OF_THE_MODEL)), job)
        turns = Range(ratio, max(1.0, ratio * 0.7), max(1.0, ratio * 1.5)) if shape != "text" else turns
    calls = turns.scaled(float(sum(load.calls for load in loads)))
    replayed = answer.scaled(float(sum(load.replays for load in loads)))
    return Spending(
        model=model,
        rows=sum(load.rows for load in loads),
        askings=sum(load.askings for load in loads),
        calls=calls,
        # A turn sends again what was sent before it, and a little more: a tool's result, why an answer was refused.
        prompt=_times(first + later + replayed, turns),
        completion=_times(answer, calls),
        basis="learned" if learned else "guess",
        answers=round(told.calls) if told is not None and learned else 0,
        prompt_basis=known.prompt_basis,
        prompt_answers=round(tokens.answers),
        latency_s=None if before is None else before.latency_s,
    )


def _turns(job: Job, shape: Shape) -> Range:
    """How many calls a row takes, of which nothing is known."""
    if shape == "tools" and job.tools is not None:
        most = float(job.tools.max_turns)
        return Range(min(_TURNS.likely, most), 1.0, min(_TURNS.most, most))
    if shape == "labels" and job.labels is not None and job.labels.reasks:
        return _REASKED
    return Range(1.0, 1.0, 1.0)


def in_the_end(job: Job, model: str, rows_of: Sequence[Spending], history: History) -> Spending:
    """What the model is asked that finds the label in the end, when the answers of the others stay invalid.

    Args:
        job: for its bounds on answers.
        model: its name.
        rows_of: what the rows take of the models they begin with.
        history: of the output folder.
    """
    askings = sum(spending.askings for spending in rows_of)
    each = _exactly(sum(spending.prompt.likely for spending in rows_of) / max(1, askings))
    answer = _answer(job, "labels")
    known = history.of(model)
    others = [found for name, found in history.models.items() if name != model]
    asked = sum(found.rows for found in others)
    basis: Basis = "answers" if asked >= ENOUGH_ROWS else "guess"
    if basis == "answers" and known is not None and known.beside.calls:
        beside = known.beside
        share = beside.calls / sum(len(found.askings) for found in others)
        calls = around(share * askings, askings * math.sqrt(share / asked + (_unlike(history) * share) ** 2))
        each = _exactly(beside.prompt_tokens / beside.calls)
        answer = _exactly(beside.completion_tokens / beside.calls)
    elif basis == "answers":
        calls = Range(0.0, 0.0, askings * min(1.0, _NEVER / asked))
    else:
        calls = _ESCALATED.scaled(float(askings))
    return Spending(
        model=model,
        rows=0,
        calls=calls,
        prompt=_times(calls, each),
        completion=_times(calls, answer),
        basis=basis,
        answers=asked,
        prompt_basis=basis,
        prompt_answers=asked,
        completions=[] if known is None else known.completions,
        latency_s=None if known is None else known.latency_s,
    )


def _from_answers(model: str, loads: Sequence[Load], first: Range, before: OfModel, known: Known) -> Spending:
    """What is told by rows of the job that were answered."""
    asked, number, unlike = before.askings, before.rows, _unlike(known.history)
    rows, askings = sum(load.rows for load in loads), sum(load.askings for load in loads)
    # The samples of a row are much alike: however many they are, they tell no more than one of it, and none of them
    # makes up for what another is too long.
    to_come = _ToCome(askings, askings / math.sqrt(max(1, rows)), number)
    wider = 1.0 + 2.0 / number  # of a few rows even the spread is not well known
    ratio = sum(row.prompt for row in asked) / max(1, sum(row.first or 0 for row in asked))
    mean_first = max(1.0, sum(row.first or 0 for row in asked) / len(asked))
    missed = _spread([row.prompt - ratio * (row.first or 0) for row in asked], 0.0)
    of_ratio = missed / math.sqrt(number) / mean_first
    base = (first.most - first.likely) / WIDE
    prompt = _about(
        ratio * first.likely,
        (ratio * base, wider * first.likely * of_ratio, wider * missed * to_come.root),
        unlike if any(row.calls > 1 for row in asked) else 0.0,
    )
    calls = _mean([float(row.calls) for row in asked], to_come, wider, unlike)
    return Spending(
        model=model,
        rows=rows,
        askings=askings,
        calls=Range(calls.likely, max(float(askings), calls.least), max(float(askings), calls.most)),
        prompt=prompt,
        completion=_mean([float(row.completion) for row in asked], to_come, wider, unlike),
        basis="answers",
        answers=number,
        prompt_basis=known.prompt_basis,
        prompt_answers=round(known.tokens.answers),
        completions=before.completions,
        cached=before.cached,
        latency_s=before.latency_s,
    )


class _ToCome(NamedTuple):
    """How much is to be asked, beside how much was."""

    askings: int
    root: float
    """The root of the sum of the askings of each row squared."""
    told_by: int
    """How many rows were answered."""


def _mean(numbers: list[float], to_come: _ToCome, wider: float, unlike: float) -> Range:
    """The sum over the askings to come, of what some askings had."""
    mean, askings = sum(numbers) / len(numbers), to_come.askings
    spread = _spread(numbers, mean)
    doubt = (wider * askings * spread / math.sqrt(to_come.told_by), wider * spread * to_come.root)
    unseen = mean * askings / to_come.told_by / WIDE  # of n rows that are all alike the next one may be another
    return _about(mean * askings, (*doubt, unseen), unlike if spread else 0.0)


def _about(likely: float, deviations: Sequence[float], unlike: float) -> Range:
    return around(likely, math.sqrt(sum(one * one for one in deviations) + (unlike * likely) ** 2))


def _spread(numbers: Sequence[float], mean: float) -> float:
    """The standard deviation of numbers."""
    return math.sqrt(sum((number - mean) ** 2 for number in numbers) / max(1, len(numbers) - 1))


def _unlike(history: History) -> float:
    return _OTHERWISE if not history.alike else _DRAWN if history.drawn else _CHOSEN


def _answer(job: Job, shape: Shape) -> Range:
    return _within(_LABEL if shape == "labels" else _TEXT, job)


def most_tokens(job: Job) -> int | None:
    """How long the job lets an answer be; None when it does not say, or each row says it."""
    for name in ("max_completion_tokens", "max_tokens"):
        value = job.model.parameters.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _within(answer: Range, job: Job) -> Range:
    """The length of an answer, within what the job lets it be."""
    most = most_tokens(job)
    if most is None:
        return answer
    if most < answer.likely:  # short answers are wanted, and few of them need all that they may have
        return Range(max(1.0, _PART * most), 1.0, most)
    return Range(answer.likely, min(answer.least, answer.likely), min(answer.most, most))


def _times(one: Range, other: Range) -> Range:
    return Range(one.likely * other.likely, one.least * other.least, one.most * other.most)


def _exactly(number: float) -> Range:
    return Range(number, number, number)
