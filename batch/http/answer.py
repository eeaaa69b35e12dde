"""One HTTP answer: what a whole one is, and who takes the body of one piece by piece.

Owns the promise between a connection and whoever reads a body as it comes (`Taker`). It parses nothing, opens nothing
and keeps no time: `connection` does.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

Header = tuple[bytes, bytes]


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A whole answer, as it came."""

    status: int
    headers: list[Header]
    """Names and values, repeated ones too."""
    body: bytes
    """Empty when a taker took it."""


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
