"""The addresses of a run: what a call needs of each, and which budgets it shares with other jobs there.

Owns what a shared budget is named by (address, key, model), and which of the job's limits are declared for it. How it
is shared is the matter of `limits.sharing`, where a call goes that of `limits.endpoints`.
"""

from __future__ import annotations

from contextlib import ExitStack

from batch.job.job import Job, LimitSpec
from batch.limits.limiter import Limiter
from batch.limits.sharing import Sharing
from batch.plan.preflight import CheckedJob
from batch.providers.registry import likelier_url
from batch.submit.evidence import Evidence
from batch.submit.targets import Target


def shared_budgets(checked: CheckedJob, limiter: Limiter, stack: ExitStack) -> Sharing:
    """Join the budgets of all models that a limiter knows by now.

    Args:
        checked: the job.
        limiter: of the run.
        stack: leaves them when the run is over.
    """
    job, endpoint = checked.job, checked.endpoint
    sharing = Sharing(checked.shared, limiter.clock, job=job.name)
    stack.callback(sharing.leave)
    if job.limits.share == "none":
        return sharing
    for name, limits in limiter.models.items():
        if not limits.members:
            parts = (endpoint.base_url, endpoint.key_digest.hex(), name)
            sharing.join(limits, parts, job_rates=limiter.rates, concurrency=declared_calls(job, name))
        for spec, one in zip(job.model.endpoints, limits.members, strict=False):
            # The job's own limits hold over all addresses, so none of them is declared for the key of one.
            at = checked.endpoints[spec.called]
            parts = (at.base_url, at.key_digest.hex(), name)
            sharing.join(one, parts, job_rates=None, concurrency=spec.limits.concurrency)
    return sharing


def targets_of(checked: CheckedJob, evidence: Evidence) -> list[Target]:
    """What a call needs of each address of a job; none where it has one.

    Args:
        checked: the job.
        evidence: what the folder knows of the first of them.
    """
    return [
        Target(
            one.dialect,
            one.base_url,
            checked.prices_at[name],
            evidence.beside(one.base_url, one.key_digest),
            name=name,
            likelier_url=likelier_url(one.base_url, one.service),
        )
        for name, one in checked.endpoints.items()
    ]


def declared_calls(job: Job, model: str) -> int | None:
    """The calls in flight that a job declares for one model; None where it leaves that to the default."""
    limits, key = job.limits, ("limits", "concurrency")
    given = key in job.settings or limits.concurrency != LimitSpec().concurrency
    of_model = limits.model[model].concurrency if model in limits.model else None
    found = [most for most in (limits.concurrency if given else None, of_model) if most is not None]
    return min(found, default=None)
