"""One HTTP/1.1 connection: bytes in, one answer at a time out, under limits that no server can lift.

Owns the parsing (httptools' parser on an `asyncio.Protocol`), the limits on heads, framing and bodies, and what a lost
connection means for the exchange under way. It opens nothing and keeps no time.
"""

from __future__ import annotations

import asyncio
import math
import re
import select
from typing import TYPE_CHECKING, Any, Final, Literal

import httptools
import httpx

from batch.core.errors import WireError
from batch.http.answer import Answer, Taker, UnusableAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

Phase = Literal["first", "between", "over"]
"""Of a stream: before its first chunk, after it, after its last word."""

HEAD_MAX: Final = 64 * 1024
HEADERS_MAX: Final = 512
FRAMING_MAX: Final = 1024 * 1024
"""Bytes of an answer that are not body (chunk sizes, trailers, 1xx answers) before it counts as an attack …"""
FRAMING_FACTOR: Final = 8
"""… plus this many for each byte of body, for servers that send one-byte chunks."""
LINGER_S: Final = 1.0
"""What a stream gets to end its answer after its last word, so that the connection can be used again."""
HELD_MAX: Final = 256 * 1024 * 1024
"""Bytes of all unfinished answers together before those that take more than their part end."""
_KEPT: Final = re.compile(rb"timeout=(\d{1,6})\b")
_poll: Any = getattr(select, "poll", None)  # not everywhere
_READABLE: Final = 0x0001  # POLLIN


class Shared:
    """What the connections of one transport have in common.

    Attributes:
        max_body: the largest body of an answer.
        open: every connection that is not lost yet.
        held: bytes of body of all answers that are not whole yet.
        on_lost: called once for each connection.
    """

    __slots__ = ("held", "max_body", "on_lost", "open")

    def __init__(self, max_body: int, on_lost: Callable[[Connection], None]) -> None:
        self.max_body = max_body
        self.on_lost = on_lost
        self.open: set[Connection] = set()
        self.held = 0

    def too_much(self, size: int) -> bool:
        """Whether an answer of this size takes more than its part while all of them take more than there is."""
        return self.held > HELD_MAX and size * len(self.open) > HELD_MAX


class Connection(asyncio.Protocol):
    """One connection: at most one exchange at a time; `closed` once it can never carry another."""

    __slots__ = (
        "_answer", "_future", "_head_done", "_idle", "_last", "_limit", "_parser", "_phase", "_pieces", "_received",
        "_shared", "_timer", "_watch", "closed", "idle_max", "idle_since", "reused", "transport",
    )  # fmt: skip

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._watch: Any = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._future: asyncio.Future[Answer] | None = None
        self._head_done = False
        self._received = 0
        self._pieces: list[bytes] = []  # of a stream's body, from the bytes that are being read
        self._phase: Phase = "first"
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._limit = self._idle = math.inf
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.reused = False
        self.idle_since = 0.0
        self.idle_max = math.inf  # seconds, where the server tells for how long it keeps idle connections

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self.transport = transport  # type: ignore[assignment]
        self._shared.open.add(self)
        raw = transport.get_extra_info("socket")
        if raw is not None and _poll is not None:
            self._watch = _poll()
            self._watch.register(raw.fileno(), _READABLE)

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer, or bytes that nobody asked for."""
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
        if answer.taker is not None:
            error = self._pass_on(answer, answer.taker) or error
        if answer.done:
            answer.keep = answer.keep and error is None  # what came after a whole answer costs only the connection
            self._finish(answer)
            return
        if error is None and not self._head_done and self._received > HEAD_MAX:
            error = UnusableAnswer(f"the head of the answer is larger than {HEAD_MAX} bytes")
        elif error is None and self._received > FRAMING_MAX + (1 + FRAMING_FACTOR) * (answer.size + answer.passed):
            error = UnusableAnswer("the answer is mostly framing")
        if error is not None:
            self.fail(error)

    def eof_received(self) -> bool:
        """The server has said its last word."""
        return False  # the transport closes itself; connection_lost tells the rest

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed, by whomever."""
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
        self._shared.open.discard(self)
        self._shared.on_lost(self)

    # httptools callbacks

    def on_message_begin(self) -> None:
        """A status line begins."""
        answer = self._answer
        if answer is not None and answer.done:
            raise UnusableAnswer("the server sent a second answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header or trailer."""
        answer = self._answer
        if answer is None or self._head_done:
            return  # a trailer
        answer.head += len(name) + len(value)
        if answer.head > HEAD_MAX or len(answer.headers) >= HEADERS_MAX:
            raise UnusableAnswer(f"the answer has more than {HEADERS_MAX} headers or {HEAD_MAX} bytes of them")
        answer.headers.append((name, value))
        if len(name) in (14, 17) and name.lower() in (b"content-length", b"transfer-encoding"):
            answer.framed = True
        elif len(name) == 10 and name.lower() == b"keep-alive" and (told := _KEPT.search(value)):
            self.idle_max = 0.8 * int(told[1])

    def on_headers_complete(self) -> None:
        """The head is whole."""
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
        if answer.taker is not None:
            answer.taking = answer.taker.head(status, answer.headers)

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        answer = self._answer
        if answer is None:
            return
        if answer.taking:
            self._pieces.append(data)
            return
        answer.size += len(data)
        self._shared.held += len(data)
        if answer.size > self._shared.max_body:
            raise UnusableAnswer(f"the answer is larger than {self._shared.max_body} bytes")
        if self._shared.too_much(answer.size):
            raise UnusableAnswer(f"the answers under way hold more than {HELD_MAX} bytes, and this one {answer.size}")
        answer.body.append(data)

    def _pass_on(self, answer: Answer, taker: Taker) -> UnusableAnswer | None:
        """What has just been read of its body to the taker, in one piece; and the time from now on."""
        over = False
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            answer.passed += len(data)
            try:
                over = taker.feed(data)
            except WireError as error:
                return UnusableAnswer(str(error))
            grown = taker.held - answer.size
            answer.size += grown
            self._shared.held += grown
            if grown > 0 and self._shared.too_much(answer.size):
                return UnusableAnswer(
                    f"the answers under way hold more than {HELD_MAX} bytes, and this one {answer.size}"
                )
        if not answer.done and self._phase != "over":
            self._alive(over=over, begun=taker.begun if answer.taking else answer.size > 0)
        return None

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._answer is not None and self._head_done:
            self._answer.done = True
            self._answer.keep = self._parser.should_keep_alive()  # only inside this callback does the parser know

    # for the pool

    def usable(self) -> bool:
        """Whether the next exchange may go over it."""
        if self.closed or self.transport is None or self.transport.is_closing():
            return False
        # Nobody asked, so whatever there is to read is the end of it, or a lie: what the loop has not come to yet, the
        # kernel knows. It makes the race with a server that closes as short as the way to it.
        return self._watch is None or not self._watch.poll(0)

    def send(self, data: bytes, future: asyncio.Future[Answer], taker: Taker | None = None) -> None:
        """Start an exchange; `future` gets its answer or its error."""
        assert self.transport is not None
        self._answer = Answer(taker)
        self._future = future
        self._head_done = False
        self._received = 0
        self._phase = "first"
        self.transport.write(data)

    def fail(self, error: Exception) -> None:
        """End the exchange under way with an error, and the connection with it."""
        future, self._future = self._future, None
        self.abort()
        if future is not None and not future.done():
            future.set_exception(error)

    def time_out(self, seconds: float) -> None:
        """End the exchange under way because its time is over."""
        self.fail(httpx.ReadTimeout(f"no whole answer within {seconds:g} s"))

    def watch(self, first_s: float, idle_s: float) -> None:
        """End the exchange under way when a stream's first chunk, or any further byte, does not come in time."""
        self._idle = idle_s
        self._count("first", first_s)

    def _count(self, phase: Phase, seconds: float) -> None:
        """From now on so many seconds; one timer at most, and none after the exchange."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._phase = phase
        self._limit = seconds
        self._last = loop.time()
        self._timer = loop.call_later(seconds, self._look)

    def _look(self) -> None:
        answer = self._answer
        if answer is None:
            return
        loop = asyncio.get_running_loop()
        left = self._last + self._limit - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._look)
        elif self._phase == "over":
            answer.keep = False
            self._finish(answer)
        elif self._phase == "between":
            self.fail(httpx.ReadTimeout(f"the stream stood still for {self._limit:g} s"))
        else:
            self.fail(httpx.ReadTimeout(f"no first chunk within {self._limit:g} s"))

    def _alive(self, *, over: bool, begun: bool) -> None:
        """Bytes of an answer that is watched have come."""
        if over:  # a server that does not end the answer after its last word is not waited for
            self._count("over", LINGER_S)
        elif self._phase == "between":
            self._last = asyncio.get_running_loop().time()
        elif begun and self._timer is not None:
            self._count("between", self._idle)

    def abort(self) -> None:
        """Close at once; an exchange under way is the caller's to end."""
        self.closed = True
        self._let_go()
        if self.transport is not None:
            self.transport.abort()

    def _finish(self, answer: Answer) -> None:
        future, self._future = self._future, None
        self._let_go()
        writing = self.transport is not None and self.transport.get_write_buffer_size() > 0
        # Still writing: the server answered without reading all of it, and would take the rest for a new request.
        if writing or not answer.keep:
            self.abort()
        if future is not None and not future.done():
            future.set_result(answer)

    def _let_go(self) -> None:
        answer, self._answer = self._answer, None
        self._pieces.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if answer is not None:
            self._shared.held -= answer.size
