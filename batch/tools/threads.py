"""Threads for tools that are plain functions: few, used again and again, and never in the way of the process's end.

Owns the pool and what happens to a call that is given up. It does not know what runs in a thread. These are not anyio's
worker threads, because those are joined when the interpreter ends: one endless loop in a tool would keep the finished
command from ending. These are daemon threads.

A thread cannot be stopped from outside. A call that is given up leaves its thread running; its place is free at once,
and the thread counts as lost until its function returns. When too many are lost, new calls are refused.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import anyio

from batch.core.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

IDLE_S: Final = 10.0
LOST_PER_THREAD: Final = 4


class PoolFull(BatchError):
    """Too many earlier calls have not returned, so no further thread is started."""


class _Work(Generic[T]):
    __slots__ = ("done", "error", "function", "loop", "lost", "result", "returned")

    def __init__(self, function: Callable[[], T]) -> None:
        self.function = function
        self.result: T | None = None
        self.error: BaseException | None = None
        self.returned = False  # set under the pool's lock, as is `lost`: exactly one of the two comes first
        self.lost = False
        self.done = anyio.Event()
        self.loop = asyncio.get_running_loop()


class ToolThreads(Generic[T]):
    """Runs at most `threads` calls at a time; a thread starts when it is needed and ends after ten idle seconds."""

    def __init__(self, threads: int) -> None:
        self._limiter = anyio.CapacityLimiter(threads)
        self._max_lost = threads * LOST_PER_THREAD
        self._queue: queue.SimpleQueue[_Work[T]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0  # threads waiting for work that nobody has reserved yet
        self._lost = 0

    @property
    def lost(self) -> int:
        """How many calls were given up whose function still runs."""
        return self._lost

    async def run(
        self, function: Callable[[], T], *, timeout_s: float, begin: Callable[[], Awaitable[None]] | None = None
    ) -> T | None:
        """Run a function in a thread; return its result, or None when it took longer than `timeout_s`.

        Args:
            function: what to run.
            timeout_s: seconds, from when the function is given to a thread.
            begin: awaited before that, when a place is free.

        Raises:
            PoolFull: too many earlier calls have not returned.
            BaseException: whatever the function or `begin` raised.
        """
        work = _Work(function)
        await self._limiter.acquire_on_behalf_of(work)
        try:
            if begin is not None:
                self._require_room()
                await begin()
            self._start(work)
            try:
                with anyio.move_on_after(timeout_s):
                    await work.done.wait()
            finally:
                self._give_up(work)
        finally:
            self._limiter.release_on_behalf_of(work)
        if work.error is not None:
            raise work.error
        return work.result

    def _require_room(self) -> None:
        if self._lost >= self._max_lost:
            raise PoolFull(f"no tool runs any more: {self._lost} earlier calls did not return; fix or remove them")

    def _start(self, work: _Work[T]) -> None:
        with self._lock:
            self._require_room()
            reserved = self._idle > 0
            self._idle -= reserved
        if not reserved:
            threading.Thread(target=self._serve, name="promptmill-tool", daemon=True).start()
        self._queue.put(work)

    def _give_up(self, work: _Work[T]) -> None:
        """Stop waiting for a call; when its function has not returned by now, its thread is lost."""
        with self._lock:
            if not work.returned:
                work.lost = True
                self._lost += 1

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            try:
                work.result = work.function()
            except BaseException as error:  # noqa: BLE001  a tool may raise anything; it belongs to its row
                work.error = error
            self._finish(work)
            del work  # an idle thread must not keep the last result alive

    def _next(self) -> _Work[T] | None:
        while True:
            try:
                return self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    if self._idle > 0:
                        self._idle -= 1
                        return None
                # Every waiting thread is reserved: work for this one is on its way.

    def _finish(self, work: _Work[T]) -> None:
        with self._lock:
            self._idle += 1
            work.returned = True
            if work.lost:
                self._lost -= 1
                return
        try:
            work.loop.call_soon_threadsafe(work.done.set)
        except RuntimeError:  # the loop is closed: the run is over and nobody waits
            return
