"""Text from outside made harmless for a terminal: no control characters, no marks that turn its direction.

Owns which characters these are. What a model, a row, a tool or a provider said could else move the cursor, write the
clipboard or make a line read as another. It knows no command and no secret.
"""

from __future__ import annotations

import re
import shlex
from typing import Final

_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls (C0, DEL, C1), line separators, marks of direction, half surrogates."""
_UNSAFE_BUT_LINES: Final = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))


def clean(text: str, *, lines: bool = False, most: int | None = None) -> str:
    """The text without what a terminal obeys; each such character becomes a blank.

    Args:
        text: from outside.
        lines: keep newlines and tabs.
        most: characters after which it is cut with `…`.
    """
    if most is not None and len(text) > most:
        text = f"{text[:most]}…"
    return (_UNSAFE_BUT_LINES if lines else _UNSAFE).sub(" ", text)


def escaped_json(text: str) -> str:
    r"""JSON text of the same value in which these characters are written as `\uXXXX`; its own newlines stay."""
    return _UNSAFE_BUT_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def quoted(text: str) -> str:
    """The text as one word of a shell command that can be copied, printable whatever is in it."""
    if _UNSAFE.search(text) is None:
        return shlex.quote(text)
    safe = re.sub(r"([\\'])", r"\\\1", text)
    return "$'" + _UNSAFE.sub(_bytes, safe) + "'"


def _bytes(found: re.Match[str]) -> str:
    of_a_path = "\udc80" <= found[0] <= "\udcff"  # a byte that is no UTF-8
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode("utf-8", "surrogateescape" if of_a_path else "replace"))
