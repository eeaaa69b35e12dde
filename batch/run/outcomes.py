"""What the table says of a row that has ended.

Owns how the end of a conversation and the sums of its row become one outcome, and why a row is not sent at all. It
books nothing and tells nobody.
"""

from __future__ import annotations

from typing import Literal

from batch.core.clock import Moment
from batch.core.records import Failure, Lane, Outcome
from batch.core.redaction import redact
from batch.prompts import labelled, steps
from batch.submit.rows import Row


def unrendered(why: str) -> Failure:
    """The row cannot be sent: its template gives nothing over it any more."""
    return Failure(kind="prompt", verdict="fail", sent=False, code="render", message=why)


def too_large(most: float, key: str) -> Failure:
    """The row cannot be sent: no limit lets it through.

    Args:
        most: tokens a minute, the whole of the limit.
        key: of the job, that sets it.
    """
    message = (
        f"the prompt alone is larger than the whole limit of {most:,.0f} tokens a minute: raise "
        f"{key} if the provider allows it, or shorten the row"
    )
    return Failure(kind="too_large", verdict="fail", sent=False, code="tokens_per_minute", message=message)


def outcome_of(
    row: Row,
    settle: steps.Settle,
    *,
    keep: Literal["turns", "all", "none"],
    provider: str,
    lane: Lane,
    ended: Moment,
) -> Outcome:
    """The outcome of a row.

    Args:
        row: whose it is; its sums stand in it.
        settle: how its conversation ended.
        keep: how much of the conversation the table has.
        provider: who was asked.
        lane: of its last call, or that of the job when there was none.
        ended: when that was.
    """
    if row.conversation.sampling.ended:
        row.conversation, settle = labelled.with_votes(row.conversation, settle)
    message = settle.error_message
    return Outcome(  # by place, once a row: a name costs more than its value
        settle.status,
        row.sums,
        lane,
        provider,
        row.model,
        ended[0],
        settle.answer,
        settle.reasoning,
        settle.finish_reason,
        settle.flags or row.conversation.flags,  # of a failed row, those of the turns before
        row.conversation.kept(keep),
        settle.model,
        settle.error_kind,
        settle.error_code,
        redact(message) if message is not None else None,
        settle.retryable,
        None,  # deduplicated_from
        None if row.left_at is None else int((ended[1] - row.left_at) * 1000),
        settle.label,
        settle.labelling,
        settle.confidence,
        settle.keeps_answer,
        row.endpoint,
    )
