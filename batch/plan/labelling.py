"""What a job's labels come to before a run: their schema, how they are asked for, their columns, and what is doubtful.

Owns the cross-checks between `[labels]` and the prompt, the model, the input and the columns of earlier runs. It opens
no file but those that `[labels]` names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pyarrow as pa

from batch.core.arrowcommon import widened
from batch.core.arrowtypes import type_text
from batch.core.errors import JobError
from batch.input.source import Source
from batch.job.job import Job
from batch.labels import asking, loading
from batch.labels.asking import Asking, Form
from batch.labels.nodes import NAMES
from batch.labels.schema import LabelSchema
from batch.prompts.variants import Variants
from batch.providers.service import Service

_CHARACTERS_A_TOKEN = 5
_TOKENS_OF_BRACES = 5


def schema_of(job: Job, faults: list[str]) -> LabelSchema | None:
    """The labels of a job; None where it asks for none, or they are wrong, which is told in `faults`."""
    if job.labels is None:
        return None
    try:
        return loading.load(job.labels, job.folder)
    except JobError as exc:
        faults += exc.faults
        return None


def asking_of(job: Job, labels: LabelSchema, service: Service, variants: Variants) -> Asking:
    """How the rows of a job are asked for their labels.

    Args:
        job: whose models and parameters count.
        labels: what is asked for.
        service: who is asked.
        variants: what their prompts say.
    """
    own = asking.own_form(job.model.parameters)
    models = {variant.model for variant in variants}
    if job.labels is not None and job.labels.escalate is not None:
        models.add(job.labels.escalate)
    forms: dict[str, Form] = {model: own or service.json_of(model) for model in sorted(models)}
    named = bool(labels.names) and not any(asking.unnamed(labels.names, variant.prompt.plain) for variant in variants)
    return Asking(labels=labels, forms=forms, shown=service.schema_shown, named=named, own=own is not None)


def columns_of(labels: LabelSchema | None, kept: pa.Schema, faults: list[str]) -> pa.Schema:
    """The columns of labels: those of earlier runs first, which never go away, then new ones.

    Args:
        labels: of the job as it is now.
        kept: the columns of earlier runs.
        faults: takes what cannot go together.
    """
    fields = {field.name: field for field in kept}
    for column in labels.columns if labels is not None else ():
        now, before = column.field(), fields.get(column.name)
        if before is None or before.type == now.type:
            fields[column.name] = before or now
        elif {before.type, now.type} != {NAMES, pa.string()}:  # texts from a list or not: the column can hold both
            wider = widened(before, now)
            if wider is None:
                faults.append(
                    f"labels: the column {column.name} is {type_text(now)} now, and {type_text(before)} in the results "
                    "so far. Give the property its old type back or another name, or choose another folder with -o."
                )
            fields[column.name] = wider or before
    return pa.schema(list(fields.values()))


def gold_faults(job: Job, source: Source) -> list[str]:
    """What is wrong with the column of true labels."""
    gold = job.labels.gold if job.labels is not None else None
    if gold is None:
        return []
    if gold not in source.names:
        return [f"labels.gold: {gold!r} is no column of the input. It has: {', '.join(source.names[:12])}."]
    if job.output.columns is not None and gold not in job.output.columns:
        return [f"labels.gold: {gold!r} is not among output.columns, so there is nothing to compare with: add it there"]
    return []


def doubts(job: Job, how: Asking, variants: Variants) -> Iterator[str]:
    """What of the labels is allowed and probably not meant, one line each.

    Args:
        job: of which they are.
        how: they are asked for.
        variants: what the prompts say.
    """
    names = how.labels.names
    for variant in variants:
        missing = asking.unnamed(names, variant.prompt.plain)
        if names and 0 < len(missing) <= len(names) // 2:
            few = ", ".join(missing[:3])
            whose = f" of variant {variant.name}" if variant.name else ""
            yield f"labels.names: the prompt{whose} names some of the labels, and not {few}: is its list an older one?"
            break
    if job.labels is not None and job.labels.gold in variants.columns:
        yield f"labels.gold: the prompt reads {job.labels.gold!r} too, so the model is shown the answer"
    most = job.model.parameters.get("max_tokens", job.model.parameters.get("max_completion_tokens"))
    least = _least_tokens(how)
    if isinstance(most, int) and most < least:
        yield f"model.parameters: max_tokens = {most} is too few for the longest label, which takes {least} or more"


def _least_tokens(how: Asking) -> int:
    """How many tokens the longest label surely takes."""
    braces = _TOKENS_OF_BRACES if any(form != "none" for form in how.forms.values()) else 0
    if how.labels.names:
        return math.ceil(max(map(len, how.labels.names)) / _CHARACTERS_A_TOKEN) + braces
    return _TOKENS_OF_BRACES * len(how.labels.columns)
