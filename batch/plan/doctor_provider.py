"""What `promptmill doctor` finds out from a job's provider, by one request that is never billed.

Owns which request that is, and what its answer says of the key, the address, the clock and the models. Asked is the
list of models (`GET /models`), which every known service has and checks the key for. A server without one is sent a
chat request without a model: credentials are looked at before the body is, and a body that names no model is refused.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final

import anyio
import msgspec
from anyio import to_thread

from batch.core.canonical import without_surrogates
from batch.core.clock import MICROSECONDS, Clock, describe
from batch.core.errors import WireError
from batch.core.records import NO_SUCH_PATH, Failure, Incoming, Outgoing, Request
from batch.http import environment, urls
from batch.http.client import Client
from batch.http.urls import Url
from batch.job.job import Job
from batch.plan.doctor import Finding
from batch.providers.registry import Endpoint, likelier_url

ANSWER_S: Final = 20.0
NAME_S: Final = 10.0
SOON_S: Final = 14 * 86_400.0
"""A certificate that ends within that time is worth a look."""
APART_S: Final = 30.0
"""Seconds by which two clocks may differ: the header has whole seconds, and takes its time."""
WRONG_S: Final = 300.0
_CATALOGUE: Final = "/models"
_NO_LIST: Final = (200, 404, 405, 501)
"""With these a path that is not there is answered; Z.ai says it with 200."""
_ENOUGH: Final = ("auth", "balance", "quota")
"""Kinds of failure after which a second request tells no more."""


async def of_provider(job: Job, endpoint: Endpoint, clock: Clock) -> AsyncIterator[Finding]:
    """What one request to the provider tells; the first thing that is in the way ends it.

    Args:
        job: whose models are looked for.
        endpoint: where the request goes, with which key.
        clock: compared with the provider's.
    """
    url, proxied = urls.parse(endpoint.base_url), environment.proxy_for(endpoint.base_url) is not None
    if not proxied:
        name = await _name(url.host)
        yield name
        if name.state == "stop":
            return
    client = Client(endpoint.base_url, call_timeout_s=ANSWER_S)
    try:
        began_us, began = clock.now_us(), clock.monotonic()
        try:
            incoming = await client.exchange(_catalogue(job, endpoint))
            took_s = clock.monotonic() - began
            yield Finding("connection", "ok", f"to {endpoint.base_url}, answered after {describe(took_s)}")
            if url.scheme == "https" and not proxied and (secured := await _tls(url, clock)) is not None:
                yield secured
            if (compared := _clock(incoming.headers, began_us + int(took_s / 2 * MICROSECONDS))) is not None:
                yield compared
            models = _models(incoming)
            if models is None:
                failure = _failure(endpoint, incoming)
                if incoming.status in _NO_LIST and (failure is None or failure.kind not in _ENOUGH):
                    incoming = await client.exchange(_empty(job, endpoint))
                    failure = _failure(endpoint, incoming)
                yield _answer(endpoint, incoming, failure)
                return
        except WireError as exc:
            yield _no_answer(exc, endpoint, proxied=proxied)
            return
    finally:
        with anyio.CancelScope(shield=True):
            await client.aclose()
    yield Finding("answer", "ok", f"the key is taken; {len(models):,} models are listed")
    yield _listed(job, models)


async def _name(host: str) -> Finding:
    """Whether the name of a host can be looked up."""
    found: list[str] = []
    error = "no answer"
    with anyio.move_on_after(NAME_S):
        try:
            infos = await to_thread.run_sync(_look_up, host, abandon_on_cancel=True)
            found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except (OSError, UnicodeError) as exc:
            error = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
    if found:
        return Finding("name", "ok", f"{host} is {', '.join(found[:3])}")
    return Finding(
        "name",
        "stop",
        f"{host} cannot be looked up: {error}",
        "Look at the spelling of base_url, at the network of this machine (/etc/resolv.conf, VPN), or set HTTPS_PROXY "
        "where only a proxy gets out.",
    )


def _look_up(host: str) -> list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str | int, ...]]]:
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)  # type: ignore[return-value]  # no bytes among them


async def _tls(url: Url, clock: Clock) -> Finding | None:
    """How connections are secured, by one more of them; None where it did not come about a second time."""
    shaken = None
    with anyio.move_on_after(NAME_S), suppress(OSError):
        shaken = await to_thread.run_sync(_handshake, url.host, url.port_used, abandon_on_cancel=True)
    if shaken is None:
        return None
    version, ends = shaken
    left_s = ssl.cert_time_to_seconds(ends) - clock.now_us() / MICROSECONDS
    text = f"{version}, the certificate is valid until {ends}"
    if left_s < SOON_S:
        return Finding("TLS", "look", text, f"It ends in {describe(left_s)}: whoever runs the server must renew it.")
    return Finding("TLS", "ok", text)


def _handshake(host: str, port: int) -> tuple[str, str] | None:
    context = environment.certificates()
    with (
        socket.create_connection((host, port), NAME_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
    ):
        ends = (tls.getpeercert() or {}).get("notAfter")
        return (tls.version() or "TLS", ends) if isinstance(ends, str) else None


def _empty(job: Job, endpoint: Endpoint) -> Outgoing:
    """A chat request without a model, which no service answers."""
    asked = Request(model=(job.model.names or (job.model.name,))[0], messages=[{"role": "user", "content": "x"}])
    return msgspec.structs.replace(endpoint.dialect.chat(asked, "promptmill-doctor"), body=b"{}")


def _catalogue(job: Job, endpoint: Endpoint) -> Outgoing:
    """The request for the list of models, with the headers of a chat request."""
    headers = [pair for pair in _empty(job, endpoint).headers if pair[0].lower() != "content-type"]
    return Outgoing(_CATALOGUE, tuple(headers), None)


def _models(incoming: Incoming) -> list[str] | None:
    """The names of the models that an answer lists; None where it is no such list."""
    if incoming.status != 200:
        return None
    try:
        told = msgspec.json.decode(incoming.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    data = told.get("data") if isinstance(told, dict) else None
    if not isinstance(data, list):
        return None
    return [str(without_surrogates(entry["id"])) for entry in data if isinstance(entry, dict) and "id" in entry]


def _failure(endpoint: Endpoint, incoming: Incoming) -> Failure | None:
    """What an answer says that is no list of models, as a chat would read it."""
    read = endpoint.dialect.read_chat(incoming)
    return read if isinstance(read, Failure) else None


def _answer(endpoint: Endpoint, incoming: Incoming, failure: Failure | None) -> Finding:
    """What an answer that lists no models says of the key and the address."""
    if failure is None:
        return Finding("answer", "ok", f"HTTP {incoming.status}; it lists no models")
    where, key = endpoint.base_url, endpoint.key_origin or "the key"
    text = f"HTTP {failure.http_status or incoming.status}: {failure.message}"
    if failure.kind == "auth":
        way_out = f"Look at {key}: it is not the key of this provider, has expired, or was copied in part."
        return Finding("key", "stop", f"{key} is refused. {text}", way_out)
    if failure.wrong_address or failure.code == NO_SUCH_PATH or incoming.status in (404, 405):
        meant = likelier_url(where, endpoint.service)
        way_out = f"Perhaps {meant} is meant." if meant else "Look at the address in the provider's documentation."
        return Finding("connection", "stop", f"base_url {where} is not that of a chat service. {text}", way_out)
    if failure.kind in ("balance", "quota"):
        return Finding("answer", "stop", text, "Put money onto the account, or wait until its limit is renewed.")
    if failure.kind in ("bad_request", "model", "too_large"):
        return Finding("answer", "ok", "the key is taken; it has no list of models, and refused a request without one")
    return Finding("answer", "look", text, "Try again later; a run waits and tries again by itself.")


def _no_answer(exc: WireError, endpoint: Endpoint, *, proxied: bool) -> Finding:
    """What a request without an answer says of the way to the provider."""
    if "proxy" in str(exc) and proxied:
        way_out = "Look at HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, or have NO_PROXY name the host to go without one."
        return Finding("proxy", "stop", str(exc), way_out)
    if exc.wrong_address:
        meant = likelier_url(endpoint.base_url, endpoint.service)
        return Finding("connection", "stop", str(exc), f"Perhaps {meant} is meant." if meant else "Look at base_url.")
    if endpoint.service.name == "simulator":
        way_out = f"Start it in another terminal: promptmill simulate --port {urls.parse(endpoint.base_url).port_used}"
    elif exc.permanent:
        way_out = "Nothing is sent over a connection that cannot be trusted."
    else:
        way_out = "Look at base_url and at the network: a firewall, a VPN, or a proxy that HTTPS_PROXY should name."
    return Finding("connection", "stop", str(exc), way_out)


def _clock(headers: Mapping[str, str], now_us: int) -> Finding | None:
    """Whether a clock agrees with that of an answer; None where it tells no time.

    Args:
        headers: of the answer.
        now_us: what the clock showed when it was written, about.
    """
    try:
        theirs_s = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
    apart_s = now_us / MICROSECONDS - theirs_s
    if abs(apart_s) < APART_S:
        return Finding("clock", "ok", f"agrees with the provider's within {APART_S:.0f} s")
    text = f"is {describe(abs(apart_s))} {'ahead of' if apart_s > 0 else 'behind'} the provider's"
    way_out = (
        "Set it (timedatectl set-ntp true): hours, prices by the hour, budgets of a day and times in the books go by "
        "it, and keys that are sent as tokens are refused."
    )
    return Finding("clock", "look" if abs(apart_s) < WRONG_S else "stop", text, way_out)


def _listed(job: Job, models: list[str]) -> Finding:
    """Whether the models of a job are among those that are listed."""
    known = {name.lower() for name in models}
    asked = job.model.names or (job.model.name,)
    missing = [name for name in asked if name.lower() not in known]
    if not missing:
        return Finding("model", "ok", ", ".join(asked))
    text = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not among the models that are listed"
    return Finding("model", "look", text, "Look at model.name; some services leave models out of their list.")
