"""The keys of this process, and the masking of every text that leaves it.

Owns what is masked: by value (the keys this process holds) and by the look of a key. Who writes a text asks here first:
logs, errors, results, the wire log. It reads no environment; a key is told to it when it is resolved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

_secrets: set[str] = set()
_beginnings: dict[str, tuple[re.Pattern[str], re.Pattern[bytes]]] = {}
_LOOKS_LIKE_A_KEY: Final = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|[0-9a-f]{32}\.[A-Za-z0-9]{16,}|Bearer +[^\s\"'\\]+"
    r"|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,})"
)
MASK: Final = "[masked]"


class Secret(str):
    """Text that goes onto the wire but never into a repr: not in logs, tracebacks with locals or `repr(Outgoing)`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


class Unshown(Mapping[str, str]):
    """An environment whose repr shows none of it: tracebacks with locals, debuggers and `help()` print reprs.

    Args:
        variables: names and values, read when they are asked for.
    """

    __slots__ = ("_variables",)

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> str:
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:
        return f"Unshown({len(self)} variables)"


def hide(secret: str) -> None:
    """Mask this value wherever text leaves the process through a log or an error."""
    if len(secret) >= 4:
        _secrets.add(secret)


def hide_from(beginning: str) -> None:
    """Mask every word that begins so: tokens that are made anew all the time and share their beginning."""
    if len(beginning) >= 16 and beginning not in _beginnings:
        word = re.escape(beginning) + "[A-Za-z0-9_.=-]*"
        _beginnings[beginning] = (re.compile(word), re.compile(word.encode()))


def hidden() -> tuple[str, ...]:
    """The values that are masked, for one who must know them in other forms too."""
    return tuple(_longest_first())


def _longest_first() -> list[str]:
    """The secrets, so that none is cut short by another that it begins with."""
    return sorted(_secrets, key=len, reverse=True)


def redact(text: str) -> str:
    """The text with every known secret, and whatever looks like a key, masked."""
    for secret in _longest_first():
        if secret in text:
            text = text.replace(secret, MASK)
    for beginning, (word, _) in _beginnings.items():
        if beginning in text:
            text = word.sub(MASK, text)
    return _LOOKS_LIKE_A_KEY.sub(MASK, text)


def masked(data: bytes) -> bytes:
    """What came over the wire, without our secrets: a provider that echoes the key must not bring it to the results."""
    for secret in _longest_first():
        if (raw := secret.encode()) in data:
            data = data.replace(raw, MASK.encode())
    for beginning, (_, raw_word) in _beginnings.items():
        if beginning.encode() in data:
            data = raw_word.sub(MASK.encode(), data)
    return data
