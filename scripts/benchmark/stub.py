"""A raw server that answers with one fixed reply: the fastest provider there can be, for measuring clients.

No parsing of bodies. The first part of the path says how it answers: `/now/` at once, `/late/200/` after so many
milliseconds, `/short/` with 200 bytes of text, `/stream/` a stream of 200 chunks in one piece, `/drip/` a chunk every
millisecond, `/tasks/` GLM tasks that are done at once, `/slow/` tasks of 10 to 30 s, log-normal. `/_seen` tells when
requests came, `/_count` only how many and when the first did, `/_reset` forgets them.

Run as `python stub.py PORT_FILE [CERTIFICATE KEY]`, the last two for TLS; ended by its parent.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import ssl
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = 200
TASK_S = (10.0, 30.0)


def reply(text: bytes, more: bytes = b"") -> bytes:
    """A whole answer with this text; 120 + 64 tokens."""
    body = (
        b'{"choices":[{"finish_reason":"stop","index":0,"message":{"content":"' + text + b'","role":"assistant"}}],'
        b'"created":1705933810,"id":"20250903175252238af0243ae54afb","model":"glm-4",' + more +
        b'"request_id":"20250903175252238af0243ae54afb","usage":{"completion_tokens":64,"prompt_tokens":120,'
        b'"total_tokens":184,"prompt_tokens_details":{"cached_tokens":0},'
        b'"completion_tokens_details":{"reasoning_tokens":0}}}'
    )  # fmt: skip
    return JSON_HEAD % (len(body), body)


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


WHOLE = reply(b"A short answer of a usual length. " * 8)
SHORT = reply(b"x" * 200)
DONE = reply(b"A short answer of a usual length. " * 8, b'"task_status":"SUCCESS",')
FRAMES = list(frames())
STREAM = STREAM_HEAD + b"".join(FRAMES)


class Seen:
    """When requests came, and what became of the tasks; of one process, so there is one."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.posts = array("d")
        self.polls = 0
        self.tasks: dict[int, tuple[float, float]] = {}
        """When each was made and how long it takes, of those that nobody has collected."""
        self.waits: list[tuple[float, float]] = []
        """How long each collected one took, and after how long it was collected."""

    def counted(self) -> bytes:
        """How many requests came, and when the first one did, as JSON."""
        body = json.dumps({"posts": len(self.posts), "first": self.posts[0] if self.posts else None}).encode()
        return JSON_HEAD % (len(body), body)

    def told(self) -> bytes:
        """All of it, as JSON."""
        said = {"posts": list(self.posts), "polls": self.polls, "waits": self.waits}
        body = json.dumps(said).encode()
        return JSON_HEAD % (len(body), body)


SEEN = Seen()


class Stub(asyncio.Protocol):
    """One connection: answers when the announced body is complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._loop = asyncio.get_running_loop()
        self._transport: Any = transport
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
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        """One request, by the first part of its path."""
        method, path, _ = head.split(b" ", 2)
        kind = path.split(b"/", 2)[1]
        if kind.startswith(b"_"):
            if kind == b"_reset":
                SEEN.forget()
            self._transport.write(SEEN.counted() if kind == b"_count" else SEEN.told())
        elif method == b"get":
            self._poll(path)
        else:
            SEEN.posts.append(time.time())
            self._post(kind, path)

    def _post(self, kind: bytes, path: bytes) -> None:
        if kind == b"late":
            self._loop.call_later(int(path.split(b"/", 3)[2]) / 1000, self._transport.write, WHOLE)
        elif kind == b"drip":
            self._transport.write(STREAM_HEAD)
            self._drip(0)
        elif kind in (b"tasks", b"slow"):
            self._begin(kind)
        else:
            self._transport.write({b"stream": STREAM, b"short": SHORT}.get(kind, WHOLE))

    def _begin(self, kind: bytes) -> None:
        """Make a task."""
        number = len(SEEN.posts)
        if kind == b"slow":
            middle = math.log(math.sqrt(TASK_S[0] * TASK_S[1]))
            SEEN.tasks[number] = (time.time(), min(max(random.lognormvariate(middle, 0.28), TASK_S[0]), TASK_S[1]))
        body = b'{"id":"%d","model":"glm-4","request_id":"%d","task_status":"PROCESSING"}' % (number, number)
        self._transport.write(JSON_HEAD % (len(body), body))

    def _poll(self, path: bytes) -> None:
        """Whether a task is done."""
        SEEN.polls += 1
        number = int(path.rsplit(b"/", 1)[1])
        made, takes = SEEN.tasks.get(number, (0.0, 0.0))
        if (waited := time.time() - made) < takes:
            body = b'{"id":"%d","model":"glm-4","request_id":"%d","task_status":"PROCESSING"}' % (number, number)
            self._transport.write(JSON_HEAD % (len(body), body))
            return
        if SEEN.tasks.pop(number, None):
            SEEN.waits.append((takes, waited))
        self._transport.write(DONE)

    def _drip(self, number: int) -> None:
        """Write one frame every millisecond; a stream of this kind takes 0.2 s at least."""
        self._transport.write(FRAMES[number])
        if number + 1 < len(FRAMES) and not self._transport.is_closing():
            self._loop.call_later(0.001, self._drip, number + 1)


async def main(port_file: Path, *certificate: str) -> None:
    """Serve until the process is ended."""
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0, ssl=tls, backlog=4096)
    waiting = port_file.with_suffix(".tmp")
    waiting.write_text(str(server.sockets[0].getsockname()[1]), encoding="ascii")
    waiting.rename(port_file)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1]), *sys.argv[2:]))
