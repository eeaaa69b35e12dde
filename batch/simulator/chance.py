"""Reproducible random numbers: the same identities give the same number between 0 and 1, in every run.

Nothing in the simulator draws from a running random generator: a draw depends on what is drawn for, never on what was
drawn before, so the same row meets the same fate in whatever order requests arrive.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

_SPAN = 2.0**64
_MASK = 2**64 - 1
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def digest64(data: bytes) -> int:
    """The first 64 bits of a cryptographic hash of `data`."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def mixed(*parts: int) -> int:
    """64 well-mixed bits that depend on every one of `parts` (any integers) and on their order."""
    return digest64(struct.pack(f">{len(parts)}Q", *(part & _MASK for part in parts)))


def chance(*parts: int) -> float:
    """A number in [0, 1) that depends on every one of `parts` and on their order."""
    return mixed(*parts) / _SPAN


def letters(identity: int, length: int) -> str:
    """So many letters and digits that stand for an identity."""
    number = mixed(identity, 1) << 128 | mixed(identity, 2) << 64 | mixed(identity, 3)
    drawn = []
    for _ in range(length):
        number, position = divmod(number, len(_ALPHABET))
        drawn.append(_ALPHABET[position])
    return "".join(drawn)
