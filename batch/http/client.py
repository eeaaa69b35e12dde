"""The HTTP client: it sends one request and gives its complete answer, or one `WireError`.

Owns the base URL, the headers that every request has, the deadline of a call, unpacking within a size limit, and the
translation of every exception of a transport. It knows no dialect, retries nothing, follows no redirect, logs nothing.
"""

from __future__ import annotations

import importlib.metadata
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx

from batch.core import failpoints, redaction
from batch.core.errors import FailureKind, WireError
from batch.core.records import Incoming, Outgoing
from batch.http import address, environment
from batch.http.answer import NeverReached, NotHttp, Taker, UnusableAnswer
from batch.http.coding import decoded
from batch.http.headers import ASKING, readable
from batch.http.timing import LINGER_S
from batch.http.transport import Body, KeepAliveTransport, Untrusted

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
CONNECT_S: Final = 10.0
"""How long opening a connection may take, unless the deadline of the call is shorter."""

# These, and only these, certainly come before the first byte of a request has left.
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


class Client:
    """Makes exchanges with one base URL; any number of them at a time, which the caller bounds.

    Where `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY` applies to the base URL (and `NO_PROXY` does not), httpx's own
    transport is used instead of ours: correct, but slow above some 16 calls in flight.

    The attribute `base_url` has no slash at the end; it is stored in this form with accepted tasks.

    Args:
        base_url: the address, with or without a slash at the end.
        call_timeout_s: seconds from the first byte out to the last byte in; opening a connection has `CONNECT_S` more.
        transport: any httpx transport, such as `httpx.MockTransport`; default `KeepAliveTransport`.
        max_body_bytes: the largest answer, before and after unpacking.

    Raises:
        RefusedToStart: the environment names a proxy of a kind that is not supported, or no certificates to trust.
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
        self._call_timeout_s = call_timeout_s
        self._max_body = max_body_bytes
        self._timeout = {"connect": min(CONNECT_S, call_timeout_s), "read": call_timeout_s}
        self._proxy = environment.proxy_for(self.base_url) if transport is None else None
        if transport is None:
            transport = KeepAliveTransport(max_body_bytes=max_body_bytes) if self._proxy is None else _over(self._proxy)
        self._transport = transport
        self._answered = False
        self._is_tls: bool | None = None  # not asked yet
        self._asking = anyio.Lock()
        self._own = transport if isinstance(transport, KeepAliveTransport) else None
        agent = f"promptmill/{_version()}"
        self._common = [("Host", _host(self.base_url)), ("User-Agent", agent)]
        self._urls: dict[str, httpx.URL] = {}
        self._headers: dict[tuple[bool, tuple[tuple[str, str], ...]], httpx.Headers] = {}

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
        request = self._request(outgoing, plain=stream is not None)
        left = _Left(stream, asks=outgoing.body is not None)
        try:
            if self._own is not None:
                request.extensions["sent"] = left
                if stream is not None:
                    request.extensions["taker"] = stream
                    request.extensions["watch"] = (stream.first_s, stream.idle_s)
                response = await _delivered(self._own, request, left)
                body = response.stream.data  # type: ignore[union-attr]  # our transport's own stream
            else:
                response, body = await self._through(request, left, stream)
        except httpx.TransportError as error:
            if await self._met_tls(error):
                raise WireError(address.SPEAKS_TLS, kind="transport", sent=True, wrong_address=True) from error
            raise self._translated(error, left) from error
        self._answered = True
        headers = _single(response.headers.raw)
        coding = headers.get("content-encoding")
        if coding:
            body = decoded(body, coding, cap=self._max_body)
        if stream is not None and not stream.taken:
            body = stream.remainder(response.status_code, body)
        incoming = Incoming(response.status_code, headers, body)
        if incoming.status == 400 and address.wants_tls(incoming):
            raise WireError(address.SPEAKS_TLS, kind="transport", sent=True, wrong_address=True)
        return incoming

    async def _met_tls(self, error: httpx.TransportError) -> bool:
        """Whether a line closed without a word was that of a port for https; asked once, if nothing ever answered."""
        silent = isinstance(error, httpx.ReadError) and not isinstance(error, UnusableAnswer)
        if self._own is None or self._answered or not silent or not self.base_url.startswith("http://"):
            return False
        async with self._asking:
            if self._is_tls is None:
                self._is_tls = await address.speaks_tls(httpx.URL(self.base_url))
        return self._is_tls

    def _translated(self, error: httpx.TransportError, left: _Left) -> WireError:
        kind: FailureKind = "transport"
        if isinstance(error, httpx.TimeoutException):
            kind = "timeout"
        elif isinstance(error, UnusableAnswer | httpx.DecodingError):
            kind = "bad_payload"
        text = str(error) or type(error).__name__
        refused = address.refuses_tls(error)  # which a server may say only after the request left: it has not read it
        sent = (left.done or not isinstance(error, _NOT_SENT)) and not refused
        untrusted, no_tls = None if sent else _untrusted(error), not sent and address.is_not_tls(error)
        wrong = no_tls or isinstance(error, NotHttp)
        if no_tls and not isinstance(error, address.NotTls):
            text = address.with_server(address.SPEAKS_HTTP, self.base_url)
        elif isinstance(untrusted, ssl.SSLCertVerificationError):
            # Once the proxy was asked for the way, it is the server whose certificate is looked at.
            url = httpx.URL(self.base_url if left.asked_proxy or self._proxy is None else self._proxy)
            text = environment.untrusted(url.host, url.port or 443, untrusted)
        elif refused or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
            text = address.with_server(text, self.base_url)
        if self._proxy is not None and not sent:
            text = f"{text} (through the proxy {redaction.address(self._proxy)})"
        return WireError(text, kind=kind, sent=sent, permanent=untrusted is not None or refused, wrong_address=wrong)

    async def aclose(self) -> None:
        """Close all connections; exchanges under way end with a `WireError`."""
        await self._transport.aclose()

    def _request(self, outgoing: Outgoing, *, plain: bool) -> httpx.Request:
        url = self._urls.get(outgoing.path)
        if url is None:
            url = httpx.URL(f"{self.base_url}/{outgoing.path.lstrip('/')}")
            if len(self._urls) < 64:  # every poll has a path of its own; only the few that come again are worth keeping
                self._urls[outgoing.path] = url
        body = outgoing.body
        headers = self._headers.get((plain, outgoing.headers))
        if headers is None:
            # A server that compresses a stream holds it back until there is enough to compress.
            coding = "identity" if plain else "gzip, deflate"
            headers = httpx.Headers([*self._common, ("Accept-Encoding", coding), *outgoing.headers])
            if len(self._headers) >= 64:  # tokens and ids among them change; what is in use now comes back at once
                self._headers.clear()
            self._headers[plain, outgoing.headers] = headers
        request = httpx.Request(
            "GET" if body is None else "POST",
            url,
            headers=headers,
            stream=Body(body or b""),
            extensions={"timeout": self._timeout},
        )
        if body is not None and self._own is None:
            request.headers["Content-Length"] = str(len(body))
        return request

    async def _through(self, request: httpx.Request, left: _Left, stream: Taker | None) -> tuple[httpx.Response, bytes]:
        """Make the exchange over a transport that is not ours, under our own deadline: its timeouts are per read."""

        async def trace(event: str, info: dict[str, Any]) -> None:
            # A proxy is first sent a CONNECT of its own, which carries nothing of ours.
            if event.endswith("send_request_headers.started"):
                if info["request"].method == b"CONNECT":
                    left.asked_proxy = True
                else:
                    left()

        request.extensions["trace"] = trace
        try:
            with anyio.fail_after(self._call_timeout_s + self._timeout["connect"]):
                with _in_time(stream):
                    response = await self._transport.handle_async_request(request)
                left()
                try:
                    if stream is not None and stream.head(response.status_code, response.headers.raw):
                        await _poured(response, stream)
                        body = b""
                    else:
                        body = await _collected(response, cap=self._max_body)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            if left.done:
                raise httpx.ReadTimeout(f"no whole answer within {self._call_timeout_s:g} s") from error
            raise httpx.ConnectTimeout(f"no connection within {self._call_timeout_s:g} s") from error
        return response, body


async def _delivered(transport: KeepAliveTransport, request: httpx.Request, left: _Left) -> httpx.Response:
    """Make an exchange; one that certainly never reached the server is made on another connection."""
    while True:
        try:
            return await transport.handle_async_request(request)
        except NeverReached:
            left.undo()


async def _collected(response: httpx.Response, *, cap: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.stream:  # type: ignore[union-attr]  # async, as the client is
        size += len(part)
        if size > cap:
            raise UnusableAnswer(f"the answer is larger than {cap} bytes")
        parts.append(part)
    return b"".join(parts)


async def _poured(response: httpx.Response, stream: Taker) -> None:
    """Pass the body to a stream, under its time limits, as `connection` does for our own transport."""
    parts = aiter(response.stream)  # type: ignore[arg-type]  # async, as the client is
    while True:
        with _in_time(stream):
            part = await anext(parts, None)
        if part is None:
            return
        if stream.feed(part):
            with anyio.move_on_after(LINGER_S):
                async for _ in parts:
                    pass
            return


@contextmanager
def _in_time(stream: Taker | None) -> Iterator[None]:
    """Limit the wait inside to what a stream allows at this point; without a stream there is no limit."""
    if stream is None:
        yield
        return
    seconds, what = (
        (stream.idle_s, "the stream stood still for {:g} s")
        if stream.begun
        else (stream.left_s, f"no first chunk within {stream.first_s:g} s")
    )
    with anyio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise httpx.ReadTimeout(what.format(seconds))


def _single(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name in lower case.

    Of repeated headers the first counts; of those that ask for a wait, the first that can be read.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        earlier = headers.get(name)
        if earlier is None or (name in ASKING and not readable(earlier) and readable(value)):
            headers[name] = value
    return headers


class _Left:
    """Remembers that the request has left, and tells the stream once.

    What asks for something passes a failpoint then: a process that dies there has sent and does not know what came.
    """

    __slots__ = ("_asks", "_stream", "asked_proxy", "done")

    def __init__(self, stream: Taker | None, *, asks: bool) -> None:
        self._asks = asks
        self._stream = stream
        self.done = False
        self.asked_proxy = False
        """A proxy was reached and asked for the way to the server."""

    def __call__(self) -> None:
        if not self.done:
            self.done = True
            if self._stream is not None:
                self._stream.sent()
            if self._asks:
                failpoints.hit("sent.left")

    def undo(self) -> None:
        """What left came to nobody: as far as the call goes, nothing has left yet."""
        self.done = False


def _untrusted(error: BaseException | None) -> Untrusted | ssl.SSLCertVerificationError | None:
    """The certificate that is the cause of an error; httpx's own transport keeps it in the chain of causes."""
    for _ in range(8):
        if error is None or isinstance(error, Untrusted | ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _over(proxy: str) -> httpx.AsyncBaseTransport:
    """The transport of httpx over a proxy.

    Raises:
        RefusedToStart: the environment names no certificates to trust.
    """
    trusted = environment.certificates()
    own = environment.certificates() if proxy.startswith("https:") else None  # httpx would take the usual ones for it
    return httpx.AsyncHTTPTransport(
        verify=trusted, proxy=httpx.Proxy(proxy, ssl_context=own), limits=httpx.Limits(max_connections=None)
    )


def _host(base: str) -> str:
    return httpx.URL(base).netloc.decode("ascii")


def _version() -> str:
    try:
        return importlib.metadata.version("promptmill")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "0"
