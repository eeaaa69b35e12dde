"""Keys and pictures taken out of an exchange before it is written down.

Owns where in an exchange a key may stand (values, names, cut over the chunks of a stream) and the shortening of long
base64. It writes nothing; which keys there are, and in which forms they are echoed, says `batch.core.redaction`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, Final

from batch.core.redaction import MASK, redact
from batch.http import sse

SPLIT: Final = f"{MASK}: a key stands in this stream, cut over several chunks"
"""In place of a stream that would show a key to whoever puts its pieces together."""
LONGEST_BASE64: Final = 512
"""Characters of base64 that are left as they are: ids and signatures are shorter, images longer."""

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_DATA_URL: Final = re.compile(r"data:[\w.+/;=-]{0,100};base64,")


def masked_json(value: Any) -> Any:
    """The same JSON value, with every text and every name in it masked and long base64 shortened."""
    if isinstance(value, str):
        return _cut(redact(value))
    if isinstance(value, dict):
        return {_cut(redact(str(name))): masked_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked_json(inner) for inner in value]
    return value


def split_key(body: bytes) -> bool:
    """Whether the chunks of a stream, put together, show a key that no chunk shows alone."""
    if b"data:" not in body[:4096]:
        return False
    texts_by_path: dict[str, list[str]] = {}
    for event in sse.Parser().feed(body + b"\n\n"):
        for path, text in _texts(readable_body(event), ""):
            texts_by_path.setdefault(path, []).append(text)
    return any(redact("".join(texts)) != "".join(map(redact, texts)) for texts in texts_by_path.values())


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value with its path; all items of a list share the path of the list."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, path)


def _cut(text: str) -> str:
    """The text, or hash and length of it when it is long base64; the head of a data URL is kept."""
    if len(text) <= LONGEST_BASE64:
        return text
    head = _DATA_URL.match(text)
    start = head.end() if head else 0
    if head is None and _BASE64.fullmatch(text) is None:
        return text
    digest = hashlib.sha256(text[start:].encode("utf-8", "replace")).hexdigest()
    return f"{text[:start]}[sha256 {digest}, {len(text) - start} characters]"


def readable_body(body: bytes | None) -> Any:
    """A body as it is written down: the JSON value when it is JSON, else the text; None when there is no body."""
    if not body:
        return None
    try:
        return json.loads(body, parse_constant=str)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
