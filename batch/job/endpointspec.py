"""One of several addresses that a job asks, and the limits of a model or of such an address.

Owns their shape, and the rules between the addresses of one job. What the keys mean is in `keys` and `limitkeys`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from batch.job.fieldtypes import KeyCommand, KeyFile
from batch.job.providers import keys_beside

RequestsPerMinute = Annotated[
    Annotated[float, Meta(gt=0, le=10_000_000)] | None, Meta(description="requests per minute, more than 0")
]
TokensPerMinute = Annotated[
    Annotated[float, Meta(gt=0, le=1_000_000_000_000)] | None, Meta(description="tokens per minute, more than 0")
]


class ModelLimitSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast one model of several is asked, within the limits of the job."""

    concurrency: Annotated[
        Annotated[int, Meta(ge=1, le=10_000)] | None, Meta(description="a whole number from 1 to 10000")
    ] = None
    requests_per_minute: RequestsPerMinute = None
    tokens_per_minute: TokensPerMinute = None


class EndpointSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address of the provider, or of another server that has the same models."""

    base_url: Annotated[str, Meta(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")]
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$")] | None = None
    """What it is called in the book; None for host and port of the address."""
    api_key_env: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] | None = None
    key_file: KeyFile = None
    key_command: KeyCommand = ()
    weight: Annotated[float, Meta(gt=0, le=1_000)] = 1.0
    """How many calls it has in flight beside those of the others, where its limits let it."""
    limits: ModelLimitSpec = ModelLimitSpec()

    @property
    def called(self) -> str:
        """Its name, in the book and to people."""
        return self.name or urlsplit(self.base_url).netloc


def misread(exc: Exception) -> str:
    """What of a list of addresses does not fit, in words."""
    text, _, place = str(exc).partition(" - at ")
    where = re.sub(r"^`\$\[(\d+)\]\.?(.*)`$", lambda found: f"{found[2] or 'all'} of number {int(found[1]) + 1}", place)
    form = "must be http:// or https:// and a host, without a password, ? or #"
    if "regex" in text:
        text = form if where.startswith("base_url") else "has another form"
    return f"{where}: {text[:1].lower()}{text[1:]}" if where else text


def endpoint_faults(model: dict[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    """What is wrong between the addresses of a job, each as key path and text.

    Args:
        model: the fields of `[model]` that were given.
    """
    endpoints: Sequence[EndpointSpec] = model.get("endpoints") or ()
    where = ("model", "endpoints")
    if not endpoints:
        return []
    faults: list[tuple[tuple[str, ...], str]] = []
    if model.get("base_url"):
        faults.append((("model", "base_url"), "stands beside endpoints, which have an address each: keep one of them"))
    for number, one in enumerate(endpoints):
        faults += [((*where, str(number), way), text) for way, text in keys_beside(one)]
    names = [one.called for one in endpoints]
    for name in sorted({name for name in names if names.count(name) > 1}):
        faults.append((where, f'has {name!r} twice: give each a name of its own, as in name = "first-key"'))
    return faults
