"""Where the requests of a job go, and with which keys: one address, or several.

Owns what is found out of them before a run, and which faults of a job are theirs. It sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from batch.core.errors import BatchError
from batch.http import environment
from batch.job.job import Job
from batch.providers.pool import resolve_all
from batch.providers.registry import Endpoint, key_source, resolve


def endpoint_of(job: Job, environ: Mapping[str, str]) -> Endpoint:
    """Where the requests of a job go that has one address, and with which key.

    Raises:
        RefusedToStart: the provider, its address or the key is missing or wrong, or the way there.
    """
    endpoint = resolve(
        job.model.provider,
        base_url=job.model.base_url,
        api_key_env=job.model.api_key_env,
        environ=environ,
        key_form=job.model.key_form,
        tables=job.provider,
        source=key_source(job.model, job.provider, job.folder),
    )
    environment.check(endpoint.base_url)
    return endpoint


def endpoints_of(
    job: Job, environ: Mapping[str, str], faults: list[str]
) -> tuple[Endpoint | None, dict[str, Endpoint]]:
    """Where the requests of a job go: the first or only address, and all by name where there are several."""
    endpoints = resolve_all(job.model, job.provider, folder=job.folder, environ=environ, faults=faults)
    if len(endpoints) < len(job.model.endpoints):
        return None, {}  # told already
    try:
        endpoint = next(iter(endpoints.values())) if endpoints else endpoint_of(job, environ)
        for one in endpoints.values():
            environment.check(one.base_url)
    except BatchError as exc:
        faults.append(str(exc))
        return None, {}
    grants = job.budget.grants if job.budget is not None else ()
    if grants and len({one.key_digest for one in endpoints.values()}) > 1:
        faults.append("budget.grants: packs belong to one key, and model.endpoints have several: take one of both out")
    for lane in job.model.lanes:
        if lane not in endpoint.dialect.lanes and not job.model.decides:
            lanes = ", ".join(sorted(endpoint.dialect.lanes))
            faults.append(f'model.lane = "{lane}": provider {job.model.provider} has no such lane; it has {lanes}')
    return endpoint, endpoints
