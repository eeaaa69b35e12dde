"""Which job a run works with: tasks submitted before the job was changed are still polled where they were submitted.

Owns what of the old job still counts when its tasks are collected: provider and model. It does not know how they are
polled.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from batch.core.errors import RefusedToStart
from batch.job.job import ModelSpec
from batch.labels.asking import Asking
from batch.labels.schema import LabelSchema
from batch.ledger.reader import LedgerReader
from batch.plan import continuation
from batch.plan.preflight import CheckedJob
from batch.prompts.variants import old_models
from batch.providers.registry import key_source, resolve


def checked_for(
    ready: CheckedJob, start: continuation.RunStart, reader: LedgerReader, environ: Mapping[str, str]
) -> CheckedJob:
    """The job that a run works with.

    Args:
        ready: the job as it is now.
        start: the run.
        reader: the ledger, which knows what the run asked.
        environ: where keys and base URLs come from.

    Returns:
        The job as it is now; for a run that only collects tasks, with the provider and model they were given to.

    Raises:
        RefusedToStart: the provider of the tasks cannot be asked any more.
    """
    if start.mode != "collect":
        return ready
    request = next(row.request for row in reader.runs() if row.run == start.run)
    old = msgspec.json.decode(request)
    job = ready.job
    model = msgspec.structs.replace(job.model, provider=old["provider"], name=old["model"], names=(), base_url=None)
    endpoint = ready.endpoint
    if old["provider"] != job.model.provider:
        try:
            source = key_source(ModelSpec(provider=old["provider"]), job.provider, job.folder)
            endpoint = resolve(
                old["provider"], base_url=None, api_key_env=None, environ=environ, tables=job.provider, source=source
            )
        except RefusedToStart as exc:
            raise RefusedToStart(f"tasks of the job as it was before wait to be collected, but {exc}") from exc
    asked = msgspec.structs.replace(job, model=model)
    asked.__dict__.update(job.__dict__)  # of the same shard
    labels = LabelSchema.of_request(old["labels"]) if old.get("labels") else None
    return msgspec.structs.replace(
        ready,
        job=asked,
        endpoint=endpoint,
        old_models=old_models(old),
        asking=Asking(labels=labels) if labels is not None else None,
    )
