"""Whether a row says anything: which cells and texts are blank, and which requests ask nothing.

Owns that one judgement. What becomes of a row that says nothing is `prompt.empty`'s to say and the planner's to do. It
renders no template.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch.core.records import Message

_NO_INK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and signs that show nothing: fillers of Hangul, and the Braille pattern without a dot."""
_SEEN_NOWHERE: Final = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))
"""Kinds of characters without a shape: blanks and line ends, controls, marks such as a zero-width space."""


def is_blank(value: Any) -> bool:
    """Whether a cell holds nothing: null, text without a visible character, or a list or object of these alone.

    Numbers, truth values and bytes say something, zero and false as well; and so does what is nested deeper.
    """
    if isinstance(value, str):
        # What most texts begin with needs no look at each character.
        return not "!" <= value[:1] <= "~" and _is_nothing(value)
    if isinstance(value, dict | list | tuple):
        return all(map(_is_nothing, value.values() if isinstance(value, dict) else value))
    return _is_nothing(value)


def _is_nothing(value: Any) -> bool:
    if isinstance(value, str):
        text = value.strip()
        if "!" <= text[:1] <= "~":
            return False
        return all(char in _NO_INK or unicodedata.category(char) in _SEEN_NOWHERE for char in text)
    return value is None or value == b""


def asks_nothing(messages: Sequence[Message], follow_ups: Sequence[Message]) -> bool:
    """Whether the last thing that the user says in a request is blank.

    A picture beside a blank text says something, and so does any of several turns. A request in which the user says
    nothing at all, such as a system message alone, is left to the service.

    Args:
        messages: of the first request.
        follow_ups: what the user says after the answers.
    """
    for message in reversed(messages):
        if message.get("role") == "user":
            return _is_blank_content(message.get("content")) and all(
                _is_blank_content(later.get("content")) for later in follow_ups
            )
    return False


def _is_blank_content(content: Any) -> bool:
    if isinstance(content, list):
        return all(part.get("type") == "text" and is_blank(part.get("text")) for part in content)
    return is_blank(content)
