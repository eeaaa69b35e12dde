"""What a model said, before it is put into a dialect. Owns the values between the built-in models and the routes."""

from __future__ import annotations

from typing import Any

import msgspec


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
        tokens: completion tokens.
        identity: 64 bits that depend on the messages only; ids of tool calls are made from it.
    """

    text: str
    calls: tuple[ToolCall, ...]
    finish_reason: str
    tokens: int
    identity: int


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


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer; the cached ones are a part of the prompt's."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens
