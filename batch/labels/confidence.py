"""How probable a label is, as the model wrote it: the product of the probabilities of the tokens that say it.

Owns which characters of an answer say its label. Of a name these are its own; of an object those of every value in it:
texts without their quotes, numbers, true, false and null. Names of properties, braces, fences and other words around
them are not counted, because they tell nothing of the choice. A token that begins before a value or ends behind it
counts whole. It does not know where probabilities come from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Final

from batch.core.canonical import loads
from batch.core.records import TokenChance
from batch.labels.answers import Found
from batch.labels.schema import LABEL
from batch.labels.values import folded

Span = tuple[int, int]
"""Where something begins and ends in an answer, in characters."""

_LEAF: Final = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|-?[0-9][0-9.eE+-]*|\b(?:true|false|null)\b', re.DOTALL)
_GAP: Final = re.compile(r"[\s_\-]+")


def chance(answer: str, found: Found, tokens: Sequence[TokenChance]) -> float | None:
    """The probability of a label, from 0 to 1; None where the tokens do not tell.

    Args:
        answer: the text that says the label.
        found: the label, and where it stands.
        tokens: those that the answer is made of, in their order.
    """
    if not tokens or sum(token.size for token in tokens) != len(answer.encode("utf-8", "replace")):
        return None
    start, end = found.place or (0, len(answer))
    text = answer[start:end]
    within = _of_name(text, found.value) if isinstance(found.value, str) else [span for span, _ in _leaves(text)]
    spans = _in_bytes(answer, [(start + begin, start + stop) for begin, stop in within])
    counted: list[float] = []
    place = number = 0
    for token in tokens:
        stop = place + token.size
        while number < len(spans) and spans[number][1] <= place:
            number += 1
        if number < len(spans) and spans[number][0] < stop:
            counted.append(token.logprob)
        place = stop
    return math.exp(math.fsum(counted)) if counted else None


def _of_name(text: str, name: str) -> list[Span]:
    """Where a text says a name: the value of `label` in JSON, another value that is the name, or the words."""
    wanted = folded(name)
    said = [(span, key) for span, key in _leaves(text) if folded(_inner(text, span)) == wanted]
    if said:
        return [next((span for span, key in reversed(said) if key == LABEL), said[-1][0])]
    words = _GAP.split(name.strip())
    matches = list(re.finditer(r"[\s_\-]+".join(map(re.escape, words)), text, re.IGNORECASE))
    return [matches[-1].span()] if matches else []


def _inner(text: str, span: Span) -> str:
    """What a value says: the characters between its quotes, escapes undone."""
    raw = text[slice(*span)]
    if "\\" not in raw:
        return raw
    try:
        return str(loads(f'"{raw}"'))
    except ValueError:
        return raw


def _leaves(text: str) -> Iterator[tuple[Span, str]]:
    """The values in JSON text, texts without their quotes, each with the name before it in small letters."""
    key = ""
    for match in _LEAF.finditer(text):
        if match[1] is None:
            yield match.span(), key
        elif match[2] is not None:
            key = folded(match[1][1:-1])
        else:
            yield (match.start(1) + 1, match.end(1) - 1), key


def _in_bytes(answer: str, spans: Sequence[Span]) -> list[Span]:
    """The same places counted in bytes of UTF-8; empty ones are left out."""
    found: list[Span] = []
    at = size = 0
    for start, end in spans:
        begin = size + len(answer[at:start].encode("utf-8", "replace"))
        at, size = end, begin + len(answer[start:end].encode("utf-8", "replace"))
        if size > begin:
            found.append((begin, size))
    return found
