"""The rules of the services for the order and the kinds of messages: what they refuse, ignore or answer in part.

Owns those rules, which are about one row's messages and need nothing sent to be known. BigModel refuses a conversation
that asks nothing with its code 1214; the same failure is made here, for free. Sources: BigModel API reference "chat
completion" and the API guide of 2024 (order of messages), OpenAI and Model Studio on JSON mode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from batch.core.records import Failure, Message
from batch.providers.parameters import Finding
from batch.providers.service import Service

_NO_QUESTION: Final = frozenset({"system", "developer", "assistant"})
REFUSED: Final = Failure(
    kind="bad_request",
    verdict="fail",
    code="1214",
    # The first half is the service's own text.
    message="messages 参数非法。请检查文档。 (not sent: a user message must ask something, and there is none)",
    sent=False,
    answered=False,
)


def refused(service: Service, messages: Sequence[Message]) -> Failure | None:
    """The failure that the service would answer these messages with, whatever else is asked; None: send them."""
    if not service.wants_question:
        return None
    for message in reversed(messages):  # the question is nearly always the last one
        if message.get("role") not in _NO_QUESTION:
            return None
    return REFUSED


def findings(
    service: Service, model: str, messages: Sequence[Message], parameters: Mapping[str, Any] | None = None
) -> list[Finding]:
    """What the author of a job should know about one row's messages.

    Args:
        service: who is asked.
        model: its model.
        messages: of the row's first request.
        parameters: of the request.

    Returns:
        One finding for each fault; paths are `messages.<number from 0>`.
    """
    if (failure := refused(service, messages)) is not None:
        return [
            Finding("error", ("messages",), f"{service.name} would refuse this with {failure.code}: {failure.message}")
        ]
    found = _order(messages)
    if service.json_word and _wants_json(parameters or {}) and not _says_json(messages):
        text = f"{service.name} answers in JSON mode only when the messages hold the word JSON: say it in the prompt"
        found.append(Finding("warning", ("messages",), text))
    return found + _images(service, model, messages)


def _order(messages: Sequence[Message]) -> list[Finding]:
    found = []
    user_spoke = False
    for index, message in enumerate(messages):
        role = message.get("role")
        if role == "system" and user_spoke:
            text = "a system message after a user message is ignored by GLM models and weak elsewhere: put it first"
            found.append(Finding("warning", ("messages", str(index)), text))
        if role == "user" and index and messages[index - 1].get("role") == "user":
            text = "of several user messages in a row GLM models answer the last one only: make one of them"
            found.append(Finding("warning", ("messages", str(index)), text))
        user_spoke = user_spoke or role == "user"
    return found


def _wants_json(parameters: Mapping[str, Any]) -> bool:
    form = parameters.get("response_format")
    return isinstance(form, dict) and form.get("type") == "json_object"


def _says_json(messages: Sequence[Message]) -> bool:
    return any("json" in text.lower() for message in messages for text in _texts(message.get("content")))


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [str(part.get("text", "")) for part in _parts(content)]


def _parts(content: Any) -> list[dict[str, Any]]:
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _images(service: Service, model: str, messages: Sequence[Message]) -> list[Finding]:
    most = None
    for entry in service.models:
        if entry.images_max is not None and any(fnmatchcase(model.lower(), name) for name in entry.names):
            most = entry.images_max
    if most is None:
        return []
    count = sum(part.get("type") == "image_url" for message in messages for part in _parts(message.get("content")))
    if count <= most:
        return []
    return [Finding("warning", ("messages",), f"{count} images: {model} is documented to take at most {most}")]
