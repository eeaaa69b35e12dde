"""An estimate as values that JSON has, for programs.

Owns the names of the keys, and what each means. Each number that is not known exactly is an object with `likely`,
`least` and `most`; money is a decimal string, by currency; what is not known is null. It computes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from batch.core.clock import iso
from batch.core.records import cost_decimal
from batch.plan.forecast import CONFIDENCE, Forecast, ModelForecast
from batch.plan.preflight import CheckedJob
from batch.plan.pricing import Money, Priced
from batch.plan.spending import Spending
from batch.tokens.model import Range

KEYS: Final[dict[str, str]] = {
    "job": "The name of the job.",
    "output": "The output folder that the input was held against.",
    "input_rows": "Rows of the input.",
    "rows": "Rows by what becomes of them; a row counts once for each variant. to_ask: those that will be sent. short: "
    "those among them that lack samples. askings: how often they are asked in all, as labels.samples says. shared: "
    "those that are not sent because another one asks the same, and get its answer (prompt.dedupe). taken_over: those "
    "beside to_ask that get the answer which stands under the name of a former variant. begun: those among "
    "to_ask that an earlier run left in the middle. under_way: those beside to_ask whose call is in a task or a batch "
    "at the provider; it is collected and not bought again. superseded: further calls there, of rows that are gone or "
    "ask something else by now.",
    "calls": "Calls that the next run will make.",
    "input_tokens": "Tokens that they will send.",
    "output_tokens": "Tokens that they will get.",
    "cost": "By currency, at the prices of now, or of begins_at; null where no model has a price.",
    "cost_off_peak": "By currency, in the cheapest hour of the coming week in which calls may leave; null where none "
    "is cheaper than that of cost.",
    "cost_batch": "By currency, by batch files; null where no such price is published.",
    "committed": "By currency, what the calls of rows.under_way come to, which is not in cost: it is spent whatever "
    "the next run does; null where there are none, or none has a price.",
    "unpriced": "Models that will be asked and have no price: their calls are not in cost.",
    "confidence": "How often a number lies in its range, by the range's own reckoning; null where the ranges rest on "
    "no answers to rows of this job.",
    "basis": "What the length of answers rests on: answers to rows of this job, answers of the model that earlier jobs "
    "had (learned), or a guess.",
    "seconds": "How long the run takes from now on, what it waits for limits.hours included; null where nothing limits "
    "it but how long a call takes, and that is not known.",
    "sending_seconds": "For how long of that calls may leave; null as for seconds.",
    "begins_at": "When the first call may leave by limits.hours; null where that is now.",
    "held_by": "The limit that says so.",
    "models": "The same for each model. prompt_basis and prompt_answers: what its tokens of a text rest on.",
    "sample": "What --sample bought before the estimate was made; null without it.",
}
"""What each key of `public` means, for people."""


def public(found: Forecast, checked: CheckedJob, sample: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All that an estimate tells, as one object.

    Args:
        found: the estimate.
        checked: the job it is for.
        sample: what was bought before.
    """
    survey, duration = found.survey, found.duration
    return {
        "job": checked.job.name,
        "output": checked.folder.text,
        "input_rows": survey.read,
        "rows": {
            "to_ask": survey.to_ask,
            "askings": survey.askings,
            **{kind: survey.asked[kind] for kind in survey.kinds},
            "begun": survey.begun,
            "under_way": sum(map(survey.rows_bought, survey.bought)),
            "superseded": survey.superseded.total(),
            "shared": survey.shared,
            "taken_over": survey.taken_over,
            "cannot_be_asked": survey.unaskable,
            "unchanged": survey.unchanged,
            "failed_for_good": survey.standing,
            "gone": survey.gone.rows,
            "gone_variants": survey.gone.variants,
        },
        **_spent(found.total),
        **_costs(found.cost),
        "committed": _money(found.committed_cost),
        "unpriced": list(found.unpriced),
        "confidence": CONFIDENCE if found.basis == "answers" else None,
        "basis": found.basis,
        "seconds": None if duration is None else _range(duration.seconds),
        "sending_seconds": None if duration is None else _range(duration.sending),
        "begins_at": iso(found.begins_us) if found.waits else None,
        "held_by": None if duration is None else duration.limit,
        "models": [_model(one) for one in found.models],
        "sample": None if sample is None else dict(sample),
    }


def _model(one: ModelForecast) -> dict[str, Any]:
    spending, priced, off_peak = one.spending, one.priced, one.priced.off_peak

    def cost(what: Callable[[Priced], Money | None]) -> dict[str, Range]:
        money = what(priced)
        return {} if money is None else {money.currency: money.amount}

    return {
        "model": spending.model,
        "rows": spending.rows,
        "askings": spending.askings,
        **_spent(lambda what: what(spending)),
        **_costs(cost),
        "off_peak_from": None if off_peak is None or off_peak.at_us is None else iso(off_peak.at_us),
        "price_ids": list(priced.price_ids),
        "basis": spending.basis,
        "answers": spending.answers,
        "prompt_basis": spending.prompt_basis,
        "prompt_answers": spending.prompt_answers,
    }


def _spent(total: Callable[[Callable[[Spending], Range]], Range]) -> dict[str, Any]:
    return {
        "calls": _range(total(lambda one: one.calls)),
        "input_tokens": _range(total(lambda one: one.prompt)),
        "output_tokens": _range(total(lambda one: one.completion)),
    }


def _costs(cost: Callable[[Callable[[Priced], Money | None]], dict[str, Range]]) -> dict[str, Any]:
    return {
        "cost": _money(cost(lambda priced: priced.now)),
        "cost_off_peak": _money(cost(lambda priced: priced.off_peak)),
        "cost_batch": _money(cost(lambda priced: priced.batch)),
    }


def _range(found: Range) -> dict[str, int]:
    """Whole numbers, the ends rounded away from what is likely."""
    return {"likely": round(found.likely), "least": math.floor(found.least), "most": math.ceil(found.most)}


def _money(amounts: Mapping[str, Range]) -> dict[str, Any] | None:
    return {
        currency: {name: f"{cost_decimal(value):f}" for name, value in _range(amount).items()}
        for currency, amount in sorted(amounts.items())
    } or None
