"""One HTTP/1.1 answer while it is parsed, under limits that no server can lift.

Owns the parsing (httptools' parser) and the limits on heads, framing and bodies. It knows neither the request nor the
connection (`connection`), and keeps no time.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

import httptools

from batch.core.errors import WireError
from batch.http.address import SPEAKS_TLS, is_alert
from batch.http.answer import Header, Taker
from batch.http.faults import NotHttp, UnusableAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch.http.connection import Connection
    from batch.http.timing import Deadlines

HEAD_MAX: Final = 64 * 1024
HEADERS_MAX: Final = 512
FRAMING_MAX: Final = 1024 * 1024
"""How many bytes of an answer may be no body (chunk sizes, trailers, 1xx answers) before it is taken for an attack."""
FRAMING_FACTOR: Final = 8
"""How many more may be no body for each byte of body: there are servers that send one-byte chunks."""
HELD_MAX: Final = 256 * 1024 * 1024
"""How many bytes all unfinished answers may hold together; above that, those larger than the average are ended."""
_KEEP_ALIVE: Final = re.compile(rb"timeout=(\d{1,6})\b")
_FRAMED: Final = (b"content-length", b"transfer-encoding")
TWICE: Final = "the server sent a second answer to one request"


class Shared:
    """What all connections of one client share.

    Attributes:
        max_body: the largest body of an answer, in bytes.
        deadlines: of the whole answers.
        open: every connection that is not lost yet.
        held: bytes of body that all unfinished answers hold.
        on_lost: called once for each connection, when it is lost.
    """

    __slots__ = ("deadlines", "held", "max_body", "on_lost", "open")

    def __init__(self, max_body: int, deadlines: Deadlines, on_lost: Callable[[Connection], None]) -> None:
        self.max_body = max_body
        self.deadlines = deadlines
        self.on_lost = on_lost
        self.open: set[Connection] = set()
        self.held = 0

    def too_much(self, size: int) -> bool:
        """Whether all answers hold more than `HELD_MAX`, and one of this size more than its equal share."""
        return self.held > HELD_MAX and size * len(self.open) > HELD_MAX


class AnswerParser:
    """Parses the answers of one connection, one after the other.

    Attributes:
        idle_max: for how many seconds the server keeps idle connections, where it tells.
    """

    __slots__ = (
        "_body", "_done", "_head_done", "_headers", "_keep", "_parser", "_passed", "_pieces", "_received", "_shared",
        "_size", "_status", "_taker", "_taking", "_twice", "idle_max",
    )  # fmt: skip

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._parser: Any = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []  # body of a stream that was parsed and not passed on yet
        self.idle_max = math.inf
        self._size = 0  # bytes of body held in memory, here or by the taker
        self._forget()

    def _forget(self) -> None:
        """No exchange is under way: hold nothing of the one before, and be ready for the next."""
        self._shared.held -= self._size
        self._pieces.clear()
        self._taker: Taker | None = None
        self._taking = False
        self._head_done = False
        self._done = False
        self._twice = False  # a second answer follows the first
        self._keep = False
        self._status = 0
        self._received = 0
        self._size = 0
        self._passed = 0  # bytes of body that went to the taker
        self._headers: list[Header] = []
        self._body: list[bytes] = []

    def _parse(self, data: bytes) -> UnusableAnswer | None:
        """Parse the next bytes; return what is wrong with them."""
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return UnusableAnswer("the server wants to change the protocol")
        except httptools.HttpParserError as refusal:
            return self._refused(refusal, data)
        return None

    def _refused(self, refusal: httptools.HttpParserError, data: bytes) -> UnusableAnswer:
        """What the parser did not take."""
        # An error raised inside a callback arrives as HttpParserCallbackError with ours as its context.
        ours = refusal.__context__
        if self._received == len(data) and not data.startswith(b"HTTP/"):
            return NotHttp(SPEAKS_TLS if is_alert(data) else f"the answer is not HTTP ({refusal})")
        return ours if isinstance(ours, UnusableAnswer) else UnusableAnswer(f"the answer is not HTTP ({refusal})")

    def _excess(self) -> UnusableAnswer | None:
        """What an answer that is not whole yet has too much of."""
        if not self._head_done and self._received > HEAD_MAX:
            return UnusableAnswer(f"the head of the answer is larger than {HEAD_MAX} bytes")
        if self._received > FRAMING_MAX + (1 + FRAMING_FACTOR) * (self._size + self._passed):
            return UnusableAnswer("the answer is mostly framing")
        return None

    def _framed(self) -> bool:
        """Whether the answer says where it ends (Content-Length or chunks); if not, the connection's end is its."""
        return self._status in (204, 304) or any(name.lower() in _FRAMED for name, _ in self._headers)

    def _feed(self, taker: Taker) -> tuple[bool, UnusableAnswer | None]:
        """Pass the body that was just parsed to the taker, in one piece; whether it has all, and what is wrong."""
        over = False
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            self._passed += len(data)
            try:
                over = taker.feed(data)
            except WireError as error:
                return over, UnusableAnswer(str(error))
            growth = taker.held - self._size
            self._size += growth
            self._shared.held += growth
            if growth > 0 and self._shared.too_much(self._size):
                return over, _too_much(self._size)
        return over, None

    # httptools callbacks

    def on_message_begin(self) -> None:
        """A status line has begun (httptools); also that of the real answer after an interim one."""
        if self._done:
            self._twice = True
            raise UnusableAnswer(TWICE)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer after the body, is there (httptools)."""
        if self._head_done:
            return  # a trailer
        headers = self._headers
        if len(headers) >= HEADERS_MAX:
            raise UnusableAnswer(f"the answer has more than {HEADERS_MAX} headers")
        headers.append((name, value))
        if len(name) == 10 and name.lower() == b"keep-alive" and (match := _KEEP_ALIVE.search(value)):
            self.idle_max = 0.8 * int(match[1])

    def on_headers_complete(self) -> None:
        """The whole head is there (httptools)."""
        status = self._parser.get_status_code()
        if status < 200:  # 100, 102, 103: the real answer follows
            self._headers.clear()
            return
        if self._received > HEAD_MAX and sum(len(name) + len(value) for name, value in self._headers) > HEAD_MAX:
            raise UnusableAnswer(f"the answer has more than {HEAD_MAX} bytes of headers")
        self._status = status
        self._head_done = True
        if self._taker is not None:
            self._taking = self._taker.head(status, self._headers)

    def on_body(self, data: bytes) -> None:
        """A piece of the body is there (httptools)."""
        if self._taking:
            self._pieces.append(data)
            return
        self._size += len(data)
        self._shared.held += len(data)
        if self._size > self._shared.max_body:
            raise UnusableAnswer(f"the answer is larger than {self._shared.max_body} bytes")
        if self._shared.held > HELD_MAX and self._shared.too_much(self._size):
            raise _too_much(self._size)
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The whole answer is there (httptools)."""
        if self._head_done:
            self._done = True
            self._keep = self._parser.should_keep_alive()  # only inside this callback does the parser know


def _too_much(size: int) -> UnusableAnswer:
    return UnusableAnswer(f"the answers under way hold more than {HELD_MAX} bytes, and this one {size}")
