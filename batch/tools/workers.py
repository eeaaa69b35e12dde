"""The pool of worker processes: few, started when they are first needed, kept warm, replaced when they are worn.

Owns how many there are, which call goes to which, and the time limit of a call. It knows processes as `Worker`s and
tools by name only. A call waits for a process in the order of arrival; that time does not count.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.to_thread

from batch.core.logs import logger
from batch.tools import frames
from batch.tools.confinement import Confinement
from batch.tools.content import RawResult
from batch.tools.worker import Worker, WorkerFault, WorkerGone


class ToolWorkers:
    """Runs calls in worker processes, one call at a time in each. Ends with `close`.

    Args:
        origin: the tools that each of them loads.
        confinement: how many there are, and their limits.
    """

    def __init__(self, origin: frames.Origin, confinement: Confinement) -> None:
        self._origin = origin
        self._confinement = confinement
        self._limiter = anyio.CapacityLimiter(confinement.workers)
        self._idle: list[Worker] = []
        self._all: list[Worker] = []
        """Every process that has not been seen to its end; appended to in threads."""
        self._closed = False
        self._end = weakref.finalize(self, _end_all, self._all)

    async def run(
        self, name: str, arguments: bytes, *, timeout_s: float, begin: Callable[[], Awaitable[None]] | None = None
    ) -> RawResult | None:
        """Run a tool; its result, or None when it took longer than `timeout_s` and was ended.

        Args:
            name: of the tool.
            arguments: by name, as JSON; they are checked.
            timeout_s: seconds that the function may run.
            begin: awaited when there is a process for the call, directly before that gets it. What it raises comes out.

        Raises:
            WorkerFault: there is no process to run it in.
            WorkerGone: the process died; the text says how.
        """
        call = frames.Call(name, arguments, self._confinement.cpu_s(timeout_s))
        token = object()
        await self._limiter.acquire_on_behalf_of(token)
        try:
            worker = await self._ready()
            keep = False
            try:
                if begin is not None:
                    keep = True  # nothing has reached it yet
                    await begin()
                    keep = False
                with anyio.move_on_after(timeout_s):
                    result, worn = await worker.call(call)
                    keep = not worn
                    return result
            except WorkerGone as error:
                logger().warning("tool_process_ended", tool=name, how=str(error))
                raise WorkerGone(f"{name} did not return: {error}") from error
            else:
                return None
            finally:
                if keep:
                    self._idle.append(worker)
                else:
                    await self._retire(worker)
        finally:
            self._limiter.release_on_behalf_of(token)

    def close(self) -> None:
        """End all processes, and what they started; waits for that, half a second at most."""
        self._closed = True
        self._idle.clear()
        self._end()

    async def _ready(self) -> Worker:
        """A process that waits for a call; a new one when there is none."""
        if self._closed:
            raise WorkerFault("the run is over")
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            await self._retire(worker)
        start = partial(Worker, self._origin, self._confinement, started=self._register)
        return await anyio.to_thread.run_sync(start, abandon_on_cancel=True)

    def _register(self, worker: Worker) -> None:
        """Called in the thread that starts it, for which nobody may wait any more."""
        self._all.append(worker)
        if self._closed:
            worker.end()

    async def _retire(self, worker: Worker) -> None:
        await worker.end_soon()
        if worker in self._all:
            self._all.remove(worker)


def try_load(origin: frames.Origin, confinement: Confinement) -> str | None:
    """Load the tools in a worker process once; what is wrong when that does not work."""
    try:
        Worker(origin, confinement).end()
    except WorkerFault as error:
        return str(error)
    return None


def _end_all(workers: list[Worker]) -> None:
    for worker in workers:
        worker.ask_to_end()
    while workers:
        workers.pop().end()
