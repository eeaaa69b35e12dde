"""Checks of a request body that both dialects need. Owns no error text and no wire form."""

from __future__ import annotations

import re
from typing import Any

import msgspec

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_TOOLS = 128
MAX_STOP = 4


def decoded(body: bytes) -> dict[str, Any] | None:
    """The body as a JSON object, or None when it is not one."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether a JSON value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def stop_words(value: Any) -> tuple[str, ...] | None:
    """The stop words of a request, given as one text or up to four; None when the value is neither."""
    if value is None:
        return ()
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or len(words) > MAX_STOP or not all(isinstance(word, str) for word in words):
        return None
    return tuple(word for word in words if word)


def bad_tool(tools: Any) -> str | None:
    """The path of the first thing wrong with `tools`, such as `tools[2].type`; None when nothing is. Null is fine."""
    if tools is None:
        return None
    if not isinstance(tools, list) or len(tools) > MAX_TOOLS:
        return "tools"
    for position, tool in enumerate(tools):
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            return f"tools[{position}].type"
        if tool["type"] != "function":
            continue
        function = tool.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
            return f"tools[{position}].function.name"
    return None


def offered(tools: Any, choice: Any) -> tuple[tuple[dict[str, Any], ...], str]:
    """The functions that may be called, and the name of the one that must be.

    The name is `*` when any must be called, and empty when none must. Besides the documented forms of `tool_choice`, a
    bare name and `{"name": …}` are understood, which the GLM service has accepted.

    Args:
        tools: of the request, checked.
        choice: its `tool_choice`, checked.
    """
    functions = tuple(tool["function"] for tool in tools or () if tool["type"] == "function")
    if choice == "none":
        return (), ""
    if choice == "required":
        return functions, "*"
    name = choice
    if isinstance(choice, dict):
        inner = choice.get("function")
        name = inner.get("name") if isinstance(inner, dict) else choice.get("name")
    names = {function["name"] for function in functions}
    return functions, name if isinstance(name, str) and name in names else ""
