"""`promptmill run`: starts, continues or repeats the run of a job.

Owns how a run is connected to a terminal: logs, progress, the table at the end. What a run does is in `run.command`.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter

from batch.cli import jobs
from batch.core.errors import EXIT_OK, RefusedToStart, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batch.cli.live import Show
    from batch.job.job import Job
    from batch.job.options import RunOptions
    from batch.run.command import Report

_PROBE_S: Final = 2.0
ProgressForm = Literal["auto", "rich", "plain", "json", "none"]


def run(
    job: jobs.JobPath,
    /,
    *,
    output: jobs.OutPath = None,
    limit: Annotated[int | None, Parameter(negative=())] = None,
    shuffle: Annotated[bool, Parameter(negative=())] = False,
    seed: Annotated[int | None, Parameter(negative=())] = None,
    set_: jobs.Settings = (),
    lane: jobs.LaneName = None,
    shard: jobs.ShardText = None,
    prices: jobs.PricesPath = None,
    only: Annotated[str | None, Parameter(negative=())] = None,
    retry: Annotated[Literal["all"] | None, Parameter(negative=())] = None,
    max_cost: jobs.MaxCost = None,
    max_failed: Annotated[str | None, Parameter(negative=(), allow_leading_hyphen=True)] = None,
    if_running: Annotated[Literal["fail", "wait", "skip"], Parameter(negative=())] = "fail",
    no_wait: Annotated[bool, Parameter(negative=())] = False,
    metrics_file: jobs.MetricsPath = None,
    otel: Annotated[bool, Parameter(negative=())] = False,
    otel_rows: Annotated[str, Parameter(negative=())] = "1%",
    wire_log: Annotated[bool, Parameter(negative=())] = False,
    workers: Annotated[str, Parameter(negative=(), allow_leading_hyphen=True)] = "1",
    on: Annotated[str | None, Parameter(negative=())] = None,
    progress: Annotated[ProgressForm, Parameter(negative=())] = "auto",
    log_format: Annotated[Literal["console", "json"], Parameter(negative=())] = "console",
) -> int:
    """Run a job, or continue it: answers land in the output folder.

    The same command is resume, retry and the nightly increment. Ctrl-C lets calls in flight finish, a second one cuts.

    Args:
        job: job folder, or its job.toml.
        output: output folder instead of the job's own; relative to where you are.
        limit: at most this many of the rows that need work.
        shuffle: with --limit: draw the rows instead of taking the first ones.
        seed: with --shuffle: another seed, another draw; 0 by default.
        set_: change one key of the job for this run, for example --set limits.concurrency=64; may be repeated.
        lane: how requests travel, instead of model.lane.
        shard: work on one part of the rows alone, such as 0/4, counted from 0, with its part of each limit and budget.
        prices: a price file that wins over those of the job and over the price book; relative to where you are.
        only: ask only rows of these kinds, with commas: new, changed, failed (for now), short (of samples).
        retry: all: ask rows that failed for good again, too; without it they wait until what is asked changes.
        max_cost: the most this run may cost, such as 50CNY, instead of budget.max_cost; exit 3 when it is reached.
        max_failed: exit with 0 although rows failed, if at most so many (20) or this share of those it settles (0.5%).
        if_running: when another run is at work in the output folder: fail (exit 2), wait for it, or skip (exit 0).
        no_wait: in lane bulk or auto: end with exit 7 when all is at the provider; the same command collects.
        metrics_file: write OUT/metrics.prom to this .prom file, too, such as one that node_exporter collects.
        otel: send metrics and traces by OTLP, to where OTEL_EXPORTER_OTLP_ENDPOINT says; no text leaves.
        otel_rows: with --otel: the share of the rows that are traced, each with its calls, as spans.
        wire_log: write every request and reply to OUT/wire, keys masked, the newest 1 GB; for looking into a problem.
        workers: so many processes exchange requests and answers; auto: one less than this machine has processors.
        on: ray: they are actors of a Ray on this machine; ray:HOST:PORT or ray://HOST:PORT: of a running cluster.
        progress: a live line (rich), a line every 10 s (plain), JSON lines, or nothing; auto picks rich on a terminal.
        log_format: console shows warnings and errors, json everything; both on stderr.
    """
    rows = {"limit": limit, "sample_seed": _sample(limit, shuffle, seed), "if_running": if_running, "prices": prices}
    told = rows | {"wire_log": wire_log, "no_wait": no_wait, "metrics_file": metrics_file, "otel": otel}
    loaded = _loaded(metrics_file, job, settings=set_, output=output, lane=lane, max_cost=max_cost, shard=shard)
    return _run(loaded, _options(only, retry, max_failed, (otel_rows, workers, on), told), progress, log_format)


def _loaded(metrics_file: Path | None, job: Path, **changes: Any) -> Job:
    """The job; a refusal of it stands in the metrics.

    Args:
        metrics_file: of that flag.
        job: of the command.
        changes: what flags change in it, as `jobs.load` takes them.
    """
    with _telling(metrics_file):
        return jobs.load(job, **changes)


def _options(
    only: str | None,
    retry: str | None,
    max_failed: str | None,
    texts: tuple[str, str, str | None],
    others: dict[str, Any],
) -> RunOptions:
    """The options of a run, from what the flags say of them.

    Args:
        only: of that flag.
        retry: of that flag.
        max_failed: of that flag.
        texts: of `--otel-rows`, `--workers` and `--on`.
        others: those that are values already.
    """
    from batch.job.options import MaxFailed, RunOptions, kinds_of, place_of, share_of, workers_of

    return RunOptions(
        kinds=kinds_of(only, retry_all=retry == "all"),
        max_failed=MaxFailed.of(max_failed) if max_failed is not None else None,
        otel_rows=share_of(texts[0], option="--otel-rows"),
        workers=workers_of(texts[1], option="--workers"),
        on=None if texts[2] is None else place_of(texts[2], option="--on"),
        **others,
    )


@contextmanager
def _telling(metrics_file: Path | None, loaded: Job | None = None) -> Iterator[None]:
    """Have a refusal before the run stand in its metrics, as one by the run itself does."""
    try:
        yield
    except RefusedToStart as exc:
        from batch.core.clock import Clock
        from batch.run.metrics_file import refused

        refused(exc.exit_code, loaded, metrics_file, Clock())
        raise


def bought(
    loaded: Job, options: RunOptions, progress: ProgressForm, log_format: Literal["console", "json"] = "console"
) -> tuple[Report, int]:
    """Run a job as the command does, all but the table at its end; what was done, and the rows settled here.

    Args:
        loaded: the job.
        options: what the command adds to it.
        progress: how it is shown.
        log_format: as the flag has it.

    Raises:
        RefusedToStart: nothing was sent.
    """
    from batch.cli import live
    from batch.core import failpoints, logs

    _load(alone=loaded.tools is None and loaded.labels is None)
    failpoints.arm(os.environ.get(failpoints.VARIABLE))
    show = live.show(progress)
    with _telling(options.metrics_file, loaded):
        jobs.make_room(loaded)
    logs.set_up(log_format, stream=show.log, level=_INFO if log_format == "json" else _WARNING)
    with show:
        show.starting(loaded.name)
        with _telling(options.metrics_file, loaded):
            _find_simulator(loaded, options)
        report = _execute(loaded, options, show)
    return report, show.settled_here


def _run(loaded: Job, options: RunOptions, progress: ProgressForm, log_format: Literal["console", "json"]) -> int:
    from batch.cli import summary
    from batch.cli.text import Unread

    report, settled_here = bought(loaded, options, progress, log_format)
    try:
        summary.tell(report, loaded, settled_here=settled_here, prices=options.prices)
    except Unread:
        pass  # the exit code tells of the run, whoever reads the table
    except StorageError:
        if report.exit_code == EXIT_OK:  # else the code of the run says more
            raise
    if report.fault is not None:
        # Raised rather than printed: one place prints errors and knows their exit codes.
        raise report.fault
    return report.exit_code


_SWITCH_INTERVAL_S: Final = 0.0005
_COLLECTED: Final = (100_000, 10, 10)
"""How many objects are made before the collector looks at the young ones, and how often it then looks at the older.

A run makes next to no rubbish that needs a collector, so most of its looks find nothing; what was loaded is frozen, and
never looked at. Set here and not in the Python API, as the switch interval.
"""
_INFO: Final = 20
_WARNING: Final = 30


def _sample(limit: int | None, shuffle: bool, seed: int | None) -> int | None:
    """The seed of the draw; None where none is drawn."""
    if limit is not None and limit < 1:
        raise RefusedToStart(f"--limit {limit}: give at least 1 row, or leave it out for all")
    if shuffle and limit is None:
        raise RefusedToStart(
            "--shuffle draws a sample, so it needs --limit N; a whole run keeps the order of the input"
        )
    if seed is not None and not shuffle:
        raise RefusedToStart("--seed decides a draw, so it needs --shuffle and --limit N")
    return (seed or 0) if shuffle else None


def _load(*, alone: bool) -> None:
    """Load the modules of a run; in a process of our own the collector is out of the way meanwhile and afterwards.

    Args:
        alone: no code of a job's own runs in this process, which may want to hand pyarrow what pandas made.
    """
    from batch.core import arrowmemory, arrowstart, process

    ours = process.is_ours()
    if ours:
        gc.disable()  # what is loaded makes objects by the hundred thousand, and no rubbish
    try:
        if alone:
            arrowstart.load()
        arrowmemory.use_system()
        from batch.run import command  # noqa: F401 - loading it is what is wanted
    finally:
        if ours:
            gc.freeze()
            gc.set_threshold(*_COLLECTED)
            gc.enable()


def _execute(job: Job, options: RunOptions, show: Show) -> Report:
    import anyio

    from batch.run import command

    # A busy event loop may keep the ledger's writer off the interpreter for one interval at every hand-over; the
    # default of 5 ms is felt in each commit. Set here and not in the Python API, which changes nothing of its host.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)

    async def main() -> Report:
        return await command.run(job, options=options, on_progress=show, signals=True)

    return anyio.run(main, backend_options={"use_uvloop": sys.platform != "win32"})


def _find_simulator(job: Job, options: RunOptions) -> None:
    """Refuse at once when nobody listens where the simulator should; every row would fail after minutes of retries.

    Raises:
        RefusedToStart: with the command that starts it.
    """
    if job.model.provider != "simulator":
        return
    from batch.providers.registry import PROVIDERS

    refused: list[tuple[str, int]] = []
    for address in (*(one.base_url for one in job.model.endpoints),) or (job.model.base_url,):
        url = urlsplit(address or PROVIDERS["simulator"].base_url or "")
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            socket.create_connection((url.hostname or "", port), timeout=_PROBE_S).close()
        except ConnectionRefusedError:
            refused.append((f"{url.scheme}://{url.netloc}", port))
        except OSError:
            return  # something else than "nobody is there": the run itself says it better
        else:
            return  # of several addresses, the others are asked when they are there
    if _has_work(job, options):
        places, ports = " and ".join(place for place, _ in refused), [port for _, port in refused]
        raise RefusedToStart(
            f"nobody listens at {places}, where this job expects the simulator. Start it in another terminal:"
            + "".join(f"\n  promptmill simulate --port {port}" for port in ports)
        )


def _has_work(job: Job, options: RunOptions) -> bool:
    """Whether a run would send anything: "nothing to do" needs no provider, and a wrong job is reported first."""
    from batch.ledger.reader import LedgerReader
    from batch.plan import continuation, preflight

    checked = preflight.check_job(job, os.environ, options.prices)
    if not checked.folder.ledger.exists():
        return True
    with LedgerReader(checked.folder.ledger) as reader:
        if not reader.made:
            return True
        return continuation.choose_run(reader, checked.identity(), 0, options=options) is not None
