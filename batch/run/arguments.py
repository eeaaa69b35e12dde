"""What a program hands to `run`: refused at once where it can only be a mistake, with what to write instead.

Owns the checks of types and of the thread, and the value in which all of it goes on. What an option may be is the
matter of `job.options`, what a job may be that of `job.job`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from batch.core.clock import Clock
from batch.core.errors import RefusedToStart
from batch.job.job import Job
from batch.job.options import RunOptions
from batch.run.interrupts import Interrupts
from batch.run.metrics_file import MetricsFile
from batch.run.otel_export import Export
from batch.run.progress import Progress

if TYPE_CHECKING:
    from batch.run.ray.cluster import Cluster


class Given(msgspec.Struct, frozen=True):
    """What a command was given beside its job."""

    options: RunOptions
    environ: Mapping[str, str]
    clock: Clock
    on_progress: Callable[[Progress], None]
    interrupts: Interrupts
    metrics: MetricsFile
    export: Export | None = None
    """Where metrics and traces go; None where none are wanted."""
    cluster: Cluster | None = None
    """Where workers run; None for this machine."""


def require(job: Any, options: Any, environ: Any, on_progress: Any, *, signals: Any) -> None:
    """Refuse what no run can be made of.

    Args:
        job: is to be a `Job`.
        options: are to be `RunOptions`.
        environ: is to be a mapping of names to values, or None.
        on_progress: is to be callable with one snapshot.
        signals: whether the run is to hear signals, which Python gives to the main thread only.

    Raises:
        RefusedToStart: an argument has another type, or an option is for another lane.
        RuntimeError: signals are wanted in another thread.
    """
    if not isinstance(job, Job):
        raise RefusedToStart(
            f"job: {_type(job)} is given, where a Job is wanted; a job folder, or its job.toml, is loaded by "
            "Job.load(PATH)"
        )
    if not isinstance(options, RunOptions):
        raise RefusedToStart(
            f"options: {_type(options)} is given, where RunOptions are wanted, such as RunOptions(limit=10); leave it "
            "out for none"
        )
    if options.no_wait and "bulk" not in job.model.lanes:
        raise RefusedToStart(
            "--no-wait (no_wait) is for lane bulk, whose answers may take a day; this job has lane "
            f"{job.model.lane_text}: leave it out, or give --lane bulk"
        )
    if environ is not None and not isinstance(environ, Mapping):
        raise RefusedToStart(
            f"environ: {_type(environ)} is given, where a mapping is wanted, such as os.environ; leave it out for the "
            "process's own environment"
        )
    if not callable(on_progress):
        raise RefusedToStart(
            f"on_progress: {_type(on_progress)} is given, where a function of one snapshot is wanted; leave it out to "
            "hear nothing"
        )
    if signals and threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "signals=True works in the main thread only, for Python tells signals to no other. Start the run there, or "
            "leave signals out: then a signal does what the main thread has decided, and `await run(job)` in a task "
            "can be cancelled from outside"
        )


def _type(value: Any) -> str:
    return "None" if value is None else type(value).__name__
