"""Keys and pictures taken out of an exchange before it is written down.

Owns the forms in which a provider may echo a key (percent-encoded, in hex, inside base64, cut over the chunks of a
stream) and the shortening of long base64. It writes nothing; which keys there are says `batch.core.redaction`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.parse
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
_SHORTEST_PART: Final = 12  # of a key of several parts; a shorter one is a word that stands elsewhere too


class Mask:
    """Takes keys out of values, in whatever form a provider echoes them, and shortens long base64.

    Args:
        secrets: the keys of this process.
    """

    def __init__(self, secrets: tuple[str, ...]) -> None:
        forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
        self._forms = re.compile("|".join(map(re.escape, forms)), re.IGNORECASE) if forms else None

    def value(self, value: Any) -> Any:
        """The same JSON value, with every text and every name in it masked and shortened."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(name)): self.value(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        return value

    def split(self, body: bytes) -> bool:
        """Whether the chunks of a stream, put together, show a key that no chunk shows alone."""
        if b"data:" not in body[:4096]:
            return False
        texts_by_path: dict[str, list[str]] = {}
        for event in sse.Parser().feed(body + b"\n\n"):
            for path, text in _texts(readable_body(event), ""):
                texts_by_path.setdefault(path, []).append(text)
        return any(self._hide("".join(texts)) != "".join(map(self._hide, texts)) for texts in texts_by_path.values())

    def text(self, text: str) -> str:
        """The text without keys; the whole of it as a hash and a length when it is a picture or the like."""
        return _cut(self._hide(text))

    def _hide(self, text: str) -> str:
        text = redact(text)
        return text if self._forms is None else self._forms.sub(MASK, text)


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


def _forms(secret: str) -> Iterator[str]:
    """Every form of a secret: itself and each of its long parts, plain, percent-encoded, in hex, and inside base64."""
    parts = [part for part in re.split(r"[.:]", secret) if len(part) >= _SHORTEST_PART]
    for text in {secret, *parts}:
        raw = text.encode()
        yield text
        yield urllib.parse.quote(text, safe="")
        yield raw.hex()
        if len(raw) < _SHORTEST_PART:
            continue
        # Base64 codes three bytes at a time, so the same bytes look different by how many stand before them.
        for before in range(3):
            coded = base64.b64encode(b"\0" * before + raw).decode()
            inner = coded[(0, 2, 3)[before] : len(coded) - (0, 3, 2)[(before + len(raw)) % 3]].rstrip("=")
            yield inner
            yield inner.translate(str.maketrans("+/", "-_"))


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
