"""One HTTP/1.1 connection: it parses one answer at a time, under limits that no server can lift.

Owns the parsing (httptools' parser on an `asyncio.Protocol`), the limits on heads, framing and bodies, and what a lost
connection means for the exchange under way. It opens nothing, keeps no time (`timing`), and does not know when it is
used again (`reuse`).
"""

from __future__ import annotations

import asyncio
import math
import re
import select
from typing import TYPE_CHECKING, Any, Final

import httptools
import httpx

from batch.core.errors import WireError
from batch.http.address import SPEAKS_TLS, is_alert
from batch.http.answer import Answer, NeverReached, NotHttp, Taker, Unanswered, UnusableAnswer
from batch.http.reuse import Delivery
from batch.http.timing import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_MAX: Final = 64 * 1024
HEADERS_MAX: Final = 512
FRAMING_MAX: Final = 1024 * 1024
"""How many bytes of an answer may be no body (chunk sizes, trailers, 1xx answers) before it is taken for an attack."""
FRAMING_FACTOR: Final = 8
"""How many more may be no body for each byte of body: there are servers that send one-byte chunks."""
HELD_MAX: Final = 256 * 1024 * 1024
"""How many bytes all unfinished answers may hold together; above that, those larger than the average are ended."""
_KEEP_ALIVE: Final = re.compile(rb"timeout=(\d{1,6})\b")
_poll: Any = getattr(select, "poll", None)  # not everywhere
_READABLE: Final = 0x0001  # POLLIN


class Shared:
    """What all connections of one transport share.

    Attributes:
        max_body: the largest body of an answer, in bytes.
        open: every connection that is not lost yet.
        held: bytes of body that all unfinished answers hold.
        on_lost: called once for each connection, when it is lost.
    """

    __slots__ = ("held", "max_body", "on_lost", "open")

    def __init__(self, max_body: int, on_lost: Callable[[Connection], None]) -> None:
        self.max_body = max_body
        self.on_lost = on_lost
        self.open: set[Connection] = set()
        self.held = 0

    def too_much(self, size: int) -> bool:
        """Whether all answers hold more than `HELD_MAX`, and one of this size more than its equal share."""
        return self.held > HELD_MAX and size * len(self.open) > HELD_MAX


class Connection(asyncio.Protocol):
    """One connection, which carries at most one exchange at a time.

    Attributes:
        transport: that of the event loop; None before the connection is open.
        closed: whether it can never carry another exchange.
        reused: whether it has carried an exchange before.
        idle_since: when it became idle, in seconds of the event loop.
        idle_max: for how many seconds the server keeps idle connections, where it tells.
        streamed: whether its last answer was asked for as a stream.
    """

    __slots__ = (
        "_answer", "_delivery", "_future", "_head_done", "_parser", "_pieces", "_raw", "_received", "_shared",
        "_waiting", "_watch", "closed", "idle_max", "idle_since", "reused", "streamed", "transport",
    )  # fmt: skip

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._raw: Any = None  # the socket: some event loops make a new object each time they are asked for it
        self._watch: Any = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._future: asyncio.Future[Answer] | None = None
        self._head_done = False
        self._received = 0
        self._pieces: list[bytes] = []  # body of a stream that was parsed and not passed on yet
        self._waiting = Waiting(self._unread, self._expired, self._lingered)
        self._delivery: Delivery | None = None
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.reused = False
        self.idle_since = 0.0
        self.idle_max = math.inf
        self.streamed = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open (`asyncio.Protocol`)."""
        self.transport = transport  # type: ignore[assignment]  # a socket's is a Transport
        self._shared.open.add(self)
        self._raw = transport.get_extra_info("socket")
        if self._raw is not None and _poll is not None:
            self._watch = _poll()
            self._watch.register(self._raw.fileno(), _READABLE)

    def data_received(self, data: bytes) -> None:
        """Bytes have come: of an answer, or ones that nobody asked for (`asyncio.Protocol`)."""
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
        except httptools.HttpParserError as refusal:
            # An error raised inside a callback arrives as HttpParserCallbackError with ours as its context.
            ours = refusal.__context__
            error = ours if isinstance(ours, UnusableAnswer) else UnusableAnswer(f"the answer is not HTTP ({refusal})")
            if self._received == len(data) and not data.startswith(b"HTTP/"):
                error = NotHttp(SPEAKS_TLS if is_alert(data) else f"the answer is not HTTP ({refusal})")
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
        """The server sends nothing more (`asyncio.Protocol`)."""
        return False  # the transport closes itself, and connection_lost is called

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by either side (`asyncio.Protocol`)."""
        self.closed = True
        answer = self._answer
        if answer is not None:
            if exc is None and self._head_done and not answer.framed:
                self._finish(answer)
            else:
                self.fail(self._lost(exc))
        self._shared.open.discard(self)
        self._shared.on_lost(self)

    def _lost(self, exc: Exception | None) -> httpx.ReadError:
        """The error of the exchange under way, now that the connection is gone."""
        reason = f": {exc}" if exc else ""
        if self._received:
            return httpx.ReadError(f"the server closed the connection in the middle of the answer{reason}")
        text = "the server closed the connection before any answer"
        if not self.reused:
            error = httpx.ReadError(f"{text}{reason}")
            error.__cause__ = exc  # which may be an alert of TLS
            return error
        text = f"{text}, a connection that had been idle{reason}"
        if self._delivery is not None and self._delivery.never_arrived(exc):
            return NeverReached(f"{text}; it had done so before the request arrived")
        return Unanswered(text)

    # httptools callbacks

    def on_message_begin(self) -> None:
        """A status line has begun (httptools)."""
        answer = self._answer
        if answer is not None and answer.done:
            raise UnusableAnswer("the server sent a second answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer after the body, is there (httptools)."""
        answer = self._answer
        if answer is None or self._head_done:
            return  # a trailer
        answer.head += len(name) + len(value)
        if answer.head > HEAD_MAX or len(answer.headers) >= HEADERS_MAX:
            raise UnusableAnswer(f"the answer has more than {HEADERS_MAX} headers or {HEAD_MAX} bytes of them")
        answer.headers.append((name, value))
        if len(name) in (14, 17) and name.lower() in (b"content-length", b"transfer-encoding"):
            answer.framed = True
        elif len(name) == 10 and name.lower() == b"keep-alive" and (match := _KEEP_ALIVE.search(value)):
            self.idle_max = 0.8 * int(match[1])

    def on_headers_complete(self) -> None:
        """The whole head is there (httptools)."""
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
        """A piece of the body is there (httptools)."""
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
        """Pass the body that was just parsed to the taker, in one piece, and count its waiting time anew."""
        over = False
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            answer.passed += len(data)
            try:
                over = taker.feed(data)
            except WireError as error:
                return UnusableAnswer(str(error))
            growth = taker.held - answer.size
            answer.size += growth
            self._shared.held += growth
            if growth > 0 and self._shared.too_much(answer.size):
                return UnusableAnswer(
                    f"the answers under way hold more than {HELD_MAX} bytes, and this one {answer.size}"
                )
        if not answer.done and self._waiting.phase != "over":
            self._waiting.heard(over=over, begun=taker.begun if answer.taking else answer.size > 0)
        return None

    def on_message_complete(self) -> None:
        """The whole answer is there (httptools)."""
        if self._answer is not None and self._head_done:
            self._answer.done = True
            self._answer.keep = self._parser.should_keep_alive()  # only inside this callback does the parser know

    # for the pool

    def usable(self) -> bool:
        """Whether the connection can carry the next exchange."""
        if self.closed or self.transport is None or self.transport.is_closing():
            return False
        # Nobody asked for anything, so whatever there is to read is the connection's end, or a lie. The kernel knows it
        # before the event loop does: the race with a server that closes becomes as short as the way to it.
        return not self._unread()

    def send(
        self,
        data: bytes,
        future: asyncio.Future[Answer],
        taker: Taker | None = None,
        *,
        whole_s: float | None = None,
    ) -> None:
        """Start an exchange.

        Args:
            data: the whole request.
            future: gets the answer, or the error that the exchange ends with.
            taker: takes the body of a stream as it comes.
            whole_s: seconds to wait for the whole answer; None waits for ever.
        """
        assert self.transport is not None
        self._answer = Answer(taker)
        self._future = future
        self._head_done = False
        self._received = 0
        self.streamed = taker is not None
        self._delivery = Delivery(self._raw) if self.reused and self._raw is not None else None
        self.transport.write(data)
        self._waiting.begin(whole_s)

    def fail(self, error: Exception) -> None:
        """End the exchange under way with an error, and close the connection."""
        future, self._future = self._future, None
        self.abort()
        if future is not None and not future.done():
            future.set_exception(error)

    def watch(self, first_s: float, idle_s: float) -> None:
        """From now on, end the exchange when its stream is silent for too long; see `timing.Waiting`."""
        self._waiting.watch(first_s, idle_s)

    def _unread(self) -> bool:
        """Whether something lies in the socket, or its end."""
        return self._watch is not None and bool(self._watch.poll(0))

    def _expired(self, what: str) -> None:
        self.fail(httpx.ReadTimeout(what))

    def _lingered(self) -> None:
        answer = self._answer
        if answer is not None:
            answer.keep = False
            self._finish(answer)

    def abort(self) -> None:
        """Close at once; the caller ends the exchange under way."""
        self.closed = True
        self._release_answer()
        if self.transport is not None:
            self.transport.abort()

    def _finish(self, answer: Answer) -> None:
        future, self._future = self._future, None
        self._release_answer()
        writing = self.transport is not None and self.transport.get_write_buffer_size() > 0
        # Still writing: the server answered without reading the whole request, and would take the rest for a new one.
        if writing or not answer.keep:
            self.abort()
        if future is not None and not future.done():
            future.set_result(answer)

    def _release_answer(self) -> None:
        answer, self._answer = self._answer, None
        self._pieces.clear()
        self._waiting.stop()
        if answer is not None:
            self._shared.held -= answer.size
