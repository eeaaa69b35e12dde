"""One HTTP answer while it comes: what is known of it so far, and who takes its body piece by piece.

Owns the promise between a connection and whoever reads a body as it comes (`Taker`), and the error for what is no
usable answer. It parses nothing, opens nothing and keeps no time: `connection` does.
"""

from __future__ import annotations

from typing import Protocol

import httpx

Header = tuple[bytes, bytes]


class UnusableAnswer(httpx.RemoteProtocolError):
    """The server's answer is not HTTP, or is larger than we accept."""


class NotHttp(UnusableAnswer):
    """What came does not even begin as an answer in HTTP does: something else listens there."""


class Unanswered(httpx.ReadError):
    """A connection that had been idle was closed before one byte of an answer; whether the request was read is open."""


class NeverReached(Unanswered):
    """The same, and the server had closed it before the request arrived: nothing was read, so nothing was bought."""


class Taker(Protocol):
    """Whoever takes the body of an answer piece by piece, as it comes, and decides how long to wait for each piece."""

    first_s: float
    """How many seconds to wait for the first piece of the answer."""
    idle_s: float
    """How many seconds to wait for each further piece."""
    taken: bool
    """Whether the body went to this taker; if not, it is read like any other."""

    @property
    def begun(self) -> bool:
        """Whether a piece of the answer has come: from then on `idle_s` counts."""

    @property
    def left_s(self) -> float:
        """How many seconds are left to wait for the first piece."""

    @property
    def held(self) -> int:
        """How many bytes of the answer it keeps in memory."""

    def sent(self) -> None:
        """Note that the request has left; waiting times count from now."""

    def head(self, status: int, headers: list[Header]) -> bool:
        """Look at the head of the answer; return whether to take its body, which is collected as usual if not."""

    def feed(self, data: bytes) -> bool:
        """Take a piece of the body; return whether the answer is complete, so that what follows does not count.

        Raises:
            WireError: the rest of the answer is not worth reading.
        """

    def remainder(self, status: int, body: bytes) -> bytes:
        """The body to be read like any other, once the answer has ended; `body` is what was collected."""


class Answer:
    """One HTTP answer while it is being parsed.

    Attributes:
        taker: who is offered the body; None collects it here.
        taking: whether the taker wanted it.
        passed: bytes of body that went to the taker.
        status: the HTTP status; 0 before the head is there.
        headers: names and values as they came, repeated ones too.
        body: the pieces collected here.
        size: bytes of body held in memory, here or by the taker.
        head: bytes of the headers.
        framed: whether the answer says where it ends (Content-Length or chunks); if not, the connection's end is its.
        done: whether the whole answer has come.
        keep: whether the connection may carry another exchange.
    """

    __slots__ = ("body", "done", "framed", "head", "headers", "keep", "passed", "size", "status", "taker", "taking")

    def __init__(self, taker: Taker | None = None) -> None:
        self.taker = taker
        self.taking = False
        self.passed = 0
        self.status = 0
        self.headers: list[Header] = []
        self.body: list[bytes] = []
        self.size = 0
        self.head = 0
        self.framed = False
        self.done = False
        self.keep = False
