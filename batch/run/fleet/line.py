"""The line between the core and a worker: messages as frames on a socket, in both directions.

Owns the form of a frame (four bytes of length, then the message) and its reading, whatever pieces it comes in; and the
far end of such a line, on the same machine and by the same clock as the core. What the messages mean is `messages`' and
whoever holds an end.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, cast

from batch.core.clock import Clock
from batch.run.fleet import messages

HEAD: Final = 4


class Line(asyncio.Protocol):
    """One end of a line, in one event loop.

    Args:
        received: called with each message, in order.
        ended: called once, when the other end is closed or gone.
    """

    def __init__(self, received: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        self._received = received
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._rest = bytearray()
        """The beginning of a message whose end has not come."""

    async def open(self, end: socket.socket) -> None:
        """Take over one end of a pair of sockets, of the family AF_UNIX; messages may come before this returns."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=end)

    def send(self, message: bytes) -> None:
        """Send one message; without waiting, and to nobody where the line has ended."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(len(message).to_bytes(HEAD, "big") + message)

    def close(self) -> None:
        """Close it, once all that was sent is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is taken over."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take a piece, of any length."""
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < HEAD or len(rest) < HEAD + int.from_bytes(rest[:HEAD], "big"):
                return
            data, self._rest = bytes(rest), bytearray()
        start, length = 0, len(data)
        while length - start >= HEAD:
            end = start + HEAD + int.from_bytes(data[start : start + HEAD], "big")
            if end > length:
                break
            self._received(data[start + HEAD : end])
            start = end
        if start < length:
            self._rest += data[start:]

    def connection_lost(self, _: Exception | None) -> None:
        """The other end is gone."""
        self._transport = None
        self._ended()


class FarSocket:
    """The far end of a line over a socket: see `transport.FarLine`.

    Args:
        end: of the pair of sockets.
        clock: the same as that of the core.
    """

    def __init__(self, end: socket.socket, clock: Clock) -> None:
        self._end = end
        self._line: Line | None = None
        self.core_now = clock.monotonic

    async def open(self, received: Callable[[messages.ToWorker], None], ended: Callable[[], None]) -> None:
        """Take over the socket."""
        self._line = Line(lambda message: received(messages.for_worker(message)), ended)
        await self._line.open(self._end)

    def send(self, message: messages.ToCore) -> None:
        """Send one message."""
        if self._line is not None:
            self._line.send(messages.encode(message))

    def close(self) -> None:
        """Close it, once all that was sent is written."""
        if self._line is not None:
            self._line.close()

    def headers(self, errand: messages.Errand) -> tuple[tuple[str, str], ...]:
        """Those of the errand, the key among them."""
        return errand.headers
