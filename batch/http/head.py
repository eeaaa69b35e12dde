"""Requests as bytes: the line, the headers and the body.

Owns what every request of ours says of itself, and that the part of it which is the same from call to call is written
once: for each path, key and kind. A call's own id is the last of a dialect's headers and is written each time. It
sends nothing.
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
"""Beginnings that are kept: every poll has a path of its own, and tokens change; what is in use comes back at once."""


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
        self._begun: dict[tuple[str, bool, bool, Headers], Sealed] = {}
        self._again: tuple[str, bool, Headers] | None = None
        """What the request with a body before this one was written for, if all of its headers were, and how."""
        self._whole = Sealed(b"")

    def sealed(self, outgoing: Outgoing, *, plain: bool) -> Sealed:
        """A whole request.

        Args:
            outgoing: the request as a dialect wrote it.
            plain: ask for an answer that is not packed.

        Raises:
            NotSent: a header cannot be sent.
        """
        path, headers, body = outgoing.path, outgoing.headers, outgoing.body
        again = self._again  # the dialects give the same headers again where none of them has the id of a call
        if again is not None and headers is again[2] and path == again[0] and plain is again[1] and body is not None:
            head = self._whole
        else:
            begun = self._begun.get(key := (path, plain, body is None, headers[:-1])) or self._begin(key)
            head = Sealed(begun.data + (_line(*headers[-1]) if headers else b""))
            if body is None:
                return Sealed(head.data + b"\r\n")
            self._again, self._whole = (path, plain, headers), head
        if len(body) > APART:
            return Sealed(b"%bContent-Length: %d\r\n\r\n" % (head.data, len(body)), body)
        return Sealed(b"%bContent-Length: %d\r\n\r\n%b" % (head.data, len(body), body))

    def _begin(self, key: tuple[str, bool, bool, Headers]) -> Sealed:
        path, plain, get, headers = key
        try:
            line = f"{'GET' if get else 'POST'} {urls.target(self._base, path)} HTTP/1.1\r\n".encode("ascii")
        except ValueError as error:
            raise NotSent(f"the path of the request is none: {error}") from error
        lines = [_line(*header) for header in (*self.common, ("Accept-Encoding", coding(plain=plain)), *headers)]
        begun = Sealed(b"".join((line, *lines)))
        if len(self._begun) >= KEPT:
            self._begun.clear()
        self._begun[key] = begun
        return begun


def coding(*, plain: bool) -> str:
    """The Accept-Encoding of a request: a server that packs a stream holds it back until there is enough to pack."""
    return "identity" if plain else "gzip, deflate"


def _line(name: str, value: str) -> bytes:
    line = f"{name}: {value}"
    if "\n" in line or "\r" in line:
        raise NotSent("a request header holds a line break")
    if not line.isascii():
        raise NotSent(f"the request header {name!r} holds other characters than ASCII")
    return line.encode("ascii") + b"\r\n"
