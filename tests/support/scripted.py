"""A provider that a test writes itself: one function from a request to an answer, over a real socket."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

PAGE = b"<!DOCTYPE html><html><body><h1>Forbidden</h1></body></html>"


class Asked(NamedTuple):
    """One request; `n` is the number in its last user message, -1 for a poll."""

    n: int
    times: int
    """How often this row asked before."""
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Answer = tuple[int, dict[str, str], bytes]
Script = Callable[[Asked], Answer]


@dataclass
class Scripted:
    """A server at work; `seen` are its requests in the order they came."""

    script: Script
    port: int = 0
    seen: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, headers: dict[str, str], raw: bytes) -> Answer:
        body = json.loads(raw) if raw else {}
        said = [m["content"] for m in body.get("messages", ()) if m["role"] == "user"]
        numbers = re.findall(r"number (\d+)", said[-1]) if said else []
        n = int(numbers[-1]) if numbers else -1
        asked = Asked(n, sum(other.n == n for other in self.seen), path, headers, body)
        self.seen.append(asked)
        return self.script(asked)


def reply(content: str | None = "fine", finish: str | None = "stop", **more: Any) -> Answer:
    """A chat completion; `more` are members of the document, `message` and `choice` of what is inside."""
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    choice = {"index": 0, "finish_reason": finish, "message": message, **more.pop("choice", {})}
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    return told({"id": "x", "choices": [choice], "usage": usage, **more})


def told(document: Any, status: int = 200) -> Answer:
    """Any JSON."""
    return status, {"Content-Type": "application/json"}, json.dumps(document).encode()


def page(status: int = 200, **headers: str) -> Answer:
    """A web page, as firewalls and other sites show it."""
    return status, {"Content-Type": "text/html; charset=utf-8", **headers}, PAGE


@contextmanager
def scripted(script: Script, *, hold: Callable[[Asked], object] | None = None) -> Iterator[Scripted]:
    """Serve until the block is left; every thread has ended then.

    Args:
        script: the answer to a request; one request at a time.
        hold: returns when the answer to a request may leave; for all requests at once.
    """
    server = Scripted(script)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                status, more, body = server.answer(self.path, headers, raw)
                asked = server.seen[-1]
            if hold is not None:
                hold(asked)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
