"""`metrics.prom`: what a command did, for `node_exporter`'s textfile collector and whoever else reads this format.

Owns which numbers stand in it, where it is written and how often. All numbers are those of `status.json`: nothing is
counted here. The time of the last success outlives runs that fail, so that an alert can ask for its age. That the file
cannot be written stops no run: it is told once.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from batch.core import metrics
from batch.core.clock import MICROSECONDS, Clock
from batch.core.durable import AtomicFile
from batch.core.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_OK, BatchError, StorageError, leaves
from batch.core.logs import logger
from batch.job.job import Job
from batch.job.shard import shard_of
from batch.output.folder import Busy, OutputFolder, RunLock, holder
from batch.run.metric_families import LAST_SUCCESS, PREFIX, RUNNING, Moment, families, families_of_refusal
from batch.run.progress import Progress

EVERY_S: Final = 15.0
JOB, SHARD = "batch_job", "shard"
"""Labels of every number: the name of the job, and which part of it a shard works on."""
_LARGEST: Final = 1 << 20


class MetricsFile:
    """The metrics of one command: in `OUT/metrics.prom`, and in another file if that is wanted.

    Args:
        job: what is run.
        lock: of the output folder; without it nothing is written there.
        beside: the other file; None for none.
        clock: for the times in it.
    """

    def __init__(self, job: Job, lock: RunLock, beside: Path | None, clock: Clock) -> None:
        self._job = job
        self._labels = _labels_of(job)
        self._lock = lock
        self._beside = beside
        self._clock = clock
        self._began = clock.monotonic()
        self._written_at = -math.inf
        self._last: Progress | None = None
        self._success_s: float | None = None
        self._looked = False
        self._told: set[Path] = set()

    def show(self, snapshot: Progress, *, write: bool = True) -> None:
        """Take note of how far the run is, and write it if the file is older than `EVERY_S`.

        Args:
            snapshot: how far the run is.
            write: False where the end follows at once.
        """
        self._last = snapshot
        now = self._clock.monotonic()
        if write and now - self._written_at >= EVERY_S:
            self._written_at = now
            self._write(None)

    @contextmanager
    def told_of_faults(self) -> Iterator[None]:
        """Write with which exit code a command ended that raises an error, a refusal before its start included.

        Where another command is at work in the folder, the file is that one's.
        """
        try:
            yield
        except Busy:
            raise
        except BaseException as exc:
            self.ended(_exit_code(exc))
            raise

    def ended(self, exit_code: int) -> None:
        """Write how the command ended.

        Args:
            exit_code: of its process.
        """
        folder, taken = self._lock.folder, False
        if not self._lock.held:
            if folder.ledger.is_file():
                try:
                    self._lock.take()
                except (Busy, StorageError):
                    return
                taken = True
            elif self._beside is None:
                return  # it was refused before there was a folder
        try:
            self._write(exit_code)
        finally:
            if taken:
                self._lock.free()

    def _write(self, exit_code: int | None) -> None:
        folder, now_s = self._lock.folder, self._clock.now_us() / MICROSECONDS
        if not self._looked:
            self._looked = True
            self._success_s = last_success(folder, self._labels, self._beside)
        if exit_code == EXIT_OK:
            self._success_s = now_s
        moment = Moment(
            at_s=now_s,
            elapsed_s=self._clock.monotonic() - self._began,
            exit_code=exit_code,
            last_success_s=self._success_s,
            progress=self._last,
        )
        text = metrics.text_of(families(self._job, moment), self._labels)
        if self._lock.held:
            self._replace(folder.metrics, text, sync=exit_code is not None)
        if self._beside is not None and self._beside.absolute() != folder.metrics.absolute():
            self._replace(self._beside, text, others=True, sync=exit_code is not None)

    def _replace(self, path: Path, text: str, *, sync: bool, others: bool = False) -> None:
        """Write a file anew; what cannot be done is told once.

        Args:
            path: the file.
            text: all of it.
            sync: whether it is to survive a power cut, too: the last word of a command is.
            others: whether other people's files may lie there, and those of other jobs.
        """
        why = (self._not_ours(path) if others else None) or _written(path, text, sync=sync)
        if why is None:
            return
        if path not in self._told:
            self._told.add(path)
            logger().warning("metrics_unwritten", path=str(path), why=f"{why}; the run goes on without it")

    def _not_ours(self, path: Path) -> str | None:
        """Why a file is not to be replaced; None where there is none, or an older one of this job."""
        try:
            if path.is_dir():
                return "it is a folder: give --metrics-file the path of a file in it"
            old = _text(path)
            if old is None:
                return None if not path.exists() else _FOREIGN
        except OSError as exc:
            return exc.strerror or str(exc)
        if old and not metrics.begins_as_ours(old, PREFIX):
            return _FOREIGN
        told = _labels_in(old)
        if told and told[JOB] != self._job.name:
            return f"it has the metrics of the job {told[JOB]!r}: give each job a file of its own, or delete it"
        if told.get(SHARD) not in (None, self._labels.get(SHARD)):  # an older version told no shard
            return f"it has the metrics of shard {told[SHARD]}: give each shard a file of its own, or delete it"
        return None


def refused(exit_code: int, job: Job | None, beside: Path | None, clock: Clock) -> None:
    """Tell of a command that was refused before its run was asked for.

    Args:
        exit_code: of its process.
        job: what was to be run; None where it could not even be read: then only a file that has metrics of it already
            can be told, under the name of the job that stands there.
        beside: the other file; None for none.
        clock: for the times.
    """
    if job is not None:
        MetricsFile(job, RunLock(OutputFolder(job.output.path)), beside, clock).ended(exit_code)
        return
    old = None if beside is None else _text(beside)
    labels = {} if old is None or not metrics.begins_as_ours(old, PREFIX) else _labels_in(old)
    if beside is None or old is None or not labels:
        return
    success_s = metrics.value_in(old, LAST_SUCCESS)
    moment = Moment(clock.now_us() / MICROSECONDS, 0.0, exit_code, success_s, None)
    if (why := _written(beside, metrics.text_of(families_of_refusal(moment), labels), sync=True)) is not None:
        logger().warning("metrics_unwritten", path=str(beside), why=why)


def _written(path: Path, text: str, *, sync: bool) -> str | None:
    """Write a file anew; why that was not possible, else None."""
    file = AtomicFile(path)
    try:
        file.open().write(text.encode())
        file.seal(sync=sync)
        file.rename()
    except OSError as exc:
        file.abandon()
        return f"there is no folder {path.parent}" if isinstance(exc, FileNotFoundError) else exc.strerror or str(exc)
    return None


_FOREIGN: Final = "what lies there is no file of metrics, and is left as it is: give --metrics-file another path"


def _labels_of(job: Job) -> dict[str, str]:
    """What every number of a job is told by; one of a shard by that, too."""
    shard = shard_of(job)
    return {JOB: job.name} if shard is None else {JOB: job.name, SHARD: shard.text}


def _labels_in(text: str) -> dict[str, str]:
    """The same of the job that wrote a text; empty where it says none."""
    found = {name: metrics.label_in(text, name) for name in (JOB, SHARD)}
    return {} if found[JOB] is None else {name: value for name, value in found.items() if value is not None}


def last_success(folder: OutputFolder, labels: Mapping[str, str], beside: Path | None = None) -> float | None:
    """When a command last ended with exit code 0 here, in seconds since 1970; None when that is not known.

    Args:
        folder: the output folder, perhaps of an older version that wrote no metrics.
        labels: of the job; a file beside of another one says nothing of this one.
        beside: where metrics are written, too.
    """
    texts = [text for path in (folder.metrics, beside) if path is not None and (text := _text(path)) is not None]
    if len(texts) > 1 and _labels_in(texts[1]) != labels:
        del texts[1]
    told = [time for text in texts if (time := metrics.value_in(text, LAST_SUCCESS)) is not None]
    return max(told) if told else _by_run_files(folder)


def as_of_now(folder: OutputFolder) -> str:
    """What the file in a folder says, true at this moment: the run that wrote it last may have been killed since.

    Raises:
        OSError: it cannot be read.
    """
    text = folder.metrics.read_text(encoding="utf-8", errors="replace")
    return text if holder(folder) is not None else metrics.with_value(text, RUNNING, 0)


def _by_run_files(folder: OutputFolder) -> float | None:
    """When the last run ended that ended well, by the files of runs; their names begin with the time."""
    for path in sorted(folder.runs.glob("*.json"), reverse=True):
        with suppress(OSError, ValueError, TypeError, AttributeError):
            told: dict[str, Any] = msgspec.json.decode(path.read_bytes())
            if told.get("exit_code") == EXIT_OK:
                return datetime.fromisoformat(told["ended_at"]).timestamp()
    return None


def _text(path: Path) -> str | None:
    """What a file says; None where there is none of a size that metrics have."""
    with suppress(OSError, UnicodeDecodeError):
        state = path.stat()
        if stat.S_ISREG(state.st_mode) and state.st_size <= _LARGEST:
            return path.read_text(encoding="utf-8")
    return None


def _exit_code(exc: BaseException) -> int:
    """What a process ends with that this error ends."""
    found = list(leaves(exc))
    for leaf in found:
        if isinstance(leaf, BatchError):
            return leaf.exit_code
    return EXIT_BUG if any(isinstance(leaf, Exception) for leaf in found) else EXIT_INTERRUPTED
