"""The workers of one run, as the core sees them: who there is, who gets which errand, and who is lost.

Owns when workers begin and end, and every errand that somebody waits for: each is answered, or raises `WorkerLost`, on
every path. What an answer means, and what follows from a loss, it does not know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import count
from typing import Any, Final

import anyio
import msgspec
from anyio import to_thread
from anyio.abc import TaskGroup

from batch.core.clock import Clock
from batch.core.errors import WireError
from batch.core.logs import logger
from batch.core.records import Incoming, Outgoing
from batch.run.fleet import messages
from batch.run.fleet.answers import answer_of, found_in, stream_of
from batch.run.fleet.member import Member
from batch.run.fleet.process import WorkerProcess
from batch.run.fleet.transport import Begin
from batch.run.fleet.worker import VALID_S
from batch.submit.results import ENDED
from batch.submit.retry import NOT_TAKEN

SILENT_S: Final = 5.0
"""A worker that says nothing for so long is over."""
QUIET_S: Final = 2.0
"""One that says nothing for so long gets errands only when all others are as quiet."""
LAST: Final = 1 << 30  # more than anybody has to do
LOOK_S: Final = 0.5
LATE_LOOK_S: Final = 1.0
"""When the core itself looks so much too late, it was stopped, and knows nothing of how long others were silent."""
STARTS: Final = 5
"""Workers in a row that ended without one answer; then there is no further one."""
START_S: Final = 60.0
"""How long a process may take until it is ready; on a machine that is busy, loading takes its time."""


class WorkerLost(WireError):
    """The worker that had an errand is gone; the request may have left.

    Attributes:
        ticket: of the errand.
    """

    def __init__(self, ticket: int, how: str) -> None:
        super().__init__(f"the worker process that made this call {how}", kind="transport", sent=True, code=ENDED)
        self.ticket = ticket


class NotTaken(WireError):
    """No worker took an errand in time: nothing was sent, and the limits are asked again."""

    def __init__(self) -> None:
        text = "no worker process was there in time to send it"
        super().__init__(text, kind="transport", sent=False, code=NOT_TAKEN)


class Crew:
    """The workers of one run. Start it with `run`, as a task of its own; errands wait until somebody is ready.

    Args:
        size: how many workers there are to be.
        hello: what each of them works with.
        clock: for all times.
        late: called with what a worker reports whose epoch is over.
        begin: starts a worker.
    """

    def __init__(
        self,
        size: int,
        hello: messages.Hello,
        *,
        clock: Clock,
        late: Callable[[messages.Found], None] = lambda _: None,
        begin: Begin = WorkerProcess,
    ) -> None:
        self._size = size
        self._hello = hello
        self._clock = clock
        self._late = late
        self._begin = begin
        self._epochs = count(1)
        self._tickets = count(1)
        self.members: list[Member] = []
        """Those that get errands, and those that are to be."""
        self._former: list[Member] = []
        """Those whose epoch is over and whose process may still run."""
        self._fruitless = 0
        """Workers that ended without an answer since the last answer."""
        self.given_up = False
        """Workers end as fast as they are started: the core makes the exchanges itself from now on."""
        self._someone = anyio.Event()
        self._group: TaskGroup | None = None
        self.longest_s = 0.0
        """How long the longest exchange took that was answered."""

    # -- errands ------------------------------------------------------------------------------------------------------

    async def carry(
        self, outgoing: Outgoing, base_url: str, streamed: Callable[[messages.StreamEnd], None] | None = None
    ) -> Incoming:
        """Have one request sent that the limits have let go just now, and return its whole answer.

        Args:
            outgoing: the request.
            base_url: where it goes.
            streamed: is told what a stream came to; None where the answer does not come in pieces.

        Raises:
            WireError: there is no whole answer, or no worker sent it in time; `WorkerLost` when its worker is gone.
        """
        departed_at = self._clock.monotonic()
        member = self._freest(departed_at)
        if member is None:
            with anyio.move_on_after(VALID_S):
                await self._someone.wait()
            if (member := self._freest(departed_at)) is None:
                raise NotTaken
        ticket = next(self._tickets)
        path, headers, body, asks = outgoing.path, outgoing.headers, outgoing.body, outgoing.asks
        errand = messages.Errand(ticket, departed_at, base_url, path, headers, body, streamed is not None, asks)
        if body is None:
            member.polls.add(ticket)
        try:
            found = await member.give(errand)
        except anyio.get_cancelled_exc_class():
            member.take_back(ticket)
            raise
        finally:
            member.polls.discard(ticket)
        if streamed is not None and (end := stream_of(found)) is not None:
            streamed(end)
        incoming = answer_of(found)
        if (took_s := self._clock.monotonic() - departed_at) > self.longest_s:
            self.longest_s = took_s
        if not member.answered:
            member.answered, self._fruitless = True, 0
        return incoming

    def _freest(self, now: float) -> Member | None:
        """The worker that has the least to do, of those that are there and, if possible, get their errands in time."""
        best: Member | None = None
        least = math.inf
        for member in self.members:
            if member.ready:
                load = len(member.waiting)
                if now < member.avoided_until or now - member.heard_at > QUIET_S:
                    load += LAST
                if load < least:
                    best, least = member, load
        return best

    def _told(self, member: Member, message: messages.ToCore) -> None:
        member.heard_at = now = self._clock.monotonic()
        if isinstance(message, messages.Alive):
            if not member.ready and not member.over:
                member.ready = True
                self._someone.set()
            return
        member.heard(message, now)
        for found in found_in(message):
            if (waiter := member.waiting.pop(found.ticket, None)) is not None:
                if not waiter.done():
                    waiter.set_result(found)
            elif found.ticket in member.lost:
                member.lost.discard(found.ticket)
                self.start(self._tell_late, found)
        for ticket in message.stale:
            waiter = member.waiting.pop(ticket, None)
            if waiter is not None and not waiter.done():
                waiter.set_exception(NotTaken())
            elif ticket in member.lost:
                member.lost.discard(ticket)
                self.start(self._tell_late, messages.Done(ticket))

    async def _tell_late(self, found: messages.Found) -> None:
        """In a task: behind whoever was just told that it is lost, and a bug in it ends the run."""
        self._late(found)

    # -- workers ------------------------------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Wait until the first worker is there, or there will be none."""
        await self._someone.wait()

    def start(self, work: Callable[..., Coroutine[Any, Any, None]], *values: object) -> None:
        """Do something beside; it is cancelled with the crew.

        Args:
            work: what to do.
            values: its arguments.
        """
        if self._group is not None:
            self._group.start_soon(work, *values)

    async def run(self) -> None:
        """Keep as many workers as there are to be; runs until cancelled, and then ends them all."""
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                group.start_soon(self._look)
                for _ in range(self._size):
                    group.start_soon(self._keep_one)
        finally:
            self._group = None
            with anyio.CancelScope(shield=True):
                await self._end_all()

    async def _keep_one(self) -> None:
        """Keep one worker: start another when its epoch is over."""
        while not self.given_up:
            try:
                process = self._begin()
            except OSError as error:
                self._give_up(f"no process can be started: {error}")
                return
            member = Member(next(self._epochs), process, self._clock.monotonic())
            self.members.append(member)
            await process.open(partial(self._told, member), partial(self._line_ended, member))
            process.send(msgspec.structs.replace(self._hello, epoch=member.epoch))
            await member.gone.wait()

    def _line_ended(self, member: Member) -> None:
        """Its process has ended, or is about to."""
        if not member.over:
            how = member.process.how_it_ended()
            logger().warning("worker_ended", epoch=member.epoch, how=how, calls=member.calls)
            self._lose(member, how)
        member.gone.set()
        if member in self._former:
            self._former.remove(member)
            member.process.end()

    def _lose(self, member: Member, how: str) -> None:
        """Its epoch is over: whoever waits for one of its errands is told so."""
        member.over, member.ready = True, False
        self.members.remove(member)
        self._former.append(member)
        if self._someone.is_set() and not (self.given_up or any(other.ready for other in self.members)):
            self._someone = anyio.Event()  # one that is not set keeps those who wait for it: somebody may come yet
        waiting, member.waiting = member.waiting, {}
        for ticket, waiter in waiting.items():
            if not waiter.done():
                member.lost.add(ticket)
                waiter.set_exception(WorkerLost(ticket, how))
        if not member.answered:
            self._fruitless += 1
            if self._fruitless >= STARTS:
                self._give_up(f"{STARTS} of them in a row brought no answer; the last one {how}")

    def _give_up(self, why: str) -> None:
        if not self.given_up:
            logger().error("workers_given_up", why=why)
        self.given_up = True
        self._someone.set()

    async def _look(self) -> None:
        """Find those that are silent."""
        looked_at = self._clock.monotonic()
        while True:
            await self._clock.sleep(LOOK_S)
            now = self._clock.monotonic()
            if now - looked_at > LOOK_S + LATE_LOOK_S:
                for member in self.members:
                    member.heard_at = now
            looked_at = now
            for member in list(self.members):
                silent_s = now - member.heard_at
                if silent_s > (SILENT_S if member.ready else START_S):
                    logger().warning("worker_silent", epoch=member.epoch, calls=member.calls)
                    member.process.send(messages.Leave())
                    self._lose(member, f"said nothing for {silent_s:.0f} s")
                    member.gone.set()  # so that another takes its place

    async def _end_all(self) -> None:
        """End all of them, at once: what they had to report was reported, or nobody wants it any more."""
        for member in [*self.members, *self._former]:
            member.over = True
            member.process.abort()
            for ticket, waiter in member.waiting.items():
                if not waiter.done():
                    waiter.set_exception(WorkerLost(ticket, "was ended with the run"))
            await to_thread.run_sync(member.process.end)
