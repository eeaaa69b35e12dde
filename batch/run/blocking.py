"""`run` for programs without an event loop: starts one, runs the job in it, and gives back the report.

Owns the choice of the loop, and what is said to a caller who is in a loop already. What a run does is in `command`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import anyio
import sniffio

from batch.core.clock import Clock
from batch.job.job import Job
from batch.job.options import RunOptions
from batch.limits import sockets
from batch.run import arguments, command
from batch.run.command import Report
from batch.run.progress import Progress


def run_sync(
    job: Job,
    *,
    options: RunOptions = RunOptions(),  # noqa: B008 - it is frozen
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    on_progress: Callable[[Progress], None] = command.quiet,
    signals: bool = False,
) -> Report:
    """Run a job and wait for its end; for scripts. In a notebook and in async programs: `await run(job)`.

    Args:
        job: what to run.
        options: what this one command adds to it.
        environ: where keys and base URLs come from; None for the process's own environment.
        clock: the real one by default.
        on_progress: called about once a second with a snapshot.
        signals: let SIGINT, SIGTERM and SIGHUP stop it, as `interrupts` says; only in the main thread.

    Returns:
        What was done. Faults that stop a run in the middle are in `fault`, because by then there is something to tell.

    Raises:
        RuntimeError: an event loop is at work in this thread, or signals are wanted and it is not the main thread.
        RefusedToStart: nothing was sent.
        StorageError: the ledger cannot be opened.
    """
    try:
        sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        pass
    else:
        raise RuntimeError(
            "run_sync() waits for the end of the run, but an event loop is at work in this thread (as in a notebook), "
            "and would stand still. Await it: report = await run(job)"
        )
    arguments.require(job, options, environ, on_progress, signals=signals)
    sockets.calls(job.limits.concurrency, loop=False)  # a loop that gets no files writes about it to stderr

    async def main() -> Report:
        return await command.run(
            job, options=options, environ=environ, clock=clock, on_progress=on_progress, signals=signals
        )

    return anyio.run(main, backend_options={"use_uvloop": sys.platform != "win32"})
