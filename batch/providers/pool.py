"""The several addresses of a job: each with its key, found as for one address.

Owns how `[model] endpoints` become endpoints of the provider, and what an error of one of them says of which it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from batch.core.errors import RefusedToStart
from batch.providers.keysource import KeySource
from batch.providers.registry import Endpoint, Tables, key_source, resolve

if TYPE_CHECKING:
    from batch.job.endpointspec import EndpointSpec
    from batch.job.job import ModelSpec


def resolve_all(
    model: ModelSpec, tables: Tables, *, folder: Path, environ: Mapping[str, str], faults: list[str]
) -> dict[str, Endpoint]:
    """The endpoints of a job by their names, in its order; those without fault.

    Args:
        model: the job's `[model]`.
        tables: its own providers.
        folder: of the job: relative paths start here, and here a command runs.
        environ: where keys come from.
        faults: gets what is wrong with an endpoint.
    """
    found: dict[str, Endpoint] = {}
    for number, spec in enumerate(model.endpoints):
        where = f"model.endpoints.{number}"
        try:
            found[spec.called] = resolve(
                model.provider,
                base_url=spec.base_url,
                api_key_env=None if _own_source(spec, where, folder) else spec.api_key_env or model.api_key_env,
                environ=environ,
                key_form=model.key_form,
                tables=tables,
                source=_own_source(spec, where, folder)
                or (None if spec.api_key_env else key_source(model, tables, folder)),
            )
            found[spec.called].dialect.name_key(spec.called)
        except RefusedToStart as exc:
            faults.append(f"{where} ({spec.called}): {str(exc).replace('model.base_url', f'{where}.base_url')}")
    return found


def _own_source(spec: EndpointSpec, where: str, folder: Path) -> KeySource | None:
    """The file or the command that has the key of one endpoint; None where it names none."""
    if spec.key_file is not None:
        return KeySource(f"{where}.key_file", file=folder / spec.key_file.expanduser())
    if spec.key_command:
        return KeySource(f"{where}.key_command", command=spec.key_command, folder=folder)
    return None
