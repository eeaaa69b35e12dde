"""One HTTP/1.1 connection, which carries one exchange at a time.

Owns the exchange on an `asyncio.Protocol`, what a lost connection means for it, and that nothing but the answer to its
own request ends an exchange: bytes that nobody asked for, whenever they come, cost the connection. What an answer is,
and its limits, says `parsing`. It opens nothing, keeps no time (`timing`), and does not know when it is used again
(`shelf`).
"""

from __future__ import annotations

import asyncio
import select
from typing import Any, Final

from batch.http import reuse
from batch.http.answer import Answer, Taker
from batch.http.faults import AnswerTimeout, LineLost, NeverReached, Unanswered, UnusableAnswer
from batch.http.parsing import TWICE, AnswerParser, Shared
from batch.http.timing import Timer, Waiting

_poll: Any = getattr(select, "poll", None)  # not everywhere
_READABLE: Final = 0x0001  # POLLIN


class Connection(AnswerParser, asyncio.Protocol):
    """One connection, which carries at most one exchange at a time.

    Attributes:
        transport: that of the event loop; None before the connection is open.
        closed: whether it can never carry another exchange.
        reused: whether it has carried an exchange before.
        idle_since: when it became idle, in seconds of the event loop.
        streamed: whether its last answer was asked for as a stream.
    """

    __slots__ = (
        "_acked", "_before", "_came", "_future", "_late", "_raw", "_sent", "_waiting", "_watch", "closed",
        "idle_since", "reused", "streamed", "transport",
    )  # fmt: skip

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._raw: reuse.Handle | None = None
        self._watch: Any = None
        self._acked: int | None = None
        """What the kernel counted as acknowledged and not sent by us, when the connection was new; None under TLS."""
        self._came = 0
        """The same for what it received, and from then on what was read."""
        self._sent = 0
        """Bytes of all requests."""
        self._late: Timer | None = None
        self._waiting: Waiting | None = None
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.reused = False
        self.idle_since = 0.0
        self.streamed = False
        self._future: asyncio.Future[Answer] | None = None
        self._before: int | None = None
        """How many bytes the server had received before the request under way; None when that is not known."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open (`asyncio.Protocol`)."""
        self.transport = transport  # type: ignore[assignment]  # a socket's is a Transport
        self._shared.open.add(self)
        self._raw = reuse.borrow(transport.get_extra_info("socket"))
        if self._raw is not None and _poll is not None:
            self._watch = _poll()
            self._watch.register(self._raw.fileno(), _READABLE)
        if transport.get_extra_info("ssl_object") is None and (seen := reuse.look(self._raw)) is not None:
            _, self._acked, self._came = seen

    def data_received(self, data: bytes) -> None:
        """Bytes have come: of an answer, or ones that nobody asked for (`asyncio.Protocol`)."""
        self._came += len(data)
        if self._future is None:
            self.abort()  # nobody asked: whatever it is, the next answer on this connection could be a lie
            return
        if not self._received and self._before is not None:
            seen = reuse.look(self._raw)
            if seen is not None and seen[1] == self._before:
                self.fail(LineLost("the server sent something before the request came to it, which is no answer to it"))
                return
        error = self._parse(data)
        if self._taker is not None:
            error = self._pass_on(self._taker) or error
        if not self._done:
            error = error or self._excess()
            if error is not None:
                self.fail(error)
        elif self._twice and self.reused:
            self.fail(error or UnusableAnswer(TWICE))  # either may be that of the request before: nobody knows which
        else:
            self._keep = self._keep and error is None  # what came after a whole answer costs only the connection
            self._finish()

    def eof_received(self) -> bool:
        """The server sends nothing more (`asyncio.Protocol`)."""
        return False  # the transport closes itself, and connection_lost is called

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by either side (`asyncio.Protocol`)."""
        self.closed = True
        if self._future is not None:
            if exc is None and self._head_done and not self._framed():
                self._finish()
            else:
                self.fail(self._lost(exc))
        reuse.give_back(self._raw)  # the event loop closes it next
        self._raw = None
        self._shared.open.discard(self)
        self._shared.on_lost(self)

    def _lost(self, exc: Exception | None) -> LineLost:
        """The error of the exchange under way, now that the connection is gone."""
        reason = f": {exc}" if exc else ""
        if self._received:
            return LineLost(f"the server closed the connection in the middle of the answer{reason}")
        text = "the server closed the connection before any answer"
        if not self.reused:
            error = LineLost(f"{text}{reason}")
            error.__cause__ = exc  # which may be an alert of TLS
            return error
        text = f"{text}, a connection that had been idle{reason}"
        if reuse.never_arrived(self._raw, self._before, exc):
            return NeverReached(f"{text}; it had done so before the request arrived")
        return Unanswered(text)

    def _pass_on(self, taker: Taker) -> UnusableAnswer | None:
        """Pass the body that was just parsed to the taker, and count its waiting time anew."""
        over, error = self._feed(taker)
        if error is None and not self._done and self._waiting is not None and self._waiting.phase != "over":
            self._waiting.heard(over=over, begun=taker.begun if self._taking else self._size > 0)
        return error

    # for the pool

    def usable(self) -> bool:
        """Whether the connection can carry the next exchange.

        Nobody asked for anything, so whatever there is to read is the connection's end, or a lie. The kernel knows it
        before the event loop does: the race with a server that closes becomes as short as the way to it.
        """
        if self.closed or self.transport is None or self.transport.is_closing():
            return False
        seen = reuse.look(self._raw)
        if seen is None:
            return not self._unread()
        is_open, _, received = seen
        if not is_open:
            return False
        if self._acked is not None:
            return received == self._came
        return reuse.holds_nothing(self._raw) or not self._unread()  # under TLS what is read is not what came

    def send(
        self, data: bytes, future: asyncio.Future[Answer], taker: Taker | None = None, *, body: bytes = b""
    ) -> None:
        """Start an exchange.

        Args:
            data: the request, whole but for `body`.
            future: gets the answer, or the error that the exchange ends with.
            taker: takes the body of a stream as it comes.
            body: what is written behind `data`.
        """
        assert self.transport is not None
        self._taker = taker
        self._before = None
        self._future = future
        self.streamed = taker is not None
        if self.reused:
            self._before = self._acked + self._sent if self._acked is not None else reuse.acknowledged(self._raw)
        self._sent += len(data) + len(body)
        self.transport.write(data)
        if body:
            self.transport.write(body)
        self._shared.deadlines.start(self)
        if taker is not None:
            self._waiting = Waiting(self._unread, self._expired, self._lingered)
            self._waiting.watch(taker.first_s, taker.idle_s)

    def fail(self, error: Exception) -> None:
        """End the exchange under way with an error, and close the connection."""
        future, self._future = self._future, None
        self.abort()
        if future is not None and not future.done():
            future.set_exception(error)

    def overdue(self, due: float) -> None:
        """The whole answer had to be there at this moment (`timing.Deadlines`)."""
        self._late = Timer(self._unread, self._too_late)
        self._late.ring_since(due)

    def _too_late(self) -> None:
        self._expired(f"no whole answer within {self._shared.deadlines.whole_s:g} s")

    def _unread(self) -> bool:
        """Whether something lies in the socket, or its end."""
        return self._watch is not None and bool(self._watch.poll(0))

    def _expired(self, what: str) -> None:
        self.fail(AnswerTimeout(what))

    def _lingered(self) -> None:
        if self._future is not None:
            self._keep = False
            self._finish()

    def abort(self) -> None:
        """Close at once; the caller ends the exchange under way."""
        self.closed = True
        self._release()
        if self.transport is not None:
            self.transport.abort()

    def _finish(self) -> None:
        future, self._future = self._future, None
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        answer = Answer(self._status, self._headers, body)
        # Still writing: the server answered without reading the whole request, and would take the rest for a new one.
        if not self._keep or (self.transport is not None and self.transport.get_write_buffer_size() > 0):
            self.abort()
        else:
            self._release()
        if future is not None and not future.done():
            future.set_result(answer)

    def _release(self) -> None:
        """The exchange under way is over, and holds nothing any more."""
        self._shared.deadlines.stop(self)
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None
        self._future = None
        self._forget()
