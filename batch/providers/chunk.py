"""Reads one chunk of a streamed chat completion: from the bytes of a frame to a `Chunk`.

Owns the shape of `chat.completion.chunk` and what is made of its odd forms, as `completion` does for answers in one
piece: a typed decode takes the common case, whatever it refuses goes field by field through `loose_json`. It knows
nothing of the chunks before. Sources: BigModel API reference "chat completion" (stream), OpenAI API reference "chat
completion chunk object".
"""

from __future__ import annotations

from typing import Final

import msgspec

from batch.providers import loose_json


class Function(msgspec.Struct, gc=False):
    """What a fragment adds to the name and to the arguments."""

    name: str | None = None
    arguments: str | None = None


class Fragment(msgspec.Struct):
    """A piece of a tool call."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct):
    """What a chunk adds to the message."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # what newer vLLM and some gateways call it
    refusal: str | None = None
    tool_calls: list[Fragment] | None = None


class Choice(msgspec.Struct):
    """One choice of a chunk."""

    delta: Delta | None = None
    message: Delta | None = None
    """Where some servers put what belongs into `delta`."""
    index: int | None = None
    finish_reason: str | None = None
    usage: loose_json.Fields | None = None  # where Moonshot counts
    logprobs: msgspec.Raw = msgspec.Raw()
    """The probabilities of the tokens of this piece; see `chances`."""


class Chunk(msgspec.Struct):
    """One chunk; an `error` that says something makes it unreadable here."""

    choices: list[Choice] | None = None
    id: str | None = None
    request_id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    usage: loose_json.Fields | None = None
    error: None = None


_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
_RENAMED: Final = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}
"""What the Responses API calls them, and gateways that pass its counts on."""
_SAYS_NOTHING: Final = frozenset({b"null", b"0", b"0.0", b"{}", b"[]", b'""'})
_decode: Final = msgspec.json.Decoder(Chunk).decode


def read(frame: bytes) -> Chunk | None:
    """The chunk in a frame of the documented form; None for any other frame, which `read_loosely` may still read."""
    try:
        decoded = _decode(frame)
    except loose_json.UNREADABLE:
        return None
    return decoded if decoded.choices is not None else None  # without them, perhaps an error in the flat form


def read_loosely(document: loose_json.Fields) -> Chunk:
    """The chunk in a frame with odd types, read like an odd answer in one piece.

    Raises:
        ValueError: something is no object or no list, so that a part of the answer may be lost in it.
    """
    choices = []
    for raw in _list(document.get("choices")):
        choice = _object(raw)
        choices.append(
            Choice(
                delta=_loose_delta(_object(choice.get("delta"))),
                message=_loose_message(choice),
                index=loose_json.as_int(choice.get("index")),
                finish_reason=loose_json.as_text(choice.get("finish_reason")),
                usage=loose_json.as_object(choice.get("usage")),
                logprobs=choice.get("logprobs", msgspec.Raw()),
            )
        )
    return Chunk(
        choices=choices,
        id=loose_json.as_text(document.get("id")),
        request_id=loose_json.as_text(document.get("request_id")),
        model=loose_json.as_text(document.get("model")),
        service_tier=loose_json.as_text(document.get("service_tier")),
        usage=loose_json.as_object(document.get("usage")),
    )


def add_usage(earlier: loose_json.Fields | None, later: loose_json.Fields) -> loose_json.Fields:
    """The usage of chunks put together: what comes later counts, but null and 0 take nothing back.

    Args:
        earlier: what the chunks before said; None when they said nothing.
        later: what this chunk says.
    """
    later = _renamed(later)
    if not earlier:
        return later
    counts = [bytes(later[name]).strip() for name in _COUNTS if name in later]
    if counts and _SAYS_NOTHING.issuperset(counts):
        return earlier
    usage = dict(earlier)
    for name, raw in later.items():
        if name not in usage:
            usage[name] = raw
        elif bytes(raw).strip() not in _SAYS_NOTHING:
            before, after = loose_json.as_object(usage[name]), loose_json.as_object(raw)
            nested = msgspec.json.encode(add_usage(before, after)) if before and after else raw
            usage[name] = msgspec.Raw(nested)
    prompt, written, total = (loose_json.as_int(usage.get(name)) for name in _COUNTS)
    of_one_part = not all(loose_json.as_int(later.get(name)) for name in _COUNTS)
    if of_one_part and prompt is not None and written is not None and total is not None and total < prompt + written:
        del usage["total_tokens"]
    return usage


def _renamed(usage: loose_json.Fields) -> loose_json.Fields:
    """The same with one name for each count; where both stand and one says nothing, the other counts."""
    if not any(name in usage for name in _RENAMED):
        return usage
    named = {name: raw for name, raw in usage.items() if name not in _RENAMED}
    for other, name in _RENAMED.items():
        if other in usage and (name not in named or bytes(named[name]).strip() in _SAYS_NOTHING):
            named[name] = usage[other]
    return named


def _loose_message(choice: loose_json.Fields) -> Delta | None:
    """What stands in `message`; one that cannot be read is no loss where there is a delta."""
    try:
        return _loose_delta(_object(choice.get("message")))
    except ValueError:
        if loose_json.as_object(choice.get("delta")):
            return None
        raise


def _loose_delta(delta: loose_json.Fields) -> Delta:
    fragments = []
    for raw in _list(delta.get("tool_calls")):
        call = _object(raw)
        function = _object(call.get("function"))
        fragments.append(
            Fragment(
                loose_json.as_int(call.get("index")),
                loose_json.as_text(call.get("id")),
                Function(loose_json.as_text(function.get("name")), loose_json.as_text(function.get("arguments"))),
            )
        )
    return Delta(
        content=loose_json.as_joined_text(delta.get("content")),
        reasoning_content=loose_json.as_text(delta.get("reasoning_content")),
        reasoning=loose_json.as_text(delta.get("reasoning")),
        refusal=loose_json.as_text(delta.get("refusal")),
        tool_calls=fragments,
    )


def _object(raw: msgspec.Raw | None) -> loose_json.Fields:
    fields = loose_json.as_object(raw)
    if fields is None and loose_json.as_text(raw) is not None:
        raise ValueError("no object where one belongs")
    return fields or {}


def _list(raw: msgspec.Raw | None) -> list[msgspec.Raw]:
    if loose_json.as_text(raw) is None:
        return []
    if not bytes(raw or b"").lstrip().startswith(b"["):
        raise ValueError("no list where one belongs")
    return loose_json.as_list(raw)
