"""Whether a well-formed reply is an answer at all: some were broken off, or say nothing.

Owns that verdict. What follows from a reply that passes is `conversation`'s, what follows from a failure `submit`'s.
"""

from __future__ import annotations

from batch.core.records import Failure, Reply
from batch.prompts.finish_reasons import ERROR, UNKNOWN
from batch.prompts.steps import Rules


def judge(reply: Reply, rules: Rules) -> Failure | None:
    """The failure that a well-formed reply is after all, else None: it was broken off, or says nothing at all.

    Args:
        reply: as the dialect read it.
        rules: of the job; they know the service's own words.
    """
    reason, means = reply.finish_reason, rules.meaning(reply)
    if means == ERROR:
        return Failure(
            kind="server",
            verdict="retry",
            code=reason,
            message=f"the provider broke the answer off ({reason})",
            request_id=reply.request_id,
        )
    if means == "tool_calls" and not reply.tool_calls:
        return Failure(
            kind="bad_payload",
            verdict="once",
            code="no_tool_calls",
            message=f"finish_reason is {reason}, but no tool calls came",
            request_id=reply.request_id,
        )
    if means == UNKNOWN and not reply.content:
        told = f"finish_reason {reason!r} is not known" if reason else "it has no finish_reason"
        return Failure(
            kind="bad_payload",
            verdict="once",
            code=reason or "no_answer",
            message=f"the answer is empty, and {told}",
            request_id=reply.request_id,
        )
    return None
