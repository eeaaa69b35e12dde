"""A worker as an actor of Ray: the far end of the seam, on whatever node Ray has put it.

Ray knows calls and no lines, so a line is made of calls: the core calls `trade` again and again, and each call brings
what the core has to say and takes back what the worker has. A call that finds nothing to take waits here for it, so the
worker is never without one for long; of those that wait at most two are kept.

Owns the order of what comes (Ray promises none), the time of the core as it is known here, and the keys, which are
found on this machine and masked here in what comes back: those of another machine may be others. What is said is
`messages`', what is done about it is `fleet.worker`'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from batch.core import redaction
from batch.core.clock import Clock
from batch.run.fleet import messages
from batch.run.fleet.answers import without_keys
from batch.run.fleet.worker import FarEnd
from batch.run.ray.coretime import CoreTime
from batch.run.ray.keys import node_keys

KEPT: Final = 2
"""Calls that wait here for something to take along."""

Trade = tuple[int, list[bytes], int, float]
"""What a call brings: its number, messages, and the number of the last answer that came, with the core's time then."""
Answer = tuple[int, list[bytes]]
"""What it takes back: a number, and messages."""


class Key(Protocol):
    """A key of this machine, as far as a line needs it; see `keys.NodeKey`."""

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The header that has it."""

    def renew(self, times: int) -> None:
        """Find it anew, unless that was done so often."""


class FarCalls:
    """The line to the core, made of calls: see `transport.FarLine`.

    Args:
        time: the core's clock, as it is known here.
        find_keys: makes the keys, by the names of their addresses, from the first message.
    """

    def __init__(self, time: CoreTime, find_keys: Callable[[messages.Hello], Mapping[str, Key]] = node_keys) -> None:
        self.core_now = time.most
        self._time = time
        self._find_keys = find_keys
        self._keys: Mapping[str, Key] = {}
        self._received: Callable[[messages.ToWorker], None] | None = None
        self._next = 1
        self._early: dict[int, list[bytes]] = {}
        """Of calls that came before an earlier one."""
        self._to_say: list[bytes] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._answers = 0
        self._closed = False

    async def open(self, received: Callable[[messages.ToWorker], None], _: Callable[[], None]) -> None:
        """Take what has come already, and what will; when the core is gone, Ray ends the whole process."""
        self._received = received
        self._deliver()

    async def trade(self, trade: Trade) -> Answer:
        """One call of the core.

        Args:
            trade: what it brings.
        """
        number, frames, heard, heard_at = trade
        self._time.came(heard, heard_at)
        self._early[number] = frames
        self._deliver()
        if not self._to_say and not self._closed:
            while len(self._waiting) >= KEPT:
                self._let_go()
            mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(mine)
            await mine
        said, self._to_say = self._to_say, []
        self._answers += 1
        self._time.said(self._answers)
        return self._answers, said

    def _deliver(self) -> None:
        while self._received is not None and (frames := self._early.pop(self._next, None)) is not None:
            self._next += 1
            for frame in frames:
                message = messages.for_worker(frame)
                if isinstance(message, messages.Hello):
                    self._keys = self._find_keys(message)
                elif isinstance(message, messages.Take):
                    for name, times in message.keys.items():
                        self._keys[name].renew(times)
                self._received(message)

    def _let_go(self) -> None:
        """Have the call that waited longest go back."""
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(None)
                return

    def send(self, message: messages.ToCore) -> None:
        """Send one message with the call that waits, or with the next one; without the keys of this machine in it."""
        said = messages.encode_keyless(message)
        if isinstance(message, messages.Report) and not redaction.process.spares_bytes(said):
            said = messages.encode_keyless(without_keys(message))
        self._to_say.append(said)
        self._let_go()

    def close(self) -> None:
        """Have all calls go back: nothing more is said."""
        self._closed = True
        while self._waiting:
            self._let_go()

    def headers(self, errand: messages.Errand) -> tuple[tuple[str, str], ...]:
        """Those of the errand, and its key, as it is on this machine; where the service wants none, it has none."""
        key = self._keys.get(errand.key)
        return errand.headers if key is None else (*errand.headers, *key.headers())


class PromptmillWorker:
    """What Ray makes an actor of, under a name that people see in its tools; a new one for each worker."""

    def __init__(self) -> None:
        self._line = FarCalls(CoreTime())
        self._far = FarEnd(Clock(), self._line)

    async def work(self) -> None:
        """Be a worker until the core has told it to leave."""
        await self._far.work()

    async def trade(self, trade: Trade) -> Answer:
        """One call of the core; see `FarCalls`."""
        return await self._line.trade(trade)
