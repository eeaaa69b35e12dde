"""Servers for the simulator's tests: real ones, on real sockets, in threads of this process."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from batch.simulator.app import create_app
from batch.simulator.clock import Clock
from batch.simulator.scenario import parse
from batch.simulator.server import Server, config_of
from tests.support import leftovers

GLM = "/api/paas/v4"
OPENAI = "/v1"
HOUR_S = 3600.0
NO_WAIT = "[latency]\nchat_ms = [0, 0]\ntask_ms = [0, 0]\n"


class HandClock:
    """A clock that moves only when the test moves it; sleeping takes no time at all."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def move(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_795_000_000 + self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def as_clock(self) -> Clock:
        return Clock(self.monotonic, self.wall, self.sleep)


class Gate:
    """A clock that stands still: no answer with a latency comes, and no task ends, before the test lets it.

    It begins shut. Whenever it is opened, or lets answers pass, an hour goes by: the tasks that were made are done.

    Args:
        paced: answers take their time once it is open, instead of none.
    """

    def __init__(self, *, paced: bool = False) -> None:
        self._paced = paced
        self._open = threading.Event()
        self._passes = 0
        self._waiting: list[object] = []
        """Answers that wait, of all simulators with this gate; who has waited longest goes first."""
        self._turn = threading.Lock()
        self._now: tuple[float, float | None] = (time.monotonic(), None)
        """What the clock showed, and the real time since when it has gone on from there; None while it stands."""

    def open(self) -> None:
        """From now on every answer comes at once, and time goes by as it does."""
        self._now = (self.monotonic() + HOUR_S, time.monotonic())
        self._open.set()

    def shut(self) -> None:
        """From now on nothing comes any more."""
        self._now = (self.monotonic(), None)
        self._open.clear()

    def let_pass(self, answers: int) -> None:
        """So many answers more come, those that wait longest, and then none again; of tasks all come that were made."""
        at, since = self._now
        self._now = (at + HOUR_S, since)
        with self._turn:
            self._passes += answers

    def monotonic(self) -> float:
        at, since = self._now
        return at if since is None else at + time.monotonic() - since

    async def sleep(self, seconds: float) -> None:
        mine = object()
        with self._turn:
            self._waiting.append(mine)
        try:
            while not (self._open.is_set() or self._may_pass(mine)):  # noqa: ASYNC110 - another thread lets it
                await asyncio.sleep(0.005)
        finally:
            with self._turn:
                if mine in self._waiting:
                    self._waiting.remove(mine)
        if self._paced and self._open.is_set():
            await asyncio.sleep(seconds)

    def _may_pass(self, one: object) -> bool:
        with self._turn:
            if one not in self._waiting[: self._passes]:
                return False
            self._passes -= 1
            self._waiting.remove(one)
            return True

    def as_clock(self) -> Clock:
        return Clock(monotonic=self.monotonic, sleep=self.sleep)


class _ThreadServer(Server):
    """Tells when it listens, and stops the moment it is told to: hundreds of tests wait for that."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._stopped = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super(Server, self).startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.ready.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._stopped.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)


class Sim:
    """A running simulator and a client for it."""

    def __init__(self, scenario: str, clock: Clock | None) -> None:
        leftovers.not_in_fast_tests("a simulator")
        parsed = parse(tomllib.loads(scenario))
        self.app = create_app(parsed, clock)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._server = _ThreadServer(config_of(self.app, idle_close_s=parsed.idle_close_s))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self._thread.start()
        assert self._server.ready.wait(60)
        # No TLS here, and to load the certificates of the world takes longer than all the rest.
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30, verify=False)
        self.key = "reader.secret"

    def stop(self) -> None:
        self.http.close()
        self._server.stop()
        self._thread.join(20)
        self._listener.close()

    def post(self, path: str, body: Any, key: str | None = None, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, content=content, headers={"Authorization": f"Bearer {key or self.key}", **named})

    def glm(self, asked: Any = "hello", **more: Any) -> httpx.Response:
        return self.post(f"{GLM}/chat/completions", self.body(asked, "glm-4", more))

    def openai(self, asked: Any = "hello", **more: Any) -> httpx.Response:
        return self.post(f"{OPENAI}/chat/completions", self.body(asked, "gpt-5-mini", more), key="sk-reader")

    def submit(self, asked: Any = "hello", **more: Any) -> httpx.Response:
        return self.post(f"{GLM}/async/chat/completions", self.body(asked, "glm-4", more))

    def poll(self, task_id: str) -> httpx.Response:
        return self.http.get(f"{GLM}/async-result/{task_id}", headers={"Authorization": f"Bearer {self.key}"})

    @staticmethod
    def body(asked: Any, model: str, more: dict[str, Any]) -> dict[str, Any]:
        messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
        return {"model": model, "messages": messages, **more}

    def books(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/_sim/books").json()
        return found

    def judge(self, window: float = 60) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/_sim/judge", params={"window": window}).json()
        return found

    def requests(self) -> int:
        """How many chat and submit requests came, without asking for it over the socket."""
        return len(self.app.provider.judge._times)

    def faults(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/_sim/faults").json()
        return found

    def reset(self) -> None:
        assert self.http.post("/_sim/reset").status_code == 200

    def until_books(self, records: int) -> list[dict[str, Any]]:
        """The books once they hold that many records: what is served after a client left ends unseen."""
        deadline = time.monotonic() + 60
        while len(books := self.books()) < records:
            assert time.monotonic() < deadline, books
            time.sleep(0.005)
        return books


Start = Callable[..., Sim]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts simulators with the scenario a test writes, which has no latency unless it says so."""
    mine: list[Sim] = []

    def begin(scenario: str = "", clock: HandClock | Gate | None = None) -> Sim:
        text = scenario if "[latency]" in scenario else f"{scenario}\n{NO_WAIT}"
        sim = Sim(text, None if clock is None else clock.as_clock())
        mine.append(sim)
        return sim

    yield begin
    for sim in mine:
        sim.stop()


@pytest.fixture
def sim(start: Start) -> Sim:
    """A simulator without latency, limits and faults."""
    return start()


@pytest.fixture
def clock() -> HandClock:
    """A clock moved by hand."""
    return HandClock()


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, as the server does."""
    return "asyncio"
