"""The known providers: their addresses, the variables they read, and the dialect each speaks.

Owns the table and the way from a provider's name to an `Endpoint`. It reads no environment itself: the caller hands
one in. Sources of the addresses and variable names: BigModel and Z.ai API references and their Python SDKs, OpenAI
Python SDK. Used by `job`'s callers, `submit` and the commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import httpx
import msgspec

from batch.clock import Clock
from batch.errors import RefusedToStart
from batch.wire.base import Credentials, Dialect, Signer
from batch.wire.glm import Glm
from batch.wire.openai import OpenAI
from batch.wire.token import Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

KeyForm = Literal["raw", "jwt"]
"""How a key goes out: as it is, or as short-lived tokens made from it (GLM keys only)."""

SIMULATOR_KEY: Final = "simulator.key0123456789"
"""A key of the right form; the simulator takes any."""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    speaks: Literal["glm", "openai"]
    base_url: str | None
    """None: there is no usual address, the job must name one."""
    keys: tuple[str, ...] = ()
    """Environment variables that may hold the key, first one set wins."""
    base_variable: str | None = None
    built_in_key: str | None = None
    """Used when no variable is set; None refuses to start, `""` sends none."""
    language: str | None = None


PROVIDERS: Final[dict[str, Provider]] = {
    "glm": Provider(
        speaks="glm",
        base_url="https://open.bigmodel.cn/api/paas/v4",
        keys=("ZHIPUAI_API_KEY", "ZHIPU_API_KEY", "ZAI_API_KEY"),
        base_variable="ZHIPUAI_BASE_URL",
    ),
    "zai": Provider(
        speaks="glm",
        base_url="https://api.z.ai/api/paas/v4",
        keys=("ZAI_API_KEY", "ZHIPUAI_API_KEY"),
        base_variable="ZAI_BASE_URL",
        language="en-US,en",
    ),
    "openai": Provider(
        speaks="openai",
        base_url="https://api.openai.com/v1",
        keys=("OPENAI_API_KEY",),
        base_variable="OPENAI_BASE_URL",
    ),
    "vllm": Provider(speaks="openai", base_url=None, built_in_key=""),
    "simulator": Provider(speaks="glm", base_url="http://127.0.0.1:8311/api/paas/v4", built_in_key=SIMULATOR_KEY),
}


class Endpoint(msgspec.Struct, frozen=True):
    """Where to send and how to write: what a run needs to know of its provider."""

    dialect: Dialect
    base_url: str
    key_env_used: str | None
    """The variable the key came from; None when it is built in or there is none."""


def known_providers() -> tuple[str, ...]:
    """The names `model.provider` may have."""
    return tuple(PROVIDERS)


def dialect(
    provider: str,
    *,
    base_url: str | None,
    key: str | None,
    key_form: KeyForm = "raw",
    clock: Clock | None = None,
) -> tuple[Dialect, str]:
    """The dialect of a provider under a given key, and its base URL without a slash at the end.

    Raises:
        RefusedToStart: the name is unknown, the base URL is missing or no plain http(s) URL, the key is missing
            or could not stand in a header, or there is no such form of it.
    """
    known = _known(provider)
    address = _checked_url(provider, base_url or known.base_url)
    if key is None:
        key = known.built_in_key
    if key is None:
        raise RefusedToStart(_no_key(provider, known.keys))
    key = _checked_key(key, "the API key")
    if key_form == "jwt" and known.speaks != "glm":
        raise RefusedToStart(
            f'model.key_form = "jwt" is for keys of BigModel and Z.ai, and provider {provider} takes its key as it is: '
            'set key_form = "raw" or leave it out'
        )
    credentials: Signer = Tokens(key, clock or Clock()) if key_form == "jwt" else Credentials(key)
    if known.speaks == "openai":
        return OpenAI(provider, credentials, clock=clock), address
    return Glm(provider, credentials, language=known.language, clock=clock), address


def resolve(
    provider: str,
    *,
    base_url: str | None,
    api_key_env: str | None,
    environ: Mapping[str, str],
    key_form: KeyForm = "raw",
    clock: Clock | None = None,
) -> Endpoint:
    """The endpoint a job asks for, with key and address from the job or the usual environment variables.

    Args:
        provider: a name of `known_providers`.
        base_url: from the job; None takes the provider's variable, then its own address.
        api_key_env: from the job: the only variable looked at; None looks at the provider's usual ones.
        environ: usually `os.environ`.
        key_form: from the job.
        clock: handed to the dialect.

    Raises:
        RefusedToStart: as `dialect`, naming the variables when none of them is set.
    """
    known = _known(provider)
    names = (api_key_env,) if api_key_env else known.keys
    used = next((name for name in names if environ.get(name, "").strip()), None)
    if used is None and (api_key_env or known.built_in_key is None):
        raise RefusedToStart(_no_key(provider, names))
    address = base_url or (environ.get(known.base_variable, "").strip() if known.base_variable else "") or None
    key = _checked_key(environ[used], used) if used else None
    spoken, where = dialect(provider, base_url=address, key=key, key_form=key_form, clock=clock)
    return Endpoint(spoken, where, used)


def _known(provider: str) -> Provider:
    known = PROVIDERS.get(provider)
    if known is None:
        names = ", ".join(PROVIDERS)
        raise RefusedToStart(f"model.provider = {provider!r} is not known: use one of {names}")
    return known


def _no_key(provider: str, names: tuple[str, ...]) -> str:
    which = " or ".join(names)
    return f"provider {provider} needs an API key and {which} is not set: export it, or name another with api_key_env"


def _checked_key(key: str, where: str) -> str:
    """The key without the white space around it that copying leaves; never shown in an error."""
    key = key.strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise RefusedToStart(
            f"{where} holds characters that no API key has (blanks, controls, non-ASCII): copy it again"
        )
    return key


def _checked_url(provider: str, address: str | None) -> str:
    if not address:
        raise RefusedToStart(f"provider {provider} has no usual address: set model.base_url in the job")
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise RefusedToStart(f"base_url {address!r} is no URL ({error}): write https://host/path") from None
    if url.userinfo:
        raise RefusedToStart("base_url holds a user name or password: keys come from the environment only")
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise RefusedToStart(f"base_url {address!r} must be http(s)://host/path without ? and #")
    return address.rstrip("/")
