"""Writes the body of a request, as far as both dialects do it in the same way: parameters, model, messages, tools.

Owns what is left out for a service, how a job's own `tools` parameter and its functions share one list, and that a
forced tool is forced once: a model that must call a tool in every turn would never answer. Pictures go to OpenAI as
`data:` addresses and to GLM as bare base64, as BigModel's own client sends them; where they came from goes nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from batch.providers import history

if TYPE_CHECKING:
    from batch.core.records import Message, Request
    from batch.providers.service import Service

_ASKS: Final = ("system", "user")


def write(service: Service, request: Request) -> dict[str, Any]:
    """The members of a body.

    Parameters come first, so that none of them can replace the model or the messages.
    """
    left_out, nulls = service.never_send, service.nulls
    body: dict[str, Any] = {}
    if given := request.parameters:
        body = {key: value for key, value in given.items() if (nulls or value is not None) and key not in left_out}
    body["model"] = request.model
    messages = request.messages
    for message in messages:
        if len(message) != 2 or message.get("role") not in _ASKS or not isinstance(message.get("content"), str):
            messages = _mended(service, request)  # most requests are a question and nothing else
            break
    body["messages"] = messages
    if request.tools:
        own = body.get("tools")
        body["tools"] = [*own, *request.tools] if isinstance(own, list) else request.tools
        if "tool_choice" in body and messages and messages[-1].get("role") == "tool":
            body["tool_choice"] = _relaxed(body["tool_choice"])
    return body


def _mended(service: Service, request: Request) -> list[Message]:
    """The messages of any request, as the service takes them."""
    messages = history.sendable(service, request)
    if any(isinstance(message.get("content"), list) for message in messages):
        return [_pictured(message, bare=service.speaks == "glm") for message in messages]
    return messages


def _pictured(message: Message, *, bare: bool) -> Message:
    """A message whose pictures are written as the service wants them."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_picture(part, bare=bare) for part in content]}


def _picture(part: Any, *, bare: bool) -> Any:
    image: Any = part.get("image_url") if isinstance(part, dict) else None
    url: Any = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or not url.startswith("data:"):
        return part
    kept = {name: value for name, value in part.items() if name != "source"}
    head, _, data = url.partition(",")
    return {**kept, "image_url": {**image, "url": data}} if bare and head.endswith(";base64") else kept


def _relaxed(choice: Any) -> Any:
    """The tool_choice for the turn after a tool ran: it lets the model answer."""
    if choice is None or choice == "none":
        return choice
    if isinstance(choice, dict) and isinstance(allowed := choice.get("allowed_tools"), dict):
        return {**choice, "allowed_tools": {**allowed, "mode": "auto"}}
    return "auto"
