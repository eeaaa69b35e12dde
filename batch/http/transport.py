"""The connections to one server: these bytes out, on a connection that is kept or a new one, and their whole answer.

Owns the set of connections: when one is opened, used again, closed. It does not know what happens on a connection
(`connection`), nor how one is opened (`dial`). It never queues (the caller bounds concurrency), sends again only what
certainly never reached the server, follows no redirect, and gives bodies as they came.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio

from batch.core import failpoints
from batch.http.dial import Dialer
from batch.http.faults import LineLost, NeverReached, Unanswered
from batch.http.parsing import Shared
from batch.http.shelf import Shelf
from batch.http.timing import Deadlines

if TYPE_CHECKING:
    import ssl

    from batch.http.answer import Answer, Taker
    from batch.http.connection import Connection
    from batch.http.head import Sealed
    from batch.http.urls import Url


class Transport:
    """Keeps every connection to one server for the next request. It belongs to the event loop that first uses it.

    Args:
        url: of the server.
        connect_s: seconds for opening a connection, TLS included.
        answer_s: seconds for everything from the first byte out to the last byte in; None waits for ever.
        max_body_bytes: the largest body of an answer, as it comes over the wire.
        ssl_context: for tests; the default is that of `environment`, which honours SSL_CERT_FILE and SSL_CERT_DIR.
    """

    def __init__(
        self,
        url: Url,
        *,
        connect_s: float,
        answer_s: float | None,
        max_body_bytes: int,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._shared = Shared(max_body_bytes, Deadlines(answer_s), self._lost)
        self._dialer = Dialer(url, seconds=connect_s, room=self._give_up_idle, ssl_context=ssl_context)
        self._whole, self._streamed = Shelf(streamed=False), Shelf(streamed=True)
        self._emptied: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def exchange(self, request: Sealed, taker: Taker | None = None, *, asks: bool = True) -> Answer:
        """Send one request and return its whole answer.

        Args:
            request: as it goes out.
            taker: takes the body of the answer as it comes, and is told when the request has left.
            asks: it asks for something that is paid for.

        Raises:
            NotConnected: no connection came about; nothing was sent.
            AnswerTimeout: the whole answer did not come in time; the request may have been processed.
            LineLost: the connection broke before the whole answer; the request may have been processed.
            UnusableAnswer: the answer is not HTTP, or too large.
        """
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()  # kept: asking for it is a system call
        whole, streamed = self._whole, self._streamed
        while True:
            now = loop.time()
            connection = whole.take(now) if whole.habit.trusted else None
            if connection is None:
                connection = streamed.take(now) if streamed.habit.trusted else None
            if connection is None:  # the server is not known to keep them, or all are in use
                connection = await self._tried() or await self._dialer.connect(self._shared)
                now = loop.time()
            habit = (streamed if connection.streamed else whole).habit
            idle_s = now - connection.idle_since
            future: asyncio.Future[Answer] = loop.create_future()
            connection.send(request.data, future, taker, body=request.body)
            try:
                if taker is not None:
                    taker.sent()
                if asks and failpoints.armed:
                    failpoints.hit("sent.left")  # a process that dies here does not know what came
                answer = await future
            except NeverReached:
                habit.closed(idle_s, loop.time())
                continue  # on another connection: nobody has read it, so nothing was bought
            except Unanswered:
                habit.closed(idle_s, loop.time())
                raise
            except BaseException:
                connection.abort()  # cancelled: an answer still to come must not meet the next request
                raise
            finally:
                if habit.trial is not None:
                    habit.trial_over(connection)
            if connection.reused and not habit.trusted:
                habit.answered()
            if not connection.closed:
                (whole if taker is None else streamed).keep(connection, loop.time())
            return answer

    async def aclose(self) -> None:
        """Close every connection and wait, a second at most, until the event loop has closed them all."""
        for connection in list(self._shared.open):
            connection.fail(LineLost("the client was closed during the exchange"))
        if self._shared.open:
            self._emptied = asyncio.get_running_loop().create_future()
            with anyio.move_on_after(1):  # a TLS peer that never answers must not hold up the exit
                await self._emptied

    async def _tried(self) -> Connection | None:
        """A connection of a server that is not known to keep any, once it was kept for a moment."""
        loop = asyncio.get_running_loop()
        for shelf in (self._whole, self._streamed):
            now = loop.time()
            connection = shelf.take(now)
            if connection is None:
                continue
            left_s = shelf.habit.try_it(connection, now - connection.idle_since)
            if left_s <= 0:
                return connection
            usable = False
            try:
                await anyio.sleep(left_s)
                usable = connection.usable()
            finally:
                if not usable:
                    shelf.habit.trial_over(connection)
                    connection.abort()
            if usable:
                return connection
            now = loop.time()
            shelf.habit.closed(now - connection.idle_since, now)
        return None

    def _give_up_idle(self) -> bool:
        """Close every idle connection; whether there were any."""
        idle = [*self._whole.clear(), *self._streamed.clear()]
        for connection in idle:
            connection.abort()
        return bool(idle)

    def _lost(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        self._whole.lost(connection, now)
        self._streamed.lost(connection, now)
        if not self._shared.open and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)
