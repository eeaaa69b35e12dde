"""The chunks of a streamed answer in the OpenAI dialect. Owns their JSON; what they say comes from `openai.py`.

Source: OpenAI API specification, "chat completion chunk object". The first chunk has the role, the last one of a choice
an empty delta and the finish reason; usage comes only when asked for, in a chunk without choices, and is null before.
`reasoning_content` is what compatible services send.
"""

from __future__ import annotations

from typing import Any

import msgspec

from batch.simulator.dialects.stream import DONE, EVENT_STREAM, Slices, Stream, event
from batch.simulator.models.completion import Streaming

_CONTENT_TYPE = EVENT_STREAM + b"; charset=utf-8"
_FILLER = "aB3dE5gH7jK9mN1pQ2sT4vW6"
_BLOCK = 16


def stream_of(body: dict[str, Any], slices: Slices, wanted: Streaming) -> Stream:
    """An answer as a stream.

    Args:
        body: the answer as it would be sent whole, spoilt or not.
        slices: how texts are cut.
        wanted: what the request says of the stream.
    """
    chunks = _Chunks(body, wanted)
    for choice in body.get("choices") or ():
        chunks.choice(choice, slices)
    if not chunks.parts:
        chunks.parts.append(event({**chunks.base, **({"choices": []} if "choices" in body else {})}))
    parts = chunks.parts
    finish = len(parts) - 1
    if wanted.usage and "usage" in body:
        parts.append(event({**chunks.base, "choices": [], "usage": body["usage"]}))
    return Stream((*parts, DONE), finish, _CONTENT_TYPE, "openai")


class _Chunks:
    def __init__(self, body: dict[str, Any], wanted: Streaming) -> None:
        self.base = {"id": body.get("id"), "object": "chat.completion.chunk"}
        self.base |= {name: body.get(name) for name in ("created", "model", "system_fingerprint")}
        self.base |= {name: body[name] for name in ("service_tier",) if name in body}
        self._usage = b',"usage":null' if wanted.usage else b""
        self._filled = bool(wanted.obfuscated)
        self.parts: list[bytes] = []

    def choice(self, choice: dict[str, Any], slices: Slices) -> None:
        """The chunks of one choice."""
        message = choice["message"]
        if message is not None:
            self._say(message, slices, int(choice["index"]))
        last = {"index": choice["index"], "delta": None if message is None else {}, "logprobs": None}
        chunk = {**self.base, "choices": [{**last, "finish_reason": choice["finish_reason"]}]}
        self.parts.append(self._closed(msgspec.json.encode(chunk)[:-1], 0))

    def _say(self, message: dict[str, Any], slices: Slices, index: int) -> None:
        content, calls = message.get("content"), message.get("tool_calls")
        role = {"role": "assistant", "content": "" if isinstance(content, str) else None, "refusal": None}
        self._deltas(index, b"", [role])
        for name in ("reasoning_content", "content"):
            self._deltas(index, b'"' + name.encode() + b'":', slices.of_text(message.get(name) or ""))
        if calls == []:
            self._deltas(index, b"", [{"tool_calls": []}])
        for position, call in enumerate(calls or ()):
            self._deltas(index, b"", _fragments({"index": position, **call}, slices))

    def _deltas(self, index: int, key: bytes, values: list[Any]) -> None:
        """A chunk for each value: of the key if there is one, else a whole delta."""
        encode, filled, closing = msgspec.json.encode, self._filled, self._usage + b"}\n\n"
        begin = b'data: %s,"choices":[{"index":%d,"delta":' % (encode(self.base)[:-1], index) + (key and b"{" + key)
        end = (b"}" if key else b"") + b',"logprobs":null,"finish_reason":null}]'
        if not filled:
            end += closing
            self.parts += [begin + encode(value) + end for value in values]
            return
        for value in values:
            text = encode(value)
            self.parts.append(self._closed(begin[6:] + text + end, len(text)))

    def _closed(self, chunk: bytes, size: int) -> bytes:
        """A chunk that lacks its last brace, with filler after which its length says less of its content."""
        filler = b',"obfuscation":"%s"' % _FILLER[: _BLOCK - size % _BLOCK].encode() if self._filled else b""
        return b"data: " + chunk + self._usage + filler + b"}\n\n"


def _fragments(call: dict[str, Any], slices: Slices) -> list[dict[str, Any]]:
    function = call["function"]
    arguments = function["arguments"]
    if not isinstance(arguments, str):
        return [{"tool_calls": [call]}]
    first = {"tool_calls": [{**call, "function": {**function, "arguments": ""}}]}
    return [
        first,
        *(
            {"tool_calls": [{"index": call["index"], "function": {"arguments": piece}}]}
            for piece in slices.of_arguments(arguments)
        ),
    ]
