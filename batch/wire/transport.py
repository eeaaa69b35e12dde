"""A fast HTTP/1.1 keep-alive transport under httpx's public transport interface.

Owns connections: opening, TLS, reuse, parsing, deadlines, closing. It exists because httpx's own pool is scanned at
every request and falls to a few hundred requests a second at 64 in flight; here idle connections lie on a stack per
origin and one `asyncio.Protocol` with httptools' parser sits on each, on asyncio and on uvloop. It never queues (the
caller bounds concurrency), never resends, never follows a redirect, and hands over whole bodies, as they came.

Errors are httpx's own: `ConnectError` and `ConnectTimeout` mean that no byte of the request left; every other
`TransportError` that some may have. Used by `batch.wire.http`, which chooses httpx's transport where a proxy applies.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from typing import TYPE_CHECKING, Any, Final

import anyio
import httptools
import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

Origin = tuple[str, str, int]
Header = tuple[bytes, bytes]

IDLE_S: Final = 15.0
"""Idle connections are not reused after this: services close them at 60 s or less, unannounced."""
HEAD_MAX: Final = 64 * 1024
HEADERS_MAX: Final = 512
FRAMING_MAX: Final = 1024 * 1024
"""Bytes of an answer that are not body (chunk sizes, trailers, 1xx answers) before it counts as an attack …"""
FRAMING_FACTOR: Final = 8
"""… plus this many for each byte of body, for servers that send one-byte chunks."""


class UnusableAnswer(httpx.RemoteProtocolError):
    """The server answered with something that is not HTTP or is larger than we take."""


class Body(httpx.AsyncByteStream):
    """A whole body in memory, of a request or of an answer; `data` spares the iteration."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The one chunk."""
        yield self.data


class _Answer:
    """One HTTP answer as it is being parsed."""

    __slots__ = ("body", "done", "framed", "head", "headers", "keep", "size", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[Header] = []
        self.body: list[bytes] = []
        self.size = 0
        self.head = 0
        self.framed = False  # has a Content-Length or chunks; else the end of the connection is its end
        self.done = False
        self.keep = False


class _Connection(asyncio.Protocol):
    """One connection: at most one exchange at a time; `closed` once it can never carry another."""

    __slots__ = (
        "_answer", "_future", "_head_done", "_max_body", "_on_lost", "_parser", "_received", "closed",
        "idle_since", "reused", "transport",
    )  # fmt: skip

    def __init__(self, max_body: int, on_lost: Callable[[_Connection], None]) -> None:
        self._max_body = max_body
        self._on_lost = on_lost
        self._parser: Any = httptools.HttpResponseParser(self)
        self._answer: _Answer | None = None
        self._future: asyncio.Future[_Answer] | None = None
        self._head_done = False
        self._received = 0
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.reused = False
        self.idle_since = 0.0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.abort()  # nobody asked: whatever it is, the next answer on this connection could be a lie
            return
        self._received += len(data)
        error: httpx.TransportError | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            error = UnusableAnswer("the server wants to change the protocol")
        except httptools.HttpParserError as trouble:
            # An error raised inside a callback arrives as HttpParserCallbackError with ours as its context.
            ours = trouble.__context__
            error = ours if isinstance(ours, UnusableAnswer) else UnusableAnswer(f"the answer is not HTTP ({trouble})")
        if answer.done:
            answer.keep = answer.keep and error is None  # what came after a whole answer costs only the connection
            self._finish(answer)
            return
        if error is None and not self._head_done and self._received > HEAD_MAX:
            error = UnusableAnswer(f"the head of the answer is larger than {HEAD_MAX} bytes")
        elif error is None and self._received - answer.size > FRAMING_MAX + FRAMING_FACTOR * answer.size:
            error = UnusableAnswer("the answer is mostly framing")
        if error is not None:
            self.fail(error)

    def eof_received(self) -> bool:
        return False  # the transport closes itself; connection_lost tells the rest

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        answer = self._answer
        if answer is not None:
            if exc is None and self._head_done and not answer.framed:
                self._finish(answer)
            else:
                where = "in the middle of the answer" if self._received else "before any answer"
                again = ", a connection that had been idle" if self.reused and not self._received else ""
                why = f": {exc}" if exc else ""
                self.fail(httpx.ReadError(f"the server closed the connection {where}{again}{why}"))
        self._on_lost(self)

    # httptools callbacks

    def on_message_begin(self) -> None:
        answer = self._answer
        if answer is not None and answer.done:
            raise UnusableAnswer("the server sent a second answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        answer = self._answer
        if answer is None or self._head_done:
            return  # a trailer
        answer.head += len(name) + len(value)
        if answer.head > HEAD_MAX or len(answer.headers) >= HEADERS_MAX:
            raise UnusableAnswer(f"the answer has more than {HEADERS_MAX} headers or {HEAD_MAX} bytes of them")
        answer.headers.append((name, value))
        if len(name) in (14, 17) and name.lower() in (b"content-length", b"transfer-encoding"):
            answer.framed = True

    def on_headers_complete(self) -> None:
        answer = self._answer
        if answer is None:
            return
        status = self._parser.get_status_code()
        if status < 200:  # 100, 102, 103: the real answer follows
            answer.headers.clear()
            answer.framed = False
            return
        answer.status = status
        answer.framed = answer.framed or status in (204, 304)
        self._head_done = True

    def on_body(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            return
        answer.size += len(data)
        if answer.size > self._max_body:
            raise UnusableAnswer(f"the answer is larger than {self._max_body} bytes")
        answer.body.append(data)

    def on_message_complete(self) -> None:
        if self._answer is not None and self._head_done:
            self._answer.done = True
            self._answer.keep = self._parser.should_keep_alive()  # only inside this callback does the parser know

    # for the pool

    def usable(self) -> bool:
        """Whether the next exchange may go over it."""
        return not (self.closed or self.transport is None or self.transport.is_closing())

    def send(self, data: bytes, future: asyncio.Future[_Answer]) -> None:
        """Start an exchange; `future` gets its answer or its error."""
        assert self.transport is not None
        self._answer = _Answer()
        self._future = future
        self._head_done = False
        self._received = 0
        self.transport.write(data)

    def fail(self, error: Exception) -> None:
        """End the exchange under way with an error, and the connection with it."""
        future, self._future, self._answer = self._future, None, None
        self.abort()
        if future is not None and not future.done():
            future.set_exception(error)

    def time_out(self, seconds: float) -> None:
        """End the exchange under way because its time is over."""
        self.fail(httpx.ReadTimeout(f"no whole answer within {seconds:g} s"))

    def abort(self) -> None:
        """Close at once; an exchange under way is the caller's to end."""
        self.closed = True
        self._answer = None
        if self.transport is not None:
            self.transport.abort()

    def _finish(self, answer: _Answer) -> None:
        future, self._future, self._answer = self._future, None, None
        writing = self.transport is not None and self.transport.get_write_buffer_size() > 0
        # Still writing: the server answered without reading all of it, and would take the rest for a new request.
        if writing or not answer.keep:
            self.abort()
        if future is not None and not future.done():
            future.set_result(answer)


class KeepAliveTransport(httpx.AsyncBaseTransport):
    """Connections to any number of origins, each kept for the next request to its origin.

    Bound to the event loop that first uses it. Timeouts come from `request.extensions["timeout"]`: `connect` for
    opening a connection, TLS included, `read` for everything from the first byte out to the last byte in. A callable
    in `request.extensions["sent"]` is called when the request has been handed to the operating system.

    Args:
        max_body_bytes: the largest body of an answer, as it comes over the wire.
        ssl_context: for tests; the default is httpx's own, which honours SSL_CERT_FILE and SSL_CERT_DIR.
    """

    def __init__(self, *, max_body_bytes: int = 64 * 1024 * 1024, ssl_context: ssl.SSLContext | None = None) -> None:
        self._max_body = max_body_bytes
        self._ssl = ssl_context
        # Insertion order makes a dict a stack (popitem) from which a connection that was lost goes in O(1).
        self._idle: dict[Origin, dict[_Connection, None]] = {}
        self._open: set[_Connection] = set()
        self._emptied: asyncio.Future[None] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange.

        Raises:
            httpx.ConnectError: name, route, refusal, TLS; nothing was sent.
            httpx.ConnectTimeout: the same, too slow.
            httpx.ReadTimeout: no whole answer in time; it may have been processed.
            httpx.ReadError: the connection broke before the whole answer; it may have been processed.
            UnusableAnswer: not HTTP, or too large.
        """
        stream = request.stream
        body = stream.data if isinstance(stream, Body) else await request.aread()
        data = _head(request, len(body)) + body
        url = request.url
        scheme = url.scheme
        origin = (scheme, url.host, url.port or (443 if scheme == "https" else 80))
        timeout = request.extensions.get("timeout") or {}
        loop = asyncio.get_running_loop()
        connection = self._take(origin, loop.time())
        if connection is None:
            connection = await self._connect(origin, timeout.get("connect"))
        answer = await self._exchange(connection, data, extensions=request.extensions)
        if not connection.closed:
            connection.reused = True
            connection.idle_since = loop.time()
            self._idle[origin][connection] = None
        whole = answer.body[0] if len(answer.body) == 1 else b"".join(answer.body)
        return httpx.Response(answer.status, headers=answer.headers, stream=Body(whole))

    async def aclose(self) -> None:
        """Close every connection and wait until the loop has let go of them."""
        for connection in list(self._open):
            connection.fail(httpx.ReadError("the client was closed during the exchange"))
        if self._open:
            self._emptied = asyncio.get_running_loop().create_future()
            with anyio.move_on_after(1):  # a TLS peer that never answers must not hold up the exit
                await self._emptied

    async def _exchange(self, connection: _Connection, data: bytes, *, extensions: Mapping[str, Any]) -> _Answer:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Answer] = loop.create_future()
        connection.send(data, future)
        sent = extensions.get("sent")
        if sent is not None:
            sent()
        seconds = (extensions.get("timeout") or {}).get("read")
        timer = None
        if seconds is not None:
            timer = loop.call_later(seconds, connection.time_out, seconds)
        try:
            return await future
        except BaseException:
            connection.abort()  # cancelled: an answer still to come must not meet the next request
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _take(self, origin: Origin, now: float) -> _Connection | None:
        """The connection used last among those that may be used, or None; the old ones at the bottom are closed."""
        stack = self._idle.setdefault(origin, {})
        while stack:
            oldest = next(iter(stack))
            if now - oldest.idle_since < IDLE_S:
                break
            del stack[oldest]
            oldest.abort()
        while stack:
            connection, _ = stack.popitem()
            if connection.usable():
                return connection
        return None

    async def _connect(self, origin: Origin, seconds: float | None) -> _Connection:
        loop = asyncio.get_running_loop()
        scheme, host, port = origin
        secure = self._tls() if scheme == "https" else None
        try:
            with anyio.fail_after(seconds):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._max_body, self._lost),
                    host,
                    port,
                    ssl=secure,
                    server_hostname=host if secure else None,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection to {host}:{port} within {seconds:g} s") from error
        except ssl.SSLCertVerificationError as error:
            text = f"{host}:{port} shows a certificate that is not trusted: {error.verify_message}"
            raise httpx.ConnectError(f"{text} (set SSL_CERT_FILE for a private authority)") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name no DNS can have
            raise httpx.ConnectError(f"no connection to {host}:{port}: {str(error) or type(error).__name__}") from error
        self._open.add(connection)
        return connection

    def _lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        for stack in self._idle.values():
            stack.pop(connection, None)
        if not self._open and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _tls(self) -> ssl.SSLContext:
        if self._ssl is None:
            self._ssl = httpx.create_ssl_context()
            self._ssl.set_alpn_protocols(["http/1.1"])
            # asyncio gives every TLS connection a read buffer of 256 KiB (0.3 MB a connection, 649 MB at 2,000); one
            # TLS record is 16 KiB, and no rate was lost with it. uvloop does not look at this.
            sslproto.SSLProtocol.max_size = 16 * 1024
        return self._ssl


def _head(request: httpx.Request, length: int) -> bytes:
    """Request line and headers; Host and Content-Length are added when the request has none."""
    url = request.url
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), url.raw_path)]
    host = sized = False
    for name, value in request.headers.raw:
        if b"\n" in value or b"\r" in value or b"\n" in name or b"\r" in name:
            raise httpx.LocalProtocolError("a request header holds a line break")
        lines.append(b"%b: %b" % (name, value))
        host = host or name in (b"Host", b"host")
        sized = sized or name in (b"Content-Length", b"content-length")
    if not host:
        lines.insert(1, b"Host: " + url.netloc)
    if not sized and (length or request.method == "POST"):
        lines.append(b"Content-Length: %d" % length)
    lines.append(b"\r\n")
    return b"\r\n".join(lines)
