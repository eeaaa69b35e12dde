"""Reads JSON that is not quite as documented: the tolerant path behind the typed decoders.

Owns the step from the bytes of an answer to its fields when a typed decode refused them, and the cleaning of foreign
text. Values stay raw JSON until somebody asks, so numbers inside an object that should have been text keep every digit.
It knows no dialect.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import quote

import msgspec

from batch.core.canonical import without_surrogates
from batch.core.redaction import redact

Fields = dict[str, msgspec.Raw]

UNREADABLE: Final = (ValueError, RecursionError)
"""What reading foreign JSON can raise: msgspec's errors and UnicodeDecodeError are ValueErrors."""
EXCERPT: Final = 500
LOOKED_AT: Final = 65_536
"""Characters of a text that are looked through for what may be shown of it."""
LONGEST_KEY: Final = 2_000
"""Characters at the end of what was looked through that are not shown: a key may be cut there."""
_fields: Final = msgspec.json.Decoder(Fields)
_items: Final = msgspec.json.Decoder(list[msgspec.Raw])
_any: Final = msgspec.json.Decoder()
_encoder: Final = msgspec.json.Encoder()
# C0 and C1 controls and the bidirectional overrides: none of them belongs in a log line or on a terminal.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def excerpt(text: str | bytes) -> str:
    """At most 500 characters of foreign text on one line, without control characters and without our keys.

    Masked before it is cut: a piece of a key would not be known as one.
    """
    seen = text[:LOOKED_AT]
    shown = redact(without_surrogates(seen.decode("utf-8", "replace") if isinstance(seen, bytes) else seen))
    if len(text) > LOOKED_AT:
        shown = shown[:-LONGEST_KEY]
    return _CONTROL.sub(" ", shown).strip()[:EXCERPT]


def parse_object(body: bytes) -> Fields | None:
    """The top-level object of an answer, or None when the body is no JSON object at all.

    A byte-order mark, invalid UTF-8, lone surrogates and NaN are mended first (with U+FFFD and null), and line breaks
    and other control characters may stand in a text as they are, because the text around them is an answer that was
    paid for.
    """
    # The untyped decode is the check: raw values are skipped over, not validated, and would fail later one by one.
    try:
        _any.decode(body)
        return _fields.decode(body)
    except UNREADABLE:
        pass
    try:
        text = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
        mended = without_surrogates(json.loads(text, strict=False))
        return _fields.decode(msgspec.json.encode(mended))
    except UNREADABLE:
        return None


def as_object(raw: msgspec.Raw | None) -> Fields | None:
    """The fields of a raw JSON object; None for anything else."""
    if raw is None:
        return None
    try:
        return _fields.decode(raw)
    except UNREADABLE:
        return None


def as_list(raw: msgspec.Raw | None) -> list[msgspec.Raw]:
    """The items of a raw JSON array; nothing for anything else."""
    if raw is None:
        return []
    try:
        return _items.decode(raw)
    except UNREADABLE:
        return []


def as_text(raw: msgspec.Raw | None) -> str | None:
    """A raw JSON string as text, null as None, and any other value as its own JSON text, digit for digit."""
    if raw is None:
        return None
    literal = bytes(raw).strip()
    if literal.startswith(b'"'):
        return str(_any.decode(literal))
    return None if literal == b"null" else literal.decode("utf-8", "replace")


def as_joined_text(raw: msgspec.Raw | None) -> str | None:
    """As `as_text`, but the texts of a list of content parts joined; a part without text adds nothing."""
    if raw is None or not bytes(raw).lstrip().startswith(b"["):
        return as_text(raw)
    parts = (as_object(part) for part in as_list(raw))
    return "".join(as_text(part.get("text")) or "" for part in parts if part)


def as_int(raw: msgspec.Raw | None) -> int | None:
    """A raw JSON integer (or a number or text that stands for one); None for anything else."""
    literal = as_text(raw)
    if literal is None or len(literal) > 20:
        return None
    head, _, tail = literal.partition(".")
    try:
        return int(head) if not tail.strip("0") else None
    except ValueError:
        return None


def encode(body: Any) -> bytes:
    """JSON as UTF-8; a lone surrogate, which UTF-8 cannot carry, goes out as U+FFFD."""
    try:
        return _encoder.encode(body)
    except UnicodeEncodeError:
        return _encoder.encode(without_surrogates(msgspec.to_builtins(body)))


def path_segment(name: str) -> str:
    """`name` as one segment of a URL path."""
    return quote(without_surrogates(name), safe="-._~")
