"""One command over one output folder: which runs it opens, and what each leaves in `runs/*.json` and `status.json`.

Owns the lock for as long as it works (and the wait for it), the clean-up of what a killed process left half done, and
the rule that a changed job or input first closes the old run and then goes on with the next, whose result counts. The
run itself is `pipeline.Run`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
from anyio import to_thread

from batch.core import process
from batch.core.clock import Clock
from batch.core.errors import BatchError, StorageError, ungrouped
from batch.core.logs import bound, logger
from batch.core.redaction import Unshown
from batch.job.job import Job
from batch.job.options import MaxFailed, RunOptions
from batch.job.shard import shard_of
from batch.ledger.index import Gone, gone_of
from batch.ledger.reader import LedgerReader
from batch.ledger.totals import Planned, Totals
from batch.ledger.writer import Ledger
from batch.output import integrity, mirror, shards
from batch.output.folder import Busy, OutputFolder, RunLock
from batch.plan import continuation, preflight, timely
from batch.plan.preflight import CheckedJob
from batch.run import arguments, collecting, otel_export, pipeline, progress, status_files
from batch.run.arguments import Given
from batch.run.calling import elsewhere
from batch.run.inspection import Inspection
from batch.run.interrupts import Interrupts
from batch.run.metrics_file import MetricsFile
from batch.run.progress import Progress
from batch.run.status_files import RunEnd

State = Literal[
    "finished", "nothing_to_do", "skipped", "interrupted", "waiting", "budget", "provider", "systematic", "storage",
    "input",
]  # fmt: skip


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a command did."""

    state: State
    folder: Path
    """The output folder."""
    run: str | None
    """The name of the last run, None when there was none."""
    totals: Totals
    """Counts and sums over the rows and calls of that run; `totals.cost` has exact decimals by currency."""
    planned: Planned
    """What that run found in the input, in rows."""
    elapsed_s: float
    standing: tuple[int, int]
    """Rows of the whole table that failed for good, and that failed but are worth another try."""
    table_rows: int
    budget: dict[str, progress.BudgetState] = {}
    """By key of `[budget]`, its limit and what is left of it."""
    auto: str | None = None
    """What lane `auto` decided and why; None in another lane."""
    drawn: bool = False
    """Whether the rows were drawn from all that need work."""
    gone: Gone = Gone()
    """Rows of the table that are not in the input any more, when it was last read to its end."""
    fault: BatchError | None = None
    """What stopped the run in the middle; what was answered before is in the table."""
    max_failed: MaxFailed | None = None
    holder: str = ""
    """Who else was at work, when that was the end of it: process and time."""

    @property
    def results(self) -> Path:
        """The folder of the result table, in Parquet files."""
        return OutputFolder(self.folder).results

    @property
    def calls(self) -> Path:
        """The folder of the book of account, a folder of Parquet files for each run."""
        return OutputFolder(self.folder).calls

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


@ungrouped
async def run(
    job: Job,
    *,
    options: RunOptions = RunOptions(),  # noqa: B008 - it is frozen
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
        signals: let SIGINT, SIGTERM and SIGHUP stop it, as `interrupts` says; only in the main thread.

    Returns:
        What was done. Faults that stop a run in the middle are in `fault`, because by then there is something to tell.

    Raises:
        RefusedToStart: nothing was sent; `folder.Busy` when another process is at work in the output folder.
        RuntimeError: signals are wanted outside the main thread.
        StorageError: the ledger cannot be opened.
    """
    arguments.require(job, options, environ, on_progress, signals=signals)
    env, clock = Unshown(os.environ if environ is None else environ), clock or Clock()
    lock = RunLock(OutputFolder(job.output.path))
    metrics = MetricsFile(job, lock, options.metrics_file, clock)
    interrupts = Interrupts()
    interrupts.awaited.append(lambda: lock.folder.store.awaited)
    with process.heard_by(interrupts.received) if signals else nullcontext():
        async with lock.given_back():
            with metrics.told_of_faults():
                async with otel_export.wanted(asked=options.otel) as export, elsewhere(options, clock) as cluster:
                    given = Given(options, env, clock, on_progress, interrupts, metrics, export, cluster)
                    ready = await _prepared(job, lock, given)
                    report = await _runs(ready, lock, given) if isinstance(ready, CheckedJob) else ready
            if report.state != "skipped":  # else the file is that of the one at work
                metrics.ended(report.exit_code)
        if signals:
            process.ends_with(report.exit_code)
    return report


async def _prepared(job: Job, lock: RunLock, given: Given) -> CheckedJob | Report:
    """The job, checked, with the lock taken; or the report of a command that does nothing."""
    ready: CheckedJob | None = None
    with given.interrupts.giving_up():
        ready = await to_thread.run_sync(preflight.check_job, job, given.environ, given.options.prices)
    if ready is None or given.interrupts.count:  # a thread is waited for, also by who gives up
        return _not_run(lock.folder, "interrupted")
    try:
        await to_thread.run_sync(lock.take)
    except Busy as exc:
        if given.options.if_running == "fail":
            raise
        if given.options.if_running == "skip":
            return _not_run(ready.folder, "skipped", exc.holder)
        logger().info("run_awaited", process=exc.process)
        with given.interrupts.giving_up():
            given.on_progress(progress.waiting(exc.holder))
            await lock.wait(given.clock)
            # What was read before is old: the other run may have fixed column types, the input may be another.
            return await to_thread.run_sync(preflight.check_job, job, given.environ, given.options.prices)
        return _not_run(ready.folder, "interrupted", exc.holder)
    return ready


async def _runs(ready: CheckedJob, lock: RunLock, given: Given) -> Report:
    """Do the runs of a command in a folder that is locked."""
    began = given.clock.monotonic()
    given.interrupts.awaited.append(lambda: ready.folder.store.awaited)
    await to_thread.run_sync(integrity.require_trusted, ready.folder)
    await to_thread.run_sync(shards.claim, ready.folder, shard_of(ready.job))
    await to_thread.run_sync(mirror.require_ledger, ready.folder)
    ready.folder.prepare()
    async with Ledger(ready.folder.ledger) as ledger:
        command = RunCommand(ready, ledger, lock, given)
        with given.interrupts.giving_up():
            await command.inspect()
        await command.go()
        return command.report(given.clock.monotonic() - began)


def _not_run(folder: OutputFolder, state: Literal["skipped", "interrupted"], holder: str = "") -> Report:
    """The report of a command that did nothing, because another is at work or a signal came first."""
    return Report(
        state=state, folder=folder.place, run=None, totals=Totals(), planned=Planned(), elapsed_s=0.0,
        standing=(0, 0), table_rows=0, holder=holder,
    )  # fmt: skip


class RunCommand:
    """The runs of one command, one after the other."""

    def __init__(self, ready: CheckedJob, ledger: Ledger, lock: RunLock, given: Given) -> None:
        self._ready = ready
        self._lock = lock
        self._ledger = ledger
        self._given = given
        self._options = given.options
        self._clock = given.clock
        self._current: pipeline.Run | None = None
        self._inspection = Inspection(ready, ledger)
        self._begun = False
        self._state: Any = "nothing_to_do"
        self._fault: BatchError | None = None
        self._last: Progress | None = None
        self._unpublished: Totals | None = None
        """The sums of a run whose last answers are in the ledger, and could not be published: its own lack them."""

    async def inspect(self) -> None:
        """Look at the folder before a run is opened in it, and put right what a killed process left half done.

        Raises:
            RefusedToStart: files are missing, changed, or not named by the ledger; or the input cannot be read.
            StorageError: the disk refused.
        """
        ready, inspection = self._ready, self._inspection
        for text in ready.changed_tools:
            logger().warning("tool_changed", why=text)
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
                if self._given.interrupts.count:
                    self._state = "interrupted"  # perhaps an old run was closed; the one asked for has not begun
                    return
                start = continuation.choose_run(reader, ready.identity(), self._clock.now_us(), options=self._options)
                if start is None:
                    return
                if start.fresh and start.closes_as is None:
                    timely.require_time(ready.job, self._clock.now_us())
                await self._inspection.add_our_columns(reader)
                if (cluster := self._given.cluster) is not None:
                    await cluster.join(self._ready, start.run)
                with bound(run=start.run):
                    await self._one(start, reader)
                if self._state not in continuation.CLOSINGS:
                    return
                if (rest := start.rest(self._options)) is None:
                    self._state = "finished"
                    return
                self._options = rest

    async def _one(self, start: continuation.RunStart, reader: LedgerReader) -> None:
        self._begun = True
        folder = self._ready.folder
        await self._ledger.execute(continuation.start_transaction(start, self._ready.identity(), self._clock.now_us()))
        logger().info("run_started" if start.fresh else "run_continued", mode=start.mode, job=self._ready.job.name)
        if start.mode != "collect":
            self._inspection.tell_doubts()
        write_run = partial(status_files.write_run, folder, start.run, reader, job=self._ready.job)
        await to_thread.run_sync(write_run)  # it goes to the store, which may take its time
        export = self._given.export
        telemetry = export.telemetry(self._ready, start.run, self._options, self._clock) if export else None
        checked = collecting.checked_for(self._ready, start, reader, self._given.environ)
        this = pipeline.Run(
            checked,
            start,
            self._ledger,
            options=self._options,
            clock=self._clock,
            on_progress=self._show,
            observer=telemetry,
            begin=None if (cluster := self._given.cluster) is None else cluster.begin(checked),
        )
        self._current = this
        try:
            with self._given.interrupts.stopping(partial(this.stop, "interrupted"), this.cut):
                self._state = await this.execute()
        except BatchError as exc:
            self._fault, self._state = exc, "storage" if isinstance(exc, StorageError) else this.reason
            if isinstance(exc, StorageError):
                logger().error("storage_failed", error=str(exc))
        finally:
            self._current = None
        last = self._last = this.snapshot(self._state)
        self._unpublished = this.totals if isinstance(self._fault, StorageError) else self._unpublished
        self._given.metrics.show(last, write=False)
        self._given.on_progress(last)
        end = RunEnd(self._state, this.totals, self._options.max_failed, self._fault)
        if telemetry is not None:
            telemetry.ended(self._state, end.final_code, this.totals)
        try:
            status_files.write_status(folder, this.snapshot(self._state), now_us=self._clock.now_us(), end=end)
            await to_thread.run_sync(partial(write_run, end=end))
        except StorageError as exc:
            self._fault = self._fault or exc
        if isinstance(self._fault, StorageError):
            return  # told already
        totals, fault = this.totals, {"fault": str(self._fault)} if self._fault is not None else {}
        logger().info("run_finished", state=self._state, rows=totals.rows, failed=totals.rows_failed, **fault)

    def report(self, elapsed_s: float) -> Report:
        """What the last run did."""
        with LedgerReader(self._ready.folder.ledger) as reader:
            last = reader.runs()[-1] if self._begun else None
            return Report(
                state=self._state,
                folder=self._ready.folder.place,
                run=last.run if last else None,
                totals=self._unpublished or (last.totals if last else Totals()),
                planned=last.planned if last else Planned(),
                elapsed_s=elapsed_s,
                standing=reader.standing_failures(),
                table_rows=reader.table_rows(),
                budget={} if self._last is None else self._last.budget,
                auto=None if self._last is None else self._last.auto,
                drawn=self._options.sample_seed is not None,
                gone=gone_of(reader),
                fault=self._fault,
                max_failed=self._options.max_failed,
            )

    def _show(self, snapshot: Progress) -> None:
        try:
            status_files.write_status(self._ready.folder, snapshot, now_us=self._clock.now_us())
        except StorageError as exc:
            # Told like any other full disk: what is in flight is paid for, and gets its time.
            if self._current is not None:
                self._current.stop("storage", exc)
        if self._lock.lost is not None and self._current is not None:
            self._current.stop("storage", self._lock.lost)
        self._given.metrics.show(snapshot)
        self._given.on_progress(snapshot)
