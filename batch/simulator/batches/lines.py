"""The lines of an uploaded file: read, and checked as the provider checks them before it begins.

Owns the rules of a line and their error codes. What a line's body asks is looked at only when the line is worked on.
Sources: OpenAI guide "Batch" and specification (`BatchRequestInput`), BigModel guide "Batch"; codes as OpenAI and
Model Studio name them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from batch.simulator.books.tokens import of_messages

CODES = {
    "empty_file": "The file is empty. Please ensure that the batch contains at least one request.",
    "too_many_tasks": "The batch has more lines than are allowed.",
    "invalid_json_line": "This line is not parseable as valid JSON.",
    "missing_required_parameter": "A line must have custom_id, method, url and body.",
    "invalid_method": "The method must be POST.",
    "invalid_url": "The URL provided for this request does not match the endpoint of the batch.",
    "duplicate_custom_id": "The custom_id for this request is a duplicate of another request.",
    "mismatched_model": "The model of this request is not that of the first one: a file has one model only.",
    "token_limit_exceeded": "Enqueued token limit reached for {model} in organization org-simulator. Limit: {limit} "
    "enqueued tokens. Please try again once some in_progress batches have been completed.",
    "request_limit_exceeded": "Enqueued request limit reached for {model} in organization org-simulator. Limit: "
    "{limit} enqueued requests. Please try again once some in_progress batches have been completed.",
}
"""Why a batch is refused, by code."""

_SLICE = 500
_MOST_ERRORS = 100


class Line(msgspec.Struct, frozen=True):
    """One request of a file; `body` is its JSON as it came."""

    custom_id: str
    body: bytes
    prompt: int


class LineError(msgspec.Struct, frozen=True):
    """Why a file is refused; `line` is the number of the line, from 1, or None when it is about the whole file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Checked(msgspec.Struct, frozen=True):
    """What a file holds: the lines of one model, or what is wrong with it."""

    lines: list[Line]
    model: str
    errors: list[LineError]


class _Sent(msgspec.Struct):
    custom_id: str | None = None
    method: str | None = None
    url: str | None = None
    body: msgspec.Raw = msgspec.Raw(b"")


class _Asked(msgspec.Struct):
    model: Any = None
    messages: Any = None


_sent = msgspec.json.Decoder(_Sent)
_asked = msgspec.json.Decoder(_Asked)


async def check(data: bytes, endpoint: str, most: int) -> Checked:
    """Read a file and check its lines; the first hundred errors are told.

    Args:
        data: the file.
        endpoint: which every line must name.
        most: how many lines a file may have.
    """
    lines: list[Line] = []
    errors: list[LineError] = []
    seen: set[str] = set()
    model = ""
    count = 0
    async for number, text in _numbered(data):
        count += 1
        found = _checked(text, endpoint, seen, model)
        if isinstance(found, tuple):
            line, asked = found
            model = model or asked
            seen.add(line.custom_id)
            lines.append(line)
        elif len(errors) < _MOST_ERRORS:
            code, param = found.split()
            errors.append(LineError(code, CODES[code], number, None if param == "-" else param))
    if not count:
        errors.append(LineError("empty_file", CODES["empty_file"]))
    elif count > most:
        errors = [LineError("too_many_tasks", f"{CODES['too_many_tasks']} Limit: {most}, found: {count}.")]
    return Checked([] if errors else lines, model, errors)


async def _numbered(data: bytes) -> AsyncIterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers; other requests are served in between."""
    begin, number = 0, 0
    while begin < len(data):
        end = data.find(b"\n", begin)
        end = len(data) if end < 0 else end
        number += 1
        if number % _SLICE == 0:
            await asyncio.sleep(0)
        if text := data[begin:end].strip():
            yield number, text
        begin = end + 1


def _checked(text: bytes, endpoint: str, seen: set[str], model: str) -> tuple[Line, str] | str:
    """The line and its model, or the code of its error and the field, `-` for none."""
    try:
        sent = _sent.decode(text)
        asked = _asked.decode(sent.body) if sent.body else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "invalid_json_line -"
    if asked is None or not isinstance(asked.model, str):
        return f"missing_required_parameter {'body' if asked is None else 'body.model'}"
    for name in ("custom_id", "method", "url"):
        if not getattr(sent, name):
            return f"missing_required_parameter {name}"
    if sent.method != "POST":
        return "invalid_method method"
    if sent.url != endpoint:
        return "invalid_url url"
    if sent.custom_id is None or sent.custom_id in seen:
        return "duplicate_custom_id custom_id"
    if model and asked.model != model:
        return "mismatched_model body.model"
    return Line(sent.custom_id, bytes(sent.body), _tokens(asked.messages)), asked.model


def _tokens(messages: Any) -> int:
    """The tokens that a line is enqueued with; what is wrong with its messages is found when it is worked on."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return 0
    return of_messages(messages)
