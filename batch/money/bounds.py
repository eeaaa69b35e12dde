"""The most that a call can come to, before anything is known of its answer: tokens of its prompt and of its answer.

Owns the rule: no tokenizer makes more tokens of a text than it has bytes in UTF-8, so a prompt has at most as many as
the JSON of everything that is sent (messages, parameters, tools, the form of a label), and `MESSAGE_TOKENS` more for
each message, which the service puts around it. An answer has at most `max_tokens`. What a service adds on its own
(pictures counted by their size, results of a search) has no bound. It knows no price. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from batch.core.records import Lane, Message, Request
from batch.money.prices import Charge, Prices

MESSAGE_TOKENS: Final = 16
"""Tokens of a chat template around one message, at most."""
REQUEST_TOKENS: Final = 64
"""Tokens of a chat template beside those, at most: its beginning, its end, words around tools."""
MOST_TOKENS: Final = ("max_completion_tokens", "max_tokens")
"""Parameters that bound an answer."""
_SEARCH: Final = ("enable_search", "search_options", "web_search_options", "plugins")
_OTHER_MEDIA: Final = ("audio", "modalities", "prediction")


class CallSize(msgspec.Struct, frozen=True):
    """How many tokens one call can come to."""

    prompt: int
    """The most its prompt has; of one that is not bounded, the most of its text."""
    completion: int | None
    """The most its answer has; None where the request sets no bound."""
    unbounded: str = ""
    """What in it has no bound, for people; empty for nothing."""

    @property
    def known(self) -> bool:
        """Whether it cannot come to more."""
        return self.completion is not None and not self.unbounded

    @property
    def tokens(self) -> int:
        """Of prompt and answer together, as far as they are bounded."""
        return self.prompt + (self.completion or 0)


def size_of(request: Request, never_sent: Collection[str] = ()) -> CallSize:
    """How many tokens a request can come to.

    Args:
        request: the next turn of a conversation, with everything that is asked beside it.
        never_sent: parameters that are left out of every request.
    """
    parameters = {name: value for name, value in request.parameters.items() if name not in never_sent}
    texts = [_without_media(message) for message in request.messages]
    sent = _size((texts, parameters, request.tools))
    prompt = sent + MESSAGE_TOKENS * len(texts) + REQUEST_TOKENS
    pictured = any(text is not message for text, message in zip(texts, request.messages, strict=True))
    unbounded = "pictures" if pictured else searched(parameters, request.tools)
    return CallSize(prompt, most_tokens(parameters), unbounded)


def most_of(
    prices: Prices, provider: str, model: str, size: CallSize, *, at_us: int, lane: Lane, tier: str | None
) -> Charge | None:
    """The most that a call can cost; of one that is not bounded, the most of what is. None where there is no price.

    Args:
        prices: the price lists.
        provider: whose list counts.
        model: who is asked.
        size: of the request.
        at_us: when it is sent.
        lane: how it travels.
        tier: what the request asks for as `service_tier`.
    """
    lengths = {"prompt_tokens": size.prompt, "completion_tokens": size.completion or 0}
    return prices.bound(provider, model, at_us, **lengths, tier=tier, lane=lane)


def dearest(
    prices: Sequence[Prices],
    currency: str,
    provider: str,
    model: str,
    size: CallSize,
    *,
    at_us: int,
    lane: Lane,
    tier: str | None,
) -> Charge | None:
    """The most that a call can cost at any of several addresses; None where one of them has no price for it.

    Args:
        prices: the price lists, one for each address.
        currency: a price in another one is none.
        provider: whose list counts.
        model: who is asked.
        size: of the request.
        at_us: when it is sent.
        lane: how it travels.
        tier: what the request asks for as `service_tier`.
    """
    charges = [most_of(one, provider, model, size, at_us=at_us, lane=lane, tier=tier) for one in prices]
    known = [charge for charge in charges if charge is not None and charge.currency == currency]
    return max(known, key=lambda charge: charge.cost) if len(known) == len(charges) else None


def most_tokens(parameters: Mapping[str, Any]) -> int | None:
    """The most tokens an answer may have by its parameters, all its choices together; None where they do not say."""
    most = max(_whole(parameters.get(name)) for name in MOST_TOKENS)
    return most * max(1, _whole(parameters.get("n"))) or None


def searched(parameters: Mapping[str, Any], tools: Iterable[Any] = ()) -> str:
    """What a service adds on its own to a request with these parameters and tools; empty for nothing.

    Tools of the service's own (`web_search`, `retrieval`) put what they find into the prompt, and so do parameters.
    """
    own = parameters.get("tools")
    for tool in (*tools, *(own if isinstance(own, list) else ())):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind != "function":
            return f"tools of type {kind}"
    return next((name for name in (*_SEARCH, *_OTHER_MEDIA) if parameters.get(name)), "")


def _without_media(message: Message) -> Message:
    """A message without its parts that are no text; the same object when there are none."""
    content = message.get("content")
    if not isinstance(content, list) or all(_is_text(part) for part in content):
        return message
    return {**message, "content": [part for part in content if _is_text(part)]}


def _is_text(part: Any) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and part.get("type") == "text")


def _size(value: Any) -> int:
    """Bytes of a value as JSON: never fewer than its texts have."""
    try:
        return len(msgspec.json.encode(value))
    except (UnicodeEncodeError, ValueError, TypeError):  # half a surrogate pair, a number beyond 64 bits
        return len(json.dumps(value, default=str))  # characters beyond ASCII take more here, never less


def _whole(value: Any) -> int:
    """A whole number above 0; 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
