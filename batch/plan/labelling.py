"""What a job's labels come to before a run: their schema, how they are asked for, their columns, and what is doubtful.

Owns the cross-checks between `[labels]` and the prompt, the model, the input and the columns of earlier runs. It opens
no file but those that `[labels]` names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from batch.core.arrowcommon import widened
from batch.core.arrowtypes import type_text
from batch.core.errors import JobError
from batch.input.source import Source
from batch.job.job import Job
from batch.labels import asking, loading
from batch.labels.asking import Asking, Form
from batch.labels.nodes import NAMES
from batch.labels.schema import LabelColumn, LabelSchema
from batch.output.columns import CONFIDENCE, SAMPLED
from batch.prompts.variants import Variants
from batch.providers.service import Service

NO_COLUMNS: Final[Mapping[str, Any]] = MappingProxyType({})
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
    confidence = job.labels is not None and job.labels.confidence
    return Asking(
        labels=labels,
        forms=forms,
        shown=service.schema_shown,
        named=named,
        own=own is not None,
        confidence=confidence,
    )


def columns_beside(job: Job) -> dict[str, Any]:
    """Names and types of the columns that tell of the labels of a job: how its samples voted, how sure it is."""
    spec = job.labels
    if spec is None:
        return {}
    return {**(SAMPLED if spec.samples > 1 else {}), **(CONFIDENCE if spec.confidence else {})}


def cannot(job: Job, service: Service, models: Iterable[str], effects: Sequence[str]) -> list[str]:
    """What a job asks of its labels that cannot be had.

    Args:
        job: of which they are.
        service: who is asked.
        models: all that may be asked.
        effects: names of its tools with effects.
    """
    spec, faults = job.labels, []
    if spec is None:
        return []
    if spec.samples > 1 and effects:
        faults.append(
            f"labels.samples = {spec.samples}: each sample is a conversation of its own that runs its tools anew, and "
            f"{', '.join(effects)} has effects: they would happen {spec.samples} times for each row, and nobody asked "
            "for that. Set samples = 1, or offer no tool with effects to this job."
        )
    without = sorted(model for model in set(models) if not service.tells_chances(model)) if spec.confidence else []
    if without:
        faults.append(
            f"labels.confidence: {service.name} does not tell how probable the words of {', '.join(without)} are "
            "(logprobs). Take confidence out and set samples = 3: the column agreement then tells how sure a label is. "
            f"A service that does tell, and is not known for it, needs logprobs = true in its table [provider.NAME]."
        )
    return faults


def columns_of(
    labels: LabelSchema | None, kept: pa.Schema, faults: list[str], *, more: Mapping[str, Any] = NO_COLUMNS
) -> pa.Schema:
    """The columns of labels: those of earlier runs first, which never go away, then new ones.

    Args:
        labels: of the job as it is now.
        kept: the columns of earlier runs.
        faults: takes what cannot go together.
        more: names and types of what is told beside the labels.
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
    for name, kind in more.items():
        fields.setdefault(name, LabelColumn(name, kind).field())
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
    yield from _alike(job)
    most = job.model.parameters.get("max_tokens", job.model.parameters.get("max_completion_tokens"))
    least = _least_tokens(how)
    if isinstance(most, int) and most < least:
        yield f"model.parameters: max_tokens = {most} is too few for the longest label, which takes {least} or more"


def _alike(job: Job) -> Iterator[str]:
    """What of a job's parameters makes its samples the same answer again and again."""
    spec, parameters = job.labels, job.model.parameters
    if spec is None or spec.samples == 1:
        return
    fixed = [f"{name} = {parameters[name]}" for name in ("temperature", "seed", "top_p") if _fixes(name, parameters)]
    fixed += ["do_sample = false"] if parameters.get("do_sample") is False else []
    for text in fixed:
        yield (
            f"labels.samples: with {text} the {spec.samples} samples of a row are likely the same answer, and paid "
            "for each: take it out, or set samples = 1"
        )


def _fixes(name: str, parameters: Mapping[str, Any]) -> bool:
    value = parameters.get(name)
    return value is not None if name == "seed" else value == 0


def _least_tokens(how: Asking) -> int:
    """How many tokens the longest label surely takes."""
    braces = _TOKENS_OF_BRACES if any(form != "none" for form in how.forms.values()) else 0
    if how.labels.names:
        return math.ceil(max(map(len, how.labels.names)) / _CHARACTERS_A_TOKEN) + braces
    return _TOKENS_OF_BRACES * len(how.labels.columns)
