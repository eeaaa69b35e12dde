"""What the workers do next: rows that are ready, rows that wait for a time, and new rows, in this order.

A row that waits (for its back-off, for a task) lies here as a value; nobody sleeps with it in hand. Rows already begun
go before new ones, and a new one is handed out only while few are open and what they say is small together, so
conversations finish and what is open stays bounded, in rows and in bytes; one row goes however large it is. All of this
is counted by model, and each model has senders of its own: one that is held back by its limits takes no room from the
others. Owned by one event loop; nothing here awaits between looking and taking.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import count, islice
from typing import Generic, TypeVar

import anyio

from batch.core.clock import Clock
from batch.run.modelrows import Idle, ModelRows, turn, wake

R = TypeVar("R")


class Schedule(Generic[R]):
    """The schedule of one run's rows.

    Rows that need a slot before they can go on and rows that do not (polls, tools) are handed to different crews:
    whoever waits for a slot must never keep the one waiting whose poll would free it.

    Args:
        clock: decides when a waiting row is due.
        open_limits: rows begun and not finished, at most, for each model.
        open_bytes: bytes of what these rows say, at most, for each model; a single row may have more.
        size_of: the bytes of what one row says; the same whenever it is asked.
        model_of: the model a row belongs to, among whose open rows it counts; one that is not in `open_limits` counts
            as the first of them.
        sent_to: the model that its next turn asks, whose crew sends it; None when that is always the same one.
        needs_slot: whether the next step of a row is to send.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        open_limits: Mapping[str, int],
        open_bytes: float = math.inf,
        size_of: Callable[[R], int] = lambda _: 0,
        model_of: Callable[[R], str],
        sent_to: Callable[[R], str] | None = None,
        needs_slot: Callable[[R], bool],
    ) -> None:
        self._clock = clock
        self._rows: dict[str, ModelRows[R]] = {
            name: ModelRows(limit, open_bytes, size_of) for name, limit in open_limits.items()
        }
        self._first = next(iter(self._rows.values()))
        self._model_of = model_of
        self._sent_to = sent_to or model_of
        self._needs_slot = needs_slot
        self._to_follow_up: deque[R] = deque()
        self._waiting: list[tuple[float, int, R]] = []
        self._open_rows: dict[int, R] = {}
        """All that are open and in memory, those begun first in front."""
        self._order = count()
        self._follow_up_crew: Idle = deque()
        self._sooner: asyncio.Future[None] | None = None
        """What `keep_time` waits for, until its timer rings or a row is to go on sooner."""
        self._handed_out = anyio.Event()
        self._watched = False
        """Somebody waits for the next row that is handed out."""
        self._closed = False
        self._no_more = False

    @property
    def models(self) -> list[str]:
        """The models that rows are handed out for."""
        return list(self._rows)

    def of(self, model: str) -> ModelRows[R]:
        """What is to be sent to one model."""
        return self._rows.get(model, self._first)

    @property
    def open(self) -> int:
        """Rows begun and not finished, all models together."""
        return sum(rows.open for rows in self._rows.values())

    @property
    def held_by_size(self) -> bool:
        """Whether senders of a model have nothing to do only because what its open rows ask is so large."""
        return any(rows.held_by_size for rows in self._rows.values())

    @property
    def waiting(self) -> int:
        """Rows that wait for a time to be sent again; those whose tasks the provider holds are none."""
        return sum(self._needs_slot(row) for _, _, row in self._waiting)

    def first_begun(self, count: int) -> list[R]:
        """The open rows that were begun first, so many at most."""
        return list(islice(self._open_rows.values(), count))

    def due(self, rows: Iterable[R]) -> dict[int, float]:
        """The monotonic moments at which those of these rows go on that wait for one, by the `id` of the row."""
        wanted = {id(row) for row in rows}
        return {id(row): due for due, _, row in self._waiting if id(row) in wanted}

    def add(self, model: str, new: list[R]) -> None:
        """New rows for a model, to be begun in this order."""
        if self._no_more:
            return  # they stay in the ledger
        rows = self.of(model)
        rows.unstarted.extend(new)
        rows.unstarted_bytes += sum(map(rows.size_of, new))
        wake(rows.crew, len(new))

    def expect(self, model: str) -> None:
        """A row begun in an earlier process will be resumed later: it counts as open from now on."""
        self.of(model).open += 1

    def resume(self, row: R, *, expected: str | None = None) -> None:
        """A row begun in an earlier process: it counts as open from now on.

        Args:
            row: it can go on at once.
            expected: the model that it was expected for and counts as open for already; None when it was not.
        """
        if expected is not None:
            self.of(expected).open -= 1
        rows = self.of(self._model_of(row))
        rows.open += 1
        rows.open_bytes += rows.size_of(row)
        self._open_rows[id(row)] = row
        self.requeue(row)

    def requeue(self, row: R) -> None:
        """An open row that can go on at once."""
        if self._needs_slot(row):
            rows = self.of(self._sent_to(row))
            if rows.parked and rows is not self.of(self._model_of(row)):
                self.done(row)  # it waits in the ledger, or the run would wait for a model that is asked no more
                return
            rows.to_send.append(row)
            wake(rows.crew, 1)
        else:
            self._to_follow_up.append(row)
            wake(self._follow_up_crew, 1)

    def schedule(self, row: R, seconds: float) -> None:
        """An open row that can go on in so many seconds."""
        due = self._clock.monotonic() + seconds
        heapq.heappush(self._waiting, (due, next(self._order), row))
        if self._waiting[0][2] is row and self._sooner is not None:
            _ring(self._sooner)

    def hasten(self, wanted: Callable[[R], bool]) -> None:
        """Let those rows go on at once that wait for a time and are wanted."""
        taken = [row for _, _, row in self._waiting if wanted(row)]
        if taken:
            self._waiting = [entry for entry in self._waiting if not wanted(entry[2])]
            heapq.heapify(self._waiting)
            for row in taken:
                self.requeue(row)

    def take_ready(self, wanted: Callable[[R], bool]) -> list[R]:
        """Take those rows out that wait for somebody to send them, and that are wanted; they stay open."""
        taken = []
        for rows in self._rows.values():
            found = [row for row in rows.to_send if wanted(row)]
            if found:
                taken += found
                rows.to_send = deque(row for row in rows.to_send if not wanted(row))
        return taken

    def done(self, row: R) -> None:
        """An open row has its outcome, or is left to the next run."""
        rows = self._rows.get(self._model_of(row), self._first)
        rows.open -= 1
        rows.open_bytes -= rows.size_of(row)
        self._open_rows.pop(id(row), None)
        if rows.open == 0:
            self._tell()  # whoever waits for more rows of this model may wait for nothing
        if rows.open == 0 and self._over:
            self._wake_all()
        elif rows.crew:
            wake(rows.crew, 1)

    def leave(self, row: R) -> None:
        """An open row goes into the ledger, and comes back later: no memory is kept of it."""
        self.of(self._model_of(row)).away += 1
        self.done(row)

    def expect_back(self, model: str, rows: int) -> None:
        """So many rows of a model lie in the ledger, and come back later."""
        self.of(model).away += rows

    def come_back(self, row: R) -> None:
        """A row that had left is open again, in the hands of whoever brings it."""
        rows = self.of(self._model_of(row))
        rows.away -= 1
        rows.open += 1
        rows.open_bytes += rows.size_of(row)
        self._open_rows[id(row)] = row

    def end(self, model: str) -> None:
        """No more new rows will come for this model; when all models are done, everybody gets None."""
        self.of(model).ended = True
        if self._over:
            self._wake_all()

    def park(self, model: str) -> bool:
        """Hand out no more rows of one model; whether there is a model left."""
        rows = self.of(model)
        rows.parked = True
        visitors = [row for row in rows.to_send if self.of(self._model_of(row)) is not rows]
        for row in visitors:
            self.done(row)
        self._tell()
        wake(rows.crew, math.inf)
        if self._over:
            self._wake_all()
        return not all(rows.parked for rows in self._rows.values())

    def begin_no_more(self) -> None:
        """Begin no new row any more; those that are begun go on to their end, and then everybody gets None."""
        self._no_more = True
        for rows in self._rows.values():
            rows.unstarted.clear()
            rows.unstarted_bytes = 0
            rows.ended = True
        self._tell()
        if self._over:
            self._wake_all()

    def close(self) -> None:
        """Hand nothing out any more: everybody gets None at once. What is left stays in the ledger."""
        self._closed = True
        self._tell()
        self._wake_all()

    def look_again(self) -> None:
        """Have those look who are in `until`: what they wait for may hold, for a reason that no row knows of."""
        self._tell()

    async def has_room(self, model: str, ahead: int, ahead_bytes: float = math.inf) -> bool:
        """Wait until few new rows of a model lie here; False when they are not handed out any more.

        Args:
            model: whose rows.
            ahead: there are to be fewer rows than this,
            ahead_bytes: and what they say is to have fewer bytes than this.
        """
        rows = self.of(model)

        def few() -> bool:
            return rows.parked or (len(rows.unstarted) < ahead and rows.unstarted_bytes < ahead_bytes)

        return await self.until(few) and not rows.parked

    async def until(self, holds: Callable[[], bool]) -> bool:
        """Wait until something holds, looked at after each row handed out; False when no more rows are."""
        while not (self._closed or self._no_more) and not holds():
            if self._handed_out.is_set():
                self._handed_out = anyio.Event()  # one for all who wait: whoever comes second must not replace it
            self._watched = True
            await self._handed_out.wait()
        return not (self._closed or self._no_more)

    async def next_to_send(self, model: str) -> R | None:
        """The next row of a model that needs a slot: one already begun before a new one. None when none will come."""
        rows = self._rows.get(model, self._first)
        while not (rows.parked or self._closed):
            if rows.to_send:
                return rows.to_send.popleft()
            if rows.has_unstarted:
                row = rows.begin()
                self._open_rows[id(row)] = row
                if self._watched:
                    self._tell()
                if rows.crew and rows.has_unstarted:
                    wake(rows.crew, 1)  # one large row that ended may make room for several small ones
                return row
            if self._over:
                break
            await turn(rows.crew)
        return None

    def begin(self, model: str) -> R | None:
        """The next new row of a model, however many are open, for whoever keeps none of them; None without one."""
        rows = self.of(model)
        if self._closed or rows.parked or not rows.unstarted:
            return None
        row = rows.begin()
        self._open_rows[id(row)] = row
        if self._watched:
            self._tell()
        return row

    def over(self, model: str) -> bool:
        """Whether nothing of a model is handed out any more."""
        return self._over or self.of(model).parked

    async def next_follow_up(self) -> R | None:
        """The next row to poll or to run tools for. None when there will be none."""
        while not self._over:
            if self._to_follow_up:
                return self._to_follow_up.popleft()
            await turn(self._follow_up_crew)
        return None

    async def keep_time(self) -> None:
        """Move rows whose time has come to the ready ones; runs until cancelled, one task for all."""
        loop = asyncio.get_running_loop()
        while True:
            now = self._clock.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                self.requeue(heapq.heappop(self._waiting)[2])
            self._sooner = mine = loop.create_future()  # waited for once a poll: no Event and no scope, for time
            timer = loop.call_later(self._waiting[0][0] - now, _ring, mine) if self._waiting else None
            try:
                await mine
            finally:
                if timer is not None:
                    timer.cancel()

    def _tell(self) -> None:
        """Have those look who are in `until`."""
        self._watched = False
        self._handed_out.set()

    @property
    def _over(self) -> bool:
        return self._closed or all(rows.over for rows in self._rows.values())

    def _wake_all(self) -> None:
        for crew in (self._follow_up_crew, *(rows.crew for rows in self._rows.values())):
            wake(crew, math.inf)


def _ring(waited_for: asyncio.Future[None]) -> None:
    """Wake whoever waits, unless that was done already."""
    if not waited_for.done():
        waited_for.set_result(None)
