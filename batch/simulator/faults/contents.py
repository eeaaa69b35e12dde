"""Faults in what a model says where the request limits it to labels or JSON. Owns their forms.

The answer itself is sound, and billed as the one it spoils; a reader of its text finds no valid label.
"""

from __future__ import annotations

from typing import Any

import msgspec

from batch.simulator.faults.behaviour import Strike

JSON_FORMS = ("cut", "quotes", "comma", "words")


def broken_json(strike: Strike, body: dict[str, Any]) -> dict[str, Any]:
    """The text is JSON cut in the middle, in single quotes, or with a comma too many, or words instead of it."""
    text = _content(body)
    if text is None:
        return body
    form = strike.pick("form", JSON_FORMS)
    if form == "words" or not text.startswith("{"):
        return _saying(body, "I am not sure how to put this. There is more than one way to look at it.")
    spoilt = {"cut": text[: len(text) * 2 // 3], "quotes": text.replace('"', "'"), "comma": f"{text[:-1]},, }}"}
    return _saying(body, spoilt[form])


def outside(strike: Strike, body: dict[str, Any]) -> dict[str, Any]:
    """The label is one that is not in the list: each text of the JSON, or the whole of a plain answer."""
    text = _content(body)
    if text is None:
        return body
    invented = strike.option("label", f"Something else {strike.conversation % 97}")
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return _saying(body, invented)
    if not isinstance(value, dict):
        return _saying(body, invented)
    changed = {name: invented if isinstance(item, str) else item for name, item in value.items()}
    return _saying(body, msgspec.json.encode(changed).decode())


def _content(body: dict[str, Any]) -> str | None:
    """The text of the answer; None where there is none, as beside calls of tools."""
    choices = body.get("choices")
    message = choices[0].get("message") if choices else None
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) and content and not (message or {}).get("tool_calls") else None


def _saying(body: dict[str, Any], text: str) -> dict[str, Any]:
    first, *others = body["choices"]
    return {**body, "choices": [{**first, "message": {**first["message"], "content": text}}, *others]}
