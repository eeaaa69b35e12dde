"""The far end of the seam: takes errands, makes their exchanges, reports what came.

Owns nothing that must survive: which errands are under way here, and the connections. An errand that has waited too
long since it departed is not sent. It knows no row, no key, no limit and no ledger.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Final

import anyio
from anyio.abc import TaskGroup

from batch.core.clock import Clock
from batch.core.errors import WireError
from batch.core.records import Incoming, Outgoing, Reply
from batch.http.client import Client
from batch.providers import registry
from batch.providers.base import Dialect
from batch.providers.stream import Stream
from batch.run.fleet import messages
from batch.run.fleet.line import Line

VALID_S: Final = 0.5
"""How long after its departure an errand may still be sent.

All windows are a minute, and the pace (`limits.requests`) leaves 0.6 s of one free, of which its burst takes 0.1 s."""
ALIVE_S: Final = 1.0
"""How often it says that it is there."""


class FarEnd:
    """One worker, from its first message to its end.

    Args:
        clock: the same as that of the core, which says when errands departed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hello: messages.Hello | None = None
        self._line = Line(self._received, self._ended)
        self._dialect: Dialect | None = None
        self._clients: dict[str, Client] = {}
        self._to_do: deque[messages.Errand] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._scopes: dict[int, anyio.CancelScope] = {}
        """By ticket, what a `Cancel` cancels."""
        self._done: list[messages.Done] = []
        self._stale: list[int] = []
        self._telling = False
        self._leaving = False
        self._over = anyio.Event()
        self._group: TaskGroup | None = None
        self._spoke_at = 0.0

    async def work(self, end: socket.socket) -> None:
        """Work until it is told to leave and has nothing under way, or nobody is at the other end.

        Args:
            end: of the line to the core.
        """
        async with anyio.create_task_group() as group:
            self._group = group
            await self._line.open(end)
            group.start_soon(self._say_alive)
            await self._over.wait()
            group.cancel_scope.cancel()
        for client in self._clients.values():
            await client.aclose()
        self._line.close()

    # -- from the core ------------------------------------------------------------------------------------------------

    def _received(self, message: bytes) -> None:
        """A message came."""
        told = messages.for_worker(message)
        if isinstance(told, messages.Take):
            now = self._clock.monotonic()
            for errand in told.errands:
                self._take(errand, now)
        elif isinstance(told, messages.Cancel):
            for ticket in told.tickets:
                self._cancel(ticket)
        elif isinstance(told, messages.Leave):
            self._leaving = True
            self._look_for_end()
        else:
            self._hello = told
            spoken = registry.find(told.provider, told.tables)
            self._dialect, _ = registry.dialect(spoken, base_url=told.base_url, key="")
            self._say(messages.Alive(told.epoch))

    def _ended(self) -> None:
        """The core is gone: nobody will book what comes."""
        self._over.set()

    def _take(self, errand: messages.Errand, now: float) -> None:
        if self._leaving or now - errand.departed_at > VALID_S:
            self._stale.append(errand.ticket)
            self._tell_soon()
            return
        self._scopes[errand.ticket] = anyio.CancelScope()
        self._to_do.append(errand)
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        assert self._group is not None
        self._group.start_soon(self._run_errands)

    def _cancel(self, ticket: int) -> None:
        if (scope := self._scopes.get(ticket)) is not None:
            scope.cancel()

    # -- exchanges ----------------------------------------------------------------------------------------------------

    async def _run_errands(self) -> None:
        """One of a crew that grows with what is under way at a time."""
        while True:
            while not self._to_do:
                mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(mine)
                await mine
            errand = self._to_do.popleft()
            with self._scopes[errand.ticket]:
                done = await self._exchange(errand)
                self._done.append(done)
                self._tell_soon()
            del self._scopes[errand.ticket]
            self._look_for_end()

    async def _exchange(self, errand: messages.Errand) -> messages.Done:
        outgoing = Outgoing(errand.path, errand.headers, errand.body)
        stream = self._new_stream() if errand.streamed else None
        incoming: Incoming | None = None
        fault: messages.Fault | None = None
        try:
            incoming = await self._client(errand.base_url).exchange(outgoing, stream=stream)
        except WireError as exc:
            fault = messages.Fault(str(exc), exc.kind, exc.sent, exc.permanent, exc.wrong_address)
        return messages.Done(errand.ticket, incoming, fault, None if stream is None else _end_of(stream, fault))

    def _client(self, base_url: str) -> Client:
        if base_url not in self._clients:
            assert self._hello is not None
            self._clients[base_url] = Client(base_url, call_timeout_s=self._hello.call_timeout_s)
        return self._clients[base_url]

    def _new_stream(self) -> Stream:
        hello, dialect = self._hello, self._dialect
        assert hello is not None
        assert dialect is not None
        return Stream(
            dialect.folding(),
            self._clock,
            first_s=hello.first_chunk_timeout_s,
            idle_s=hello.idle_timeout_s,
            keep_raw=hello.keep_raw,
        )

    # -- to the core --------------------------------------------------------------------------------------------------

    def _tell_soon(self) -> None:
        """Report at the end of this tick of the loop, together with all else that it brings."""
        if not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._telling = False
        assert self._hello is not None
        done, self._done = self._done, []
        stale, self._stale = self._stale, []
        self._say(messages.Report(self._hello.epoch, done, stale))

    def _say(self, message: messages.ToCore) -> None:
        self._line.send(messages.encode(message))
        self._spoke_at = self._clock.monotonic()

    async def _say_alive(self) -> None:
        while True:
            await self._clock.sleep(ALIVE_S)
            if self._hello is not None and self._clock.monotonic() - self._spoke_at >= ALIVE_S / 2:
                self._say(messages.Alive(self._hello.epoch))

    def _look_for_end(self) -> None:
        if self._leaving and not self._scopes:
            self._tell()
            self._over.set()


def _end_of(stream: Stream, fault: messages.Fault | None) -> messages.StreamEnd | None:
    """What a stream came to; None where the answer was none, and is read like any other."""
    if not stream.taken:
        return None
    result = stream.end(clean=fault is None)
    reply, failure = (result, None) if isinstance(result, Reply) else (None, result)
    return messages.StreamEnd(reply, failure, stream.first_chunk_ms, stream.longest_gap_ms, stream.received)
