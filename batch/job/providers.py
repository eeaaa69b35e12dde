"""A job's own providers: the `[provider.NAME]` tables, for services that speak like one promptmill knows.

Owns what such a table may hold, the names that are taken, and the errors for a wrong name. What each key means is in
`keys`. It does not know how the built-in services are reached: that is data of `batch.providers`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from batch.core.nearest import suggestion
from batch.job.fieldtypes import KeyCommand, KeyFile

BUILT_IN: Final = ("glm", "zai", "openai", "dashscope", "deepseek", "moonshot", "vllm", "simulator")
"""The providers that need no table; a table of such a name would hide one of them."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_ASKED: Final = frozenset({"model", "messages", "tools"})
_HEADERS: Final = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "authorization", "connection", "content-encoding"),
        *("content-length", "content-type", "cookie", "expect", "host", "te", "transfer-encoding", "upgrade"),
    }
)
"""Headers that a request needs for itself."""


class ProviderSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a service is reached. Not what it is asked: a change here makes no answer stale."""

    base_url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")],
        Meta(description="an http:// or https:// address without a password, ? or # in it"),
    ]
    speaks: Annotated[Literal["openai", "glm"], Meta(description='"openai" or "glm"')] = "openai"
    api_key_env: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] | None,
        Meta(description='the NAME of an environment variable, for example "MYCORP_KEY"; never the key itself'),
    ] = None
    key_file: KeyFile = None
    key_command: KeyCommand = ()
    call_id_header: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] | None,
        Meta(description='the name of a header, for example "X-Request-Id"'),
    ] = None
    counts: Annotated[Literal["asked", "used"] | None, Meta(description='"asked" or "used"')] = None
    json: Annotated[Literal["schema", "object", "none"], Meta(description='"schema", "object" or "none"')] = "none"
    logprobs: Annotated[bool, Meta(description="true or false")] = False
    finish_reasons: Annotated[
        dict[str, Literal["stop", "length", "tool_calls", "content_filter", "error"]],
        Meta(description='a table of words and what they mean: { natural = "stop", cut = "length" }'),
    ] = {}
    never_send: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(description='a list of parameters that are left out of requests: ["seed"]'),
    ] = ()
    price: Annotated[
        tuple[dict[str, Any], ...],
        Meta(description="tables [[provider.NAME.price]], each with models, currency, input and output"),
    ] = ()
    """What its tokens cost, in the form of a price file; `batch.money` reads and checks it."""


_PRICES: Final = (
    'is built in: what its models cost stands in a file, which a line prices = "my-prices.toml" on top of the job names'
)


def faults(tables: Any, asked: Any) -> list[tuple[tuple[str, ...], str]]:
    """The faults in the names of these tables, each as key path and text.

    Args:
        tables: what stands under `provider`: tables as read from the file, or `ProviderSpec`s. Anything else in it is
            ignored, because the check of types reports it.
        asked: the value of `model.provider`.
    """
    tables = tables if isinstance(tables, Mapping) else {}
    tables = {name: table for name, table in tables.items() if isinstance(table, (Mapping, ProviderSpec))}
    errors: list[tuple[tuple[str, ...], str]] = []
    for name, table in tables.items():
        if name in BUILT_IN:
            text = "is built in: give the table another name, or set model.base_url for another address of it"
            text = _PRICES if _member(table, "price") and not _member(table, "base_url") else text
            errors.append((("provider", name), text))
        elif not _NAME.fullmatch(name):
            text = "is no name for a provider: small letters, digits, - and _, at most 64, a letter first"
            errors.append((("provider", name), text))
        header, left_out = _member(table, "call_id_header"), _member(table, "never_send")
        if isinstance(header, str) and header.lower() in _HEADERS:
            text = "is a header that a request needs for itself: name another"
            errors.append((("provider", name, "call_id_header"), text))
        errors += [(("provider", name, way), text) for way, text in keys_beside(table)]
        if isinstance(left_out, (list, tuple)) and (needed := sorted(_ASKED.intersection(map(str, left_out)))):
            text = f"{' and '.join(needed)} cannot be left out of a request: take it out"
            errors.append((("provider", name, "never_send"), text))
    if isinstance(asked, str) and asked and asked not in BUILT_IN and asked not in tables:
        errors.append((("model", "provider"), unknown(asked, tables)))
    return errors


def keys_beside(table: Any) -> list[tuple[str, str]]:
    """The ways to a key in one table that stand beside another one, each with what to say of it."""
    ways = [name for name in ("api_key_env", "key_file", "key_command") if _member(table, name)]
    return [(way, f"stands beside {ways[0]}, and a key comes from one place: keep one of them") for way in ways[1:]]


def unknown(asked: str, tables: Mapping[str, Any]) -> str:
    """What to say of an unknown provider: the nearest name or all names there are, and how to add one."""
    names = (*BUILT_IN, *tables)
    which = suggestion(asked, names, f"There are: {', '.join(names)}.")
    return f"is no known provider. {which} Any other service needs a table [provider.NAME]"


def _member(table: Any, name: str) -> Any:
    return table.get(name) if isinstance(table, Mapping) else getattr(table, name, None)
