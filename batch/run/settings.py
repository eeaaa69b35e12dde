"""What of a job the workers need, as one value: lane, rules of conversations, attempts and times.

Owns how these are taken from a checked job. What follows from them is decided elsewhere.
"""

from __future__ import annotations

from batch.labels.tries import LabelRules
from batch.plan.preflight import CheckedJob
from batch.prompts import steps
from batch.providers.registry import likelier_url
from batch.run.conclusion import Settings


def settings_of(checked: CheckedJob, *, collecting: bool) -> Settings:
    """What the workers need of a job; `collecting` says that it changed, and nothing more is asked for its old form."""
    job = checked.job
    rules = steps.Rules(
        max_turns=job.tools.max_turns if job.tools else 1,
        tools=collecting or len(checked.tools) > 0,
        served=job.model.served,
        keep=job.output.messages,
        finish_reasons=dict(checked.endpoint.service.finish_reasons),
        labels=_label_rules(checked, collecting=collecting),
    )
    return Settings(
        lanes=checked.lanes,
        rules=rules,
        max_attempts=job.limits.max_attempts,
        task_timeout_s=job.limits.task_timeout_s,
        deadline_s=job.limits.deadline_s,
        likelier_url=likelier_url(checked.endpoint.base_url, checked.endpoint.service),
        collect_only=collecting,
    )


def _label_rules(checked: CheckedJob, *, collecting: bool) -> LabelRules | None:
    """What is done about labels; of a job that changed only what was asked already is collected, and is a vote."""
    if checked.asking is None:
        return None
    spec = checked.job.labels
    if spec is None:
        return LabelRules(checked.asking)
    samples = 1 if collecting else spec.samples
    return LabelRules(checked.asking, spec.reasks, spec.escalate, samples, spec.confidence)
