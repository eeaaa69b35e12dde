"""What the workers do next: rows that are ready, rows that wait for a time, and new rows, in this order.

A row that waits (for its back-off, for a task) lies here as a value; nobody sleeps with it in hand. Rows already begun
go before new ones, and a new one is handed out only while fewer than `open_limit` are open, so conversations finish
and what is open stays bounded. Owned by one event loop; nothing here awaits between looking and taking.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Generic, TypeVar

import anyio

from batch.core.clock import Clock

R = TypeVar("R")


class Schedule(Generic[R]):
    """The schedule of one run's rows.

    Rows that need a slot before they can go on and rows that do not (polls, tools) are handed to different crews:
    whoever waits for a slot must never keep the one waiting whose poll would free it.

    Args:
        clock: decides when a waiting row is due.
        open_limit: rows begun and not finished, at most.
        needs_slot: whether the next step of a row is to send.
    """

    def __init__(self, clock: Clock, *, open_limit: int, needs_slot: Callable[[R], bool]) -> None:
        self._clock = clock
        self._open_limit = open_limit
        self._needs_slot = needs_slot
        self._to_send: deque[R] = deque()
        self._to_follow_up: deque[R] = deque()
        self._unstarted: deque[R] = deque()
        self._waiting: list[tuple[float, int, R]] = []
        self._order = count()
        self._sending_crew: deque[anyio.Event] = deque()
        self._follow_up_crew: deque[anyio.Event] = deque()
        self._sooner = anyio.Event()
        self.open = 0
        """Rows begun and not finished."""
        self.begun = 0
        """New rows handed out so far."""
        self._handed_out = anyio.Event()
        self._ended = False
        self._closed = False

    @property
    def unstarted(self) -> int:
        """New rows that nobody has begun."""
        return len(self._unstarted)

    @property
    def has_unstarted(self) -> bool:
        """Whether there is a row that can be begun and was not."""
        return bool(self._unstarted) and self.open < self._open_limit

    @property
    def waiting(self) -> int:
        """Rows that wait for a time."""
        return len(self._waiting)

    def add(self, rows: list[R]) -> None:
        """New rows, to be begun in this order."""
        self._unstarted.extend(rows)
        _wake(self._sending_crew, len(rows))

    def resume(self, row: R) -> None:
        """A row begun in an earlier process: it counts as open from now on."""
        self.open += 1
        self.requeue(row)

    def requeue(self, row: R) -> None:
        """An open row that can go on at once."""
        if self._needs_slot(row):
            self._to_send.append(row)
            _wake(self._sending_crew, 1)
        else:
            self._to_follow_up.append(row)
            _wake(self._follow_up_crew, 1)

    def schedule(self, row: R, seconds: float) -> None:
        """An open row that can go on in so many seconds."""
        due = self._clock.monotonic() + seconds
        heapq.heappush(self._waiting, (due, next(self._order), row))
        if self._waiting[0][2] is row:
            self._sooner.set()

    def done(self) -> None:
        """An open row has its outcome, or is left to the next run."""
        self.open -= 1
        if self._over:
            self._wake_all()
        else:
            _wake(self._sending_crew, 1)

    def end(self) -> None:
        """No more new rows will come; when the open ones are done, everybody gets None."""
        self._ended = True
        self._wake_all()

    def close(self) -> None:
        """Hand nothing out any more: everybody gets None at once. What is left stays in the ledger."""
        self._closed = True
        self._handed_out.set()
        self._wake_all()

    async def has_room(self, ahead: int) -> bool:
        """Wait until fewer than `ahead` new rows lie here; False when nothing is handed out any more."""
        return await self._until(lambda: len(self._unstarted) < ahead)

    async def has_begun(self, rows: int) -> bool:
        """Wait until so many new rows were handed out; False when nothing is handed out any more."""
        return await self._until(lambda: self.begun >= rows)

    async def _until(self, holds: Callable[[], bool]) -> bool:
        while not self._closed and not holds():
            if self._handed_out.is_set():
                self._handed_out = anyio.Event()  # one for all who wait: whoever comes second must not replace it
            await self._handed_out.wait()
        return not self._closed

    async def next_to_send(self) -> R | None:
        """The next row that needs a slot: one already begun before a new one. None when there will be none."""
        while not self._over:
            if self._to_send:
                return self._to_send.popleft()
            if self._unstarted and self.open < self._open_limit:
                self.open += 1
                self.begun += 1
                self._handed_out.set()
                return self._unstarted.popleft()
            await _turn(self._sending_crew)
        return None

    async def next_follow_up(self) -> R | None:
        """The next row to poll or to run tools for. None when there will be none."""
        while not self._over:
            if self._to_follow_up:
                return self._to_follow_up.popleft()
            await _turn(self._follow_up_crew)
        return None

    async def keep_time(self) -> None:
        """Move rows whose time has come to the ready ones; runs until cancelled, one task for all."""
        while True:
            self._sooner = anyio.Event()
            now = self._clock.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                self.requeue(heapq.heappop(self._waiting)[2])
            if not self._waiting:
                await self._sooner.wait()
                continue
            with anyio.move_on_after(max(0.0, self._waiting[0][0] - now)):
                await self._sooner.wait()

    @property
    def _over(self) -> bool:
        return self._closed or (self._ended and not self._unstarted and self.open == 0)

    def _wake_all(self) -> None:
        _wake(self._sending_crew, len(self._sending_crew))
        _wake(self._follow_up_crew, len(self._follow_up_crew))


async def _turn(idle: deque[anyio.Event]) -> None:
    turn = anyio.Event()
    idle.append(turn)
    await turn.wait()


def _wake(idle: deque[anyio.Event], number: int) -> None:
    while number > 0 and idle:
        idle.popleft().set()
        number -= 1
