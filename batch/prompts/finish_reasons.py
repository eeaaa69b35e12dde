"""What a `finish_reason` means, in the words of OpenAI and in those of many other servers.

Owns the table of words. The word as the service said it stays in the book of calls; results hold its meaning. A
`[provider.NAME]` table can add words of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

UNKNOWN: Final = "unknown"
"""The meaning of a word that nobody knows, and of no word at all."""
ERROR: Final = "error"
"""The meaning of words that say that the answer was broken off."""

MEANINGS: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("stop", "eos", "eos_token", "eot", "eot_id", "end", "end_turn", "end_of_text", "endoftext", "complete"), "stop"
    ),
    **dict.fromkeys(("completed", "finished", "done", "normal", "stop_sequence", "stop_token", "stop_word"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_length", "max_new_tokens", "max_output_tokens"), "length"),
    **dict.fromkeys(("max_completion_tokens", "token_limit", "length_limit"), "length"),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call", "function_calls"), "tool_calls"),
    **dict.fromkeys(("content_filter", "content_filtered", "sensitive", "safety", "recitation"), "content_filter"),
    **dict.fromkeys(("prohibited_content", "blocklist", "spii", "image_safety", "refusal"), "content_filter"),
    "model_context_window_exceeded": "model_context_window_exceeded",
    **dict.fromkeys(("error", "failed", "failure", "abort", "aborted", "cancelled", "canceled", "interrupted"), ERROR),
    **dict.fromkeys(("network_error", "insufficient_system_resource", "timeout", "malformed_function_call"), ERROR),
}
"""Words in small letters. Sources: the API references of OpenAI, BigModel, DeepSeek, Anthropic, Gemini and TGI, and
answers recorded from open servers."""

TEXTS: Final[dict[str, str]] = {
    "stop": "The model ended its answer by itself, or at a stop word.",
    "length": "The answer was cut at max_tokens; the flag truncated says so, too.",
    "tool_calls": "The model asked for tools instead of answering.",
    "content_filter": "The answer was withdrawn for its content; the column has the provider's own word.",
    "model_context_window_exceeded": "The answer was cut where the model takes no more tokens.",
    ERROR: "The answer was broken off: the call counts as failed and is sent again.",
    UNKNOWN: "Nobody knows the word: it stays as the provider said it, and the flag finish_unknown says so. "
    "finish_reasons in the [provider.NAME] table teaches it.",
}
"""What each meaning is, for people."""


def meaning(word: str, own: Mapping[str, str] | None = None) -> str:
    """One of `stop`, `length`, `tool_calls`, `content_filter`, `model_context_window_exceeded`, `ERROR`, `UNKNOWN`.

    Args:
        word: as the service said it; empty when it said none.
        own: words of one service, in small letters; they count first.
    """
    if not own and word in MEANINGS:
        return MEANINGS[word]
    plain = word.strip().lower()
    return (own or {}).get(plain) or MEANINGS.get(plain, UNKNOWN)
