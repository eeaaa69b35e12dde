"""What is done about an answer without a valid label: the model is asked again, then another one, then the row fails.

Owns that order, as values: a decision follows from the answer and from what was tried before, so a run that goes on
after a crash finds itself where it was. It sends nothing and knows no conversation.
"""

from __future__ import annotations

from typing import Final

import msgspec

from batch.core.labelling import Labelling
from batch.core.records import Purpose
from batch.labels.answers import Invalid
from batch.labels.asking import Asking

REASK: Final = "reask"
ESCALATE: Final = "escalate "
"""Words of the journal for what follows an answer; behind the second stands the model."""


class LabelRules(msgspec.Struct, frozen=True):
    """What the job says of labels."""

    asking: Asking
    reasks: int = 0
    """How often a model is asked again when its answer holds no valid label."""
    escalate: str | None = None
    """The other model that is asked in the end."""
    samples: int = 1
    """How often a row is asked, each time from the beginning."""
    confidence: bool = False
    """Whether the probability of a label is wanted."""


class Tries(msgspec.Struct, frozen=True, gc=False):
    """What was done so far to bring one row to a valid label."""

    reasks: int = 0
    cut_off: int = 0
    """How many answers in a row ended where their tokens did."""
    escalated: str | None = None
    """The other model that is asked by now."""
    before: int | None = None
    """How many messages came before the first answer without a label; None before there was one."""
    behind: int = 0
    """How many messages there were when the other model was asked; it sees those before and behind."""

    @property
    def purpose(self) -> Purpose | None:
        """What the next call is made for; None when it is a turn like others."""
        return "escalate" if self.escalated is not None else "reask" if self.reasks else None

    def then(self, found: Invalid, rules: LabelRules, *, model_asked: str) -> str:
        """What follows an answer: `reask`, `escalate MODEL`, or nothing.

        Args:
            found: what is wrong with the answer.
            rules: of the job.
            model_asked: who answered.
        """
        if self.escalated is not None:
            return ""
        # After two answers in a row that their tokens cut off, a third costs as much and brings nothing.
        if self.reasks < rules.reasks and not (found.code == "truncated" and self.cut_off):
            return REASK
        return f"{ESCALATE}{rules.escalate}" if rules.escalate not in (None, model_asked) else ""

    def after(self, then: str, found: Invalid, *, messages: int) -> Tries:
        """What was tried once this is done.

        Args:
            then: as `then` gave it.
            found: what is wrong with the answer.
            messages: how many messages there are, the answer among them.
        """
        before = messages - 1 if self.before is None else self.before
        if then.startswith(ESCALATE):
            return msgspec.structs.replace(self, escalated=then.removeprefix(ESCALATE), before=before, behind=messages)
        cut_off = self.cut_off + 1 if found.code == "truncated" else 0
        return msgspec.structs.replace(self, reasks=self.reasks + 1, cut_off=cut_off, before=before)

    def done(self, rules: LabelRules, *, invalid: bool) -> Labelling:
        """What the index keeps of a row that settles: all that the job allowed counts as tried.

        Args:
            rules: of the job.
            invalid: whether it fails without a valid label.
        """
        return Labelling(max(self.reasks, rules.reasks), rules.escalate, invalid)

    def failure(self, found: Invalid) -> str:
        """The message of a row that failed without a valid label."""
        tries = 1 + self.reasks + (self.escalated is not None)
        last = f", the last of {self.escalated}" if self.escalated else ""
        way = (
            "raise max_tokens"
            if found.code == "truncated"
            else "see answer; raise labels.reasks or set labels.escalate"
        )
        return f"no valid label in {tries} {'answers' if tries > 1 else 'answer'}{last}: {found.text}; {way}"


def more_allowed(labelling: Labelling, *, reasks: int, escalate: str | None) -> bool:
    """Whether a row without a valid label would be tried more often, or with another model, than it was.

    Args:
        labelling: what the index has of the row.
        reasks: that the job allows now.
        escalate: the other model that the job names now.
    """
    return labelling.invalid and (reasks > labelling.reasks or escalate not in (None, labelling.escalated))
