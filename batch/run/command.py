"""One command over one output folder: which runs it opens, and what each leaves in `runs/*.json` and `status.json`.

Owns the lock for as long as it works (and the wait for it), the clean-up of what a killed process left half done, and
the rule that a changed job or input first closes the old run and then goes on with the next, whose result counts. The
run itself is `pipeline.Run`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal

import anyio
import msgspec
from anyio import to_thread
from anyio.abc import TaskStatus
from structlog import contextvars

from batch.core.clock import Clock
from batch.core.errors import BatchError, RefusedToStart, StorageError
from batch.core.logs import logger
from batch.core.redaction import Unshown
from batch.job.job import Job
from batch.job.options import MaxFailed, RunOptions
from batch.ledger.reader import LedgerReader
from batch.ledger.totals import Planned, Totals
from batch.ledger.writer import Ledger
from batch.output import integrity
from batch.output.folder import Busy, OutputFolder, RunLock
from batch.plan import continuation, preflight
from batch.plan.preflight import CheckedJob
from batch.prompts.variants import old_models
from batch.providers.registry import resolve
from batch.run import pipeline, progress, status_files
from batch.run.inspection import Inspection
from batch.run.progress import Progress
from batch.run.status_files import RunEnd

LOCK_AGAIN_S: Final = 0.5
"""How long a command that waits for another leaves between two tries."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a command did, for the table at the end and the exit code."""

    state: Literal["finished", "nothing_to_do", "skipped", "interrupted", "provider", "systematic", "storage", "input"]
    folder: OutputFolder
    run: str | None
    totals: Totals
    planned: Planned
    elapsed_s: float
    standing: tuple[int, int]
    """Rows of the whole table that failed for good, and that failed but are worth another try."""
    table_rows: int
    fault: BatchError | None = None
    max_failed: MaxFailed | None = None
    holder: str = ""
    """Who else was at work, when that was the end of it: process and time."""

    @property
    def within_max_failed(self) -> bool | None:
        """Whether as few rows failed as were allowed; None when nothing was said about it."""
        return self._end.within_max_failed

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        return self._end.exit_code

    @property
    def _end(self) -> RunEnd:
        return RunEnd(self.state, self.totals, self.max_failed, self.fault)


def quiet(_: Progress) -> None:
    """Show nothing."""


async def run(
    job: Job,
    *,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    on_progress: Callable[[Progress], None] = quiet,
    signals: bool = False,
) -> Report:
    """Run a job into its output folder, or continue what was begun there.

    Args:
        job: what to run.
        options: what this one command adds to it.
        environ: where keys and base URLs come from; None for the process's own environment.
        clock: the real one by default.
        on_progress: called about once a second with a snapshot.
        signals: take SIGINT and SIGTERM as the two stops; only in the main thread.

    Returns:
        What was done. Faults that stop a run in the middle are in `fault`, because by then there is something to tell.

    Raises:
        RefusedToStart: nothing was sent; `folder.Busy` when another process is at work in the output folder.
        StorageError: the ledger cannot be opened.
    """
    env = Unshown(os.environ if environ is None else environ)
    ready = await to_thread.run_sync(preflight.check_job, job, env)
    clock = clock or Clock()
    began, waited = clock.monotonic(), False
    lock = RunLock(ready.folder)
    try:
        lock.take()
    except Busy as exc:
        if options.if_running == "fail":
            raise
        if options.if_running == "skip":
            return _not_run(ready.folder, "skipped", exc.holder)
        logger().info("run_awaited", process=exc.process)
        say = partial(on_progress, progress.waiting(exc.holder))
        if not await _awaited(lock, clock, say=say, signals=signals):
            return _not_run(ready.folder, "interrupted", exc.holder)
        began, waited = clock.monotonic(), True
    with lock:
        if waited:
            # What was read before is old: the other run may have fixed column types, the input may be another.
            ready = await to_thread.run_sync(preflight.check_job, job, env)
        await to_thread.run_sync(integrity.require_trusted, ready.folder)
        ready.folder.prepare()
        async with Ledger(ready.folder.ledger) as ledger:
            command = RunCommand(ready, ledger, options=options, environ=env, clock=clock, on_progress=on_progress)
            await command.inspect()
            async with anyio.create_task_group() as group:
                if signals:
                    group.start_soon(command.watch_signals)
                await command.go()
                group.cancel_scope.cancel()
            return command.report(clock.monotonic() - began)


async def _awaited(lock: RunLock, clock: Clock, *, say: Callable[[], None], signals: bool) -> bool:
    """Whether the lock was taken in the end; False when a signal gave it up. Says that it waits once it can be."""
    async with anyio.create_task_group() as group:

        async def give_up(*, task_status: TaskStatus[None]) -> None:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
                task_status.started()
                async for _ in received:
                    group.cancel_scope.cancel()

        if signals:
            await group.start(give_up)
        say()
        while True:
            await clock.sleep(LOCK_AGAIN_S)
            with suppress(Busy):
                lock.take()
                group.cancel_scope.cancel()
                return True
    return False


def _not_run(folder: OutputFolder, state: Literal["skipped", "interrupted"], holder: str) -> Report:
    """The report of a command that did nothing, because another is at work."""
    return Report(
        state=state,
        folder=folder,
        run=None,
        totals=Totals(),
        planned=Planned(),
        elapsed_s=0.0,
        standing=(0, 0),
        table_rows=0,
        holder=holder,
    )


class RunCommand:
    """The runs of one command, one after the other."""

    def __init__(
        self,
        ready: CheckedJob,
        ledger: Ledger,
        *,
        options: RunOptions,
        environ: Mapping[str, str],
        clock: Clock,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._ready = ready
        self._environ = environ
        self._ledger = ledger
        self._options = options
        self._clock = clock
        self._on_progress = on_progress
        self._current: pipeline.Run | None = None
        self._stops = 0
        self._warned = False
        self._state: Any = "nothing_to_do"
        self._fault: BatchError | None = None

    async def inspect(self) -> None:
        """Look at the folder before a run is opened in it, and put right what a killed process left half done.

        Raises:
            RefusedToStart: files are missing, changed, or not named by the ledger; or the input cannot be read.
            StorageError: the disk refused.
        """
        ready = self._ready
        inspection = Inspection(ready, self._ledger)
        await inspection.compare_files()
        with LedgerReader(ready.folder.ledger) as reader:
            status_files.repair_last(ready.folder, reader, job=ready.job)
            await inspection.add_columns(reader)
            await inspection.restore_spills(reader, self._clock.now_us())

    async def go(self) -> None:
        """Open runs until one is neither the closing of an old job nor of an old input."""
        folder, ready = self._ready.folder, self._ready
        with LedgerReader(folder.ledger) as reader:
            while True:
                start = continuation.choose_run(reader, ready.identity(), self._clock.now_us(), options=self._options)
                if start is None:
                    return
                await self._one(start, reader)
                if self._state not in continuation.CLOSINGS:
                    return
                if self._stops:
                    self._state = "interrupted"  # the old run was closed; the one asked for has not begun
                    return

    async def _one(self, start: continuation.RunStart, reader: LedgerReader) -> None:
        contextvars.bind_contextvars(run=start.run)
        folder = self._ready.folder
        now = self._clock.now_us()
        await self._ledger.execute(continuation.start_transaction(start, self._ready.identity(), now))
        logger().info("run_started" if start.fresh else "run_continued", mode=start.mode, job=self._ready.job.name)
        if not self._warned and start.mode != "collect":
            self._warned = True
            if (short := self._ready.unmasked_key) is not None:
                logger().warning("key_not_masked", why=short)
            if (fewer := self._ready.fewer_calls) is not None:
                logger().warning("concurrency_lowered", why=fewer)
            for text in self._ready.warnings:
                logger().warning("parameter_doubted", doubt=text)
        status_files.write_run(folder, start.run, reader, job=self._ready.job)
        this = pipeline.Run(
            _for_collecting(self._ready, start, reader, self._environ),
            start,
            self._ledger,
            options=self._options,
            clock=self._clock,
            on_progress=self._show,
        )
        self._current = this
        try:
            self._state = await this.execute()
        except BatchError as exc:
            self._fault = exc
            self._state = "storage" if isinstance(exc, StorageError) else this.reason
            if isinstance(exc, StorageError):
                logger().error("storage_failed", error=str(exc))
        finally:
            self._current = None
        self._on_progress(this.snapshot(self._state))
        try:
            end = RunEnd(self._state, this.totals, self._options.max_failed, self._fault)
            status_files.write_status(folder, this.snapshot(self._state), now_us=self._clock.now_us(), end=end)
            status_files.write_run(folder, start.run, reader, job=self._ready.job, end=end)
        except StorageError as exc:
            self._fault = self._fault or exc
        if isinstance(self._fault, StorageError):
            return  # told already
        fault = {"fault": str(self._fault)} if self._fault is not None else {}
        totals = this.totals
        logger().info("run_finished", state=self._state, rows=totals.rows, failed=totals.rows_failed, **fault)

    def report(self, elapsed_s: float) -> Report:
        """What the last run did."""
        with LedgerReader(self._ready.folder.ledger) as reader:
            last = reader.runs()[-1] if self._state != "nothing_to_do" else None
            return Report(
                state=self._state,
                folder=self._ready.folder,
                run=last.run if last else None,
                totals=last.totals if last else Totals(),
                planned=last.planned if last else Planned(),
                elapsed_s=elapsed_s,
                standing=reader.standing_failures(),
                table_rows=reader.table_rows(),
                fault=self._fault,
                max_failed=self._options.max_failed,
            )

    async def watch_signals(self) -> None:
        """First signal: stop sending and drain. Second: cut. Third: the system's own way."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
            async for number in received:
                self._stops += 1
                if self._current is not None and self._stops == 1:
                    self._current.stop("interrupted")
                elif self._current is not None and self._stops == 2:
                    self._current.cut()
                else:
                    signal.signal(number, signal.SIG_DFL)
                    os.kill(os.getpid(), number)

    def _show(self, snapshot: Progress) -> None:
        try:
            status_files.write_status(self._ready.folder, snapshot, now_us=self._clock.now_us())
        except StorageError as exc:
            # Told like any other full disk: what is in flight is paid for, and gets its time.
            if self._current is not None:
                self._current.stop("storage", exc)
        self._on_progress(snapshot)


def _for_collecting(
    ready: CheckedJob, start: continuation.RunStart, reader: LedgerReader, environ: Mapping[str, str]
) -> CheckedJob:
    """For tasks of an old job: the provider and model they were given to, which the new job may have left."""
    if start.mode != "collect":
        return ready
    request = next(row.request for row in reader.runs() if row.run == start.run)
    old = msgspec.json.decode(request)
    job = ready.job
    model = msgspec.structs.replace(job.model, provider=old["provider"], name=old["model"], names=(), base_url=None)
    endpoint = ready.endpoint
    if old["provider"] != job.model.provider:
        try:
            endpoint = resolve(old["provider"], base_url=None, api_key_env=None, environ=environ, tables=job.provider)
        except RefusedToStart as exc:
            raise RefusedToStart(f"tasks of the job as it was before wait to be collected, but {exc}") from exc
    return msgspec.structs.replace(
        ready, job=msgspec.structs.replace(job, model=model), endpoint=endpoint, old_models=old_models(old)
    )
