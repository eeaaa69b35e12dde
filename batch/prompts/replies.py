"""What a reply says beside its text: how it ended, who gave it, and what is worth knowing of it.

Owns the flags that one reply gives a row, and the form in which later turns repeat it. What follows from a reply is
`conversation`'s.
"""

from __future__ import annotations

import re
from typing import Final

from batch.core import flags
from batch.core.flags import Flag
from batch.core.records import Message, Reply
from batch.prompts.finish_reasons import UNKNOWN

_DATED: Final = re.compile(r"-[0-9]{4}([0-9]{2}){0,2}(-|$)")  # -0520, -202508, -20250807, -2025-08-07; not -1 nor -32k


def shown(reply: Reply, means: str) -> str | None:
    """The finish reason in the results: what it means; where that is not known, the word as it came."""
    if means in (UNKNOWN, "content_filter"):
        return reply.finish_reason or None
    return means


def other_model(reply: Reply, asked: str) -> bool:
    """A dated snapshot of the model asked for (`gpt-5-mini-2025-08-07`) is the same model; case does not count."""
    if reply.model is None:
        return False
    served = reply.model.lower()
    wanted = asked.lower()
    return served != wanted and not (served.startswith(wanted) and _DATED.match(served, len(wanted)))


def flags_of(reply: Reply, means: str, asked: str) -> tuple[Flag, ...]:
    """What is worth knowing of a reply.

    Args:
        reply: as the dialect read it.
        means: what its finish reason means; see `finish_reasons.meaning`.
        asked: the model that was asked.
    """
    found: list[Flag] = []
    if means == "length":
        found.append(flags.TRUNCATED)
    if means == UNKNOWN:
        found.append(flags.FINISH_UNKNOWN)
    if other_model(reply, asked):
        found.append(flags.SERVED_OTHER)
    if not reply.content:
        found.append(flags.EMPTY)
    return (*found, *usage_flags(reply))


def usage_flags(reply: Reply) -> tuple[Flag, ...]:
    """What is worth knowing of what a reply took."""
    if reply.usage is None:
        return (flags.USAGE_UNKNOWN,)
    return (flags.USAGE_ESTIMATED,) if reply.usage.estimated else ()


def answered(message: Message) -> Message:
    """A reply as later turns repeat it: services refuse a conversation with tool calls that nobody ran."""
    if not message.get("tool_calls"):
        return message
    kept = {name: value for name, value in message.items() if name != "tool_calls"}
    return {**kept, "content": kept.get("content") or ""}
