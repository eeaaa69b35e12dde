"""Workers of a fleet that live in the event loop of the test, so that a whole run with them fits into time moved by hand.

They are the far ends that worker processes have, over the sockets that these have. What is between them and the core may
be held up, as on a machine that is busy.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from batch.core.clock import Clock
from batch.run.fleet import messages
from batch.run.fleet.line import FarSocket, Line
from batch.run.fleet.worker import FarEnd


class HeldUp(FarSocket):
    """The far end of a line on which messages of the core take as long as the test says.

    Args:
        end: of the pair of sockets.
        clock: of the core.
        delay_s: says it, at the moment when a message comes.
    """

    def __init__(self, end: socket.socket, clock: Clock, delay_s: Callable[[], float]) -> None:
        super().__init__(end, clock)
        self._delay_s = delay_s

    async def open(self, received: Callable[[messages.ToWorker], None], ended: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        await super().open(lambda message: _later(loop, self._delay_s(), received, message), ended)


def _later(loop: asyncio.AbstractEventLoop, seconds: float, received: Callable[[Any], None], message: Any) -> None:
    loop.call_later(seconds, received, message)


class NearWorker:
    """A worker without a process of its own; see `transport.Started`.

    Args:
        clock: of the core.
        delay_s: how long what the core says takes to come.
    """

    def __init__(self, clock: Clock, delay_s: Callable[[], float]) -> None:
        self._end, theirs = socket.socketpair()
        self._line: Line | None = None
        self._far = asyncio.get_running_loop().create_task(FarEnd(clock, HeldUp(theirs, clock, delay_s)).work())

    async def open(self, received: Callable[[messages.ToCore], None], ended: Callable[[], None]) -> None:
        self._line = Line(lambda message: received(messages.for_core(message)), ended)
        await self._line.open(self._end)

    def send(self, message: messages.ToWorker) -> None:
        if self._line is not None:
            self._line.send(messages.encode(message))

    def abort(self) -> None:
        if self._line is not None:
            self._line.abort()

    def how_it_ended(self) -> str:
        return "was ended"

    def end(self) -> None: ...
