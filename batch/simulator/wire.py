"""Bytes going out. Owns the reply value, the connection it leaves on, and what can be done to that connection.

An ASGI server has no word for "reset the connection", so the protocol class puts a `Line` into the connection's state
and the app finds it there.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import Callable
from typing import Any

import msgspec

Headers = tuple[tuple[bytes, bytes], ...]
LINE = "simulator.line"

_JSON_UTF8 = b"application/json; charset=UTF-8"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # linger on, for no time: close() sends RST instead of FIN
_GZIP_FROM = 1024


class Reply(msgspec.Struct, frozen=True):
    """One HTTP answer.

    Attributes:
        status: HTTP status; 0 when nothing is sent at all.
        body: the whole body, also when only a part of it will leave.
        headers: further headers, names in lower case.
        content_type: the `Content-Type`.
        cut: bytes of the body after which the connection is reset; -1 resets it before the status line.
    """

    status: int
    body: bytes
    headers: Headers = ()
    content_type: bytes = _JSON_UTF8
    cut: int | None = None


def json_reply(status: int, value: Any, headers: Headers = (), content_type: bytes = _JSON_UTF8) -> Reply:
    """A reply whose body is `value` as JSON, in UTF-8, unescaped."""
    return Reply(status, msgspec.json.encode(value), headers, content_type)


def gzipped(reply: Reply) -> Reply:
    """The reply with its body compressed, when it is long enough to gain from it."""
    if len(reply.body) <= _GZIP_FROM:
        return reply
    headers = (*reply.headers, (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding"))
    return msgspec.structs.replace(reply, body=gzip.compress(reply.body, 1, mtime=0), headers=headers)


class Line:
    """One TCP connection: whether the client is still there, and the means to reset it."""

    __slots__ = ("_protocol", "_watcher", "gone")

    def __init__(self, protocol: Any) -> None:
        """Wrap the server's protocol object, which has `transport` and `flow` once it is connected."""
        self._protocol = protocol
        self._watcher: Callable[[], None] | None = None
        self.gone = asyncio.Event()

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
        """The protocol says that the connection is gone."""
        self.gone.set()
        if self._watcher is not None:
            self._watcher()

    async def reset(self) -> None:
        """Let what was written leave, then reset the connection (RST) and return when it is gone."""
        transport = self._protocol.transport
        while transport.get_write_buffer_size() and not self.lost:  # noqa: ASYNC110 - it has no event for "empty"
            await asyncio.sleep(0.001)
        if not self.lost:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()
        await self.gone.wait()


async def deliver(reply: Reply, line: Line, send: Any) -> bool:
    """Send a reply; true when the whole of it was handed to the socket of a client that was still there."""
    if reply.cut is not None and reply.cut < 0:
        await line.reset()
        return False
    size = str(len(reply.body)).encode()
    headers = [(b"content-type", reply.content_type), (b"content-length", size), *reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if reply.cut is not None:
        await send({"type": "http.response.body", "body": reply.body[: reply.cut], "more_body": True})
        await line.reset()
        return False
    await send({"type": "http.response.body", "body": reply.body})
    return not line.lost
