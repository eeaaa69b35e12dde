"""The known providers, and how a provider's name becomes an `Endpoint`.

Owns the list of services (their data stands in `services/`) and what a job's own `[provider.NAME]` table makes of one.
It reads no environment itself: the caller hands one in. Sources of the addresses and variable names stand with the
services.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from batch.core import redaction
from batch.core.clock import Clock
from batch.core.errors import RefusedToStart
from batch.core.redaction import Secret
from batch.http import urls
from batch.http.urls import Url
from batch.job.providers import ProviderSpec, unknown
from batch.providers.base import Credentials, Dialect, Headers, Signer
from batch.providers.fetchedkey import FetchedKey
from batch.providers.glm import Glm
from batch.providers.jwt import SignedTokens
from batch.providers.keysource import KeySource
from batch.providers.openai import OPENAI, OpenAI
from batch.providers.service import Service
from batch.providers.services.bigmodel import GLM, SIMULATOR, ZAI
from batch.providers.services.dashscope import DASHSCOPE
from batch.providers.services.deepseek import DEEPSEEK
from batch.providers.services.moonshot import MOONSHOT
from batch.providers.services.vllm import VLLM

if TYPE_CHECKING:
    from batch.job.job import ModelSpec

KeyForm = Literal["raw", "jwt"]
"""How a key goes out: as it is, or as short-lived tokens made from it (GLM keys only)."""

PROVIDERS: Final[dict[str, Service]] = {
    service.name: service for service in (GLM, ZAI, OPENAI, DASHSCOPE, DEEPSEEK, MOONSHOT, VLLM, SIMULATOR)
}

Tables = Mapping[str, ProviderSpec]
"""The `[provider.NAME]` tables of a job."""

_ADDED: Final = ("/async/chat/completions", "/chat/completions")
"""What the dialects put behind a base URL."""
_ENDPOINTS: Final = (*_ADDED, "/completions", "/responses", "/messages", "/embeddings", "/models")
"""Ends of addresses that are one endpoint of a service, and no base URL: found where nothing is served at it."""


class Endpoint(msgspec.Struct, frozen=True):
    """What a run needs to know of its provider: where to send, and how to write."""

    dialect: Dialect
    base_url: str
    key_env_used: str | None
    """The variable the key came from; None when it is built in, fetched, or there is none."""
    service: Service
    key_digest: bytes = b""
    """A hash of the key, by which a folder knows one key from another without keeping it."""
    key_masked: bool = True
    """Whether the key is long enough to be masked in texts; see `redaction.SHORTEST`."""
    key_source: KeySource | None = None
    """The file or the command the key came from."""
    header_names: tuple[str, ...] = ()
    """The variables that are sent along in headers."""
    base_env_used: str | None = None
    """The variable the address came from; None when it is the job's, or the service's own."""

    @property
    def key_origin(self) -> str | None:
        """What to call the place the key came from; None when it is built in or there is none."""
        return self.key_env_used if self.key_source is None else self.key_source.name


def known_providers() -> tuple[str, ...]:
    """The names that `model.provider` may have without a table."""
    return tuple(PROVIDERS)


def billing_zone(provider: str) -> str:
    """The time zone whose days the bill of a provider has, by its IANA name; UTC where it is not known."""
    service = PROVIDERS.get(provider)
    return "UTC" if service is None else service.billing_zone


def find(provider: str, tables: Tables | None = None) -> Service:
    """The service of that name: a built-in one, or one that a job's own table describes.

    Raises:
        RefusedToStart: there is neither; names the nearest.
    """
    service = PROVIDERS.get(provider)
    if service is not None:
        return service
    table = (tables or {}).get(provider)
    if table is None:
        raise RefusedToStart(f"model.provider = {provider!r} {unknown(provider, tables or {})}")
    return _described(provider, table)


def dialect(
    provider: str | Service,
    *,
    base_url: str | None,
    key: str | None,
    key_form: KeyForm = "raw",
    clock: Clock | None = None,
    origin: str = "model.base_url",
    signer: Signer | None = None,
    more: Headers = (),
) -> tuple[Dialect, str]:
    """The dialect of a service for a given key, and its base URL without a slash at the end.

    Args:
        provider: its name, or what it is.
        base_url: where it is; None for its usual address.
        key: None for the built-in one.
        key_form: how the key goes out.
        clock: handed to the dialect.
        origin: what the address is called in errors: a key of the job or a variable.
        signer: signs with the key, where it does not go out as `key_form` says.
        more: headers that each request has as well.

    Raises:
        RefusedToStart: the name is unknown, the base URL is missing or no plain http(s) URL, the key is missing
            or could not stand in a header, or there is no such form of it.
    """
    service = find(provider) if isinstance(provider, str) else provider
    address = _checked_url(service.name, base_url or service.base_url, origin)
    if key is None:
        key = service.built_in_key
    if key is None:
        raise RefusedToStart(_no_key(service.name, service.keys))
    key = _checked_key(key, "the API key")
    if key_form == "jwt" and service.speaks != "glm":
        raise RefusedToStart(
            f'model.key_form = "jwt" is for keys of BigModel and Z.ai, and provider {service.name} takes its key as it '
            'is: set key_form = "raw" or leave it out'
        )
    credentials = signer or (SignedTokens(key, clock or Clock()) if key_form == "jwt" else Credentials(key))
    if service.speaks == "openai":
        return OpenAI(service, credentials, clock=clock, more=more), address
    return Glm(service, credentials, clock=clock), address


def resolve(
    provider: str,
    *,
    base_url: str | None,
    api_key_env: str | None,
    environ: Mapping[str, str],
    key_form: KeyForm = "raw",
    clock: Clock | None = None,
    tables: Tables | None = None,
    source: KeySource | None = None,
) -> Endpoint:
    """The endpoint a job asks for, with key and address from the job or the usual environment variables.

    Args:
        provider: a name of `known_providers`, or of `tables`.
        base_url: from the job; None takes the provider's variable, then its own address.
        api_key_env: from the job: the only variable looked at; None looks at the provider's usual ones.
        environ: usually `os.environ`.
        key_form: from the job.
        clock: handed to the dialect.
        tables: from the job.
        source: a file or a command that has the key; no variable is looked at then.

    Raises:
        RefusedToStart: as `dialect` and `KeySource.fetch`, naming the variables when none of them is set.
    """
    service = find(provider, tables)
    names = () if source is not None else (api_key_env,) if api_key_env else service.keys
    key_variable = next((name for name in names if environ.get(name, "").strip()), None)
    if source is None and key_variable is None and (api_key_env or service.built_in_key is None):
        raise RefusedToStart(_no_key(provider, names))
    address, origin, variable = base_url, "model.base_url", service.base_variable
    if not address and variable and (address := environ.get(variable, "").strip()):
        origin = variable
    elif not address:
        origin = f"provider.{service.name}.base_url"
    hide_keys(environ)
    key = _checked_key(Secret(environ[key_variable]), key_variable) if key_variable else None
    signer: Signer | None = None
    if source is not None:
        key = _fetched(source, environ)
        if key_form == "raw":
            signer = FetchedKey(key, partial(_fetched, source, environ, again=True), clock or Clock())
    given = {name: value for name in service.header_variables if (value := environ.get(name, "").strip())}
    spoken, checked_address = dialect(
        service,
        base_url=address or None,
        key=key,
        key_form=key_form,
        clock=clock,
        origin=origin,
        signer=signer,
        more=tuple((service.header_variables[name], _header_value(value, name)) for name, value in given.items()),
    )
    identity = (source.identity if source is not None else "") or key or ""
    digest = blake2b(identity.encode(), digest_size=16).digest()
    masked = key is None or redaction.can_mask(key)
    used = variable if origin == variable else None
    return Endpoint(spoken, checked_address, key_variable, service, digest, masked, source, tuple(given), used)


def key_source(model: ModelSpec, tables: Tables, folder: Path) -> KeySource | None:
    """The file or the command that has the key of a job's provider; None where a variable has it.

    Args:
        model: the job's `[model]`; what it says of a key wins over the table of its provider.
        tables: of the job.
        folder: of the job: relative paths start here, and here a command runs.
    """
    table = None if model.api_key_env else tables.get(model.provider)
    for section, spec in (("model", model), (f"provider.{model.provider}", table)):
        if spec is not None and spec.key_file is not None:
            return KeySource(f"{section}.key_file", file=folder / spec.key_file.expanduser())
        if spec is not None and spec.key_command:
            return KeySource(f"{section}.key_command", command=spec.key_command, folder=folder)
    return None


def _fetched(source: KeySource, environ: Mapping[str, str], *, again: bool = False) -> str:
    return _checked_key(source.fetch(environ, again=again), source.name)


def _header_value(value: str, name: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise RefusedToStart(f"{name} holds characters that no header can carry: copy it again")
    return value


def likelier_url(base_url: str, service: Service) -> str | None:
    """The base URL that was probably meant by one at which nothing is served; None when nothing comes to mind."""
    url = urls.parse(base_url)
    path, usual = url.path.rstrip("/"), _usual_path(service)
    for ending in _ENDPOINTS:
        if path.endswith(ending):
            return url.with_path(path.removesuffix(ending)).rstrip("/")
    if (twice := re.search(r"(/v\d+)\1$", path)) is not None:
        return url.with_path(path.removesuffix(twice[1]))
    if path == usual:
        return None
    if service.speaks == "openai" and path and re.search(r"/v\d[^/]*$", path) is None:
        return url.with_path(f"{path}/{usual.rpartition('/')[2]}")
    known = urls.parse(service.base_url or base_url)
    own = known.host == url.host and known.path.rstrip("/") != path  # else nothing better is known of its host
    return url.with_path(usual) if not path or own or service.speaks == "glm" else None


def _usual_path(service: Service) -> str:
    """The path of the addresses of a service, or of those that speak as it does."""
    if service.name in PROVIDERS and service.base_url is not None:
        return urls.parse(service.base_url).path.rstrip("/")
    return urls.parse((GLM if service.speaks == "glm" else OPENAI).base_url or "").path.rstrip("/")


def hide_keys(environ: Mapping[str, str]) -> None:
    """Have every key masked that the environment holds under a usual name, those of other providers too.

    What a job's tools return goes to the provider and into the results, and those that run in this process see it all.
    """
    for name in key_names():
        redaction.hide(environ.get(name, "").strip())


def key_names(tables: Tables | None = None) -> frozenset[str]:
    """The names of all variables in which keys are looked for, those of a job's own providers included."""
    own = {table.api_key_env for table in (tables or {}).values() if table.api_key_env}
    return frozenset({*(name for service in PROVIDERS.values() for name in service.keys), *own})


def _described(name: str, table: ProviderSpec) -> Service:
    """The service that a table describes: as the one it speaks like, without what is true of that one only."""
    like = GLM if table.speaks == "glm" else VLLM
    return msgspec.structs.replace(
        like,
        name=name,
        base_url=table.base_url,
        keys=(table.api_key_env,) if table.api_key_env else (),
        header_variables={},
        base_variable=None,
        built_in_key=None if table.api_key_env else "",
        call_id_header=table.call_id_header or like.call_id_header,
        # What is not sent to BigModel is left out there for BigModel's sake; here the job alone says it.
        never_send=frozenset(table.never_send),
        finish_reasons={word.strip().lower(): meaning for word, meaning in table.finish_reasons.items()},
        counts=table.counts or like.counts,
        json=table.json,
        logprobs=table.logprobs,
        closed=False,
    )


def _no_key(provider: str, names: tuple[str, ...]) -> str:
    which = " or ".join(names)
    return (
        f"provider {provider} needs an API key and {which} is not set: export it, name another with api_key_env, or "
        "use key_file or key_command"
    )


def _checked_key(key: str, where: str) -> str:
    """The key without the white space around it that copying leaves; never shown in an error."""
    key = Secret(key.strip())
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise RefusedToStart(
            f"{where} holds characters that no API key has (blanks, controls, non-ASCII): copy it again"
        )
    return key


def _checked_url(provider: str, base_url: str | None, origin: str) -> str:
    """The address without a slash at the end; what is wrong is told without it, as a key may stand in it."""
    if not base_url:
        raise RefusedToStart(f"provider {provider} has no usual address: set model.base_url in the job")
    shown = redaction.redact(redaction.address(base_url))
    try:
        url: Url | None = urls.parse(base_url)
    except ValueError:
        url = None
    if url is None or re.search(r"[^\w.:-]", url.host):  # what is host and what is key in it cannot be told
        raise RefusedToStart(f"base_url in {origin} is no URL: write https://host/path")
    if url.userinfo or "@" in url.path:
        text = "holds a user name or password, which would be shown: keys go into the key's variable"
        raise RefusedToStart(f"base_url in {origin} {text}")
    if url.query or url.fragment or "?" in base_url or "#" in base_url:
        text = (
            "has a ? or #, which would be shown, and requests cannot be joined to it: keys go into the key's variable"
        )
        raise RefusedToStart(f"base_url {shown!r} in {origin} {text}")
    if url.scheme not in ("http", "https") or not url.host:
        raise RefusedToStart(f"base_url {shown!r} in {origin} must be http(s)://host/path")
    if url.port is not None and not 0 < url.port < 65_536:
        raise RefusedToStart(f"base_url {shown!r} in {origin} has port {url.port}: ports go from 1 to 65535")
    for ending in _ADDED:
        if url.path.rstrip("/").endswith(ending):
            base = shown.rstrip("/").removesuffix(ending)
            text = f"is the address of a whole endpoint, and {ending} is added to it: write {base!r}"
            raise RefusedToStart(f"base_url {shown!r} in {origin} {text}")
    return base_url.rstrip("/")
