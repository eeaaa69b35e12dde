"""The names that lie nearest to one that nobody knows, and the sentence that proposes them.

Owns how near is near enough and how `Did you mean …?` is written, so that it reads the same in every message. It does
not know what the names stand for. The simulator, which shares nothing, has its own in `batch.simulator.toml_table`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Final

CUTOFF: Final = 0.65
"""How alike two names must be, 0 to 1: about every third letter may be another.

Lower, `pictures` would mean `turns`."""
_WORD: Final = re.compile(r"[\w.~/:@+-]+")


def nearest(asked: str, known: Iterable[str], *, most: int = 1, cutoff: float = CUTOFF) -> list[str]:
    """The known names that are most like the one asked for, the likest first; upper and lower case do not count.

    A list with commas is nearest to the list of the same words in another order.

    Args:
        asked: as a person wrote it.
        known: the names there are; it is itself never proposed.
        most: how many names at most.
        cutoff: how alike they must be, 0 to 1.
    """
    spelt: dict[str, list[str]] = {}
    for name in dict.fromkeys(known):
        spelt.setdefault(name.casefold(), []).append(name)
    reordered = [name for name in spelt if "," in name and _words(name) == _words(asked.casefold())]
    close = [*reordered, *difflib.get_close_matches(asked.casefold(), spelt, n=most + 1, cutoff=cutoff)]
    return [name for word in dict.fromkeys(close) for name in spelt[word] if name != asked][:most]


def _words(listed: str) -> list[str]:
    return sorted(word.strip() for word in listed.split(","))


def did_you_mean(names: Sequence[str]) -> str:
    """The sentence `Did you mean text?`, `Did you mean a, b or c?`; empty when there is no name to propose.

    A name that is more than one plain word stands in quotes, because where it begins and ends would not be seen.
    """
    if not names:
        return ""
    *others, last = [name if _WORD.fullmatch(name) or name.startswith("{{") else repr(name) for name in names]
    return f"Did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


def suggestion(asked: str, known: Iterable[str], otherwise: str = "", *, most: int = 1, cutoff: float = CUTOFF) -> str:
    """What to say of a name that is not known: the sentence that proposes the nearest, or another one.

    Args:
        asked: as a person wrote it.
        known: the names there are.
        otherwise: the sentence when none of them is near.
        most: how many names at most.
        cutoff: how alike they must be, 0 to 1.
    """
    return did_you_mean(nearest(asked, known, most=most, cutoff=cutoff)) or otherwise
