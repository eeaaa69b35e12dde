"""Columns that hold a conversation: the cell of a messages column or of a turns column, checked.

Owns which cells are accepted and what is said of the others. It knows no template and no request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from batch.core.canonical import loads
from batch.prompts.template import PromptFault

if TYPE_CHECKING:
    from batch.core.records import Message

ROLES: Final = ("system", "user", "assistant", "tool", "developer")
SHAREGPT: Final = {
    "human": "user", "user": "user",
    "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "model": "assistant", "bing": "assistant",
    "system": "system",
}  # fmt: skip
"""Roles of the form that ShareGPT data has, `{"from": "human", "value": "Hi"}`."""


def messages_of(value: Any, column: str) -> list[Message]:
    """The messages in a cell of a messages column: a list of role/content objects, or the JSON text of one.

    Messages in the form of ShareGPT, from/value, are taken as well. Nulls inside are left out, except `content`:
    Parquet fills fields that a message does not have.

    Raises:
        PromptFault: it is something else; the text names the column and the message counted from 0.
    """
    if isinstance(value, str):
        try:
            value = loads(value)
        except ValueError as exc:
            raise PromptFault(f"column {column!r}: not the JSON text of a list of messages: {exc}") from exc
    if not isinstance(value, list):
        raise PromptFault(f"column {column!r}: a list of role/content messages is wanted, not {_kind(value)}")
    if not value:
        raise PromptFault(f"column {column!r}: the list of messages is empty")
    return [_message(item, f"column {column!r} message {index}") for index, item in enumerate(value)]


def turns_of(value: Any, column: str) -> list[str]:
    """The user messages in a cell of a turns column: a list of texts, or the JSON text of one; empty ones are skipped.

    Raises:
        PromptFault: it is something else, or there is nothing to say.
    """
    if isinstance(value, str):
        try:
            value = loads(value)
        except ValueError as exc:
            raise PromptFault(f"column {column!r}: not the JSON text of a list of user messages: {exc}") from exc
    if not isinstance(value, list):
        raise PromptFault(f"column {column!r}: a list of user messages is wanted, not {_kind(value)}")
    for position, text in enumerate(value):
        if not isinstance(text, str | None):
            raise PromptFault(f"column {column!r} turn {position}: text is wanted, not {_kind(text)}")
    turns = [text for text in value if text and text.strip()]
    if not turns:
        raise PromptFault(f"column {column!r}: no turn that says anything")
    return turns


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, dict):
        raise PromptFault(f"{where}: an object with role and content is wanted, not {_kind(item)}")
    if is_sharegpt(item):
        return _shared(item, where)
    role = item.get("role")
    if role not in ROLES:
        raise PromptFault(f"{where}: role {role!r} is none of {', '.join(ROLES)}"[:300])
    message: Message = {key: _dense(part) for key, part in item.items() if part is not None}
    content = message.get("content")
    if content is None and role == "assistant" and message.get("tool_calls"):
        return {**message, "content": None}
    if isinstance(content, str):
        return message
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in content
    ):
        return message
    raise PromptFault(f"{where}: content must be text or a list of typed parts, not {_kind(content)}")


def is_sharegpt(item: Any) -> bool:
    """Whether a message has the form of ShareGPT data: from and value, where others have role and content."""
    return isinstance(item, dict) and item.get("role") is None and item.get("from") is not None and "value" in item


def _shared(item: dict[str, Any], where: str) -> Message:
    """A message of ShareGPT data as role and content; what else stands in it (weight, loss) is for training."""
    role = SHAREGPT.get(str(item["from"]).lower())
    if role is None:
        raise PromptFault(f"{where}: from {item['from']!r} is none of {', '.join(SHAREGPT)}"[:300])
    if not isinstance(item["value"], str):
        raise PromptFault(f"{where}: value must be text, not {_kind(item['value'])}")
    return {"role": role, "content": item["value"]}


def _dense(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _dense(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_dense(item) for item in value]
    return value


def _kind(value: Any) -> str:
    names: dict[type, str] = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)
