"""What the samples of one row come to: how many ended, and the votes they gave, those of earlier runs among them.

Owns how a label becomes a vote and back, when a row lacks samples, and from which of its votes a further run goes on.
It sends nothing and knows no conversation; what a majority is stands in `votes`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from batch.core.canonical import canonical, loads
from batch.core.labelling import Labelling, Vote
from batch.labels.votes import Votes

SAMPLE: Final = "sample"
"""The word of the journal for an answer after which the row was asked anew."""


class Sampling(msgspec.Struct, frozen=True, gc=False):
    """The samples of one row that came to their end."""

    ended: int = 0
    """How many they are, those without a valid label included; so it is the number of the next one."""
    votes: tuple[Vote, ...] = ()
    """The most frequent label first."""

    @classmethod
    def of(cls, kept: Labelling | None, *, samples: int) -> Sampling:
        """What a row goes on from.

        Args:
            kept: what the index has of the row, for the same question; None for nothing.
            samples: how often the job asks a row.
        """
        if kept is None or not (kept.votes or kept.samples < samples):
            return cls()  # none of them was valid, and it is asked again all the same: from the beginning
        return cls(kept.samples, kept.votes)

    def counted(self) -> Votes:
        """The votes as they are counted."""
        return Votes(self.ended, self.votes)

    def after(self, label: str | None, chance: float | None) -> Sampling:
        """The samples with one more.

        Args:
            label: what it says, as a vote; None where it has no valid label.
            chance: the probability of that label; None where it is not known.
        """
        if label is None:
            return msgspec.structs.replace(self, ended=self.ended + 1)
        counts = {vote.label: vote for vote in self.votes}
        vote = counts.get(label, Vote(label, 0))
        known = chance is not None
        counts[label] = Vote(label, vote.count + 1, vote.certain + (chance or 0.0), vote.measured + known)
        return Sampling(self.ended + 1, tuple(sorted(counts.values(), key=_fewest_last)))


NO_SAMPLES: Final = Sampling()
"""Of a row that was not asked yet."""


def short_of_samples(labelling: Labelling, samples: int) -> bool:
    """Whether a row was asked less often than a job asks, which only a job with several samples has rows of."""
    return 1 < samples > labelling.samples


def vote_of(label: Any) -> str:
    """A label as a vote: a name as it is, an object as canonical JSON text (without nulls, keys in order)."""
    return label if isinstance(label, str) else canonical(label).decode()


def label_of(vote: str, *, named: bool) -> Any:
    """The label that a vote is for.

    Args:
        vote: from `vote_of`.
        named: whether labels are names, and not objects.
    """
    return vote if named else loads(vote)


def _fewest_last(vote: Vote) -> int:
    return -vote.count
