"""Event loops for tools that are async functions: in threads of their own, away from the run's.

Owns these loops and what happens to a call that is given up. It does not know what runs in them. A tool that cancels
all tasks, stops or closes its loop, leaves by SystemExit, blocks, or waits for ever reaches neither the run's event
loop nor, but for its own child tasks, the calls beside it.

All calls share one loop, because clients and locks that a tool keeps belong to the loop they were made in. A loop that
does not answer, because a tool blocks in it, gets no new calls until it answers again; another one takes them. A task
cannot be stopped against its will: a call that is given up is cancelled and counts as lost until it ends.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

import anyio

from batch.core.errors import BatchError

T = TypeVar("T")

START_S: Final = 1.0
"""A loop that has not begun a call after so many seconds is blocked."""
END_S: Final = 1.0
"""So long may a call that is given up clean up before nobody waits for it any more."""
LOOPS_MAX: Final = 4
LOST_MAX: Final = 1_000


class LoopsLost(BatchError):
    """Too many calls block their event loop or do not end when they are cancelled; no further one is risked."""


class LoopClosed(BatchError):
    """The event loop of a call was closed under it, by a tool."""


class _Call(Generic[T]):
    """One call on its way: made on the run's loop, worked on by one of ours."""

    __slots__ = ("begun", "done", "error", "finished", "home", "make", "place", "result", "task", "waiter")

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.make = make
        self.result: T | None = None
        self.error: BaseException | None = None
        self.begun = anyio.Event()
        self.done = anyio.Event()
        self.finished = False
        """As `done`, for whoever looks from either thread."""
        self.home: _Loop[T] | None = None
        """The loop that may begin it; None once one has, or nobody waits. Changed under the lock of `ToolLoops`."""
        self.place: _Loop[T] | None = None
        """The loop it was begun in."""
        self.task: asyncio.Task[None] | None = None
        self.waiter = asyncio.get_running_loop()

    def tell(self, event: anyio.Event) -> None:
        with suppress(RuntimeError):  # the run's loop is closed: nobody waits
            self.waiter.call_soon_threadsafe(event.set)


class _Loop(Generic[T]):
    """An event loop in a daemon thread."""

    def __init__(self, lock: threading.Lock) -> None:
        self.blocked = False
        """It did not begin a call in time; taken back when it does anything again."""
        self.over = False
        """It takes nothing any more: a tool closed it, or the run is over."""
        self._lock = lock
        self._calls: set[_Call[T]] = set()
        self._loop = asyncio.new_event_loop()
        self._closing = False
        threading.Thread(target=self._serve, name="promptmill-tool-loop", daemon=True).start()

    def submit(self, call: _Call[T]) -> None:
        """Have the call begun; nothing comes of it when the loop is over."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._begin, call)

    def cancel(self, call: _Call[T]) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(lambda: call.task and call.task.cancel())

    def close(self) -> None:
        """End the thread as soon as its loop answers; what is left in it is cancelled."""
        self._closing = True
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _begin(self, call: _Call[T]) -> None:
        with self._lock:
            self.blocked = False
            if call.home is not self or self._closing:
                return  # another loop took it, or nobody waits
            call.home, call.place = None, self
        self._calls.add(call)
        call.task = asyncio.Task(self._work(call), loop=self._loop)  # `_calls` owns it; no task factory of a tool's
        # Not among `asyncio.all_tasks()`: a tool that cancels all of them means its own.
        asyncio._unregister_task(call.task)  # noqa: SLF001  documented for those who extend asyncio
        call.tell(call.begun)

    async def _work(self, call: _Call[T]) -> None:
        try:
            call.result = await call.make()
        except BaseException as error:  # noqa: BLE001  it belongs to the call, and must not end the loop
            call.error = error
        finally:
            self._finish(call)

    def _finish(self, call: _Call[T]) -> None:
        if call in self._calls:
            self._calls.discard(call)
            call.finished = True
            call.tell(call.done)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            while not self._closing and not self._loop.is_closed():
                try:
                    self._loop.run_forever()  # returns when a tool stops it, and goes on
                except Exception:  # noqa: BLE001  it cannot run any more
                    break
                except BaseException:  # noqa: BLE001, S112  a child task of a tool ended by SystemExit or the like
                    continue
            if self._closing and not self._loop.is_closed():
                self._end_tasks()
        finally:
            self.over = True
            for call in list(self._calls):
                call.error = call.error or LoopClosed("the event loop of the tools was closed by a tool")
                self._finish(call)
            with suppress(Exception):
                self._loop.close()

    def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks(self._loop) | {call.task for call in self._calls if call.task is not None}
        for task in tasks:
            task.cancel()
        with suppress(BaseException):
            if tasks:
                self._loop.run_until_complete(asyncio.wait(tasks, timeout=END_S))
            self._loop.run_until_complete(asyncio.wait_for(self._loop.shutdown_asyncgens(), END_S))


class ToolLoops(Generic[T]):
    """Runs any number of async calls at a time; the first loop starts with the first call. Ends with `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loops: list[_Loop[T]] = []
        self._given_up: set[_Call[T]] = set()
        self._end = weakref.finalize(self, _close_all, self._loops)
        self._end.atexit = False  # daemons end with the process

    async def run(self, make: Callable[[], Coroutine[Any, Any, T]], *, timeout_s: float) -> T | None:
        """Run what `make` gives in a loop of ours; None when it took longer than `timeout_s`, counted from its start.

        Raises:
            LoopsLost: too many earlier calls block or never end.
            LoopClosed: a tool closed the loop.
            BaseException: whatever the call raised.
        """
        call = _Call(make)
        try:
            await self._begin(call)
            with anyio.move_on_after(timeout_s):
                await call.done.wait()
            if not call.done.is_set():
                self._give_up(call)
                with anyio.move_on_after(END_S):
                    await call.done.wait()
                return None
        finally:
            self._give_up(call)
        if call.error is not None:
            raise call.error
        return call.result

    def close(self) -> None:
        """End all loops; calls under way are cancelled. Waits for nothing."""
        self._end()

    async def _begin(self, call: _Call[T]) -> None:
        """Wait until a loop has begun the call; one that is blocked is left for another."""
        while True:
            home = self._free()
            call.home = home
            home.submit(call)
            with anyio.move_on_after(START_S):
                await call.begun.wait()
            if not self._withdraw(call):
                return
            home.blocked = True

    def _withdraw(self, call: _Call[T]) -> bool:
        """Take a call back from the loop that was to begin it; False when it has begun it."""
        with self._lock:
            waits, call.home = call.home is not None, None
        return waits

    def _free(self) -> _Loop[T]:
        """A loop that answers, as far as is known; a new one when there is none.

        Raises:
            LoopsLost: there are too many that do not, or too many calls that do not end.
        """
        self._loops[:] = [loop for loop in self._loops if not loop.over]
        if len(self._given_up) >= LOST_MAX:
            self._given_up = {call for call in self._given_up if not call.finished}
            if len(self._given_up) >= LOST_MAX:
                lost = f"{LOST_MAX:,} earlier calls did not end when they were cancelled"
                raise LoopsLost(f"no async tool runs any more: {lost}; fix or remove them")
        free = next((loop for loop in self._loops if not loop.blocked), None)
        if free is not None:
            return free
        if len(self._loops) >= LOOPS_MAX:
            raise LoopsLost(
                f"no async tool runs any more: {LOOPS_MAX} calls block their event loop; make them plain functions"
            )
        self._loops.append(_Loop(self._lock))
        return self._loops[-1]

    def _give_up(self, call: _Call[T]) -> None:
        """Stop waiting: not begun, it never is; begun, it is cancelled."""
        self._withdraw(call)
        if call.place is not None and not call.finished and call not in self._given_up:
            self._given_up.add(call)
            call.place.cancel(call)


def _close_all(loops: list[_Loop[Any]]) -> None:
    for loop in loops:
        loop.close()
    loops.clear()
