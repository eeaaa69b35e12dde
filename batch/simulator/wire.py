"""How an answer leaves: as bytes on a connection, which faults may slow down, cut or reset.

Owns the reply value, the connection it leaves on, and what can be done to that connection.

An ASGI server has no word for "reset the connection", so the protocol class puts a `Line` into the connection's state
and the app finds it there.
"""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import socket
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from batch.simulator.clock import Clock

Headers = tuple[tuple[bytes, bytes], ...]
LINE = "simulator.line"

_JSON_UTF8 = b"application/json; charset=UTF-8"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # linger on, for no time: close() sends RST instead of FIN
_GZIP_FROM = 1024
_LOOK_S = 0.25  # how often a slow answer looks whether its client is still there


class Reply(msgspec.Struct, frozen=True):
    """One HTTP answer.

    Attributes:
        status: HTTP status; 0 when nothing is sent at all.
        body: the whole body, also when only a part of it will leave.
        headers: further headers, names in lower case.
        content_type: the `Content-Type`; None sends none.
        cut: bytes of the body after which the connection is reset; -1 resets it before the status line.
        fin: close where `cut` says, in peace, instead of resetting.
        hold_s: seconds that pass before the first byte leaves.
        drip_s: seconds between two pieces of the body; 0 sends it whole.
        drip_bytes: length of such a piece.
        date_skew_s: what the `Date` is off by, in seconds.
        stream: sent without a length, so that only its end says where it ends.
        ends: where in the body each write ends that leaves by itself; empty sends it whole.
        waits: seconds before each of these writes; none where it is too short.
        restart: `kept` or `lost` when the whole server goes down with this answer and comes back with its tasks or
            without them.
    """

    status: int
    body: bytes
    headers: Headers = ()
    content_type: bytes | None = _JSON_UTF8
    cut: int | None = None
    fin: bool = False
    hold_s: float = 0.0
    drip_s: float = 0.0
    drip_bytes: int = 1
    date_skew_s: float = 0.0
    stream: bool = False
    ends: tuple[int, ...] = ()
    waits: tuple[float, ...] = ()
    restart: str = ""


def json_reply(status: int, value: Any, headers: Headers = (), content_type: bytes = _JSON_UTF8) -> Reply:
    """A reply with a JSON body, in UTF-8, unescaped.

    Args:
        status: HTTP status.
        value: what becomes JSON.
        headers: further headers, names in lower case.
        content_type: the `Content-Type`.
    """
    return Reply(status, msgspec.json.encode(value), headers, content_type)


def gzipped(reply: Reply) -> Reply:
    """The reply with its body compressed, when it is long enough to gain from it and no stream."""
    if reply.stream or len(reply.body) <= _GZIP_FROM or any(name == b"content-encoding" for name, _ in reply.headers):
        return reply
    headers = (*reply.headers, (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding"))
    return msgspec.structs.replace(reply, body=gzip.compress(reply.body, 1, mtime=0), headers=headers)


class Line:
    """One TCP connection: whether the client is still there, and the means to reset it."""

    __slots__ = ("__weakref__", "_protocol", "_watcher", "gone", "served")

    def __init__(self, protocol: Any) -> None:
        """Wrap the server's protocol object, which has `transport` and `flow` once it is connected."""
        self._protocol = protocol
        self._watcher: Callable[[], None] | None = None
        self.gone = asyncio.Event()
        self.served = 0

    @property
    def lost(self) -> bool:
        """Whether the connection is no more."""
        return self.gone.is_set()

    def watch(self, watcher: Callable[[], None] | None) -> None:
        """Call `watcher` when the connection goes, at once if it has gone; None stops watching."""
        self._watcher = watcher
        if watcher is None:
            return
        # A large body leaves the connection unread until the answer; unread, it would not show that the client left.
        self._protocol.flow.resume_reading()
        if self.lost:
            watcher()

    def connection_lost(self) -> None:
        """Note that the connection is gone; the protocol says so."""
        self.gone.set()
        if self._watcher is not None:
            self._watcher()

    async def reset(self) -> None:
        """Let what was written leave, then reset the connection (RST) and return when it is gone."""
        transport = self._protocol.transport
        while transport.get_write_buffer_size() and not self.lost:  # noqa: ASYNC110 - it has no event for "empty"
            await asyncio.sleep(0.001)
        self.drop()
        await self.gone.wait()

    def drop(self) -> None:
        """Reset the connection at once, whatever has not left yet."""
        if not self.lost:
            transport = self._protocol.transport
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()

    async def close(self) -> None:
        """Let what was written leave, then close the connection (FIN) and return when it is gone."""
        if not self.lost:
            self._protocol.transport.close()
        await self.gone.wait()


@lru_cache(maxsize=16)
def http_date(seconds: int) -> bytes:
    """A date as HTTP writes it, `Sat, 21 Nov 2026 10:00:30 GMT`, from seconds since 1970."""
    return email.utils.formatdate(seconds, usegmt=True).encode()


async def deliver(reply: Reply, line: Line, send: Any, clock: Clock) -> bool:
    """Send a reply.

    Args:
        reply: what is sent, and how.
        line: the connection.
        send: the `send` of ASGI.
        clock: for the date and the waits.

    Returns:
        Whether the whole of it was handed to the socket of a client that was still there.
    """
    if reply.hold_s:
        await _pause(reply.hold_s, line, clock)
    if reply.cut is not None and reply.cut < 0:
        await (line.close() if reply.fin else line.reset())
        return False
    headers = [(b"date", http_date(int(clock.wall() + reply.date_skew_s))), *reply.headers]
    if not reply.stream:
        headers.insert(1, (b"content-length", str(len(reply.body)).encode()))
    if reply.content_type is not None:
        headers.append((b"content-type", reply.content_type))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    body = reply.body if reply.cut is None else reply.body[: reply.cut]
    if reply.ends and not reply.drip_s:
        body = await _paced(reply, body, line, send, clock)
    if reply.cut is not None:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await (line.close() if reply.fin else line.reset())
        return False
    if reply.drip_s:
        await _drip(reply, line, send, clock)
    else:
        await send({"type": "http.response.body", "body": body})
    return not line.lost


async def _paced(reply: Reply, body: bytes, line: Line, send: Any, clock: Clock) -> bytes:
    """Send all writes but the last one, and return the bytes that are left for it."""
    begin = 0
    for position, end in enumerate(reply.ends):
        if position < len(reply.waits) and reply.waits[position]:
            await _pause(reply.waits[position], line, clock)
        else:
            await asyncio.sleep(0)  # else the event loop would put two writes into one
        if line.lost or end >= len(body):
            break
        await send({"type": "http.response.body", "body": body[begin:end], "more_body": True})
        begin = end
    return body[begin:]


async def _drip(reply: Reply, line: Line, send: Any, clock: Clock) -> None:
    ends = range(reply.drip_bytes, len(reply.body), reply.drip_bytes)
    for end in ends:
        piece = reply.body[end - reply.drip_bytes : end]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await _pause(reply.drip_s, line, clock)
        if line.lost:
            return
    await send({"type": "http.response.body", "body": reply.body[ends[-1] if ends else 0 :]})


async def _pause(seconds: float, line: Line, clock: Clock) -> None:
    # In pieces, so that nothing lies asleep for minutes for a client that has left.
    while seconds > 0 and not line.lost:
        await clock.sleep(min(seconds, _LOOK_S))
        seconds -= _LOOK_S
