"""A viewer in this process: its own server on a real socket, in a thread, and a client of plain sockets."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from batch.report.figures.figures import Figures
from batch.report.viewer.server import HOST, make


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Viewing:
    """Asks a viewer.

    Attributes:
        address: as `promptmill view` prints it.
        port: where it listens.
        token: the secret in the address.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.port = urlsplit(address).port or 0
        self.token = urlsplit(address).path.strip("/")

    def ask(self, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
        """A request whose path is exactly this, which a library would tidy up."""
        line = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            line.putrequest(method, path, skip_host="Host" in (headers or {}), skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                line.putheader(name, value)
            line.endheaders()
            answer = line.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            line.close()

    def get(self, page: str) -> Answer:
        """What stands behind the token."""
        return self.ask(f"/{self.token}/{page}")

    def raw(self, request: bytes) -> socket.socket:
        """A connection over which these bytes were sent."""
        line = socket.create_connection((HOST, self.port), timeout=30)
        line.sendall(request)
        return line


@contextmanager
def viewing(*outs: Path, look_s: float = 0.02) -> Iterator[Viewing]:
    """A viewer over these folders."""
    ready = threading.Event()
    with socket.create_server((HOST, 0)) as listener:
        server, address = make(listener, [Figures(out) for out in outs], ready.set, look_s=look_s)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(30)
            yield Viewing(address)
        finally:
            server.should_exit = True
            thread.join(30)
