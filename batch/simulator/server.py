"""The process around the app: its socket, event loop and signals. Owns how the simulator starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from batch.simulator.app import Simulator, create_app
from batch.simulator.scenario import Scenario, load
from batch.simulator.wire import LINE, Line

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as _Http
except ImportError:  # slower, and everything the simulator promises still holds
    from uvicorn.protocols.http.h11_impl import H11Protocol as _Http  # type: ignore[assignment]  # either serves


class Protocol(_Http):
    """uvicorn's HTTP protocol, which also tells the app which connection it serves and when that is lost."""

    def __init__(self, config: uvicorn.Config, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        """Put the connection's line where ASGI hands state to the app."""
        self.line = Line(self)
        super().__init__(config, server_state, {**app_state, LINE: self.line}, _loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the line, whose place in flight is given back at this moment."""
        super().connection_lost(exc)
        self.line.connection_lost()


def config_of(app: Any, *, host: str = "127.0.0.1", port: int = 0, idle_close_s: int = 600) -> uvicorn.Config:
    """The uvicorn configuration that the app needs.

    Args:
        app: what `create_app` returned.
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        idle_close_s: seconds after which an idle connection is closed.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,  # answers carry a Date by the simulator's own clock
        timeout_keep_alive=idle_close_s,
        backlog=4096,
    )


class Server(uvicorn.Server):
    """A uvicorn server that says where it listens, stops at a signal with status 0, and does not wait for clients."""

    async def startup(self, sockets: Any = None) -> None:
        """Listen, then write the root URL to stdout: the one line this process ever writes there."""
        await super().startup(sockets)
        sys.stdout.write(f"{self.root_url}\n")
        sys.stdout.flush()

    @property
    def root_url(self) -> str:
        """Where it listens."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def shutdown(self, sockets: Any = None) -> None:  # noqa: ARG002 - uvicorn names it
        """Close every connection at once: whoever stops a simulator does not wait for its latencies."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        if isinstance(self.config.app, Simulator):
            self.config.app.provider.files.contents.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT, SIGTERM and SIGHUP without raising them again: being stopped is no failure.

        One that was ignored when the process was started (`nohup … &`) stays ignored.
        """
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


def serve(*, port: int = 0, scenario: Path | None = None, host: str = "127.0.0.1") -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP; writes one line, the root URL, to stdout once it accepts connections.

    Args:
        port: TCP port; 0 takes a free one.
        scenario: TOML file; without one there are no faults and no limits.
        host: address to listen on.

    Raises:
        ScenarioError: the scenario cannot be used.
        OSError: the address cannot be listened on.
    """
    chosen = Scenario() if scenario is None else load(scenario)
    config = config_of(create_app(chosen), host=host, port=port, idle_close_s=chosen.idle_close_s)
    with socket.create_server((host, port), backlog=config.backlog, reuse_port=False) as listener:
        Server(config).run(sockets=[listener])
