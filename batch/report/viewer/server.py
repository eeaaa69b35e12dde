"""The process of `promptmill view`: it listens on this machine alone, and ends when it is told to.

Owns the listening socket and how the server ends: at once, because pages that wait for events never would.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import uvicorn

from batch.report.figures.figures import Figures
from batch.report.viewer.app import Viewer
from batch.report.viewer.guard import Guard, new_token

HOST: Final = "127.0.0.1"
_LAST_S: Final = 1.0
_CONNECTIONS: Final = 256
"""More than a few browsers open; whoever comes then is told to come later."""


class Server(uvicorn.Server):
    """A uvicorn server that stops at a signal with status 0, and does not wait for pages that listen for events.

    Args:
        config: of uvicorn.
        started: called once it accepts connections.
    """

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: Any = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._started()

    async def shutdown(self, sockets: Any = None) -> None:  # noqa: ARG002 - uvicorn names it
        """Close every connection at once, and give what was being answered a moment to see it."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_LAST_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT, SIGTERM and SIGHUP without raising them again; one that was ignored stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        heard = [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]
        earlier = {number: signal.signal(number, self.handle_exit) for number in heard}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)


def make(
    listener: socket.socket, folders: Sequence[Figures], started: Callable[[], None], *, look_s: float | None = None
) -> tuple[Server, str]:
    """A server over a socket that listens, and the address under which it answers.

    Args:
        listener: bound to this machine.
        folders: the figures of the output folders to show.
        started: called once it accepts connections.
        look_s: seconds between two looks for changes; as is usual by default.
    """
    token = new_token()
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        Guard(Viewer(folders, look_s).app, token, lambda: port),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=30,
    )
    return Server(config, started), f"http://{HOST}:{port}/{token}/"


def serve(folders: Sequence[Figures], told: Callable[[str], None], *, port: int = 0) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP.

    Args:
        folders: the figures of the output folders to show.
        told: is given the address once it answers.
        port: on this machine; 0 takes a free one.

    Raises:
        OSError: the port cannot be listened on.
    """
    with socket.create_server((HOST, port), reuse_port=False) as listener:
        server, address = make(listener, folders, lambda: told(address))
        server.run(sockets=[listener])
