"""The far end of the seam: takes errands, makes their exchanges, reports what came.

Owns nothing that must survive: which errands are under way here, and the connections. An errand that has waited too
long since it departed is not sent. Answers are read here, so that the core gets what they say and not their bytes;
refusals, and all of them where the bytes are wanted, go to the core as they came. It knows no row, no key, no limit and
no ledger.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from batch.core.clock import Clock
from batch.core.errors import WireError
from batch.core.records import Failure, Incoming, Outgoing, Reply
from batch.http.client import Client
from batch.http.headers import looked_at
from batch.providers import registry
from batch.providers.base import Dialect
from batch.providers.stream import Stream
from batch.run.fleet import messages
from batch.run.fleet.transport import FarLine

VALID_S: Final = 0.5
"""How long after its departure an errand may still be sent.

All windows are a minute, and the pace (`limits.requests`) leaves 0.6 s of one free, of which its burst takes 0.1 s."""
READ_MAX: Final = 1 << 20
"""Bytes of an answer that is read here; of a larger one what it says would be in memory several times on its way."""
ALIVE_S: Final = 1.0
"""How often it says that it is there."""


class FarEnd:
    """One worker, from its first message to its end.

    Args:
        clock: for all times but those at which errands departed.
        line: to the core, by whose clock they did.
    """

    def __init__(self, clock: Clock, line: FarLine) -> None:
        self._clock = clock
        self._hello: messages.Hello | None = None
        self._line = line
        self._dialect: Dialect | None = None
        self._clients: dict[str, Client] = {}
        self._to_do: deque[messages.Errand] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._under_way: dict[int, asyncio.Task[Any] | None] = {}
        """By ticket, who makes the exchange; None before it is begun."""
        self._unwanted: set[int] = set()
        """Tickets of errands under way that nobody waits for any more."""
        self._readers: dict[str | None, Callable[[Incoming], messages.Result]] = {}
        """By what is asked; empty where the bytes of answers are wanted."""
        self._said: list[messages.Said] = []
        self._done: list[messages.Done] = []
        self._stale: list[int] = []
        self._telling = False
        self._leaving = False
        self._over = anyio.Event()
        self._group: TaskGroup | None = None
        self._spoke_at = 0.0

    async def work(self) -> None:
        """Work until it is told to leave and has nothing under way, or nobody is at the other end."""
        async with anyio.create_task_group() as group:
            self._group = group
            await self._line.open(self._received, self._ended)
            group.start_soon(self._say_alive)
            await self._over.wait()
            group.cancel_scope.cancel()
        for client in self._clients.values():
            await client.aclose()
        self._line.close()

    # -- from the core ------------------------------------------------------------------------------------------------

    def _received(self, told: messages.ToWorker) -> None:
        """A message came."""
        if isinstance(told, messages.Take):
            now = self._line.core_now()
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
            self._readers = {} if told.keep_raw else _readers(self._dialect)
            self._say(messages.Alive(told.epoch))

    def _ended(self) -> None:
        """The core is gone: nobody will book what comes."""
        self._over.set()

    def _take(self, errand: messages.Errand, now: float) -> None:
        if self._leaving or now - errand.departed_at > VALID_S:
            self._stale.append(errand.ticket)
            self._tell_soon()
            return
        self._under_way[errand.ticket] = None
        self._to_do.append(errand)
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        assert self._group is not None
        self._group.start_soon(self._run_errands)

    def _cancel(self, ticket: int) -> None:
        if ticket in self._under_way:
            self._unwanted.add(ticket)
            if (task := self._under_way[ticket]) is not None:
                task.cancel()

    # -- exchanges ----------------------------------------------------------------------------------------------------

    async def _run_errands(self) -> None:
        """One of a crew that grows with what is under way at a time."""
        me = asyncio.current_task()
        assert me is not None
        while True:
            while not self._to_do:
                mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(mine)
                await mine
            errand = self._to_do.popleft()
            ticket = errand.ticket
            if ticket not in self._unwanted:
                self._under_way[ticket] = me
                try:
                    await self._exchange(errand)
                except asyncio.CancelledError:
                    if ticket not in self._unwanted:
                        raise  # it is not this errand alone that ends
                    me.uncancel()
            self._unwanted.discard(ticket)
            del self._under_way[ticket]
            if self._leaving:
                self._look_for_end()

    async def _exchange(self, errand: messages.Errand) -> None:
        """Make one exchange, and have what came of it reported."""
        outgoing = Outgoing(errand.path, self._line.headers(errand), errand.body)
        stream = self._new_stream() if errand.streamed else None
        incoming: Incoming | None = None
        fault: messages.Fault | None = None
        client = self._clients.get(errand.base_url) or self._new_client(errand.base_url)
        try:
            incoming = await client.exchange(outgoing, stream=stream)
        except WireError as exc:
            fault = messages.Fault(str(exc), exc.kind, exc.sent, exc.permanent, exc.wrong_address)
        end = None if stream is None else _end_of(stream, fault)
        result = None if incoming is None else self._read(errand, incoming, end)
        if incoming is None or result is None:
            self._done.append(messages.Done(errand.ticket, incoming, fault, end))
        else:
            if isinstance(result, Reply):
                messages.leave_out_echo(result)
            times = None if end is None else messages.StreamEnd(None, None, end.first_chunk_ms, end.longest_gap_ms)
            self._said.append(messages.said_of(errand.ticket, looked_at(incoming.headers), result, times))
        self._tell_soon()

    def _read(
        self, errand: messages.Errand, incoming: Incoming, end: messages.StreamEnd | None
    ) -> messages.Result | None:
        """What an answer says; None where the core reads it itself: a large one, and refusals, which tell of limits."""
        if not self._readers:
            return None
        if end is not None:
            return end.reply
        reader = self._readers.get(errand.asks)
        if reader is None or incoming.status != 200 or len(incoming.body) > READ_MAX:
            return None
        result = reader(incoming)
        return None if isinstance(result, Failure) else result

    def _new_client(self, base_url: str) -> Client:
        assert self._hello is not None
        client = self._clients[base_url] = Client(base_url, call_timeout_s=self._hello.call_timeout_s)
        return client

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
        said, self._said = self._said, []
        self._say(messages.Report(self._hello.epoch, done, stale, said))

    def _say(self, message: messages.ToCore) -> None:
        self._line.send(message)
        self._spoke_at = self._clock.monotonic()

    async def _say_alive(self) -> None:
        while True:
            await self._clock.sleep(ALIVE_S)
            if self._hello is not None and self._clock.monotonic() - self._spoke_at >= ALIVE_S / 2:
                self._say(messages.Alive(self._hello.epoch))

    def _look_for_end(self) -> None:
        if self._leaving and not self._under_way:
            self._tell()
            self._over.set()


def _readers(dialect: Dialect) -> dict[str | None, Callable[[Incoming], messages.Result]]:
    return {"chat": dialect.read_chat, "submit": dialect.read_submit, "poll": dialect.read_poll}


def _end_of(stream: Stream, fault: messages.Fault | None) -> messages.StreamEnd | None:
    """What a stream came to; None where the answer was none, and is read like any other."""
    if not stream.taken:
        return None
    result = stream.end(clean=fault is None)
    reply, failure = (result, None) if isinstance(result, Reply) else (None, result)
    return messages.StreamEnd(reply, failure, stream.first_chunk_ms, stream.longest_gap_ms, stream.received)
