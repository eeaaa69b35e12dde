"""What the budget of a job comes to before a run: that every call has a bound and a price, and which packs are its own.

Owns the cross-checks between `[budget]` and the model, its parameters and its prices, and what makes a budget soft.
Nothing is spent or set aside here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from batch.core import statefolder
from batch.job.budgetspec import BudgetSpec, GrantSpec
from batch.job.job import Job
from batch.job.shard import own_state
from batch.money.bounds import MOST_TOKENS, most_tokens, searched
from batch.money.days import GRANT_ZONE, end_us
from batch.money.prices import Prices
from batch.prompts.variants import Variants, column_of
from batch.providers.registry import Endpoint
from batch.submit.slices import PACK, Slice

_NO_DAY = "9999-12-31"


class CheckedBudget(msgspec.Struct, frozen=True):
    """A budget that a run can keep to."""

    spec: BudgetSpec
    state: Path
    """The folder in which runs of one user share money."""
    packs: tuple[Slice, ...] = ()
    """The packs of the key in use that have not ended, those that end first in front."""
    soft: str = ""
    """What in the calls of the job has no bound, so that they may come to more than is held for them; empty for
    nothing."""


def budget_of(
    job: Job,
    environ: Mapping[str, str],
    faults: list[str],
    *,
    endpoint: Endpoint | None,
    prices: Prices | None,
    variants: Variants,
    now_us: int,
) -> CheckedBudget | None:
    """The budget of a job; None where it has none, or it is wrong, which is told in `faults`.

    Args:
        job: whose budget it is.
        environ: tells where the state folder is.
        faults: takes what is wrong.
        endpoint: who is asked, with the key in use; None where that is wrong already.
        prices: the price lists; None where one is wrong, which is told already.
        variants: whether pictures are sent.
        now_us: wall time, in microseconds of UTC.
    """
    spec = job.budget
    if spec is None or endpoint is None or prices is None or spec == BudgetSpec():
        return None
    before = len(faults)
    parameters = {
        name: value for name, value in job.model.parameters.items() if name not in endpoint.service.never_send
    }
    if spec.bounds_calls and job.input.format == "rows" and not _says_length(parameters):
        keys = ", ".join(key for key in ("max_cost", "max_tokens", "per_day", "grants") if getattr(spec, key))
        faults.append(
            f"budget ({keys}): what a call can come to is known only if an answer has an end: set max_tokens in "
            "model.parameters, for example parameters = { max_tokens = 512 }"
        )
    faults += _price_faults(job, spec, prices, now_us)
    packs = _packs(spec, endpoint, now_us, faults)
    if len(faults) > before:
        return None
    soft = "pictures" if variants.pictured else searched(parameters)
    return CheckedBudget(spec, own_state(job, statefolder.folder(environ)), packs, soft if spec.bounds_calls else "")


def doubts(budget: CheckedBudget | None) -> list[str]:
    """What of a budget cannot be kept to exactly."""
    if budget is None or not budget.soft:
        return []
    text = (
        f"budget: it is soft, because {budget.soft} have no bound before they are billed: what is held for a call is "
        "its text alone, so the calls in flight when it is reached may come to more"
    )
    return [text]


def _says_length(parameters: Mapping[str, object]) -> bool:
    """Whether answers have an end by the job, or by a column of the row."""
    of_rows = any(column_of(parameters.get(name)) is not None for name in MOST_TOKENS)
    return of_rows or most_tokens(parameters) is not None


def _price_faults(job: Job, spec: BudgetSpec, prices: Prices, now_us: int) -> list[str]:
    """What is wrong where money is counted: models without a price, or with one in another currency."""
    faults = []
    provider = job.model.provider
    for key, amount in spec.amounts.items():
        for model in _models(job):
            currency = prices.currency(provider, model, now_us)
            if currency is None:
                line = f'[[provider.{provider}.price]] with models = ["{model}"]'
                faults.append(
                    f"budget.{key} = {amount}: {provider}/{model} has no price, so what it costs cannot be counted. "
                    f'Add {line}, currency = "{amount.currency}", input = "…" and output = "…" (per million tokens), '
                    "or count tokens instead with budget.max_tokens"
                )
            elif currency != amount.currency:
                faults.append(
                    f"budget.{key} = {amount}: {provider}/{model} is billed in {currency}, and nothing is converted: "
                    f"give the amount in {currency}"
                )
            elif job.model.first_lane == "bulk" and not prices.current(provider, model, now_us, lane="bulk"):
                line = f'[[provider.{provider}.price]] with models = ["{model}"], tier = "batch"'
                faults.append(
                    f"budget.{key} = {amount}: {provider}/{model} has no price for batches, so what they cost cannot "
                    f'be counted. Add {line}, currency = "{amount.currency}", input = "…" and output = "…" (per '
                    "million tokens), choose another lane, or count tokens instead with budget.max_tokens"
                )
    return faults


def _models(job: Job) -> tuple[str, ...]:
    """The models that a job may ask."""
    labels = job.labels
    more = (labels.escalate,) if labels is not None and labels.escalate is not None else ()
    return tuple(dict.fromkeys((*(job.model.names or (job.model.name,)), *more)))


def _packs(spec: BudgetSpec, endpoint: Endpoint, now_us: int, faults: list[str]) -> tuple[Slice, ...]:
    """The packs that the key in use may draw on; without any that has not ended there would be nothing to do."""
    in_use = endpoint.key_env_used
    own = [grant for grant in spec.grants if grant.key is None or grant.key == in_use]
    if spec.grants and not own:
        others = ", ".join(dict.fromkeys(str(grant.key) for grant in spec.grants))
        origin = endpoint.key_origin or "nowhere"
        faults.append(
            f"budget.grants: all packs belong to {others}, and the key in use comes from {origin}: add a pack for it, "
            "or correct key"
        )
    good = [grant for grant in own if grant.until is None or now_us < end_us(grant.until, GRANT_ZONE)]
    if own and not good:
        last = max(grant.until for grant in own if grant.until is not None)
        faults.append(
            f"budget.grants: every pack has ended, the last one with {last} ({GRANT_ZONE}): buy another one and add "
            "it, or take grants out"
        )
    good.sort(key=lambda grant: (str(grant.until or _NO_DAY), grant.size))
    names: list[str] = []
    for grant in good:
        names.append(_name(grant, endpoint.key_digest.hex(), names))
    return tuple(
        Slice(name, grant.size, "", None if grant.until is None else end_us(grant.until, GRANT_ZONE))
        for name, grant in zip(names, good, strict=True)
    )


def _name(grant: GrantSpec, key: str, taken: list[str]) -> str:
    """The name of a pack's pot: packs that are equal in all are counted one by one."""
    start = f"{PACK} {key[:16] or 'no-key'} {grant.until or _NO_DAY} {grant.size:016}"
    return f"{start} {sum(name.startswith(start) for name in taken) + 1}"
