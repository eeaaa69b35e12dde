"""JSON in which an exact decimal is a text of digits, never in exponent form: `0.000000050000`, not `5E-8`.

Owns that form. It does not know what is written; who shows amounts to people strips needless zeros.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec


def encoded(value: Any) -> bytes:
    """A value as JSON; what JSON has no form for is its text.

    Raises:
        UnicodeEncodeError: a text in it has half a surrogate pair.
    """
    return msgspec.json.encode(plain(value), enc_hook=str)


def builtins(value: Any) -> Any:
    """The same value made of what JSON has: objects, lists, texts, numbers, true, false and null."""
    return msgspec.to_builtins(plain(value), enc_hook=str)


def plain(value: Any) -> Any:
    """The same value with each decimal in it, at any depth, as its digits; a struct is a dict then."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    return value
