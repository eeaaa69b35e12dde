"""A form with files (`multipart/form-data`, RFC 7578), taken apart. Owns that form and nothing of what it holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOUNDARY = re.compile(rb'multipart/form-data\s*;.*?boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE | re.DOTALL)
_NAME = re.compile(rb'[;\s]name="([^"]*)"', re.IGNORECASE)
_FILENAME = re.compile(rb'[;\s]filename="([^"]*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; `filename` is None for one that is no file."""

    data: bytes
    filename: str | None = None


def fields(content_type: bytes, body: bytes) -> dict[str, Part] | None:
    """The fields of a form by name, of one that comes twice the first; None when the body is no such form.

    Args:
        content_type: of the request, which has the boundary.
        body: of the request.
    """
    found = _BOUNDARY.match(content_type.strip())
    if found is None:
        return None
    fence = b"--" + (found[1] or found[2])
    if not body.startswith(fence):
        return None
    parts: dict[str, Part] = {}
    for piece in body[len(fence) :].split(b"\r\n" + fence):
        if piece.startswith(b"--"):
            return parts
        head, end, data = piece.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not end or name is None:
            return None
        filename = _FILENAME.search(head)
        shown = None if filename is None else filename[1].decode("utf-8", "replace")
        parts.setdefault(name[1].decode("utf-8", "replace"), Part(data, shown))
    return None  # cut off before its end
