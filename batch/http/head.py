"""Requests as bytes: the line, the headers and the body.

Owns what every request of ours says of itself, and that the part of it which is the same from call to call is written
once: the line for each path, the headers for each key and kind. A call's own id is the last of a dialect's headers and
is written each time. It sends nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from batch.core.version import VERSION
from batch.http import urls
from batch.http.faults import NotSent

if TYPE_CHECKING:
    from batch.core.records import Outgoing
    from batch.http.urls import Url

Headers = tuple[tuple[str, str], ...]

APART: Final = 65_536
"""Bytes from which on a body is written by itself: one write costs less than two, and memory more than a write."""
KEPT: Final = 64
"""Parts that are kept: tokens change, and so may paths; what is in use comes back at once."""


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """The bytes of a request. No repr shows them: in a frame they would show the key in a traceback with locals."""

    data: bytes
    body: bytes = b""
    """What follows `data`: a large body, which is not copied behind its head."""

    def __repr__(self) -> str:
        return f"Sealed({len(self.data) + len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """For `rich`, which asks for the fields of what it shows: none."""
        return []


class Heads:
    """Writes the requests of one client.

    Args:
        base: the address of the service.
    """

    def __init__(self, base: Url) -> None:
        self._base = base
        self.common = (("Host", base.server), ("User-Agent", f"promptmill/{VERSION}"))
        """What every request says of itself."""
        self._lines: dict[str, bytes] = {}
        """The lines that ask for something, by path; those of polls are not kept, for each has a path of its own."""
        self._begun: dict[tuple[bool, Headers], Sealed] = {}
        self._again: list[tuple[bool, Headers] | None] = [None, None]
        """What the request before this one, without a body and with one, was written for."""
        self._whole = [Sealed(b""), Sealed(b"")]
        """All of its headers."""

    def sealed(self, outgoing: Outgoing, *, plain: bool) -> Sealed:
        """A whole request.

        Args:
            outgoing: the request as a dialect wrote it.
            plain: ask for an answer that is not packed.

        Raises:
            NotSent: a header cannot be sent.
        """
        headers, body = outgoing.headers, outgoing.body
        asks = body is not None
        line = self._lines.get(outgoing.path) if asks else None
        if line is None:
            line = self._line(outgoing.path, asks=asks)
        again = self._again[asks]  # the dialects give the same headers again where none of them has the id of a call
        if again is not None and headers is again[1] and plain is again[0]:
            head = self._whole[asks]
        else:
            begun = self._begun.get((plain, headers[:-1])) or self._begin(headers[:-1], plain=plain)
            head = Sealed(begun.data + _header(*headers[-1])) if headers else begun
            self._again[asks], self._whole[asks] = (plain, headers), head
        if body is None:
            return Sealed(b"%b%b\r\n" % (line, head.data))
        if len(body) > APART:
            return Sealed(b"%b%bContent-Length: %d\r\n\r\n" % (line, head.data, len(body)), body)
        return Sealed(b"%b%bContent-Length: %d\r\n\r\n%b" % (line, head.data, len(body), body))

    def _line(self, path: str, *, asks: bool) -> bytes:
        """The line of a request."""
        try:
            line = f"{'POST' if asks else 'GET'} {urls.target(self._base, path)} HTTP/1.1\r\n".encode("ascii")
        except ValueError as error:
            raise NotSent(f"the path of the request is none: {error}") from error
        if asks:
            if len(self._lines) >= KEPT:
                self._lines.clear()
            self._lines[path] = line
        return line

    def _begin(self, headers: Headers, *, plain: bool) -> Sealed:
        """What every request says of itself, and these headers."""
        own = (*self.common, ("Accept-Encoding", coding(plain=plain)), *headers)
        begun = Sealed(b"".join(_header(*header) for header in own))
        if len(self._begun) >= KEPT:
            self._begun.clear()
        self._begun[plain, headers] = begun
        return begun


def coding(*, plain: bool) -> str:
    """The Accept-Encoding of a request: a server that packs a stream holds it back until there is enough to pack."""
    return "identity" if plain else "gzip, deflate"


def _header(name: str, value: str) -> bytes:
    line = f"{name}: {value}"
    if "\n" in line or "\r" in line:
        raise NotSent("a request header holds a line break")
    if not line.isascii():
        raise NotSent(f"the request header {name!r} holds other characters than ASCII")
    return line.encode("ascii") + b"\r\n"
