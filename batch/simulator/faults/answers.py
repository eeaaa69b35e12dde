"""Faults in what an answer says: bodies, labels, encodings, tool calls. Owns their exact forms.

The work was done, so all of these are billed as the answer they spoil. Sources: BigModel and OpenAI API references for
the fields that are spoiled; RFC 9110 and RFC 1952 for content codings.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from functools import lru_cache
from typing import Any

import msgspec

from batch.simulator.dialects.checks import decoded
from batch.simulator.dialects.stream import DONE, Stream, event
from batch.simulator.faults.behaviour import Strike
from batch.simulator.faults.refusals import FLOOD, SKEW_S, OddCase
from batch.simulator.wire import Reply

USAGE_FORMS = ("missing", "null", "zero", "sum")
BODY_FORMS = ("empty", "invalid", "truncated", "list", "string")
CHOICE_FORMS = ("no_choices", "empty_choices", "null_message")
CONTENT_FORMS = ("null", "empty")
FINISH_FORMS = ("unknown", "null")
TYPE_FORMS = ("text/plain", "application/octet-stream", "none")
CODING_FORMS = ("gzip", "deflate", "mislabelled", "corrupt", "bomb")
CHARSET_FORMS = ("escaped", "surrogate", "nul", "invalid_utf8")
TOOL_FORMS = ("invalid_json", "unknown_name", "object_arguments", "duplicate_ids", "empty_list", "endless")

_MB = 1_000_000
_ODD_CHARACTERS = {"surrogate": rb"\ud83d", "nul": rb"\u0000", "invalid_utf8": b"\xff\xfe"}
_MARK = "\u2063mark\u2063"  # invisible separators: stands where no answer has it, until bytes take its place


def bad_usage(strike: Strike, body: dict[str, Any]) -> dict[str, Any]:
    """The usage is missing, null, all zero, or its total is not the sum of its parts."""
    if "usage" not in body:
        return body
    form = strike.pick("form", USAGE_FORMS)
    changed = dict(body)
    if form == "missing":
        del changed["usage"]
    elif form == "null":
        changed["usage"] = None
    elif form == "zero":
        changed["usage"] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    else:
        changed["usage"] = {**body["usage"], "total_tokens": body["usage"]["total_tokens"] + 7}
    return changed


def bad_body(strike: Strike, reply: Reply) -> Reply:
    """HTTP 200 with nothing, no JSON, half of the JSON, or JSON that is no object."""
    if reply.stream:
        return reply
    form = strike.pick("form", BODY_FORMS)
    bodies = {
        "empty": b"",
        "invalid": b"{'choices': not json}",
        "truncated": reply.body[: max(1, len(reply.body) // 2)],
        "list": b"[" + reply.body + b"]",
        "string": b'"OK"',
    }
    return msgspec.structs.replace(reply, body=bodies[form])


def bad_choices(strike: Strike, body: dict[str, Any]) -> dict[str, Any]:
    """The choices are missing or empty, or the message in them is null."""
    form = strike.pick("form", CHOICE_FORMS)
    if form == "no_choices":
        return {name: value for name, value in body.items() if name != "choices"}
    if form == "empty_choices":
        return {**body, "choices": []}
    return _choice(body, message=None)


def no_content(strike: Strike, body: dict[str, Any]) -> dict[str, Any]:
    """The content is null or empty, without tool calls, and the finish reason is `stop`."""
    content = None if strike.pick("form", CONTENT_FORMS) == "null" else ""
    message = {name: value for name, value in _message(body).items() if name != "tool_calls"}
    return _choice(body, message={**message, "content": content}, finish_reason="stop")


def odd_finish(strike: Strike, body: dict[str, Any]) -> dict[str, Any]:
    """The finish reason is null, or a word no document knows."""
    return _choice(body, finish_reason=None if strike.pick("form", FINISH_FORMS) == "null" else "paused_for_review")


def other_model(strike: Strike, body: dict[str, Any]) -> dict[str, Any]:
    """The answer comes from another model than the one asked for."""
    return {**body, "model": strike.option("served", "GLM-4.7-ALI" if strike.dialect == "glm" else "gpt-3.5-other")}


def odd_type(strike: Strike, reply: Reply) -> Reply:
    """Good JSON under another Content-Type, or none."""
    form = strike.pick("form", TYPE_FORMS)
    return msgspec.structs.replace(reply, content_type=None if form == "none" else form.encode())


def odd_coding(strike: Strike, reply: Reply) -> Reply:
    """The body is compressed unasked, labelled as if it were, damaged, or a small one that grows without end."""
    form = strike.pick("form", CODING_FORMS)
    body = reply.body
    if form == "gzip":
        body = gzip.compress(body, 6, mtime=0)
    elif form == "deflate":
        body = zlib.compress(body, 6)
    elif form == "corrupt":
        whole = bytearray(gzip.compress(body, 6, mtime=0))
        # The middle of the deflated data and its checksum: whichever of the two a client looks at, it is wrong.
        whole[len(whole) // 2] ^= 0xFF
        whole[-8] ^= 0xFF
        body = bytes(whole)
    elif form == "bomb":
        body = bomb(body, strike.option("megabytes", 300))
    label = b"deflate" if form == "deflate" else b"gzip"
    return msgspec.structs.replace(reply, body=body, headers=(*reply.headers, (b"content-encoding", label)))


@lru_cache(maxsize=2)
def _spaces(megabytes: int) -> tuple[bytes, int]:
    # One megabyte is deflated on its own and repeated: made in no time, and 0.1 % of its length.
    block = b" " * _MB
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    check = 0
    for _ in range(megabytes):
        check = zlib.crc32(block, check)
    return packed * megabytes, check


def bomb(body: bytes, megabytes: int) -> bytes:
    """A valid gzip member of so many megabytes of blanks with `body` after them: still JSON, for who can hold it."""
    packed, check = _spaces(megabytes)
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    tail = packer.compress(body) + packer.flush()
    length = (megabytes * _MB + len(body)) & 0xFFFFFFFF
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    return head + packed + tail + struct.pack("<II", zlib.crc32(body, check), length)


def odd_charset(strike: Strike, reply: Reply) -> Reply:
    """Text in its awkward spellings: escaped, with half a surrogate pair, with NUL, or not UTF-8 at all."""
    form = strike.pick("form", CHARSET_FORMS)
    body = decoded(reply.body)
    if body is None:
        return reply
    if form == "escaped":
        return msgspec.structs.replace(reply, body=json.dumps(body).encode())
    if not body.get("choices"):
        return reply
    text = str(_message(body).get("content") or "")
    marked = _choice(body, message={**_message(body), "content": text + _MARK})
    spoilt = msgspec.json.encode(marked).replace(_MARK.encode(), _ODD_CHARACTERS[form])
    return msgspec.structs.replace(reply, body=spoilt)


def bad_events(strike: Strike, stream: Stream) -> Stream:
    """Of a stream: no events, or each of them spoilt, or cut in the middle."""
    form = strike.pick("form", BODY_FORMS)
    if form == "truncated":
        whole = b"".join(stream.parts)
        parts: tuple[bytes, ...] = (whole[: len(whole) // 2],)
    else:
        shapes = {"empty": b"", "invalid": b"data: {'choices': not json}\n\n", "string": b'data: "OK"\n\n'}
        parts = tuple(
            part if part == DONE else shapes.get(form) or b"data: [" + part[6:-2] + b"]\n\n" for part in stream.parts
        )
    return msgspec.structs.replace(stream, parts=() if form == "empty" else parts, finish=0)


def odd_events(strike: Strike, stream: Stream) -> Stream:
    """Awkward spellings in a stream: everything escaped, or one more chunk with half a pair, NUL or no UTF-8."""
    form = strike.pick("form", CHARSET_FORMS)
    chunks = {position: decoded(part[6:]) for position, part in enumerate(stream.parts[: stream.finish + 1])}
    if form == "escaped":
        parts = tuple(
            b"data: " + json.dumps(chunks[position]).encode() + b"\n\n" if chunks.get(position) else part
            for position, part in enumerate(stream.parts)
        )
        return msgspec.structs.replace(stream, parts=parts)
    for position in reversed(range(stream.finish)):
        chunk = chunks.get(position)
        if chunk and chunk["choices"][0]["delta"].get("content"):
            chunk["choices"][0]["delta"] = {"content": _MARK}
            further = event(chunk).replace(_MARK.encode(), _ODD_CHARACTERS[form])
            parts = (*stream.parts[: position + 1], further, *stream.parts[position + 1 :])
            return msgspec.structs.replace(stream, parts=parts, finish=stream.finish + 1)
    return stream


def large_answer(strike: Strike, body: dict[str, Any]) -> dict[str, Any]:
    """The content, said again and again on one line until it has so many megabytes; the usage stays as it was."""
    text = str(_message(body).get("content") or "") or "words "
    wanted = strike.option("megabytes", 10) * _MB
    return _choice(body, message={**_message(body), "content": text * (wanted // len(text.encode()) + 1)})


def bad_tool_calls(strike: Strike, body: dict[str, Any]) -> dict[str, Any]:
    """Tool calls that cannot be carried out as they stand, or never end; only where tools are offered."""
    asked = strike.scene.ask
    if asked is None or not asked.tools:
        return body
    form = strike.pick("form", TOOL_FORMS)
    message = _message(body)
    if form == "empty_list":
        return _choice(body, message={**message, "content": None, "tool_calls": []}, finish_reason="tool_calls")
    calls = message.get("tool_calls") or []
    if form == "endless":
        calls = calls or [_call(strike, asked.tools[0]["name"], _last_arguments(asked.messages))]
    if not calls:
        return body
    calls = [{**call, "function": dict(call["function"])} for call in calls]
    first = calls[0]["function"]
    if form == "invalid_json":
        first["arguments"] = first["arguments"].rstrip("}") + ', "unfinished": '
    elif form == "unknown_name":
        first["name"] = "no_such_tool"
    elif form == "object_arguments":
        first["arguments"] = msgspec.json.decode(first["arguments"])
    elif form == "duplicate_ids":
        calls = [*calls, calls[0]] if len(calls) == 1 else [{**call, "id": calls[0]["id"]} for call in calls]
    return _choice(body, message={**message, "content": None, "tool_calls": calls}, finish_reason="tool_calls")


def _call(strike: Strike, name: str, arguments: str) -> dict[str, Any]:
    number = f"call_{strike.conversation:020d}"
    return {"id": number, "index": 0, "type": "function", "function": {"name": name, "arguments": arguments}}


def _last_arguments(messages: list[dict[str, Any]]) -> str:
    for message in reversed(messages):
        calls = message.get("tool_calls")
        if calls:
            return str(calls[0]["function"]["arguments"])
    return "{}"


def skewed_date(strike: Strike, reply: Reply) -> Reply:
    """A good answer from a server whose clock is hours off."""
    return msgspec.structs.replace(reply, date_skew_s=strike.option("skew_s", SKEW_S))


def flooded_answer(_strike: Strike, reply: Reply) -> Reply:
    """A good answer among two hundred rate-limit headers, which says that it should not be sent again."""
    return msgspec.structs.replace(reply, headers=(*reply.headers, (OddCase(b"X-Should-Retry"), b"false"), *FLOOD))


def _message(body: dict[str, Any]) -> dict[str, Any]:
    choices = body.get("choices")
    message: dict[str, Any] | None = choices[0]["message"] if choices else None
    return message or {}


def _choice(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    choices = body.get("choices")  # another fault may have taken them away
    return {**body, "choices": [{**choices[0], **changes}, *choices[1:]]} if choices else body
