"""Remembers, in little memory, which row ids were met while the source is read.

Owns a Bloom filter, a few bits for each id. Its "no" is sure: such an id was not met, and nobody has to look for it in
the ledger. Its "perhaps" is wrong for two in a hundred of the ids that were not met, for three once ten million were,
and then the ledger is asked in vain. How often and where an id was met is not known here. It lives as long as its
process and is never written down, because Python hashes text in another way in every process.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

PATTERN_BITS: Final = 5
"""Bits of a word that stand for an id: with six ids a word, this many leave the fewest ids that pass by chance."""
IDS_A_WORD: Final = 6
SIZES: Final = (500_000, 1_500_000)
"""Words of 8 bytes of each filter, 4 MB and 12 MB: for the first 3 million ids, and for the 9 million behind them."""
_PATTERNS: Final = 4_096
_PATTERN_SHIFT: Final = 52
"""The hash of a text has 64 bits, the first is its sign. The upper twelve are the number of a pattern, counted from the
end where it is negative. The word is chosen by a remainder, on which these bits have next to no influence."""


class _Filter(NamedTuple):
    """One filter: an id sets the bits of its pattern in one word, so that a look reads one place of the memory."""

    words: memoryview
    size: int


class Met:
    """The ids that a pass has met, as far as they fit.

    Each filter is made when the one before it is full. The last one takes all that come then: more and more ids that
    were not met pass as met, and the memory stays as it is.

    Args:
        sizes: of the filters, in words of 8 bytes.
    """

    def __init__(self, sizes: Iterable[int] = SIZES) -> None:
        self._sizes = list(sizes)
        self._patterns = [_pattern(number) for number in range(_PATTERNS)]
        self._filters: list[_Filter] = []
        self._room = 0
        """How many more ids the newest filter takes before the next one is made."""

    def add(self, ids: Collection[str]) -> None:
        """Remember that these were met."""
        if self._room <= 0 and self._sizes:
            size = self._sizes.pop(0)
            # Memory that nobody wrote to is not taken from the machine: a small pass needs less than all of it.
            self._filters.append(_Filter(memoryview(bytearray(8 * size)).cast("Q"), size))
            self._room = size * IDS_A_WORD
        (words, size), patterns = self._filters[-1], self._patterns
        for row_id in ids:
            hashed = hash(row_id)
            words[hashed % size] |= patterns[hashed >> _PATTERN_SHIFT]
        self._room -= len(ids)

    def perhaps(self, ids: Collection[str]) -> list[str]:
        """Those of these ids that may have been met; an id that was is always among them, perhaps more than once."""
        patterns = self._patterns
        return [
            row_id
            for words, size in self._filters
            for row_id in ids
            if words[(hashed := hash(row_id)) % size] & (pattern := patterns[hashed >> _PATTERN_SHIFT]) == pattern
        ]


def _pattern(number: int) -> int:
    """One of the patterns: a word with a few bits set, at places that look like chance and are always the same."""
    pattern = 0
    for _ in range(PATTERN_BITS):
        number = (number * 6364136223846793005 + 1442695040888963407) % 2**64  # the generator of Knuth's MMIX
        pattern |= 1 << (number >> 58)
    return pattern
