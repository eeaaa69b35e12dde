"""A fast HTTP/1.1 keep-alive transport behind httpx's public transport interface, on asyncio and on uvloop.

Owns the set of connections: opening, TLS, reuse, deadlines, closing. It does not know what happens on a connection
(`connection`). It exists because httpx searches its whole pool at every request, which brings it down to a few hundred
requests a second with 64 in flight; here idle connections lie on one stack for each origin. It never queues (the caller
bounds concurrency), never sends twice, never follows a redirect, and gives whole bodies as they came.

Errors are httpx's own: `ConnectError` and `ConnectTimeout` mean that no byte of the request left; every other
`TransportError` means that some may have left.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from asyncio import sslproto
from typing import TYPE_CHECKING, Any, Final

import aiohappyeyeballs
import anyio
import httpx
from aiohappyeyeballs import AddrInfoType

from batch.core import openfiles
from batch.core.errors import RefusedToStart
from batch.http import environment
from batch.http.address import SPEAKS_HTTP, NotTls, is_not_tls
from batch.http.answer import Answer, Unanswered
from batch.http.connection import Connection, Shared
from batch.http.reuse import Habit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

Origin = tuple[str, str, int]
Kind = tuple[Origin, bool]
"""Connections to one origin whose last answer was a stream, or was none."""

IDLE_S: Final = 15.0
"""After this an idle connection is not used again: services close them after 60 s or less, without notice."""
CLOSED_S: Final = 0.01
"""How long the event loop is given to close connections that were given up."""
NEXT_ADDRESS_S: Final = 0.25
"""How long one address of a host is waited for before the next is tried beside it (RFC 8305, section 5)."""


class Untrusted(httpx.ConnectError):
    """The certificate of the server does not verify: nothing was sent, and nothing will be."""


class Body(httpx.AsyncByteStream):
    """A whole body in memory, of a request or of an answer; `data` gives it without iteration."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the whole body as one chunk."""
        yield self.data


class KeepAliveTransport(httpx.AsyncBaseTransport):
    """A transport that keeps every connection for the next request to the same origin.

    It belongs to the event loop that first uses it. Timeouts come from `request.extensions["timeout"]`: `connect` for
    opening a connection, TLS included, `read` for everything from the first byte out to the last byte in. A callable
    in `request.extensions["sent"]` is called when the request has been handed to the operating system.

    Args:
        max_body_bytes: the largest body of an answer, as it comes over the wire.
        ssl_context: for tests; the default is that of `environment`, which honours SSL_CERT_FILE and SSL_CERT_DIR.
    """

    def __init__(self, *, max_body_bytes: int = 64 * 1024 * 1024, ssl_context: ssl.SSLContext | None = None) -> None:
        self._shared = Shared(max_body_bytes, self._lost)
        self._ssl = ssl_context
        # Insertion order makes a dict a stack (popitem) from which a connection that was lost goes in O(1).
        self._idle: dict[Kind, dict[Connection, None]] = {}
        self._habits: dict[Kind, Habit] = {}
        self._emptied: asyncio.Future[None] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its whole answer.

        Raises:
            httpx.ConnectError: no connection could be opened: the name, the route, a refusal, TLS (`Untrusted` for the
                certificate); nothing was sent.
            httpx.ConnectTimeout: no connection could be opened in time; nothing was sent.
            httpx.ReadTimeout: the whole answer did not come in time; the request may have been processed.
            httpx.ReadError: the connection broke before the whole answer; the request may have been processed.
            NeverReached: the same, on a connection that the server had closed before the request arrived there.
            UnusableAnswer: the answer is not HTTP, or too large.
        """
        stream = request.stream
        body = stream.data if isinstance(stream, Body) else await request.aread()
        data = Body(_head(request, len(body)) + body)  # bytes in a frame would show the key in a traceback with locals
        url = request.url
        scheme = url.scheme
        origin = (scheme, url.host, url.port or (443 if scheme == "https" else 80))
        timeout = request.extensions.get("timeout") or {}
        loop = asyncio.get_running_loop()
        connection = await self._take(origin)
        if connection is None:
            connection = await self._connect(origin, timeout.get("connect"))
            answer = await self._exchange(connection, data, extensions=request.extensions)
        else:
            answer = await self._again(connection, origin, data, extensions=request.extensions)
        if not connection.closed:
            self._keep(connection, origin, loop.time())
        whole = answer.body[0] if len(answer.body) == 1 else b"".join(answer.body)
        return httpx.Response(answer.status, headers=answer.headers, stream=Body(whole))

    async def aclose(self) -> None:
        """Close every connection and wait, a second at most, until the event loop has closed them all."""
        for connection in list(self._shared.open):
            connection.fail(httpx.ReadError("the client was closed during the exchange"))
        if self._shared.open:
            self._emptied = asyncio.get_running_loop().create_future()
            with anyio.move_on_after(1):  # a TLS peer that never answers must not hold up the exit
                await self._emptied

    async def _exchange(self, connection: Connection, data: Body, *, extensions: Mapping[str, Any]) -> Answer:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        watch = extensions.get("watch")
        seconds = (extensions.get("timeout") or {}).get("read")
        connection.send(data.data, future, extensions.get("taker"), whole_s=seconds)
        if watch is not None:
            connection.watch(*watch)
        sent = extensions.get("sent")
        if sent is not None:
            sent()
        try:
            return await future
        except BaseException:
            connection.abort()  # cancelled: an answer still to come must not meet the next request
            raise

    async def _again(
        self, connection: Connection, origin: Origin, data: Body, *, extensions: Mapping[str, Any]
    ) -> Answer:
        """Make an exchange on a connection that was used before, and learn from what comes of it."""
        habit = self._habit((origin, connection.streamed))
        loop = asyncio.get_running_loop()
        idle_s = loop.time() - connection.idle_since
        try:
            answer = await self._exchange(connection, data, extensions=extensions)
        except Unanswered:
            habit.closed(idle_s, loop.time())
            raise
        finally:
            habit.trial_over(connection)
        habit.answered()
        return answer

    def _keep(self, connection: Connection, origin: Origin, now: float) -> None:
        """Keep a connection for the next request, unless its server is known to close it at once."""
        kind = (origin, connection.streamed)
        if not self._habit(kind).keeps(now):
            connection.abort()
            return
        connection.reused = True
        connection.idle_since = now
        self._idle.setdefault(kind, {})[connection] = None

    def _habit(self, kind: Kind) -> Habit:
        habit = self._habits.get(kind)
        if habit is None:
            habit = self._habits[kind] = Habit(streamed=kind[1])
        return habit

    async def _take(self, origin: Origin) -> Connection | None:
        """Take a connection of this origin that is usable, or None."""
        loop = asyncio.get_running_loop()
        for kind in ((origin, False), (origin, True)):
            stack = self._idle.get(kind)
            if not stack:
                continue
            habit, now = self._habit(kind), loop.time()
            connection = self._take_from(stack, habit, now)
            if connection is None:
                continue
            left_s = habit.try_it(connection, now - connection.idle_since)
            if left_s <= 0:
                return connection
            usable = False
            try:
                await anyio.sleep(left_s)
                usable = connection.usable()
            finally:
                if not usable:
                    habit.trial_over(connection)
                    connection.abort()
            if usable:
                return connection
            habit.closed(loop.time() - connection.idle_since, loop.time())
        return None

    @staticmethod
    def _take_from(stack: dict[Connection, None], habit: Habit, now: float) -> Connection | None:
        """Take the connection that was used last, or one that was kept long enough to be tried; close those too old."""
        while stack:
            oldest = next(iter(stack))
            if now - oldest.idle_since < min(IDLE_S, habit.idle_max):
                break
            del stack[oldest]
            oldest.abort()
        while stack:
            connection = next(reversed(stack) if habit.trusted else iter(stack))
            idle_s = now - connection.idle_since
            if not connection.usable():
                habit.closed(idle_s, now)
            elif idle_s < connection.idle_max:
                if not habit.may_use(idle_s, now):
                    return None
                del stack[connection]
                return connection
            del stack[connection]
            connection.abort()
        return None

    async def _connect(self, origin: Origin, seconds: float | None) -> Connection:
        loop = asyncio.get_running_loop()
        scheme, host, port = origin
        try:
            secure = self._tls() if scheme == "https" else None
            with anyio.fail_after(seconds):
                sock = await self._dial(host, port)
                _, connection = await loop.create_connection(
                    lambda: Connection(self._shared),
                    sock=sock,
                    ssl=secure,
                    server_hostname=host if secure else None,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection to {host}:{port} within {seconds:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(environment.untrusted(host, port, error)) from error
        except RefusedToStart as error:  # the run began at an address that needs no certificates
            raise Untrusted(str(error)) from error
        except ssl.SSLError as error:
            if is_not_tls(error):
                raise NotTls(f"{host}:{port}: {SPEAKS_HTTP}") from error
            raise httpx.ConnectError(f"no connection to {host}:{port}: {error}") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name no DNS can have
            reason = f"too many files are open. {openfiles.advice()}" if openfiles.used_up(error) else _reason(error)
            raise httpx.ConnectError(f"no connection to {host}:{port}: {reason}") from error
        return connection

    async def _dial(self, host: str, port: int) -> socket.socket:
        """A connected socket; when no more files can be opened, one in the place of idle connections.

        Raises:
            OSError: as `_open_socket`.
        """
        try:
            return await _open_socket(host, port)
        except OSError as error:
            idle = [connection for stack in self._idle.values() for connection in stack]
            if not idle or not openfiles.used_up(error):
                raise
        for stack in self._idle.values():
            stack.clear()
        for connection in idle:
            connection.abort()
        await anyio.sleep(CLOSED_S)
        return await _open_socket(host, port)

    def _lost(self, connection: Connection) -> None:
        for kind, stack in self._idle.items():
            if connection in stack:
                del stack[connection]
                now = asyncio.get_running_loop().time()
                self._habit(kind).closed(now - connection.idle_since, now)
        if not self._shared.open and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _tls(self) -> ssl.SSLContext:
        if self._ssl is None:
            self._ssl = environment.certificates()
            self._ssl.set_alpn_protocols(["http/1.1"])
            # asyncio gives every TLS connection a read buffer of 256 KiB (0.3 MB a connection, 649 MB at 2,000); one
            # TLS record is 16 KiB, and no rate was lost with it. uvloop does not look at this.
            sslproto.SSLProtocol.max_size = 16 * 1024
        return self._ssl


def _reason(error: OSError | UnicodeError) -> str:
    """Why there is no connection, in the system's own words where they say it: `Connection refused`."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


async def _open_socket(host: str, port: int) -> socket.socket:
    """A socket connected to the host: to whichever of its addresses answers first.

    The addresses are tried in their order, the next one as soon as one fails or is silent for `NEXT_ADDRESS_S`.

    Raises:
        OSError: the name cannot be looked up, or no address accepts the connection.
    """
    addresses = await _resolve(host, port)
    try:
        return await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S)
    except RuntimeError as error:  # uvloop's word for some of what the system refuses
        raise OSError(str(error)) from error


async def _resolve(host: str, port: int) -> Sequence[AddrInfoType]:
    """The addresses of a host in the order of preference; at least one."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return aiohappyeyeballs.addr_to_addr_infos((host, port)) or []


def _head(request: httpx.Request, length: int) -> bytes:
    """The head of a request as bytes; Host and Content-Length are added where the request has none."""
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
