"""What happens next in a row: a call is sent, the tools that the model asked for are run, or the row is settled.

A `Conversation` is a value: an event (a reply, tool results, a final failure) gives the next conversation and the next
action. Pure functions: nothing here sends, runs a tool or writes. So a run that is continued after a crash rebuilds the
same conversation from the steps in the ledger.
"""

from __future__ import annotations

import msgspec

from batch.core import flags
from batch.core.canonical import call_key
from batch.core.records import Failure, Message, Reply, ToolCall
from batch.labels import answers
from batch.labels.samples import SAMPLE
from batch.prompts import labelled, replies
from batch.prompts.steps import Action, Conversation, Rules, RunTools, Send, Settle
from batch.tools import execute


def after_reply(
    conversation: Conversation, reply: Reply, rules: Rules, *, model_asked: str
) -> tuple[Conversation, Action]:
    """The conversation with a reply, and what to do next.

    Args:
        conversation: before the reply.
        reply: one in which `judge` saw no failure.
        rules: of the job.
        model_asked: the model that the row asks for.
    """
    extended = msgspec.structs.replace(conversation, messages=(*conversation.messages, reply.message))
    means = rules.meaning(reply)
    refused = _refusal(reply, rules, model_asked)
    if refused is not None:
        # Partial text of a violation is discarded: the conversation ends before it.
        return conversation if refused.error_kind == "content_filter" else extended, refused
    if reply.tool_calls and rules.tools and means != "length":
        extended = msgspec.structs.replace(extended, tool_calls=extended.tool_calls + len(reply.tool_calls))
        if conversation.turn - conversation.since + 1 < rules.max_turns:
            return extended, RunTools(reply.tool_calls)
        return extended, Settle(
            status="failed",
            finish_reason=replies.shown(reply, means),
            model=reply.model,
            error_kind="tool_loop",
            error_code="max_turns",
            error_message=f"still asking for tools after {rules.max_turns} turns; raise tools.max_turns if it should",
            retryable=False,
        )
    flagged = tuple(dict.fromkeys((*conversation.flags, *replies.flags_of(reply, means, model_asked))))
    if conversation.follow_ups:
        return _next_user_turn(extended, flagged), Send()
    settle = Settle(
        status="ok",
        answer=reply.content,
        reasoning=reply.reasoning,
        finish_reason=replies.shown(reply, means),
        flags=flagged,
        model=reply.model,
    )
    if rules.labels is None:
        return extended, settle
    return labelled.after_answer(extended, reply, settle, rules, model_asked=model_asked)


def plain_end(conversation: Conversation, reply: Reply, rules: Rules, *, model_asked: str) -> Settle | None:
    """The outcome of a row whose last question is answered by a whole text, found at once; None for any other.

    It is what `judge` and `after_reply` come to, who must be asked where this gives None.

    Args:
        conversation: before the reply.
        reply: as the dialect read it.
        rules: of the job.
        model_asked: the model that the row asks for.
    """
    usage = reply.usage
    if (
        reply.finish_reason != "stop"
        or not reply.content
        or reply.tool_calls
        or usage is None
        or usage.estimated
        or rules.labels is not None
        or rules.finish_reasons
        or conversation.follow_ups
        or conversation.flags
        or (reply.model not in (None, model_asked) and replies.other_model(reply, model_asked))
    ):
        return None
    return Settle("ok", reply.content, reply.reasoning, "stop", (), reply.model)


def replayed(
    conversation: Conversation, reply: Reply, rules: Rules, *, model_asked: str
) -> tuple[Conversation, Action]:
    """The conversation after a reply from the journal, as it went on when that reply came; see `after_reply`.

    Args:
        conversation: before the reply.
        reply: as the journal has it.
        rules: of the job as it is now.
        model_asked: who answered.
    """
    if not reply.then or rules.labels is None:
        return after_reply(conversation, reply, rules, model_asked=model_asked)
    if reply.then == SAMPLE:
        return after_reply(conversation, reply, labelled.asked_anew(rules), model_asked=model_asked)
    extended = msgspec.structs.replace(conversation, messages=(*conversation.messages, reply.message))
    found = labelled.read(reply, rules)
    if isinstance(found, answers.Found):  # to this version, and not to the one that asked again
        found = answers.Invalid("schema", "it was not valid")
    again = labelled.asked_again(extended, reply, found, reply.then, rules.labels, model_asked=model_asked)
    return again, Send(reply.then)


def _next_user_turn(conversation: Conversation, flagged: tuple[str, ...]) -> Conversation:
    """The conversation with the user's next message; the model sees the whole of it again."""
    user_message, *follow_ups = conversation.follow_ups
    turn = conversation.turn + 1
    messages = (*conversation.messages[:-1], replies.answered(conversation.messages[-1]), user_message)
    return msgspec.structs.replace(
        conversation, messages=messages, follow_ups=tuple(follow_ups), turn=turn, since=turn, flags=flagged, failing=()
    )


def after_tools(
    conversation: Conversation,
    calls: tuple[ToolCall, ...],
    contents: list[str],
    *,
    coerced: bool = False,
    in_doubt: bool = False,
) -> Conversation:
    """The conversation with the results of its tools, ready for the next turn.

    Args:
        conversation: ends with the reply that asked for the tools.
        calls: the N calls of that reply.
        contents: N texts, the result of each call, in the same order.
        coerced: whether arguments of a call were taken for what they can only mean.
        in_doubt: whether it is not known how often one of them had its effect.
    """
    results: list[Message] = [
        {"role": "tool", "content": content, "tool_call_id": call.id}
        for call, content in zip(calls, contents, strict=True)
    ]
    flagged = (*conversation.flags, flags.EFFECT_IN_DOUBT) if in_doubt else conversation.flags
    failed = [call for call, content in zip(calls, contents, strict=True) if execute.failed(content)]
    if failed:
        flagged = (*flagged, flags.TOOL_FAILED)
    if coerced and flags.COERCED not in flagged:
        flagged = (*flagged, flags.COERCED)
    before = {key: turns for key, _, turns in conversation.failing}
    failing = {call_key(call.name, call.arguments): call.name for call in failed}
    return msgspec.structs.replace(
        conversation,
        messages=(*conversation.messages, *results),
        turn=conversation.turn + 1,
        flags=tuple(dict.fromkeys(flagged)),
        tool_errors=conversation.tool_errors + len(failed),
        failing=tuple((key, name, before.get(key, 0) + 1) for key, name in failing.items()),
    )


def after_failure(failure: Failure, *, retryable: bool) -> Settle:
    """The outcome of a row whose turn failed for the last time."""
    return Settle(
        status="failed",
        error_kind=failure.kind,
        error_code=failure.code,
        error_message=failure.message,
        retryable=retryable,
    )


def _refusal(reply: Reply, rules: Rules, model_asked: str) -> Settle | None:
    means = rules.meaning(reply)
    shown = replies.shown(reply, means)
    if means == "content_filter":
        return Settle(
            status="failed",
            finish_reason=shown,
            model=reply.model,
            error_kind="content_filter",
            error_code=reply.finish_reason,
            error_message="the provider withdrew the answer for its content; its text is not kept",
            retryable=False,
        )
    if means == "model_context_window_exceeded":
        return Settle(
            status="failed",
            finish_reason=shown,
            model=reply.model,
            error_kind="too_large",
            error_code=reply.finish_reason,
            error_message="prompt and answer together are longer than the model's window; shorten the prompt",
            retryable=False,
        )
    if rules.served == "same" and replies.other_model(reply, model_asked):
        return Settle(
            status="failed",
            finish_reason=shown,
            model=reply.model,
            error_kind="served_other",
            error_code=reply.model,
            error_message=f"asked {model_asked}, answered by {reply.model}; served = 'any' would accept it",
            retryable=True,
        )
    return None
