"""A request and its answer in the words of no dialect: the values between the dialects and the built-in model."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

_NOT_ASCII = re.compile("[^\\x00-\\x7f]+")


class ToolCall(msgspec.Struct, frozen=True):
    """One call of a tool: its name and the JSON text of its arguments."""

    name: str
    arguments: str


class Completion(msgspec.Struct, frozen=True):
    """One answer.

    Attributes:
        text: what was said; empty with tool calls.
        calls: the tools to call.
        finish_reason: `stop`, `length` or `tool_calls`.
        tokens: completion tokens, those of the reasoning included.
        identity: 64 bits that depend on the messages only; ids of tool calls are made from it.
        reasoning: what was thought before; empty when nothing was, or nothing is shown.
        reasoning_tokens: tokens of the thinking, shown or not.
    """

    text: str
    calls: tuple[ToolCall, ...]
    finish_reason: str
    tokens: int
    identity: int
    reasoning: str = ""
    reasoning_tokens: int = 0

    def escaped(self) -> Completion:
        """The same with arguments that spell what is not ASCII as JSON escapes, as some models do."""
        calls = tuple(
            ToolCall(call.name, _NOT_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], call.arguments))
            for call in self.calls
        )
        return msgspec.structs.replace(self, calls=calls)


class Streaming(msgspec.Struct, frozen=True):
    """How an answer is to be streamed.

    Attributes:
        usage: whether a chunk with the usage is asked for; GLM sends it unasked.
        fragments: whether the arguments of tool calls come bit by bit.
        obfuscated: whether chunks carry filler; None leaves it to the provider.
    """

    usage: bool = False
    fragments: bool = False
    obfuscated: bool | None = None


class Ask(msgspec.Struct, frozen=True):
    """A checked request, the same for both dialects.

    Attributes:
        model: the model asked for.
        messages: as sent.
        tools: the functions offered, each with at least a `name`; empty when none are, or may be, called.
        forced: the name of the one function to call, `*` when any must be called, else empty.
        parallel: whether several calls may stand in one answer.
        stop: words before which the text ends.
        max_tokens: the most completion tokens, if limited.
        response_format: as sent, if it is an object.
        choices: number of answers asked for.
        prompt_tokens: tokens of the prompt.
        stream: how to stream the answer; None sends it whole.
        thinking: `shown` or `hidden` when the model thinks before it answers, else empty.
        logprobs: how many other tokens are wanted beside each, with their probabilities; None when none are wanted.
        another: not the label that fits best, but the one that stands so many places behind it.
    """

    model: str
    messages: list[dict[str, Any]]
    tools: tuple[dict[str, Any], ...]
    forced: str
    parallel: bool
    stop: tuple[str, ...]
    max_tokens: int | None
    response_format: dict[str, Any] | None
    choices: int
    prompt_tokens: int
    stream: Streaming | None = None
    thinking: str = ""
    logprobs: int | None = None
    another: int = 0


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer; the cached ones are a part of the prompt's, those of the reasoning of the completion's."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens
