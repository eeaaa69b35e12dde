"""The probabilities of tokens in the OpenAI dialect. Owns their JSON; they are made up, and each time the same.

Source: OpenAI API specification, `choices[].logprobs.content[]`: token, logprob, its bytes, and as many others as
`top_logprobs` asks for. Without `logprobs: true`, and beside tool calls, the member is null.
"""

from __future__ import annotations

import math
from typing import Any

from batch.simulator.books.tokens import pieces
from batch.simulator.chance import chance
from batch.simulator.dialects import checks

_MOST = 20
_LOWEST = 0.5
"""The least probability of a token that is said."""
_FACTOR = 0.1
"""Of what is left to the other tokens, the part that the next one has."""


def refused(body: dict[str, Any]) -> tuple[str, str] | None:
    """What is wrong with what a request says of logprobs: text and parameter; None when nothing is."""
    asked, most = body.get("logprobs"), body.get("top_logprobs")
    if not isinstance(asked, bool | None):
        return "Invalid type for 'logprobs': expected a boolean.", "logprobs"
    if most is None:
        return None
    if not checks.is_whole(most) or not 0 <= most <= _MOST:
        return f"Invalid 'top_logprobs': expected a whole number from 0 to {_MOST}.", "top_logprobs"
    return None if asked else ("'top_logprobs' is only allowed when 'logprobs' is enabled.", "top_logprobs")


def of_text(text: str, others: int | None, identity: int) -> dict[str, Any] | None:
    """The member `logprobs` of an answer.

    Args:
        text: what it says.
        others: how many other tokens stand beside each; None when nothing was asked for.
        identity: 64 bits that decide all probabilities.
    """
    if others is None:
        return None
    content = []
    for place, token in enumerate(pieces(text)):
        sure = _LOWEST + (1 - _LOWEST) * chance(identity, place)
        said = _entry(token, sure)
        beside = [_entry(f"{token}{number}", (1 - sure) * _FACTOR**number) for number in range(1, others)]
        content.append({**said, "top_logprobs": [said, *beside] if others else []})
    return {"content": content, "refusal": None}


def shared_out(texts: list[str], content: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The tokens of an answer by the piece of its text in which each begins.

    Args:
        texts: the pieces, as a stream sends them.
        content: the tokens of the whole.
    """
    found: list[list[dict[str, Any]]] = []
    rest, at, end = iter(content), 0, 0
    token = next(rest, None)
    for number, text in enumerate(texts):
        end += len(text)
        found.append([])
        while token is not None and (at < end or number == len(texts) - 1):
            found[-1].append(token)
            at += len(token["token"])
            token = next(rest, None)
    return found


def _entry(token: str, sure: float) -> dict[str, Any]:
    return {"token": token, "logprob": math.log(sure), "bytes": list(token.encode("utf-8", "replace"))}
