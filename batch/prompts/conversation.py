"""What happens next in a row: a call is sent, the tools that the model asked for are run, or the row is settled.

A `Conversation` is a value: an event (a reply, tool results, a final failure) gives the next conversation and the next
action. Pure functions: nothing here sends, runs a tool or writes. So a run that is continued after a crash rebuilds the
same conversation from the steps in the ledger.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from batch.core import flags
from batch.core.canonical import call_key
from batch.core.errors import FailureKind
from batch.core.records import Failure, Labelling, Message, Reply, ToolCall
from batch.labels import answers
from batch.labels.tries import LabelRules, Tries
from batch.prompts import images, replies
from batch.prompts.finish_reasons import UNKNOWN, meaning
from batch.tools import execute


class Rules(msgspec.Struct, frozen=True):
    """The settings of the job that decide how a conversation continues."""

    max_turns: int = 8
    tools: bool = False
    served: Literal["any", "same"] = "any"
    keep: Literal["turns", "all", "none"] = "turns"
    finish_reasons: dict[str, str] = {}
    """Words of the service for how an answer ended, beside those that are known everywhere."""
    labels: LabelRules | None = None
    """What is done about the label of a last answer; None where that is kept as it is."""

    def meaning(self, reply: Reply) -> str:
        """What the reply's finish reason means; see `finish_reasons.meaning`.

        Calls that came are calls, whatever word stands beside them; `function_call` without one is an old way to say
        that the answer ended.
        """
        means = meaning(reply.finish_reason, self.finish_reasons)
        if means == UNKNOWN and reply.tool_calls:
            return "tool_calls"
        return "stop" if reply.finish_reason == "function_call" and not reply.tool_calls else means


class Conversation(msgspec.Struct, frozen=True):
    """The messages of a row until now. `first` of them are its first request; `turn` is now asked or answered."""

    messages: tuple[Message, ...]
    first: int
    turn: int = 0
    tool_calls: int = 0
    follow_ups: tuple[Message, ...] = ()
    """What the user says next, one message for each complete answer."""
    since: int = 0
    """The turn in which the user's last message was asked; `max_turns` counts from there."""
    flags: tuple[str, ...] = ()
    """The flags of what came before the last answer, such as `truncated`; `core.flags` has them all."""
    tool_errors: int = 0
    failing: tuple[tuple[str, str, int], ...] = ()
    """The calls that failed in the last turn: key, name, and in how many turns without a break."""
    tries: Tries = Tries()

    @property
    def sent(self) -> tuple[Message, ...]:
        """The messages that the next turn is asked with; another model is spared the answers that held no label."""
        tries = self.tries
        if tries.escalated is None:
            return self.messages
        return self.messages[: tries.before] + self.messages[tries.behind :]

    def kept(self, keep: Literal["turns", "all", "none"]) -> str | None:
        """The part of the conversation that `output.messages` asks for, as JSON text; of pictures, hash and source."""
        if keep == "none":
            return None
        chosen = self.messages if keep == "all" else self.messages[self.first :]
        return msgspec.json.encode(images.shown(chosen)).decode()


class Send(msgspec.Struct, frozen=True):
    """Ask the model for turn `conversation.turn`."""

    then: str = ""
    """What the journal keeps with the reply, where what follows it depends on the settings of the moment."""


class RunTools(msgspec.Struct, frozen=True):
    """Run these calls; answer every one of them."""

    calls: tuple[ToolCall, ...]


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """The row has its outcome."""

    status: Literal["ok", "failed"]
    answer: str | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    flags: tuple[str, ...] = ()
    model: str | None = None
    error_kind: FailureKind | None = None
    error_code: str | None = None
    error_message: str | None = None
    retryable: bool | None = None
    label: Any = None
    labelling: Labelling | None = None


Action = Send | RunTools | Settle


def start(messages: list[Message], follow_ups: tuple[Message, ...] = ()) -> Conversation:
    """The conversation before anything was sent.

    Args:
        messages: of the first request.
        follow_ups: what the user says later, one message after each complete answer.
    """
    return Conversation(messages=tuple(messages), first=len(messages), follow_ups=follow_ups)


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
    return _labelled(extended, reply, settle, rules, model_asked=model_asked)


def _labelled(
    conversation: Conversation, reply: Reply, settle: Settle, rules: Rules, *, model_asked: str
) -> tuple[Conversation, Action]:
    """The row's outcome with its label, or the next try when the answer holds none; see `after_reply`.

    Args:
        conversation: ends with the reply.
        reply: the last answer.
        settle: the outcome of a row that asks for no label.
        rules: of the job.
        model_asked: who answered.
    """
    labels, tries = rules.labels, conversation.tries
    assert labels is not None
    found = answers.read(reply.content, labels.asking.labels, cut=rules.meaning(reply) == "length")
    if isinstance(found, answers.Found):
        coerced = found.coerced and flags.COERCED not in settle.flags
        flagged = (*settle.flags, flags.COERCED) if coerced else settle.flags
        labelling = tries.done(labels, invalid=False)
        return conversation, msgspec.structs.replace(settle, label=found.value, labelling=labelling, flags=flagged)
    if then := tries.then(found, labels, model_asked=model_asked):
        return _asked_again(conversation, reply, found, then, labels, model_asked=model_asked), Send(then)
    return conversation, msgspec.structs.replace(
        settle,
        status="failed",
        error_kind="label",
        error_code=found.code,
        error_message=tries.failure(found),
        retryable=False,
        labelling=tries.done(labels, invalid=True),
    )


def _asked_again(
    conversation: Conversation,
    reply: Reply,
    found: answers.Invalid,
    then: str,
    labels: LabelRules,
    *,
    model_asked: str,
) -> Conversation:
    """The conversation after an answer without a valid label, `then` as `Tries.then` gave it."""
    messages = (*conversation.messages[:-1], replies.answered(conversation.messages[-1]))
    turn, tries = conversation.turn + 1, conversation.tries.after(then, found, messages=len(messages))
    if tries.escalated is None:
        messages = (*messages, {"role": "user", "content": labels.asking.again(found.text, model=model_asked)})
    # That this answer was truncated, say, is no matter of the one that will be kept; what it took is.
    flagged = tuple(dict.fromkeys((*conversation.flags, *replies.usage_flags(reply))))
    return msgspec.structs.replace(
        conversation, messages=messages, turn=turn, since=turn, flags=flagged, failing=(), tries=tries
    )


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
    extended = msgspec.structs.replace(conversation, messages=(*conversation.messages, reply.message))
    found = answers.read(reply.content, rules.labels.asking.labels, cut=rules.meaning(reply) == "length")
    if isinstance(found, answers.Found):  # to this version, and not to the one that asked again
        found = answers.Invalid("schema", "it was not valid")
    return _asked_again(extended, reply, found, reply.then, rules.labels, model_asked=model_asked), Send(reply.then)


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
