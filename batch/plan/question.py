"""What a row of the source asks in one variant: the fingerprint of it, and why it cannot be asked if it cannot.

Owns the order of the reasons: a row that the reader refused, one with nothing in it, one that the template fails on,
one that the service is known to refuse. Which rows need work is the planner's matter.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from batch.core.records import NO_USAGE, Failure, Outcome, RowRequest, Sums
from batch.input.batches import SourceBatch
from batch.job.job import ModelSpec
from batch.prompts.template import PromptFault
from batch.prompts.variants import Variant

EMPTY: Final = "empty"
"""The code of a row that says nothing; its kind is `input`."""


class Question(msgspec.Struct, frozen=True, gc=False):
    """What a row asks."""

    fingerprint: bytes
    """Of what is asked; of what is wrong with the row when it cannot be."""
    fault: Failure | None = None
    """Why it cannot be asked; None when it can."""
    when_sent: bytes | None = None
    """Of a row that says nothing, the fingerprint it would have if it were sent."""
    request: RowRequest | None = None
    """What is sent; None when the row cannot be asked."""

    def beside(self, fingerprint: bytes | None, status: int | None) -> Question:
        """The question to compare an outcome of the table with: an answer that was bought once is an answer.

        Args:
            fingerprint: of what the outcome is of.
            status: of it, as the index has it: 0 is ok.
        """
        bought = self.when_sent is not None and fingerprint == self.when_sent and status == 0
        return Question(self.when_sent) if bought and self.when_sent is not None else self

    def stands_for(self, fingerprint: bytes) -> bool:
        """Whether a row that was admitted with this fingerprint asks this."""
        return fingerprint in (self.fingerprint, self.when_sent)

    @property
    def sums(self) -> Sums:
        """The sums of a row that is not asked: one that says nothing is known to cost nothing."""
        if self.fault is None or self.fault.code != EMPTY:
            return Sums()
        known = {name: getattr(NO_USAGE, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
        return Sums(cost=0, **known)


def question(variant: Variant, batch: SourceBatch, index: int, fault: Failure | None) -> Question:
    """What a row asks in a variant.

    Args:
        variant: with the prompt.
        batch: rows of the source.
        index: which of them.
        fault: what is wrong with the row already.
    """
    record = batch.records[index]
    if fault is None and record is not None:
        try:
            asked = variant.request(record)
        except PromptFault as exc:
            if variant.says_nothing(record):
                return _empty(variant, batch.place(index), record, None)
            text = f"{batch.place(index)}: {exc}"
            fault = Failure(kind="prompt", verdict="fail", sent=False, code="render", message=text)
        else:
            fingerprint = variant.fingerprint(asked)
            if variant.says_nothing(record, asked):
                return _empty(variant, batch.place(index), record, fingerprint)
            refused = variant.refused(asked)
            return Question(fingerprint, refused, request=asked if refused is None else None)
    fault = fault or Failure(kind="input", verdict="fail", sent=False, code="unreadable", message="no record")
    return Question(variant.fault(fault.kind, fault.code), fault)


def nothing_said(variant: Variant, record: dict[str, Any]) -> str:
    """Why a row that says nothing is not sent, and the way out."""
    columns = ", ".join(sorted(variant.prompt.columns))
    reason = f"{columns}: nothing in it" if variant.prompt.is_empty(record) else "the last user message is blank"
    return f'{reason}, so nothing was sent; fill it in, or set prompt.empty = "send" to ask such rows all the same'


def _empty(variant: Variant, place: str, record: dict[str, Any], when_sent: bytes | None) -> Question:
    text = f"{place}: {nothing_said(variant, record)}"
    fault = Failure(kind="input", verdict="fail", sent=False, code=EMPTY, message=text)
    return Question(variant.fault(fault.kind, fault.code), fault, when_sent)


def unaskable(asked: Question, fault: Failure, *, model: str, spec: ModelSpec, now_us: int) -> Outcome:
    """The outcome of a row that cannot be asked.

    Args:
        asked: what it asks.
        fault: why it cannot be.
        model: which it asks.
        spec: who is asked, by the job.
        now_us: wall time in microseconds, UTC.
    """
    return Outcome(
        status="failed",
        sums=asked.sums,
        lane=spec.first_lane,
        provider=spec.provider,
        model_asked=model,
        settled_at_us=now_us,
        error_kind=fault.kind,
        error_code=fault.code,
        error_message=fault.message,
        retryable=False,
    )
