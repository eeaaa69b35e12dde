"""How much memory the messages of a row take, by which it is decided how many rows may wait and be open at once.

Owns that one measure. It is reckoned once, when the messages are made, from the sizes of their texts: exact enough for
a bound, and the same whoever asks. Text that several rows share counts for each of them, because it goes out with each.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from sys import getsizeof
from typing import Any, Final

from batch.core.records import Message

ROW_BYTES: Final = 700
"""What Python needs for a row with one short message, beside the text."""
_VALUE_BYTES: Final = 60


def size_of(messages: Iterable[Message], follow_ups: Iterable[Message] = ()) -> int:
    """About how many bytes of memory a row takes that asks this.

    Args:
        messages: of its first request.
        follow_ups: what the user says later.
    """
    size = ROW_BYTES
    for message in chain(messages, follow_ups) if follow_ups else messages:
        content = message.get("content")
        size += getsizeof(content) if type(content) is str and len(message) == 2 else _of(message)
    return size


def _of(value: Any) -> int:
    """The bytes of a value with all that is in it."""
    if isinstance(value, str):
        return getsizeof(value)
    if isinstance(value, dict):
        return _VALUE_BYTES + sum(map(_of, value.values()))
    if isinstance(value, list | tuple):
        return _VALUE_BYTES + sum(map(_of, value))
    return _VALUE_BYTES
