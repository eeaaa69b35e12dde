"""A raw server that answers every POST with one fixed chat reply: the fastest provider there can be, for measuring us.

No routing, no parsing of bodies, no latency. Run as `python scripts/bench_stub.py PORT_FILE`; ends with its parent.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

BODY = (
    b'{"choices":[{"finish_reason":"stop","index":0,"message":{"content":"'
    + b"A short answer of a usual length. " * 8
    + b'","role":"assistant"}}],"created":1705933810,"id":"20250903175252238af0243ae54afb","model":"glm-4",'
    b'"request_id":"20250903175252238af0243ae54afb","usage":{"completion_tokens":64,"prompt_tokens":120,'
    b'"total_tokens":184,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}'
)
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Stub(asyncio.Protocol):
    """One connection: answers when the announced body is complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
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
            self._transport.write(REPLY)  # type: ignore[attr-defined]


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
