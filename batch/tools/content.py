"""The content of a tool message: what a function returned or raised, as text that is safe to send and to keep.

Owns the forms of results and errors and their sizes. It takes two steps, because a function may run in another process:
there its result becomes text and is cut to what is worth sending (`of_value`, `of_error`); here, where the keys are
known, they are masked and the rest is cut (`finished`). It runs nothing.
"""

from __future__ import annotations

import inspect
import math
import re
import unicodedata
from typing import Any, Final

import msgspec

from batch.core.canonical import without_surrogates
from batch.core.errors import BatchError
from batch.core.redaction import masked, redact
from batch.tools.arguments import ArgumentFault
from batch.tools.exact import as_builtin

MAX_CONTENT: Final = 64 * 1024
"""The largest content in bytes of UTF-8; it is billed again in every later turn of the row."""
MAX_ERROR: Final = 2_000
"""The longest error in characters."""
SLACK: Final = 16 * 1024
"""Bytes behind the place where a text will be cut: a key that lies across it is still seen whole, and masked."""
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


class ToolResult(msgspec.Struct, frozen=True):
    """What goes back to the model; `failed` means that the content is an error and not a result."""

    content: str
    failed: bool = False


class RawResult(msgspec.Struct, frozen=True, array_like=True):
    """What a function gave, as text that nobody has searched for keys yet."""

    text: str
    size: int
    """Bytes of the whole text in UTF-8; more than `text` has when its end was cut off."""
    failed: bool = False


class ResultFault(BatchError):
    """A tool returned a value that JSON has no form for."""


def of_value(value: Any, *, name: str) -> RawResult:
    """The return value of the tool `name` as text, without what is too long to be sent in any case.

    Raises:
        ResultFault: as `render`.
    """
    return _cut(render(value, name=name), MAX_CONTENT + SLACK)


def of_error(error: BaseException) -> RawResult:
    """What a tool raised as text: type and message, without a traceback, which would show our files to the model."""
    if isinstance(error, ArgumentFault):
        text = f"invalid arguments: {error}"
    else:
        text = str(error) if isinstance(error, ResultFault) else _tell(error)
    return msgspec.structs.replace(_cut(_SURROGATES.sub("\0", text), 4 * MAX_ERROR + SLACK), failed=True)


def finished(raw: RawResult) -> ToolResult:
    """The content for the model: without our keys, and not too long."""
    if raw.failed:
        return error_result(raw.text, cut=raw.size > len(raw.text.encode()))
    content = masked(raw.text)
    if len(content) * 4 <= MAX_CONTENT and raw.size <= MAX_CONTENT:
        return ToolResult(content)
    encoded = content.encode()
    if raw.size > MAX_CONTENT + SLACK:
        encoded = encoded[:-SLACK]  # half a key may stand there, which is known as none
    elif len(encoded) <= MAX_CONTENT:
        return ToolResult(content)
    mark = f"\n[cut: too long, {raw.size} bytes]"
    return ToolResult(encoded[: MAX_CONTENT - len(mark)].decode("utf-8", "ignore") + mark)


def error_result(text: str, *, cut: bool = False) -> ToolResult:
    """An error that the model reads as `{"error": "…"}`.

    Args:
        text: what is wrong; keys and control characters are taken out of it.
        cut: whether its end is missing already.
    """
    return ToolResult(msgspec.json.encode({"error": _clean(text, cut=cut)}).decode(), failed=True)


def render(result: Any, *, name: str) -> str:
    """The return value of a tool as the text of its message.

    Raises:
        ResultFault: JSON has no form for the value: NaN, infinity, an unknown class, an integer of more than 4,300
            digits.
    """
    if isinstance(result, str):
        # Of an Enum this is its value, of any other subclass of str the bare text.
        text: str = without_surrogates(str.__str__(result))
        return text
    if result is None:
        return ""
    if inspect.iscoroutine(result):
        result.close()
        raise ResultFault(f"{name} returned a coroutine; its outermost function must be an async def")
    try:
        plain = msgspec.to_builtins(result, enc_hook=as_builtin)
        if not _finite(plain):
            raise ResultFault(f"{name} returned NaN or infinity, which is no JSON")
        return msgspec.json.encode(plain).decode()
    except (TypeError, ValueError, RecursionError, NotImplementedError) as error:
        raise ResultFault(f"{name} returned what cannot be written as JSON: {_tell(error)}") from error


def _cut(text: str, most: int) -> RawResult:
    """The first `most` bytes of a text, and how many it has."""
    if text.isascii():  # without a copy of what may have a hundred megabytes
        return RawResult(text[:most], len(text))
    encoded = text.encode()
    if len(encoded) <= most:
        return RawResult(text, len(encoded))
    return RawResult(encoded[:most].decode("utf-8", "ignore"), len(encoded))


def _finite(value: Any) -> bool:
    """Whether there is no NaN and no infinity in a value: msgspec would write them as null without an error."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return all(map(_finite, value)) if isinstance(value, list | tuple) else True


def _tell(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001  an exception class may fail at this too
        text = "its message cannot be read"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _clean(text: str, *, cut: bool) -> str:
    """The text made safe to log and to send: no keys, controls and lone surrogates become spaces, its end is cut."""
    text = redact(text)  # before it is cut: a piece of a key would not be known as one
    if cut:
        text = text.encode()[:-SLACK].decode("utf-8", "ignore")
    shown = text[:MAX_ERROR] + "…" if len(text) > MAX_ERROR or cut else text
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(" " if unicodedata.category(char) in {"Cc", "Cs"} else char for char in shown).strip()
