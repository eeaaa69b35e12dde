"""The far ends of workers that say what a test says, over the lines of each kind of fleet.

A test of the core's side is written once, and runs over sockets and over calls to actors.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Protocol

from batch.core.clock import HandClock
from batch.run.fleet import messages
from batch.run.fleet.line import FarSocket, Line
from batch.run.fleet.transport import FarLine
from batch.run.ray.actor import Answer, FarCalls, Trade
from batch.run.ray.calls import ActorWorker
from batch.run.ray.coretime import CoreTime

Received = Callable[[messages.ToCore], None]


class Kind(Protocol):
    """A worker as the core has it (`transport.Started`), with its other end."""

    @property
    def far(self) -> FarLine: ...
    @property
    def was_ended(self) -> bool: ...
    async def open(self, received: Received, ended: Callable[[], None]) -> None: ...
    def send(self, message: messages.ToWorker) -> None: ...
    def abort(self) -> None: ...
    def how_it_ended(self) -> str: ...
    def end(self) -> None: ...
    def die(self) -> None: ...


class OverSocket:
    """A worker at the other end of a pair of sockets."""

    def __init__(self, clock: HandClock) -> None:
        self._near, theirs = socket.socketpair()
        self.far = FarSocket(theirs, clock)
        self.was_ended = False
        self._line: Line | None = None

    async def open(self, received: Received, ended: Callable[[], None]) -> None:
        self._line = Line(lambda message: received(messages.for_core(message)), ended)
        await self._line.open(self._near)

    def send(self, message: messages.ToWorker) -> None:
        if self._line is not None:
            self._line.send(messages.encode(message))

    def abort(self) -> None:
        if self._line is not None:
            self._line.abort()

    def how_it_ended(self) -> str:
        return "was ended by SIGKILL"

    def end(self) -> None:
        self.was_ended = True
        self.far.close()

    def die(self) -> None:
        self.far.close()


class Ended(Exception):
    """What Ray says of a call to an actor that is dead."""


def elsewhere(settle: Callable[[Any], None], value: object) -> None:
    """Settle a future as a thread does that has never seen an event loop."""
    contextvars.Context().run(settle, value)


class HandActor:
    """An actor in this process, as `calls.Handle` sees one; its calls run as tasks of this loop.

    What came of them is told as Ray tells it: by a thread that knows nothing of the loop.

    Args:
        far: its end of the line.
    """

    def __init__(self, far: FarCalls) -> None:
        self._far = far
        self._calls: dict[asyncio.Task[Any], Future[Any]] = {}
        self._work: Future[None] = Future()
        self.dead = self.was_ended = False

    def work(self) -> Future[None]:
        return self._work

    def leaves(self) -> None:
        """Its work is done."""
        self._far.close()
        elsewhere(self._work.set_result, None)

    def trade(self, trade: Trade) -> Future[Answer]:
        future: Future[Answer] = Future()
        if self.dead:
            future.set_exception(Ended("was ended by SIGKILL"))
        else:
            self._start(self._far.trade(trade), future)
        return future

    def _start(self, call: Coroutine[Any, Any, Answer], future: Future[Answer]) -> None:
        task = asyncio.get_running_loop().create_task(call)
        self._calls[task] = future
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        future = self._calls.pop(task)
        if not future.done() and not task.cancelled():
            if (error := task.exception()) is not None:
                elsewhere(future.set_exception, error)
            else:
                elsewhere(future.set_result, task.result())

    def die(self) -> None:
        """Every call to it fails, as when its process is killed."""
        self.dead = True
        for task, future in list(self._calls.items()):
            elsewhere(future.set_exception, Ended("was ended by SIGKILL"))
            task.cancel()
        if not self._work.done():
            elsewhere(self._work.set_exception, Ended("was ended by SIGKILL"))

    def end(self) -> None:
        self.was_ended = True
        if not self.dead:
            self.die()


class OverCalls(ActorWorker):
    """A worker on the other side of calls to an actor."""

    def __init__(self, clock: HandClock) -> None:
        self.far = FarCalls(CoreTime(clock.monotonic), find_keys=lambda _: {"": NoKey()})
        self.actor = HandActor(self.far)
        super().__init__(self.actor, {"": messages.KeyPlace("SOME_KEY")}, clock)

    @property
    def was_ended(self) -> bool:
        return self.actor.was_ended

    def die(self) -> None:
        self.actor.die()


class NoKey:
    """A service that wants none."""

    def headers(self) -> tuple[tuple[str, str], ...]:
        return ()

    def renew(self, times: int) -> None: ...
