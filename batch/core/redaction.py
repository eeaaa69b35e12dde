"""Redaction: keys are masked in every text that leaves this process.

Owns which texts are masked: the keys that this process holds, and whatever looks like a key. Logs, errors, results and
the wire log pass their texts through it. It reads no environment: whoever resolves a key calls `hide`.
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
    """From now on, mask this value in every text that leaves the process."""
    if len(secret) >= 4:
        _secrets.add(secret)


def hide_from(beginning: str) -> None:
    """From now on, mask every word with this beginning; for tokens that are often made anew and share it."""
    if len(beginning) >= 16 and beginning not in _beginnings:
        word = re.escape(beginning) + "[A-Za-z0-9_.=-]*"
        _beginnings[beginning] = (re.compile(word), re.compile(word.encode()))


def hidden() -> tuple[str, ...]:
    """The values that are masked, for whoever must mask other forms of them too."""
    return tuple(_longest_first())


def _longest_first() -> list[str]:
    """The secrets in the order to mask them: one may begin with another, shorter one."""
    return sorted(_secrets, key=len, reverse=True)


def redact(text: str) -> str:
    """The text with every secret masked, and everything that looks like a key."""
    for secret in _longest_first():
        if secret in text:
            text = text.replace(secret, MASK)
    for beginning, (word, _) in _beginnings.items():
        if beginning in text:
            text = word.sub(MASK, text)
    return _LOOKS_LIKE_A_KEY.sub(MASK, text)


def masked(data: bytes) -> bytes:
    """The bytes of an answer with our secrets masked: a provider may echo a key, and it must not reach the results."""
    for secret in _longest_first():
        if (raw := secret.encode()) in data:
            data = data.replace(raw, MASK.encode())
    for beginning, (_, raw_word) in _beginnings.items():
        if beginning.encode() in data:
            data = raw_word.sub(MASK.encode(), data)
    return data
