"""One HTTP answer while it comes: what is known of it so far, and who takes its body piece by piece.

Owns the promise between a connection and whoever reads a body as it comes (`Taker`), and the error for what is no
usable answer. It parses nothing, opens nothing and keeps no time: `connection` does.
"""

from __future__ import annotations

from typing import Protocol

import httpx

Header = tuple[bytes, bytes]


class UnusableAnswer(httpx.RemoteProtocolError):
    """The server answered with something that is not HTTP or is larger than we take."""


class Taker(Protocol):
    """Who takes the body of an answer piece by piece, as it comes, and says how long it waits for one."""

    first_s: float
    """The most seconds until the first piece of the answer."""
    idle_s: float
    """The most seconds between two pieces from then on."""
    taken: bool
    """The body went here; False leaves it to be read like any other."""

    @property
    def begun(self) -> bool:
        """Whether a part of the answer has come: from then on the time between two pieces counts."""

    @property
    def left_s(self) -> float:
        """Seconds that are left for the first piece."""

    @property
    def held(self) -> int:
        """Bytes it keeps of the answer."""

    def sent(self) -> None:
        """The request has left; times count from here."""

    def head(self, status: int, headers: list[Header]) -> bool:
        """The head is there; False leaves the body to be collected as usual."""

    def feed(self, data: bytes) -> bool:
        """A piece of the body; True when nothing that follows counts. Raises `WireError` when none is worth reading."""

    def remainder(self, status: int, body: bytes) -> bytes:
        """The body that is left to be read like any other, once the answer is whole; `body` was collected."""


class Answer:
    """One HTTP answer as it is being parsed; its body goes to a `taker`, if that wants it."""

    __slots__ = ("body", "done", "framed", "head", "headers", "keep", "passed", "size", "status", "taker", "taking")

    def __init__(self, taker: Taker | None = None) -> None:
        self.taker = taker
        self.taking = False
        self.passed = 0  # bytes that went to the taker
        self.status = 0
        self.headers: list[Header] = []
        self.body: list[bytes] = []
        self.size = 0
        self.head = 0
        self.framed = False  # has a Content-Length or chunks; else the end of the connection is its end
        self.done = False
        self.keep = False
