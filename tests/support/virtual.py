"""A whole run and the simulator in one process, over real sockets, in time that is moved by hand.

Both sides live on one event loop whose clock jumps to the next timer when nothing is to be done, so that ten minutes
pass in a second. It does not jump while another thread is at work, so a commit takes no time at all.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from uvicorn.server import ServerState

from batch.core.clock import TICK_S, HandClock
from batch.job.job import Job
from batch.job.options import RunOptions
from batch.ledger.writer import Ledger
from batch.run import command
from batch.run.command import Report, run
from batch.simulator.app import Simulator, create_app
from batch.simulator.clock import Clock as SimulatorClock
from batch.simulator.scenario import parse
from batch.simulator.server import Protocol, config_of
from batch.simulator.wire import LINE

PATIENCE_S = 0.0003
Down = Callable[[Any, Any, Any], Awaitable[None]]


class PatientClock(HandClock):
    """A hand clock whose loop waits for files and threads before it jumps."""

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return _PatientLoop(self)


class _PatientSelector(selectors.DefaultSelector):
    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(timeout)
        ready = super().select(0)
        while not ready and timeout > TICK_S and _threads_work():
            ready = super().select(PATIENCE_S)
        ready = ready or super().select(0)
        if not ready:
            self._clock.advance(max(TICK_S, timeout))  # never quite still: aiolimiter asks for a timer at this instant
        return ready


_ledgers: list[Ledger] = []
_limiters: list[anyio.CapacityLimiter] = []


class _SeenLedger(Ledger):
    """A ledger of which the clock knows whether something is being written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        _ledgers.append(self)


def _threads_work() -> bool:
    """Whether another thread has something in hand that the loop waits for."""
    writing = any((latest := ledger._queue.latest) is not None and not latest.done for ledger in _ledgers)
    return writing or any(limiter.borrowed_tokens for limiter in _limiters)


class _PatientLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: HandClock) -> None:
        super().__init__(_PatientSelector(clock))
        self._hand_clock = clock

    def time(self) -> float:
        return self._hand_clock.monotonic()


class World:
    """The provider of one virtual run, which can be taken away and given back."""

    def __init__(self, clock: HandClock, scenario: Mapping[str, Any]) -> None:
        self.clock = clock
        times = SimulatorClock(clock.monotonic, lambda: clock.now_us() / 1e6, asyncio.sleep)
        self.app: Simulator = create_app(parse(dict(scenario)), times)
        self.down: Down | None = None
        self.requests: list[tuple[float, bool]] = []
        """When each came, and whether it was served."""
        self.port = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests.append((self.clock.monotonic(), self.down is None))
        if self.down is None:
            await self.app(scope, receive, send)
        else:
            await self.down(scope, receive, send)

    async def serve(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        config = config_of(self)
        config.load()
        state = ServerState()
        server = await loop.create_server(lambda: Protocol(config, state, {}, loop), "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def served_between(self, start: float, end: float) -> int:
        return sum(good and start <= at < end for at, good in self.requests)

    def refused(self) -> int:
        return sum(not good for _, good in self.requests)


def answering(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> Down:
    """An app that gives everybody this one answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        size = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [size, *headers]})
        await send({"type": "http.response.body", "body": body})

    return app


async def resetting(scope: Any, receive: Any, send: Any) -> None:
    """An app that resets every connection."""
    line = scope["state"][LINE]
    line._protocol.transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
    )
    line._protocol.transport.abort()


def virtual(
    folder: Path,
    world: World,
    job: Callable[[int], str],
    environ: Mapping[str, str],
    script: Callable[[], Coroutine[Any, Any, None]] | None = None,
    *,
    options: RunOptions = RunOptions(),
) -> Report:
    """Run the job that `job(port)` writes against the world, with `script` beside it."""
    return beside([world], {folder: lambda ports: job(ports[0])}, environ, script, options=options)[0]


def beside(
    worlds: Sequence[World],
    jobs: Mapping[Path, Callable[[list[int]], str]],
    environ: Mapping[str, str],
    script: Callable[[], Coroutine[Any, Any, None]] | None = None,
    *,
    shards: Sequence[str] = (),
    options: RunOptions = RunOptions(),
) -> list[Report]:
    """Run several jobs at a time, each written by its function of the worlds' ports, with `script` beside them.

    With `shards`, each job is this part of what it says.
    """
    parts = dict(zip(jobs, shards, strict=True)) if shards else {}
    reports: dict[Path, Report] = {}
    clock = worlds[0].clock

    async def one(folder: Path) -> None:
        job = Job.load(folder, shard=parts.get(folder))
        reports[folder] = await run(job, options=options, environ=environ, clock=clock)

    async def main() -> None:
        _limiters.append(anyio.to_thread.current_default_thread_limiter())
        servers = [await world.serve() for world in worlds]
        async with anyio.create_task_group() as group:
            if script is not None:
                group.start_soon(script)
            async with anyio.create_task_group() as runs:
                for folder, job in jobs.items():
                    (folder / "job.toml").write_text(job([world.port for world in worlds]), encoding="utf-8")
                    runs.start_soon(one, folder)
            group.cancel_scope.cancel()
        for server in servers:
            server.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "Ledger", _SeenLedger)
        try:
            anyio.run(main, backend_options={"loop_factory": clock.new_loop})
        finally:
            _ledgers.clear()
            _limiters.clear()
    return [reports[folder] for folder in jobs]
