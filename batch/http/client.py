"""The HTTP client: it sends one request and gives its complete answer, or one `WireError`.

Owns the base URL, unpacking within a size limit, and what is told of an exchange that brought no answer. It knows no
dialect, retries nothing, follows no redirect, logs nothing.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

import anyio

from batch.core import redaction
from batch.core.errors import WireError
from batch.core.records import Incoming, Outgoing
from batch.http import address, environment, urls
from batch.http.coding import decoded
from batch.http.faults import ExchangeFault, LineLost, NotConnected, NotHttp, NotTls, Untrusted
from batch.http.head import Heads
from batch.http.headers import ASKING, readable
from batch.http.transport import Transport

if TYPE_CHECKING:
    import httpx

    from batch.http.answer import Header, Taker
    from batch.http.foreign import Foreign

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
CONNECT_S: Final = 10.0
"""How long opening a connection may take, unless the deadline of the call is shorter."""

_names: Final[dict[bytes, str]] = {}
"""Names of headers as they come, and in lower case; those that servers send are few."""
_NAMES_MAX: Final = 1_000


class Client:
    """Makes exchanges with one base URL; any number of them at a time, which the caller bounds.

    Where `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY` applies to the base URL (and `NO_PROXY` does not), httpx's own
    transport is used instead of ours: correct, but slow above some 16 calls in flight.

    The attribute `base_url` has no slash at the end; it is stored in this form with accepted tasks.

    Args:
        base_url: the address, with or without a slash at the end.
        call_timeout_s: seconds from the first byte out to the last byte in; opening a connection has `CONNECT_S` more.
        transport: any httpx transport, such as `httpx.MockTransport`; ours by default.
        max_body_bytes: the largest answer, before and after unpacking.

    Raises:
        RefusedToStart: the environment names a proxy of a kind that is not supported, or no certificates to trust.
        ValueError: the base URL is none.
    """

    def __init__(
        self,
        base_url: str,
        *,
        call_timeout_s: float,
        transport: httpx.AsyncBaseTransport | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._url = urls.parse(self.base_url)
        self._max_body = max_body_bytes
        self._proxy = environment.proxy_for(self.base_url) if transport is None else None
        self._heads = Heads(self._url)
        self._own: Transport | None = None
        self._foreign: Foreign | None = None
        connect_s = min(CONNECT_S, call_timeout_s)
        if transport is None and self._proxy is None:
            self._own = Transport(
                self._url, connect_s=connect_s, answer_s=call_timeout_s, max_body_bytes=max_body_bytes
            )
        else:
            from batch.http import foreign  # noqa: PLC0415 - httpx takes long to load, and hardly anybody needs it

            self._foreign = foreign.Foreign(
                self.base_url,
                transport or foreign.over(self._proxy or ""),
                common=self._heads.common,
                connect_s=connect_s,
                answer_s=call_timeout_s,
                max_body_bytes=max_body_bytes,
            )
        self._answered = False
        self._is_tls: bool | None = None  # not asked yet
        self._asking = anyio.Lock()

    async def exchange(
        self,
        outgoing: Outgoing,
        *,
        stream: Taker | None = None,
    ) -> Incoming:
        """Send one request and return its whole answer, whatever its status.

        Args:
            outgoing: the request, as a dialect wrote it.
            stream: takes the body of a stream as it comes, with its own waiting times; the answer then has no body.

        Raises:
            WireError: there is no whole answer; its `sent` is False only when it is certain that no byte left.
        """
        try:
            if self._own is not None:
                request = self._heads.sealed(outgoing, plain=stream is not None)
                answer = await self._own.exchange(request, stream, asks=outgoing.body is not None)
            else:
                assert self._foreign is not None
                answer = await self._foreign.exchange(outgoing, stream)
        except ExchangeFault as fault:
            if await self._met_tls(fault):
                raise WireError(address.SPEAKS_TLS, kind="transport", sent=True, wrong_address=True) from fault
            raise self._told(fault) from fault
        self._answered = True
        status, headers, body = answer.status, _single(answer.headers), answer.body
        if (coding := headers.get("content-encoding")) is not None:
            body = decoded(body, coding, cap=self._max_body)
        if stream is not None and not stream.taken:
            body = stream.remainder(status, body)
        incoming = Incoming(status, headers, body)
        if status == 400 and address.wants_tls(incoming):
            raise WireError(address.SPEAKS_TLS, kind="transport", sent=True, wrong_address=True)
        return incoming

    async def _met_tls(self, fault: ExchangeFault) -> bool:
        """Whether a line closed without a word was that of a port for https; asked once, if nothing ever answered."""
        if self._own is None or self._answered or not isinstance(fault, LineLost) or self._url.scheme != "http":
            return False
        async with self._asking:
            if self._is_tls is None:
                self._is_tls = await address.speaks_tls(self._url.host, self._url.port_used)
        return self._is_tls

    def _told(self, fault: ExchangeFault) -> WireError:
        """What the rest of the program is told of an exchange without an answer."""
        text = str(fault)
        refused = address.refuses_tls(fault)  # which a server may say only after the request left: it has not read it
        sent = fault.sent and not refused
        untrusted, no_tls = None if sent else _untrusted(fault), not sent and address.is_not_tls(fault)
        wrong = no_tls or isinstance(fault, NotHttp)
        if no_tls and not isinstance(fault, NotTls):
            text = address.with_server(address.SPEAKS_HTTP, self._url)
        elif isinstance(untrusted, ssl.SSLCertVerificationError):
            # Once the proxy was asked for the way, it is the server whose certificate is looked at.
            asked = self._foreign is None or self._foreign.asked_proxy or self._proxy is None
            url = self._url if asked else urls.parse(self._proxy or "")
            text = environment.untrusted(url.host, url.port_used, untrusted)
        elif refused or isinstance(fault, NotConnected):
            text = address.with_server(text, self._url)
        if self._proxy is not None and not sent:
            text = f"{text} (through the proxy {redaction.address(self._proxy)})"
        return WireError(
            text, kind=fault.kind, sent=sent, permanent=untrusted is not None or refused, wrong_address=wrong
        )

    async def aclose(self) -> None:
        """Close all connections; exchanges under way end with a `WireError`."""
        if self._own is not None:
            await self._own.aclose()
        if self._foreign is not None:
            await self._foreign.aclose()


def _single(raw: list[Header]) -> dict[str, str]:
    """Headers by name in lower case.

    Of repeated headers the first counts; of those that ask for a wait, the first that can be read.
    """
    headers = {_names.get(name) or _lowered(name): value.decode("latin-1") for name, value in raw}
    if len(headers) == len(raw):
        return headers
    headers = {}  # some are repeated
    for raw_name, raw_value in raw:
        name = _names.get(raw_name) or _lowered(raw_name)
        value = raw_value.decode("latin-1")
        if name not in headers or (name in ASKING and not readable(headers[name]) and readable(value)):
            headers[name] = value
    return headers


def _lowered(raw: bytes) -> str:
    name = raw.decode("latin-1").lower()
    if len(_names) < _NAMES_MAX:
        _names[raw] = name
    return name


def _untrusted(error: BaseException | None) -> Untrusted | ssl.SSLCertVerificationError | None:
    """The certificate that is the cause of an error; httpx's own transport keeps it in the chain of causes."""
    for _ in range(8):
        if error is None or isinstance(error, Untrusted | ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None
