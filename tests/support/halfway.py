"""A network that fails on the way to an HTTP server: answers that get lost, refusals, headers that do not arrive."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class Halfway:
    """What becomes of the requests that pass; by default nothing.

    Attributes:
        lose: how many answers to writes are still lost, after the server has done what was asked.
        refuse: how many requests are still answered with 503, unseen by the server.
        no_store: whether every request is answered with 404, as by a web server that is no object store.
        held: set to have requests wait for an answer, until `released` is set.
        without_conditions: whether a write is said to be taken although its condition did not hold.
    """

    def __init__(self) -> None:
        self.url = ""
        self.lose = 0
        self.refuse = 0
        self.no_store = False
        self.without_conditions = False
        self.held, self.released = threading.Event(), threading.Event()
        self.passed: list[str] = []


@contextlib.contextmanager
def halfway(url: str) -> Iterator[Halfway]:
    """A server of this process that hands every request on to another one."""
    way, target = Halfway(), urlsplit(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            way.passed.append(f"{self.command} {self.path}")
            self.close_connection = True
            if way.held.is_set():
                way.released.wait()
            if way.refuse:
                way.refuse -= 1
                self._answer(503, b"<Error><Code>SlowDown</Code></Error>", {})
                return
            if way.no_store:
                self._answer(404, b"<html>not here</html>", {})
                return
            headers = dict(self.headers.items())
            there = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
            with contextlib.closing(there):
                there.request(self.command, self.path, body, headers)
                answer = there.getresponse()
                data = answer.read()
            if answer.status == HTTPStatus.PRECONDITION_FAILED and way.without_conditions:
                self._answer(HTTPStatus.OK, b"", {"ETag": '"taken"'})
                return
            if self.command == "PUT" and way.lose:
                way.lose -= 1
                return  # and the connection is closed
            self._answer(answer.status, data, dict(answer.getheaders()))

        def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            dropped = {"content-length", "transfer-encoding", "connection", "date", "server"}
            for name, value in headers.items():
                if name.lower() not in dropped:
                    self.send_header(name, value)
            size = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", size)
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    for method in ("GET", "PUT", "HEAD", "DELETE", "POST"):
        setattr(Handler, f"do_{method}", Handler._pass)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        way.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="halfway")
        thread.start()
        try:
            yield way
        finally:
            way.released.set()
            server.shutdown()
            thread.join()
