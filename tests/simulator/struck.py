"""What tests of faults share: the scenario's words, and an answer as the bytes it is."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulator.conftest import Sim

CHAT = "/api/paas/v4/chat/completions"
SUBMIT = "/api/paas/v4/async/chat/completions"
OPENAI_CHAT = "/v1/chat/completions"
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    },
}


def request(sim: Sim, path: str = CHAT, key: str = "a.b", asked: str = "hello") -> bytes:
    """A whole request."""
    body = json.dumps(sim.body(asked, "glm-4", {})).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def raw(sim: Sim, path: str = CHAT, key: str = "a.b") -> tuple[bytes, bool]:
    """All bytes of an answer, and whether the connection was reset (and not closed in peace)."""
    with socket.create_connection(("127.0.0.1", sim.port), timeout=30) as connection:
        connection.sendall(request(sim, path, key))
        return drained(connection)


def drained(connection: socket.socket) -> tuple[bytes, bool]:
    """What comes until the connection ends, and whether it ended with a reset."""
    read = b""
    try:
        while piece := connection.recv(65536):
            read += piece
    except ConnectionResetError:
        return read, True
    return read, False


def whole(sim: Sim, path: str = CHAT, key: str = "a.b") -> tuple[bytes, bytes]:
    """Head and body of an answer that comes whole, as bytes."""
    with socket.create_connection(("127.0.0.1", sim.port), timeout=30) as connection:
        connection.sendall(request(sim, path, key))
        read = b""
        while b"\r\n\r\n" not in read:
            read += connection.recv(65536)
        head, _, body = read.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
        return head, body


def fault(behaviour: int, **more: Any) -> str:
    """One `[[fault]]` of a scenario."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"behaviour": behaviour, **more}.items()]
    return "[[fault]]\n" + "\n".join(lines) + "\n"
