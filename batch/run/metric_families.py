"""What `metrics.prom` tells: the names of its metrics, and how they are made of the state of a run.

Owns names, labels and help texts. It is handed a snapshot, as `status.json` is, and looks at nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from batch.core.metrics import Family, Sample
from batch.core.records import CALL_STATES
from batch.job.job import Job
from batch.ledger.model_sums import ModelSums, add_models
from batch.ledger.totals import Totals
from batch.run.progress import Progress

PREFIX: Final = "promptmill_"
LAST_SUCCESS: Final = "promptmill_last_success_timestamp_seconds"
RUNNING: Final = "promptmill_running"

METRICS: Final[dict[str, str]] = {
    LAST_SUCCESS: "When a run of the job last ended with exit code 0, nothing to do included. Kept when a run fails, "
    "is stopped or refused; missing before the first success.",
    "promptmill_last_run_timestamp_seconds": "When the last run ended, however it did; while one is at work, when it "
    "last wrote this, at most 15 seconds ago.",
    RUNNING: "1 while a run is at work, 0 when it has ended. A run that was killed or hangs leaves 1 behind, and "
    "promptmill_last_run_timestamp_seconds gets old: promptmill_running == 1 and time() - "
    "promptmill_last_run_timestamp_seconds > 120.",
    "promptmill_run_exit_code": "What the command of the last run ended with; missing while it works.",
    "promptmill_run_duration_seconds": "How long that command took, or has been at work.",
    "promptmill_rows": "Rows of the last run by state: ok, failed, and left (to come, as far as known).",
    "promptmill_rows_retryable": "How many of the failed rows the next run asks again by itself.",
    "promptmill_calls_total": "Calls of the last run that have ended, by state, model and lane. Begins anew with each "
    "run, as all totals do.",
    "promptmill_tokens_total": "Tokens by type, prompt or completion, and model.",
    "promptmill_cached_tokens_total": "Part of the prompt tokens: what the provider had kept. Missing where it never "
    "said so.",
    "promptmill_reasoning_tokens_total": "Part of the completion tokens: what the model thought. Missing as above.",
    "promptmill_cost_total": "What the calls of the last run cost, by currency and model.",
    "promptmill_unknown_calls": "Calls of the last run that were sent and never answered: possibly billed.",
    "promptmill_unknown_cost_bound": "The most that calls whose tokens are not known can have cost, by currency.",
    "promptmill_limit_used_ratio": "The share of a limit that is in use, by limit and model (empty for one of all the "
    "job).",
}
"""By name, what each metric tells, for people."""
_COUNTERS: Final = "_total"


class Moment(NamedTuple):
    """What is known of a command at one moment.

    Attributes:
        at_s: seconds since 1970.
        elapsed_s: since the command began.
        exit_code: what it ends with; None while it works.
        last_success_s: when a command last ended with 0; None for never.
        progress: how far its last run is; None for a command that opened none.
    """

    at_s: float
    elapsed_s: float
    exit_code: int | None
    last_success_s: float | None
    progress: Progress | None


def families(job: Job, moment: Moment) -> list[Family]:
    """The metrics of a job at one moment, in the order of `METRICS`.

    Args:
        job: what is run; its models begin with zeros.
        moment: what is known of its command.
    """
    found: dict[str, list[Sample]] = {name: [] for name in METRICS}
    found.update(_of_command(moment))
    progress = moment.progress
    totals = Totals() if progress is None else progress.totals
    _rows(found, totals, progress)
    _calls(found, _by_model(job, totals))
    found["promptmill_unknown_cost_bound"] += [
        Sample(cost, {"currency": currency}) for currency, cost in totals.cost_bound.items()
    ]
    for limit in () if progress is None else progress.limits:
        share = round(limit.used / limit.limit, 4) if limit.limit else 0.0
        found["promptmill_limit_used_ratio"].append(Sample(share, {"limit": limit.name, "model": limit.model or ""}))
    return _families(found)


def families_of_refusal(moment: Moment) -> list[Family]:
    """The metrics of a command that could not even read its job."""
    return _families(_of_command(moment))


def _families(found: Mapping[str, list[Sample]]) -> list[Family]:
    return [
        Family(name, "counter" if name.endswith(_COUNTERS) else "gauge", METRICS[name], tuple(samples))
        for name, samples in found.items()
    ]


def _of_command(moment: Moment) -> dict[str, list[Sample]]:
    last = moment.last_success_s
    values = {
        LAST_SUCCESS: None if last is None else round(last, 3),
        "promptmill_last_run_timestamp_seconds": round(moment.at_s, 3),
        RUNNING: int(moment.exit_code is None),
        "promptmill_run_exit_code": moment.exit_code,
        "promptmill_run_duration_seconds": round(moment.elapsed_s, 3),
    }
    return {name: [] if value is None else [Sample(value)] for name, value in values.items()}


def _rows(found: Mapping[str, list[Sample]], totals: Totals, progress: Progress | None) -> None:
    rows = found["promptmill_rows"]
    rows.append(Sample(totals.rows_ok, {"state": "ok"}))
    rows.append(Sample(totals.rows_failed, {"state": "failed"}))
    expected = 0 if progress is None else progress.expected
    if expected is not None:
        rows.append(Sample(max(0, expected - totals.rows), {"state": "left"}))
    found["promptmill_rows_retryable"].append(Sample(totals.rows_retryable))
    found["promptmill_unknown_calls"].append(Sample(totals.unknown))


def _by_model(job: Job, totals: Totals) -> dict[str, dict[str, ModelSums]]:
    """Sums by model and lane; what an older version did of the same run stands under no name."""
    names = job.model.names or (job.model.name,)
    models = {name: {str(lane): ModelSums() for lane in job.model.lanes} for name in names}
    add_models(models, totals.models)
    rest = ModelSums(
        calls={state: getattr(totals, state) for state in CALL_STATES},
        prompt_tokens=totals.prompt_tokens,
        completion_tokens=totals.completion_tokens,
        units=dict(totals.units),
    )
    for lanes in totals.models.values():
        for sums in lanes.values():
            rest.take_away(sums)
    if any(rest.calls.values()):
        models.setdefault("", {})[""] = rest
    return models


def _calls(found: Mapping[str, list[Sample]], models: Mapping[str, Mapping[str, ModelSums]]) -> None:
    for model, lanes in models.items():
        whole = ModelSums()
        for lane, sums in lanes.items():
            whole.add(sums)
            found["promptmill_calls_total"] += [
                Sample(sums.calls.get(state, 0), {"state": state, "model": model, "lane": lane})
                for state in CALL_STATES
            ]
        tokens = {"prompt": whole.prompt_tokens, "completion": whole.completion_tokens}
        found["promptmill_tokens_total"] += [
            Sample(number, {"type": kind, "model": model}) for kind, number in tokens.items()
        ]
        for name, part in (("cached", whole.cached_tokens), ("reasoning", whole.reasoning_tokens)):
            if part is not None:
                found[f"promptmill_{name}_tokens_total"].append(Sample(part, {"model": model}))
        costs: dict[str, Decimal] = whole.cost
        found["promptmill_cost_total"] += [
            Sample(cost, {"currency": currency, "model": model}) for currency, cost in costs.items()
        ]
