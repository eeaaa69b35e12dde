"""The history of a conversation in the form that services take: what they refuse in it is mended on its way out.

Owns those forms: arguments that are JSON objects as text, ids of tool calls that differ in the whole conversation, no
empty members, reasoning only where it is wanted. It works on what is sent and nothing else: the fingerprint, the
journal and the results keep every message as it came. The same messages always become the same ones, and messages that
are added later change none before them, so a row that is continued, and a cache of prompts, see what was sent before.
Sources: OpenAI and BigModel API references "chat completion" (messages), DeepSeek guide "Thinking mode".
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Never

import msgspec

from batch.providers import loose_json

if TYPE_CHECKING:
    from batch.core.records import Message, Request
    from batch.providers.service import Service

LONGEST_ID: Final = 40
"""Characters of a tool call's id that OpenAI takes."""
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_OF_A_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")
_REASONING: Final = "reasoning_content"
_decode: Final = msgspec.json.Decoder().decode


def sendable(service: Service, request: Request) -> list[Message]:
    """The messages of a request as the service takes them; those that need no change are the same objects.

    Args:
        service: who is asked.
        request: what is asked, with messages of any origin: a prompt, a column, replies of the model.
    """
    messages = request.messages
    if all(message.get("role") in ("system", "user") and len(message) == 2 for message in messages):
        return messages
    thinking = request.parameters.get("thinking")
    kept = isinstance(thinking, dict) and thinking.get("clear_thinking") is False
    question = 0
    if service.replays_reasoning and not kept:
        question = max((at for at, message in enumerate(messages) if message.get("role") == "user"), default=0)
    ids = _Ids()
    sent = []
    for at, message in enumerate(messages):
        calls = message.get("tool_calls")
        if isinstance(calls, list) and calls:
            ids.begin_turn()
            calls = [_call(call, ids, request) for call in calls]
            message = {**message, "tool_calls": calls}  # noqa: PLW2901 - a copy takes its place
        elif (call_id := message.get("tool_call_id")) is not None:
            message = {**message, "tool_call_id": ids.of_result(call_id)}  # noqa: PLW2901 - a copy takes its place
        sent.append({name: value for name, value in message.items() if _belongs(name, value, message, at < question)})
    return sent


def _belongs(name: str, value: Any, message: Message, earlier: bool) -> bool:
    """Whether a member of a message is sent; `earlier` when the user said something after it."""
    if name in ("role", "content", "tool_call_id"):
        return True
    if name == _REASONING:
        # A turn that calls tools must have it while the tools are at work, even empty; later it is refused.
        return not earlier and (bool(value) or (value is not None and bool(message.get("tool_calls"))))
    return value not in (None, "", [], {})


def _call(call: Any, ids: _Ids, request: Request) -> Any:
    """One tool call of a reply, as it is sent back."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    sent = {"type": "function", **call, "function": {**function, "arguments": _arguments(function.get("arguments"))}}
    if isinstance(call.get("id"), str):
        sent["id"] = ids.of_call(call["id"])
    name = function.get("name")
    if isinstance(name, str) and not _NAME.fullmatch(name) and name not in _offered(request):
        sent["function"]["name"] = _NOT_OF_A_NAME.sub("_", name)[:64] or "unknown"
    return sent


def _arguments(given: Any) -> str:
    """The JSON text of an object: the arguments themselves, or `{}` for what is none."""
    if isinstance(given, dict):
        return loose_json.encode(given).decode()
    value = _value(given)
    if isinstance(value, str):  # the text of an object, written as JSON text once more
        given, value = value, _value(value)
    return given if isinstance(value, dict) else "{}"


def _value(text: Any) -> Any:
    """The value of a JSON text; None when it is none."""
    if not isinstance(text, str):
        return None
    try:
        return _decode(text)
    except loose_json.UNREADABLE:
        pass
    try:  # numbers and halves of surrogate pairs that the other does not take are JSON all the same
        return json.loads(text, parse_constant=_refuse)
    except loose_json.UNREADABLE:
        return None


def _refuse(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _offered(request: Request) -> set[str]:
    """The names of the functions that the model may call."""
    own = request.parameters.get("tools")
    tools: Sequence[Any] = [*request.tools, *(own if isinstance(own, list) else ())]
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    return {str(function.get("name")) for function in functions if isinstance(function, dict)}


class _Ids:
    """Makes the ids of tool calls differ in a whole conversation, and gives results the id of their call."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._open: dict[str, list[str]] = {}
        """The ids under which the calls of the last turn that have no result were sent, by the one they came with."""
        self._latest: dict[str, str] = {}

    def begin_turn(self) -> None:
        """The calls of another reply follow: results from now on are theirs."""
        self._open.clear()

    def of_call(self, given: str) -> str:
        """The id under which a call is sent."""
        stem = given if len(given) <= LONGEST_ID else _short(given)
        name, number = stem or "call_0", 1
        while name in self._taken:
            number += 1
            end = f"-{number}"
            name = f"{(stem or 'call_0')[: LONGEST_ID - len(end)]}{end}"
        self._taken.add(name)
        self._open.setdefault(given, []).append(name)
        self._latest[given] = name
        return name

    def of_result(self, given: Any) -> Any:
        """The id of the call that a result belongs to: the first under this id that has none, else the last."""
        if not isinstance(given, str):
            return given
        names = self._open.get(given)
        return names.pop(0) if names else self._latest.get(given, given)


def _short(given: str) -> str:
    return f"{given[: LONGEST_ID - 9]}-{blake2b(given.encode('utf-8', 'replace'), digest_size=4).hexdigest()}"
