"""Exchanges over a transport of httpx that is not ours: through a proxy, or one that a test brings.

Owns the request as httpx has it, our own deadline over its timeouts (which are per read), and what its exceptions mean.
It is loaded only where such a transport is used, and httpx with it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx

from batch.core import failpoints
from batch.http import environment
from batch.http.answer import Answer
from batch.http.faults import (
    AnswerTimeout,
    ConnectTimeout,
    ExchangeFault,
    LineLost,
    NotConnected,
    NotSent,
    UnusableAnswer,
)
from batch.http.head import coding
from batch.http.timing import LINGER_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch.core.records import Outgoing
    from batch.http.answer import Taker

# These, and only these, certainly come before the first byte of a request has left.
_MEANINGS: Final[tuple[tuple[type[httpx.TransportError], type[ExchangeFault]], ...]] = (
    (httpx.ConnectTimeout, ConnectTimeout),
    (httpx.ConnectError, NotConnected),
    (httpx.ProxyError, NotConnected),
    (httpx.PoolTimeout, NotSent),
    (httpx.UnsupportedProtocol, NotSent),
    (httpx.LocalProtocolError, NotSent),
    (httpx.TimeoutException, AnswerTimeout),
)


class Foreign:
    """Makes exchanges over a transport of httpx.

    Args:
        base_url: the address of the service, without a slash at the end.
        transport: of httpx.
        common: headers of every request.
        connect_s: seconds for opening a connection.
        answer_s: seconds for everything from the first byte out to the last byte in.
        max_body_bytes: the largest answer.
    """

    def __init__(
        self,
        base_url: str,
        transport: httpx.AsyncBaseTransport,
        *,
        common: tuple[tuple[str, str], ...],
        connect_s: float,
        answer_s: float,
        max_body_bytes: int,
    ) -> None:
        self._base_url = base_url
        self._transport = transport
        self._common = common
        self._connect_s, self._answer_s = connect_s, answer_s
        self._max_body = max_body_bytes
        self.asked_proxy = False
        """A proxy was reached and asked for the way to the server."""

    async def exchange(self, outgoing: Outgoing, taker: Taker | None = None) -> Answer:
        """Send one request and return its whole answer.

        Raises:
            ExchangeFault: there is none.
        """
        left = _Left(taker, asks=outgoing.body is not None)
        try:
            return await self._through(self._request(outgoing, plain=taker is not None), left, taker)
        except httpx.TransportError as error:
            raise _fault_of(error, left) from error
        except httpx.DecodingError as error:
            raise UnusableAnswer(_text(error)) from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    def _request(self, outgoing: Outgoing, *, plain: bool) -> httpx.Request:
        body = outgoing.body
        headers = [*self._common, ("Accept-Encoding", coding(plain=plain)), *outgoing.headers]
        if body is not None:
            headers.append(("Content-Length", str(len(body))))
        return httpx.Request(
            "GET" if body is None else "POST",
            f"{self._base_url}/{outgoing.path.lstrip('/')}",
            headers=headers,
            stream=httpx.ByteStream(body or b""),
            extensions={"timeout": {"connect": self._connect_s, "read": self._answer_s}},
        )

    async def _through(self, request: httpx.Request, left: _Left, taker: Taker | None) -> Answer:
        """Make the exchange under our own deadline."""

        async def trace(event: str, info: dict[str, Any]) -> None:
            # A proxy is first sent a CONNECT of its own, which carries nothing of ours.
            if event.endswith("send_request_headers.started"):
                if info["request"].method == b"CONNECT":
                    self.asked_proxy = True
                else:
                    left()

        request.extensions["trace"] = trace
        try:
            with anyio.fail_after(self._answer_s + self._connect_s):
                with _in_time(taker):
                    response = await self._transport.handle_async_request(request)
                left()
                try:
                    if taker is not None and taker.head(response.status_code, response.headers.raw):
                        await _poured(response, taker)
                        body = b""
                    else:
                        body = await _collected(response, cap=self._max_body)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            if left.done:
                raise AnswerTimeout(f"no whole answer within {self._answer_s:g} s") from error
            raise ConnectTimeout(f"no connection within {self._answer_s:g} s") from error
        return Answer(response.status_code, response.headers.raw, body)


def over(proxy: str) -> httpx.AsyncBaseTransport:
    """The transport of httpx over a proxy: correct, but slow above some 16 calls in flight.

    Raises:
        RefusedToStart: the environment names no certificates to trust.
    """
    trusted = environment.certificates()
    own = environment.certificates() if proxy.startswith("https:") else None  # httpx would take the usual ones for it
    return httpx.AsyncHTTPTransport(
        verify=trusted, proxy=httpx.Proxy(proxy, ssl_context=own), limits=httpx.Limits(max_connections=None)
    )


def _fault_of(error: httpx.TransportError, left: _Left) -> ExchangeFault:
    meaning = next((ours for theirs, ours in _MEANINGS if isinstance(error, theirs)), LineLost)
    fault = meaning(_text(error))
    if isinstance(error, httpx.PoolTimeout):
        fault.kind = "timeout"
    fault.sent = fault.sent or left.done
    return fault


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


async def _collected(response: httpx.Response, *, cap: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.stream:  # type: ignore[union-attr]  # async, as the client is
        size += len(part)
        if size > cap:
            raise UnusableAnswer(f"the answer is larger than {cap} bytes")
        parts.append(part)
    return b"".join(parts)


async def _poured(response: httpx.Response, taker: Taker) -> None:
    """Pass the body to a taker, under its time limits, as `connection` does for our own transport."""
    parts = aiter(response.stream)  # type: ignore[arg-type]  # async, as the client is
    while True:
        with _in_time(taker):
            part = await anext(parts, None)
        if part is None:
            return
        if taker.feed(part):
            with anyio.move_on_after(LINGER_S):
                async for _ in parts:
                    pass
            return


@contextmanager
def _in_time(taker: Taker | None) -> Iterator[None]:
    """Limit the wait inside to what a taker allows at this point; without one there is no limit."""
    if taker is None:
        yield
        return
    seconds, what = (
        (taker.idle_s, "the stream stood still for {:g} s")
        if taker.begun
        else (taker.left_s, f"no first chunk within {taker.first_s:g} s")
    )
    with anyio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise AnswerTimeout(what.format(seconds))


class _Left:
    """Remembers that the request has left, and tells the taker once.

    What asks for something passes a failpoint then: a process that dies there has sent and does not know what came.
    """

    __slots__ = ("_asks", "_taker", "done")

    def __init__(self, taker: Taker | None, *, asks: bool) -> None:
        self._asks = asks
        self._taker = taker
        self.done = False

    def __call__(self) -> None:
        if not self.done:
            self.done = True
            if self._taker is not None:
                self._taker.sent()
            if self._asks:
                failpoints.hit("sent.left")
