"""What `promptmill check` says of a job's labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batch.cli.text import count
from batch.core.plain import clean

if TYPE_CHECKING:
    from batch.plan.preflight import CheckedJob

_SHOWN: Final = 160
"""Characters of what is added to a prompt."""


def models_asked(checked: CheckedJob) -> tuple[str, ...]:
    """The models of a job, with the one that is asked for labels in the end."""
    labels, models = checked.job.labels, checked.job.model.names or (checked.job.model.name,)
    more = labels.escalate if labels is not None else None
    return (*models, more) if more is not None and more not in models else models


def labels_text(checked: CheckedJob) -> str:
    """What a label is, in which form it is asked for, and what is done about an answer without one."""
    how, spec = checked.asking, checked.job.labels
    if how is None or spec is None:
        return ""
    what = (
        count(len(how.labels.names), "name") if how.labels.names else f"an object: {', '.join(how.labels.root.fields)}"
    )
    forms = {"schema": "held to its JSON schema", "object": "as a JSON object", "none": "in plain words"}
    asked = {how.form(model) for model in models_asked(checked)}
    then = f", then {clean(spec.escalate)} is asked" if spec.escalate else ""
    lines = [
        f"{what}, asked for {', '.join(forms[form] for form in sorted(asked))}",
        f"without a valid one asked again {count(spec.reasks, 'time')}{then}",
        *([f"each row asked {spec.samples} times: the label is what most answers say"] if spec.samples > 1 else []),
        *(["asked how probable each label is"] if spec.confidence else []),
        *([f"compared with the column {clean(spec.gold)}"] if spec.gold else []),
        *(f"added to the prompt: {_start(text)}" for text in sorted({how.instruction(form) for form in asked} - {""})),
    ]
    return "\n".join(lines)


def _start(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else f"{flat[:_SHOWN]}…"
