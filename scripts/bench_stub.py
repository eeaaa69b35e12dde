"""A raw server that answers every POST with one fixed chat reply: the fastest provider there can be, for measuring us.

No parsing of bodies, no latency. Under `/stream/` the reply is a stream of 200 chunks of text in the OpenAI dialect,
written in one piece; under `/drip/` the same, a chunk every millisecond, so that each arrives alone, as those of a
model do. Run as `python scripts/bench_stub.py PORT_FILE`; ended by its parent.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

BODY = (
    b'{"choices":[{"finish_reason":"stop","index":0,"message":{"content":"'
    + b"A short answer of a usual length. " * 8
    + b'","role":"assistant"}}],"created":1705933810,"id":"20250903175252238af0243ae54afb","model":"glm-4",'
    b'"request_id":"20250903175252238af0243ae54afb","usage":{"completion_tokens":64,"prompt_tokens":120,'
    b'"total_tokens":184,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}'
)
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)

CHUNKS = 200
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"


def frames() -> Iterator[bytes]:
    """The events of the stream, each an HTTP chunk of its own."""
    empty: dict[str, Any] = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": None}
    choices: list[list[dict[str, Any]]] = [[{**empty, "delta": {"role": "assistant", "content": ""}}]]
    choices += [[{**empty, "delta": {"content": f" word{number}"}}] for number in range(CHUNKS)]
    choices += [[{**empty, "finish_reason": "stop"}], []]
    usage = {"prompt_tokens": 120, "completion_tokens": CHUNKS, "total_tokens": 120 + CHUNKS}
    for said in choices:
        chunk = {
            "id": "chatcmpl-BqGxyzMJqXcZ5cJrS6uYl0d0n5P7v", "object": "chat.completion.chunk", "created": 1754425777,
            "model": "gpt-5-mini", "service_tier": "default", "system_fingerprint": None, "choices": said,
            "usage": None if said else usage,
        }  # fmt: skip
        event = b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"
        yield b"%x\r\n%s\r\n" % (len(event), event)
    yield b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


FRAMES = list(frames())
STREAM = STREAM_HEAD + b"".join(FRAMES)


class Stub(asyncio.Protocol):
    """One connection: answers when the announced body is complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            if head.startswith(b"post /drip/"):
                self._transport.write(STREAM_HEAD)  # type: ignore[attr-defined]  # a socket's, open by now
                self._drip(0)
            else:
                whole = STREAM if head.startswith(b"post /stream/") else REPLY
                self._transport.write(whole)  # type: ignore[attr-defined]  # a socket's, open by now

    def _drip(self, number: int) -> None:
        """Write one frame every millisecond; a stream of this kind takes 0.2 s at least."""
        self._transport.write(FRAMES[number])  # type: ignore[attr-defined]  # a socket's, open by now
        if number + 1 < len(FRAMES) and not self._transport.is_closing():
            self._loop.call_later(0.001, self._drip, number + 1)


async def main(port_file: Path) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    waiting = port_file.with_suffix(".tmp")
    waiting.write_text(str(server.sockets[0].getsockname()[1]), encoding="ascii")
    waiting.rename(port_file)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1])))
