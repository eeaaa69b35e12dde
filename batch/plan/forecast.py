"""What the next run of a job will take: rows, calls, tokens, money and time, each as a range with what it rests on.

Owns the sums over the models of a job, and the time that limits leave. What is read for it is `survey`'s, how tokens
are told from sizes `spending`'s, what they cost `pricing`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from batch.core.clock import MICROSECONDS, Clock
from batch.core.records import Lane
from batch.job.endpointspec import ModelLimitSpec
from batch.job.job import LimitSpec
from batch.limits.hours import Hours
from batch.plan import pricing, spending
from batch.plan.preflight import CheckedJob
from batch.plan.pricing import Money, Priced
from batch.plan.sizes import Sizer
from batch.plan.spending import Basis, Known, Spending
from batch.plan.survey import Survey, survey, unseen
from batch.tokens.calibration import Calibration, Notes, Shape
from batch.tokens.model import Learned, Range, TokenModel

CONFIDENCE: Final = 0.95
"""How often a number lies in its range, by the range's own reckoning."""
ITS_OWN: Final = 30
"""Answers of this job from which on its requests need no other job's to tell what they count for."""


class ModelForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the next run will take of one model."""

    spending: Spending
    priced: Priced


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """What calls of one model come to that the provider has taken and the next run collects."""

    model: str
    lane: Lane
    rows: int
    money: Money | None
    """None where they have no price."""


class Duration(msgspec.Struct, frozen=True, kw_only=True):
    """How long a run takes, and what holds it up."""

    seconds: Range
    """From now on, hours in which nothing may leave included."""
    sending: Range
    """For how many seconds of that requests may leave."""
    limit: str
    """The key of the limit."""
    from_us: int = 0
    """Now, in microseconds of UTC."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the next run of a job will take."""

    survey: Survey
    models: tuple[ModelForecast, ...]
    committed: tuple[Committed, ...] = ()
    """Beside that: what is spent already, whatever the next run does."""
    duration: Duration | None
    """None where nothing limits the run but how long a call takes, and nobody knows that."""
    hours: Hours | None = None
    """When calls may leave; None for always."""
    begins_us: int = 0
    """When the first one may, in microseconds of UTC: its prices count."""
    waits: bool = False
    """Whether that is later than now."""
    trouble: str | None = None
    """What is wrong with the file of what was learned."""

    def total(self, what: Callable[[Spending], Range]) -> Range:
        """The sum of a number over all models."""
        return sum((what(model.spending) for model in self.models), spending.NONE)

    def cost(self, what: Callable[[Priced], Money | None]) -> dict[str, Range]:
        """The sums of what is known of a cost, by currency."""
        sums: dict[str, Range] = {}
        for model in self.models:
            if (money := what(model.priced)) is not None:
                sums[money.currency] = sums.get(money.currency, spending.NONE) + money.amount
        return sums

    @property
    def committed_cost(self) -> dict[str, Range]:
        """The sums of what is known of the cost of calls at the provider, by currency."""
        sums: dict[str, Range] = {}
        for one in self.committed:
            if one.money is not None:
                sums[one.money.currency] = sums.get(one.money.currency, spending.NONE) + one.money.amount
        return sums

    @property
    def unpriced(self) -> tuple[str, ...]:
        """The models that are asked and have no price."""
        asked = (model for model in self.models if model.spending.calls.most > 0)
        return tuple(model.spending.model for model in asked if model.priced.now is None)

    @property
    def basis(self) -> Basis:
        """What the length of answers rests on, for the model of which least is known."""
        found = {model.spending.basis for model in self.models if model.spending.rows}
        worst: tuple[Basis, ...] = ("guess", "learned")
        return next((basis for basis in worst if basis in found), "answers")


def forecast(
    checked: CheckedJob,
    calibration: Calibration,
    *,
    clock: Clock | None = None,
    seen: Callable[[int, float | None], None] = unseen,
) -> Forecast:
    """Read the whole input and say what the next run will take.

    Args:
        checked: the job.
        calibration: what earlier runs taught of tokens.
        clock: tells which prices count now.
        seen: as in `survey`.

    Raises:
        InputError: the input cannot be read.
        StorageError: the ledger or a file of the book cannot be read.
    """
    job, sizer = checked.job, Sizer(checked)
    names = job.model.names or (job.model.name,)
    notes = {model: calibration.of(sizer.name(model)) or Notes() for model in names}
    found = survey(
        checked,
        {model: TokenModel(note.learned) for model, note in notes.items()},
        {model: pricing.borders(checked.prices, job.model.provider, model) for model in names},
        seen=seen,
    )
    known = {
        model: spending.Known(found.history, notes[model], *_tokens(notes[model].learned, found.taught.get(model)))
        for model in names
    }
    spendings = [
        spending.begun(job, model, list(found.loads.get(model, {}).values()), known[model], sizer.shape)
        for model in names
    ]
    escalate = job.labels.escalate if job.labels is not None else None
    if escalate is not None and escalate not in names:
        spendings.append(spending.in_the_end(job, escalate, spendings, found.history))
    clock = clock or Clock()
    now_us = clock.now_us()
    hours = Hours(clock, job.limits.hours) if job.limits.hours else None
    begins_us = now_us if hours is None else hours.first_us(now_us)
    return Forecast(
        survey=found,
        models=tuple(
            ModelForecast(
                spending=one, priced=pricing.price(checked, one, found.loads.get(one.model, {}), begins_us, hours)
            )
            for one in spendings
        ),
        committed=_committed(checked, found, known, sizer.shape, now_us),
        duration=_duration(checked, spendings, hours, now_us),
        hours=hours,
        begins_us=begins_us,
        waits=begins_us > now_us,
        trouble=calibration.trouble,
    )


def _committed(
    checked: CheckedJob, found: Survey, known: Mapping[str, Known], shape: Shape, now_us: int
) -> tuple[Committed, ...]:
    """What the calls at the provider come to, by lane and model."""
    return tuple(
        Committed(
            model=model,
            lane=lane,
            rows=took.rows,
            money=pricing.price_in_lane(checked, took, bands, now_us, lane),
        )
        for lane, models in found.bought.items()
        for model, bands in models.items()
        for took in [spending.begun(checked.job, model, list(bands.values()), known[model], shape)]
    )


def _tokens(kept: Learned, taught: Learned | None) -> tuple[TokenModel, Basis]:
    """What is known of a model's tokens, and what that rests on."""
    if taught is None or taught.answers < spending.ENOUGH_ROWS:
        return TokenModel(kept), "learned" if kept.answers else "guess"
    if taught.answers >= ITS_OWN:
        return TokenModel(taught, alike=True), "answers"
    together = Learned()
    together.add(kept)
    together.fade(ITS_OWN)
    together.add(taught)
    return TokenModel(together), "answers"


# -- time -------------------------------------------------------------------------------------------------------------


def _duration(checked: CheckedJob, spendings: Sequence[Spending], hours: Hours | None, now_us: int) -> Duration | None:
    """How long the calls take by the limits of the job and of each model: the tightest of them counts."""
    limits = checked.job.limits
    found = _held(limits, spendings, "limits", checked)
    for one in spendings:
        own = limits.model.get(one.model)
        if own is not None:
            found += _held(own, [one], f'limits.model."{one.model}"', checked)
    if not found:
        return None
    sending, limit = max(found, key=lambda one: one[0].likely)
    return Duration(seconds=_passed(sending, hours, now_us), sending=sending, limit=limit, from_us=now_us)


def _passed(sending: Range, hours: Hours | None, now_us: int) -> Range:
    """How many seconds pass until requests could leave for so long."""
    if hours is None:
        return sending
    return Range(
        *(
            (hours.done_us(now_us, seconds) - now_us) / MICROSECONDS
            for seconds in (sending.likely, sending.least, sending.most)
        )
    )


def _held(
    limits: LimitSpec | ModelLimitSpec, spendings: Sequence[Spending], section: str, checked: CheckedJob
) -> list[tuple[Range, str]]:
    """How many seconds each limit of one section makes these calls take, and its key."""
    calls = sum((one.calls for one in spendings), spending.NONE)
    found: dict[str, Range] = {}
    if limits.requests_per_minute:
        found["requests_per_minute"] = calls.scaled(60.0 / limits.requests_per_minute)
    if limits.tokens_per_minute:
        found["tokens_per_minute"] = _counted(checked, spendings, calls).scaled(60.0 / limits.tokens_per_minute)
    timed = [one for one in spendings if one.latency_s is not None]
    if limits.concurrency and timed and all(one.latency_s is not None for one in spendings if one.rows):
        slots = min(limits.concurrency, checked.most_calls)
        held = sum((one.calls.scaled(one.latency_s or 0.0) for one in timed), spending.NONE)
        found["concurrency"] = held.scaled(1.0 / slots)
    return [(seconds, f"{section}.{name}") for name, seconds in found.items()]


def _counted(checked: CheckedJob, spendings: Sequence[Spending], calls: Range) -> Range:
    """The tokens that a token limit counts, by the rule of the service."""
    prompt = sum((one.prompt for one in spendings), spending.NONE)
    if checked.endpoint.dialect.counts == "used":
        return prompt + sum((one.completion for one in spendings), spending.NONE)
    asked = calls.scaled(float(spending.most_tokens(checked.job) or 0))
    return Range(max(prompt.likely, asked.likely), max(prompt.least, asked.least), max(prompt.most, asked.most))
