"""Reads the probabilities of an answer's tokens: `logprobs`, in the form that OpenAI gave them.

Owns how the tokens are laid over the text they make: a model may have written more tokens than are shown, so what does
not fit gives nothing rather than something wrong. It does not know which of them matter. Source: OpenAI API reference
"chat completion object", `choices[].logprobs.content[]`; vLLM and llama.cpp follow it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

import msgspec

from batch.core.records import TokenChance
from batch.providers import loose_json


class _Token(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    """The token as UTF-8, where its text alone would not do: a character may be cut in two."""


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


_NOTHING: Final = msgspec.Raw()
_NULL: Final = msgspec.Raw(b"null")
_decode: Final = msgspec.json.Decoder(_Logprobs).decode


def says_something(raw: msgspec.Raw) -> bool:
    """Whether there is more than nothing, or null, which stands in every answer of some services."""
    return raw != _NULL and raw != _NOTHING  # noqa: PLR1714 - asked of each chunk: a tuple of both costs ten times that


def tokens_of(given: Iterable[msgspec.Raw], content: str | None) -> tuple[TokenChance, ...]:
    """The tokens that an answer's text is made of, each with its probability; none where they do not make that text.

    Args:
        given: what stood under `logprobs`; of a stream, of each of its chunks.
        content: the text of the answer.
    """
    found: list[tuple[bytes, float]] = []
    for raw in given:
        try:
            tokens = _decode(raw).content
        except loose_json.UNREADABLE:
            return ()
        found += [(_text(token), token.logprob) for token in tokens or ()]
    text = (content or "").encode("utf-8", "replace")
    whole = b"".join(part for part, _ in found)
    start = _start(whole, text, [len(part) for part, _ in found])
    if start < 0 or not all(math.isfinite(logprob) for _, logprob in found):
        return ()
    chances, place = [], 0
    for part, logprob in found:
        begin, end = max(place, start), min(place + len(part), start + len(text))
        place += len(part)
        if begin < end:
            chances.append(TokenChance(end - begin, min(logprob, 0.0)))
    return tuple(chances)


def _start(whole: bytes, text: bytes, sizes: Sequence[int]) -> int:
    """Where the text stands in all that was written; -1 when it does not.

    What is not shown comes before it mostly, thoughts above all, and may say the same: so the last place where a token
    begins with it counts, and any other only if there is none.
    """
    if not text:
        return -1
    begins = list(accumulate(sizes, initial=0))
    return next((place for place in reversed(begins) if whole.startswith(text, place)), whole.rfind(text))


def _text(token: _Token) -> bytes:
    if token.bytes is not None:
        try:
            return bytes(token.bytes)
        except ValueError:
            return b""
    return token.token.encode("utf-8", "replace")
