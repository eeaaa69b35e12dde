"""A raw-socket HTTP server for faults: it reads whole requests and does with the connection what the test says."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Self

import anyio

Answer = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request that arrived whole, and the connection to answer it on."""

    def __init__(self, head: bytes, body: bytes, writer: asyncio.StreamWriter, stub: Stub) -> None:
        self.head, self.body, self.connection = head, body, stub.connections
        self._over = stub.over
        self._writer = writer

    async def write(self, data: bytes) -> None:
        if self._writer.transport.is_closing():
            raise ConnectionResetError
        self._writer.write(data)
        await self._writer.drain()

    async def hang(self) -> None:
        """Say nothing for as long as the stub lives."""
        await self._over.wait()

    async def close(self) -> None:
        self._writer.close()

    async def reset(self) -> None:
        """RST instead of FIN: the peer sees a reset."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class Stub:
    """Answers each request with the next of `answers` (bytes, or what to do); the last one stays for all others."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.answers: list[bytes | Answer] = [reply(b"{}")]
        self.exchanges: list[Exchange] = []
        self.connections = 0
        self.closed = 0
        self.impatient = False
        """Answer as soon as the head is there, whatever body is announced."""
        self.over = anyio.Event()
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}/base"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.over.set()
        self.drop()
        with anyio.fail_after(60):
            while self._writers:
                await anyio.lowlevel.checkpoint()

    def drop(self) -> None:
        """Close every connection, as a restarted server does."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(
                    (line.split(b":")[1] for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"), b"0"
                )
                impatient = self.impatient
                body = b"" if impatient else await reader.readexactly(int(size))
                exchange = Exchange(head, body, writer, self)
                self.exchanges.append(exchange)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if isinstance(answer, bytes):
                    await exchange.write(answer)
                else:
                    await answer(exchange)
                if impatient:
                    return await exchange.hang()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed += 1
            writer.transport.abort()
            self._writers.discard(writer)


def reply(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """An answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
