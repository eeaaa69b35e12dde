"""What was done to bring a row to a valid label, and the votes it got: what the index of the ledger keeps of it.

Owns the shape of that, which older versions wrote with fewer fields. What votes come to is the matter of
`batch.labels`.
"""

from __future__ import annotations

import msgspec


class Vote(msgspec.Struct, frozen=True, array_like=True):
    """One label, and how many answers gave it."""

    label: str
    """A name, or an object as canonical JSON text."""
    count: int
    certain: float = 0.0
    """The sum of the probabilities of those answers whose probability is known."""
    measured: int = 0
    """How many answers these are."""


class Labelling(msgspec.Struct, frozen=True, array_like=True):
    """What was done to bring a row to a valid label."""

    reasks: int = 0
    """How often it was, or could have been, asked again."""
    escalated: str | None = None
    """The other model that was asked in the end."""
    invalid: bool = False
    """Whether the row failed because it has no valid label after all that."""
    votes: tuple[Vote, ...] = ()
    """The labels of its samples, the most frequent first."""
    samples: int = 0
    """How many samples came to their end, those without a valid label included; 0 of a row that an older version
    asked."""
