"""The chunks of a streamed answer in the GLM dialect. Owns their JSON; what they say comes from `glm.py`.

Sources: BigModel guides "streaming messages" and "streaming tool calls", and chunks recorded in the SDK's tests. In
2024 every chunk repeated the role and only the last had a finish reason; newer ones say the role once and null until
then. Usage comes unasked, in the last chunk.
"""

from __future__ import annotations

from typing import Any

import msgspec

from batch.simulator.dialects.stream import DONE, EVENT_STREAM, Slices, Stream, event

_CONTENT_TYPE = EVENT_STREAM + b";charset=UTF-8"


def stream_of(body: dict[str, Any], slices: Slices, *, older: bool, fragments: bool) -> Stream:
    """An answer as a stream.

    Args:
        body: the answer as it would be sent whole, spoilt or not.
        slices: how texts are cut.
        older: as in 2024.
        fragments: whether arguments come bit by bit, else each call comes in one chunk.
    """
    chunks = _Chunks(body, older=older)
    for choice in body.get("choices") or ():
        message = choice["message"] or {}
        chunks.texts("reasoning_content", slices.of_text(message.get("reasoning_content") or ""))
        chunks.texts("content", slices.of_text(message.get("content") or ""))
        calls = message.get("tool_calls")
        if calls == []:
            chunks.delta({"tool_calls": []})
        for position, call in enumerate(calls or ()):
            chunks.call({**call, "index": position}, slices if fragments else None)
    finish = len(chunks.parts)
    return Stream((*chunks.parts, chunks.last(body), DONE), finish, _CONTENT_TYPE, "glm")


class _Chunks:
    def __init__(self, body: dict[str, Any], *, older: bool) -> None:
        self._base = {name: body[name] for name in ("id", "created", "model")}
        self._older = older
        self._head = b"data: " + msgspec.json.encode(self._base)[:-1] + b',"choices":[{"index":0,"delta":{'
        self._tail = b"}}]}\n\n" if older else b'},"finish_reason":null}]}\n\n'
        self.parts: list[bytes] = []

    def _begin(self) -> bytes:
        return self._head + b'"role":"assistant",' if self._older or not self.parts else self._head

    def texts(self, name: str, texts: list[str]) -> None:
        """A chunk for each piece of a text."""
        encode = msgspec.json.encode
        key, tail = b'"' + name.encode() + b'":', self._tail
        for text in texts[:1]:
            self.parts.append(self._begin() + key + encode(text) + tail)
        begin = self._begin() + key
        self.parts += [begin + encode(text) + tail for text in texts[1:]]

    def delta(self, value: dict[str, Any]) -> None:
        """A chunk with any delta."""
        self.parts.append(self._begin() + msgspec.json.encode(value)[1:-1] + self._tail)

    def call(self, call: dict[str, Any], slices: Slices | None) -> None:
        """A call of a tool: whole, or its name first and its arguments after it."""
        function = call["function"]
        arguments = function["arguments"]
        if slices is None or not isinstance(arguments, str):
            self.delta({"tool_calls": [call]})
            return
        self.delta({"tool_calls": [{**call, "function": {**function, "arguments": ""}}]})
        for piece in slices.of_arguments(arguments):
            self.delta({"tool_calls": [{"index": call["index"], "function": {"arguments": piece}}]})

    def last(self, body: dict[str, Any]) -> bytes:
        """The chunk with finish reason and usage, and no content."""
        chunk = dict(self._base)
        if "choices" in body:
            role = {"role": "assistant"} if self._older or not self.parts else {}
            chunk["choices"] = [
                {
                    "index": 0,
                    "finish_reason": choice["finish_reason"],
                    "delta": None if choice["message"] is None else {**role, "content": ""},
                }
                for choice in body["choices"]
            ]
        if "usage" in body:
            chunk["usage"] = body["usage"]
        return event(chunk)
