"""A server of threads and plain sockets: it answers and closes when the test says, whatever an event loop is doing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Counts:
    """What a server saw."""

    connections = 0
    requests = 0


@contextmanager
def serving(serve: Callable[[socket.socket, Counts], None]) -> Iterator[tuple[str, Counts]]:
    """A server of threads and plain sockets, so that it closes when it wants to and not when an event loop does."""
    counts = Counts()
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def one(line: socket.socket) -> None:
        with line, suppress(OSError):
            serve(line, counts)

    def accept() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            counts.connections += 1
            threading.Thread(target=one, args=(line,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", counts
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def asked(line: socket.socket, counts: Counts) -> bool:
    """Read one request; False at the end of the connection."""
    data = b""
    while not _whole(data):
        piece = line.recv(65536)
        if not piece:
            return False
        data += piece
    counts.requests += 1
    return True


def _whole(data: bytes) -> bool:
    """Whether the head and all of the body that it announces have come."""
    head, end, body = data.partition(b"\r\n\r\n")
    sizes = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return bool(end) and len(body) >= int(sizes[0] if sizes else 0)
