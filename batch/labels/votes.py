"""Counts the labels that one row was given when it was asked several times: votes, agreement, majority.

Owns what a majority and a tie are. It does not know where a label comes from: a vote is a text, or None where an
answer was not valid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from batch.core.labelling import Vote


class Votes(msgspec.Struct, frozen=True):
    """What the answers of one row come to."""

    asked: int
    """How many answers there are, those that are not valid included."""
    votes: tuple[Vote, ...]
    """The most frequent label first; labels of the same count in the order in which they first came."""

    @property
    def valid(self) -> int:
        """How many answers have a valid label."""
        return sum(vote.count for vote in self.votes)

    @property
    def tie(self) -> bool:
        """Whether two labels or more share the first place."""
        return len(self.votes) > 1 and self.votes[0].count == self.votes[1].count

    @property
    def majority(self) -> str | None:
        """The label that most answers gave; None after a tie, and when no answer is valid."""
        return self.votes[0].label if self.votes and not self.tie else None

    @property
    def leading(self) -> tuple[str, ...]:
        """The labels that share the first place: the majority alone, or those of a tie."""
        return tuple(vote.label for vote in self.votes if vote.count == self.votes[0].count)

    @property
    def agreement(self) -> float | None:
        """The share of the most frequent label among all answers, from 0 to 1; None when no answer is valid.

        An answer that is not valid counts as one that disagrees: a model that often says nothing of use is not sure.
        """
        return self.votes[0].count / self.asked if self.votes else None

    @property
    def confidence(self) -> float | None:
        """The mean probability of the answers that gave the majority; None without one, or where none is known."""
        first = self.votes[0] if self.votes and not self.tie else None
        return first.certain / first.measured if first is not None and first.measured else None


def count_votes(labels: Iterable[str | None]) -> Votes:
    """Count the labels of one row.

    Args:
        labels: of each answer, in the order in which they were asked; None where an answer is not valid.
    """
    given = list(labels)
    counts = Counter(label for label in given if label is not None)
    # A Counter keeps the order of first appearance, and `most_common` is stable.
    return Votes(len(given), tuple(Vote(label, count) for label, count in counts.most_common()))
