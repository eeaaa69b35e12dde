"""Reads the chat completion object that GLM and the OpenAI-compatible services share: from bytes to a `Reply`.

Owns the shape of `choices`, `message`, `tool_calls` and `usage`, and what is made of its odd forms. A typed decode
takes the common case; whatever it refuses goes field by field through `loose_json`. It does not judge `finish_reason`
(it is stored as it came, and judged in `prompts.conversation`) and knows no error codes. Sources: BigModel API
reference "chat completion", OpenAI API reference "chat completion object".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from batch.core.records import Failure, Message, Reply, TokenChance, ToolCall, Usage
from batch.providers import chances, loose_json

if TYPE_CHECKING:
    from batch.core.records import Incoming

TOKENS_MAX: Final = 100_000_000
"""More tokens than any call can have: such a count is a fault of the server, not a bill. Sums and costs of what is
below it fit every column."""


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    """Model Studio's name for tokens written to an explicit cache."""


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's name for cached tokens; with those that missed the cache it makes up the prompt."""
    cached_tokens: int | None = None
    """Moonshot says it here."""
    reasoning_tokens: int | None = None
    """Perplexity and Gemini's gateways say it here."""
    input_tokens: int | None = None
    """The name of prompt_tokens in the Responses API, and in gateways that pass its counts on; the next three alike."""
    output_tokens: int | None = None
    input_tokens_details: _PromptDetails | None = None
    output_tokens_details: _CompletionDetails | None = None


class _Function(msgspec.Struct, gc=False):
    name: str
    arguments: str


class _Call(msgspec.Struct, gc=False):
    id: str
    function: _Function


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """What newer servers of open models call it."""
    tool_calls: list[_Call] | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: str
    logprobs: msgspec.Raw = msgspec.Raw()
    """Read only where it says something, and then by `chances`: most requests do not ask for it."""


class _Completion(msgspec.Struct, gc=False):
    choices: list[_Choice]
    id: str | None = None
    request_id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    usage: _Usage | None = None
    error: None = None
    task_status: str | None = None


_decoder: Final = msgspec.json.Decoder(_Completion)


def read(incoming: Incoming, *, replay_reasoning: bool) -> Reply | None:
    """The reply in a chat completion of the documented form; None for any other, which `read_loosely` may still read.

    Args:
        incoming: an answer with HTTP status 200.
        replay_reasoning: put the reasoning into `Reply.message` too, for services that want it back in tool rounds.
    """
    try:
        completion = _decoder.decode(incoming.body)
    except loose_json.UNREADABLE:
        return None
    if not completion.choices or completion.task_status not in (None, "SUCCESS"):
        return None
    choice = completion.choices[0]
    message = choice.message
    if not choice.finish_reason:
        return None
    calls: tuple[ToolCall, ...] = ()
    if message.tool_calls:
        calls = _unique([ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls])
    content = message.content if message.content is not None else message.refusal
    reasoning = message.reasoning_content if message.reasoning_content is not None else message.reasoning
    counted = completion.usage
    return Reply(  # by place, once an answer: a name costs more than its value
        content,
        choice.finish_reason,
        reasoning,
        calls,
        _replay(content, calls, reasoning if replay_reasoning else None),
        completion.model,
        completion.request_id or completion.id,
        completion.service_tier,
        None if counted is None else _usage(counted, bool(content or calls or reasoning)),
        "",
        _tokens(choice.logprobs, content) if choice.logprobs else (),
    )


def read_loosely(
    document: loose_json.Fields, *, status: int, replay_reasoning: bool, unfinished: str | None = None
) -> Reply | Failure:
    """The reply in an odd form, or why there is none.

    Args:
        document: the fields of the answer; they hold no error (see `refusal.parse_error`).
        status: HTTP status, for the failure.
        replay_reasoning: as in `read`.
        unfinished: the finish_reason of an answer without one, when the service says that it is only a part.
    """
    choices = loose_json.as_list(document.get("choices"))
    choice = loose_json.as_object(choices[0]) if choices else None
    message = loose_json.as_object(choice.get("message")) if choice else None
    usage = _loose_usage(document.get("usage"), said_something=False)
    if choice is None or message is None:
        if usage is None or not usage.total_tokens:
            return unusable("the answer has no choices with a message", status=status)
        choice, message = {}, {}  # an answer that says nothing, and what it cost
    finish = loose_json.as_text(choice.get("finish_reason")) or unfinished or ""
    calls = _unique(
        [_loose_call(number, raw) for number, raw in enumerate(loose_json.as_list(message.get("tool_calls")))]
    )
    content = loose_json.as_joined_text(message.get("content"))
    if content is None:
        content = loose_json.as_text(message.get("refusal"))
    reasoning = loose_json.as_text(message.get("reasoning_content"))
    if reasoning is None and bytes(message.get("reasoning", b"")).lstrip().startswith(b'"'):
        reasoning = loose_json.as_text(message["reasoning"])
    return Reply(
        content=content,
        finish_reason=finish,
        reasoning=reasoning,
        tool_calls=calls,
        message=_replay(content, calls, reasoning if replay_reasoning else None),
        model=loose_json.as_text(document.get("model")),
        request_id=loose_json.as_text(document.get("request_id")) or loose_json.as_text(document.get("id")),
        service_tier=loose_json.as_text(document.get("service_tier")),
        tokens=_tokens(choice.get("logprobs", msgspec.Raw()), content),
        usage=_loose_usage(document.get("usage"), bool(content or calls or reasoning)),
    )


def unusable(message: str, *, status: int) -> Failure:
    """The failure for an answer that cannot be used: it may have been billed, and is worth one more try."""
    return Failure(kind="bad_payload", message=message, verdict="once", http_status=status, answered=False)


def _tokens(raw: msgspec.Raw, content: str | None) -> tuple[TokenChance, ...]:
    return chances.tokens_of([raw], content) if chances.says_something(raw) else ()


def _usage(counted: _Usage, said_something: bool) -> Usage | None:
    prompt, written = counted.prompt_tokens, counted.completion_tokens
    if not prompt or not written:
        prompt, written = _counts(counted, said_something)
        if prompt is None or written is None:
            return None
    total = prompt + written if counted.total_tokens is None else counted.total_tokens
    if not (0 <= prompt <= TOKENS_MAX and 0 <= written <= TOKENS_MAX and 0 <= total <= 2 * TOKENS_MAX):
        return None
    if said_something and not (prompt or written or total):
        return None  # all zeros under a real answer is a server that did not count
    thought = counted.reasoning_tokens
    after = counted.completion_tokens_details or counted.output_tokens_details
    if after is not None and thought is None:
        thought = after.reasoning_tokens
    if thought is not None and thought > 0 and total == prompt + written + thought:
        written += thought  # xAI and Gemini count what was thought beside what was written; it is billed like it
    before = counted.prompt_tokens_details or counted.input_tokens_details
    cached, stored = counted.cached_tokens, None
    if before is not None:
        cached = before.cached_tokens if before.cached_tokens is not None else cached
        stored = before.cache_write_tokens
        stored = before.cache_creation_input_tokens if stored is None else stored
    if cached is None:
        cached = counted.prompt_cache_hit_tokens
    return Usage(
        prompt,
        written,
        prompt + written,  # prices are for the parts; a total that is not their sum is not what the bill is made of
        _part(cached, prompt) if cached else cached,
        _part(thought, written) if thought else thought,
        _part(stored, prompt) if stored else stored,
        total != prompt + written,
    )


def _counts(counted: _Usage, said_something: bool) -> tuple[int | None, int | None]:
    """What was asked and what was written, under either name; None is what does not follow from what was told.

    One of them and the total give the other, unless that would be nothing: no prompt has no tokens, and under an answer
    that says something a total as large as the prompt is that of a server that counted no further.
    """
    prompt = counted.prompt_tokens or _first(counted.input_tokens, counted.prompt_tokens)
    written = counted.completion_tokens or _first(counted.output_tokens, counted.completion_tokens)
    total = counted.total_tokens
    if total is None or (prompt is None) == (written is None):
        return prompt, written
    other = total - (prompt or 0) - (written or 0)
    if prompt is None:
        return (other if other > 0 else None), written
    return prompt, (other if other > 0 or (other == 0 and not said_something) else None)


def _first(*counts: int | None) -> int | None:
    """The first count that was told."""
    return next((count for count in counts if count is not None), None)


def _part(count: int | None, of: int) -> int | None:
    """The count of a part of the tokens; None when it is larger than the whole, and so cannot be true."""
    return count if count is not None and 0 <= count <= of else None


def _loose_usage(raw: msgspec.Raw | None, said_something: bool) -> Usage | None:
    fields = loose_json.as_object(raw) or {}
    before, after = (
        loose_json.as_object(fields.get(name)) or loose_json.as_object(fields.get(other)) or {}
        for name, other in (
            ("prompt_tokens_details", "input_tokens_details"),
            ("completion_tokens_details", "output_tokens_details"),
        )
    )
    counted = _Usage(
        loose_json.as_int(fields.get("prompt_tokens")),
        loose_json.as_int(fields.get("completion_tokens")),
        loose_json.as_int(fields.get("total_tokens")),
        _PromptDetails(
            loose_json.as_int(before.get("cached_tokens")),
            loose_json.as_int(before.get("cache_write_tokens")),
            loose_json.as_int(before.get("cache_creation_input_tokens")),
        ),
        _CompletionDetails(loose_json.as_int(after.get("reasoning_tokens"))),
        loose_json.as_int(fields.get("prompt_cache_hit_tokens")),
        loose_json.as_int(fields.get("cached_tokens")),
        loose_json.as_int(fields.get("reasoning_tokens")),
        loose_json.as_int(fields.get("input_tokens")),
        loose_json.as_int(fields.get("output_tokens")),
    )
    return _usage(counted, said_something)


def _loose_call(number: int, raw: msgspec.Raw) -> ToolCall:
    call = loose_json.as_object(raw) or {}
    function = loose_json.as_object(call.get("function")) or {}
    return ToolCall(
        loose_json.as_text(call.get("id")) or f"call_{number}",
        loose_json.as_text(function.get("name")) or "",
        loose_json.as_text(function.get("arguments")) or "",
    )


def _unique(calls: list[ToolCall]) -> tuple[ToolCall, ...]:
    """Calls whose ids differ: two results under one id would be refused in the next turn."""
    if len({call.id for call in calls}) == len(calls):
        return tuple(calls)
    seen: set[str] = set()
    fixed: list[ToolCall] = []
    for call in calls:
        name, number = call.id, 1
        while name in seen:
            number += 1
            name = f"{call.id}-{number}"
        seen.add(name)
        fixed.append(ToolCall(name, call.name, call.arguments))
    return tuple(fixed)


def _replay(content: str | None, calls: tuple[ToolCall, ...], reasoning: str | None) -> Message:
    message: Message = {"role": "assistant", "content": content if content is not None or calls else ""}
    if reasoning or (reasoning is not None and calls):  # services want it with a tool turn even when it is empty
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    return message
