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
"""So many bits of its word does an id set: where a word has six ids, with five the fewest others pass by chance."""
IDS_A_WORD: Final = 6
SIZES: Final = (500_000, 1_500_000)
"""Words of 8 bytes of each filter, 4 MB and 12 MB: for the first 3 million ids, and for the 9 million behind them."""
_PATTERNS: Final = 4_096
_PATTERN_SHIFT: Final = 52
"""Python's hash of a text is a number of 64 bits with a sign. Without its lower 52 it lies between -2,048 and 2,047 and
is the place of the pattern in their list: a negative one counts from the end. The word is chosen by the remainder of
the whole hash, with which the pattern has next to nothing to do."""


class _Filter(NamedTuple):
    """One filter: the hash of an id chooses a word and a pattern, and the bits of the pattern are set in that word.

    All bits of an id are in one word, so that to look for it reads one place of the memory.
    """

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
