"""A network that fails on the way to an HTTP server: answers that get lost, refusals, headers that do not arrive."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class Halfway:
    """What becomes of the requests that pass; by default nothing.

    Attributes:
        lose: how many answers to writes are still lost, after the server has done what was asked.
        refuse: how many requests are still answered with 503, unseen by the server.
        conflict: how many writes are still answered with 409, unseen by the server, as if another one were under way.
        no_store: whether every request is answered with 404, as by a web server that is no object store.
        held: set to have requests wait for an answer, until `released` is set.
        without_conditions: whether a write is said to be taken although its condition did not hold.
        writes_json: whether a write by the XML API of Google is handed on as one by its JSON API.
    """

    def __init__(self) -> None:
        self.url = ""
        self.lose = 0
        self.refuse = 0
        self.conflict = 0
        self.no_store = False
        self.without_conditions = False
        self.held, self.released = threading.Event(), threading.Event()
        self.writes_json = False
        self.passed: list[str] = []


def _as_json(path: str, body: bytes, headers: dict[str, str]) -> tuple[str, str, bytes, dict[str, str]]:
    """A write of an object by the XML API of Google, as the same one by its JSON API."""
    bucket, _, name = path.lstrip("/").partition("/")
    line, kind = "promptmill-tests", "application/octet-stream"
    meta = json.dumps({"name": unquote(name)}).encode()
    parts = (b"Content-Type: application/json\r\n\r\n" + meta, f"Content-Type: {kind}\r\n\r\n".encode() + body)
    whole = b"".join(f"--{line}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{line}--\r\n".encode()
    given = {key.lower(): value for key, value in headers.items()}
    condition = given.get("x-goog-if-generation-match")
    asked = "uploadType=multipart" + ("" if condition is None else f"&ifGenerationMatch={condition}")
    return (
        "POST",
        f"/upload/storage/v1/b/{bucket}/o?{asked}",
        whole,
        {"Content-Type": f"multipart/related; boundary={line}"},
    )


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
            if self.command == "PUT" and way.conflict:
                way.conflict -= 1
                self._answer(409, b"<Error><Code>ConditionalRequestConflict</Code></Error>", {})
                return
            if way.no_store:
                self._answer(404, b"<html>not here</html>", {})
                return
            headers = dict(self.headers.items())
            command, path = self.command, self.path
            if way.writes_json:
                # It lists buckets under its own name alone.
                headers = {name: value for name, value in headers.items() if name.lower() != "host"}
            if command == "PUT" and way.writes_json:
                command, path, body, headers = _as_json(path, body, headers)
            there = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
            with contextlib.closing(there):
                there.request(command, path, body, headers)
                answer = there.getresponse()
                data, headers = answer.read(), dict(answer.getheaders())
            if command != self.command and answer.status == HTTPStatus.OK:
                made = json.loads(data)
                data, headers = b"", {"ETag": f'"{made["etag"]}"', "x-goog-generation": made["generation"]}
            if answer.status == HTTPStatus.PRECONDITION_FAILED and way.without_conditions:
                self._answer(HTTPStatus.OK, b"", {"ETag": '"taken"'})
                return
            if self.command == "PUT" and way.lose:
                way.lose -= 1
                return  # and the connection is closed
            self._answer(answer.status, data, headers)

        def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            dropped = {"content-length", "transfer-encoding", "connection", "date", "server"}
            for name, value in headers.items():
                if name.lower() not in dropped:
                    self.send_header(name, value)
            told = {name.lower(): value for name, value in headers.items()}.get("content-length", "0")
            size = told if self.command == "HEAD" else str(len(data))
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
