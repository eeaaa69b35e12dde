"""Which budgets a run shares with other jobs: those of its key, at its address, for each of its models.

Owns what such a budget is named by, and which of the job's limits are declared for it. How it is shared is the matter
of `limits.sharing`.
"""

from __future__ import annotations

from contextlib import ExitStack

from batch.job.job import Job, LimitSpec
from batch.limits.limiter import Limiter
from batch.limits.sharing import Sharing
from batch.plan.preflight import CheckedJob


def shared_budgets(checked: CheckedJob, limiter: Limiter, stack: ExitStack) -> Sharing:
    """Join the budgets of all models that a limiter knows by now.

    Args:
        checked: the job.
        limiter: of the run.
        stack: leaves them when the run is over.
    """
    job, endpoint = checked.job, checked.endpoint
    sharing = Sharing(checked.state, limiter.clock, job=job.name)
    stack.callback(sharing.leave)
    if job.limits.share == "none":
        return sharing
    for name, limits in limiter.models.items():
        parts = (endpoint.base_url, endpoint.key_digest.hex(), name)
        sharing.join(limits, parts, job_rates=limiter.rates, concurrency=declared_calls(job, name))
    return sharing


def declared_calls(job: Job, model: str) -> int | None:
    """The calls in flight that a job declares for one model; None where it leaves that to the default."""
    limits, key = job.limits, ("limits", "concurrency")
    given = key in job.settings or limits.concurrency != LimitSpec().concurrency
    of_model = limits.model[model].concurrency if model in limits.model else None
    found = [most for most in (limits.concurrency if given else None, of_model) if most is not None]
    return min(found, default=None)
