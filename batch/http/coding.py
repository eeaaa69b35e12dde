"""Content-Encoding: the body of an answer unpacked, within a size limit.

Owns gzip and deflate as servers really send them. It does not know whose answer it is, nor asks for any coding.
"""

from __future__ import annotations

import zlib

from batch.core.errors import WireError
from batch.core.redaction import masked


def decoded(body: bytes, coding: str, *, cap: int) -> bytes:
    """The body with its Content-Encoding undone, as long as it stays within `cap` bytes.

    Args:
        body: as it came.
        coding: the value of the Content-Encoding header.
        cap: the largest result, in bytes.

    Raises:
        WireError: the coding is unknown, the data is damaged or cut off, or the result is too large.
    """
    for name in reversed([part.strip().lower() for part in coding.split(",")][:3]):
        if name in ("", "identity"):
            continue
        if name not in ("gzip", "x-gzip", "deflate"):
            text = f"the answer is encoded as {masked(name)[:20]!r}, which was not asked for"
            raise WireError(text, kind="bad_payload", sent=True)
        body = _inflated(body, name, cap=cap)
    return body


def _inflated(body: bytes, name: str, *, cap: int) -> bytes:
    if name == "deflate":
        zlib_form = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
        if not zlib_form and body[:1] in b"{[< \t\r\n":
            return body
        form = 15 if zlib_form else -15
    else:
        if body[:2] != b"\x1f\x8b":
            return body  # proxies leave the label on what they unpacked
        form = 31
    parts: list[bytes] = []
    room = cap + 1
    while body:
        inflater = zlib.decompressobj(form)
        try:
            part = inflater.decompress(body, room)
        except zlib.error as error:
            raise WireError(f"the answer's {name} data is damaged ({error})", kind="bad_payload", sent=True) from error
        parts.append(part)
        room -= len(part)
        if room <= 0:
            raise WireError(f"the answer unpacks to more than {cap} bytes", kind="bad_payload", sent=True)
        if not inflater.eof:
            raise WireError(f"the answer's {name} data is cut off", kind="bad_payload", sent=True)
        body = inflater.unused_data if form == 31 and inflater.unused_data[:2] == b"\x1f\x8b" else b""
    return b"".join(parts)
