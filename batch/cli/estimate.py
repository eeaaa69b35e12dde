"""`promptmill estimate`: what the next run of a job will take, before it is sent: rows, tokens, money and time.

With `--sample` a few rows are bought first, as `run --limit N --shuffle` buys them. The words are `estimate_text`'s.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from batch.cli import estimate_text, jobs
from batch.cli.text import count, say, say_json
from batch.core.errors import EXIT_OK, RefusedToStart

if TYPE_CHECKING:
    from batch.job.job import Job
    from batch.plan.forecast import Forecast
    from batch.plan.preflight import CheckedJob
    from batch.run.command import Report

_EVERY_S: Final = 2.0


def estimate(
    job: jobs.JobPath,
    /,
    *,
    output: jobs.OutPath = None,
    sample: Annotated[int | None, Parameter(negative=())] = None,
    json: Annotated[bool, Parameter(negative=())] = False,
    prices: jobs.PricesPath = None,
    set_: jobs.Settings = (),
    lane: jobs.LaneName = None,
    shard: jobs.ShardText = None,
) -> int:
    """Say what the next run of a job will take: rows, tokens, money and time, each as a range.

    Reads all of the input and holds it against the output folder; a run may be at work there. Nothing is sent and
    nothing is written there, unless --sample buys some rows.

    Args:
        job: job folder, or its job.toml.
        output: output folder instead of the job's own; relative to where you are.
        sample: first ask so many rows, drawn from all that need work, as run --limit N --shuffle does; their answers
            stay in the output folder, and what they took makes the ranges narrow.
        json: one JSON object.
        prices: a price file that wins over those of the job and over the price book; relative to where you are.
        set_: change one key of the job, for example --set model.name=glm-4.7; may be repeated.
        lane: how requests travel, instead of model.lane.
        shard: what that part of the job takes, such as 0/4.
    """
    if sample is not None and sample < 1:
        raise RefusedToStart(f"--sample {sample}: give at least 1 row, or leave it out to buy none")
    loaded = jobs.load(job, settings=set_, output=output, lane=lane, shard=shard)
    jobs.make_room(loaded)
    bought = None if sample is None else _buy(loaded, sample, prices)
    checked, found = _estimated(loaded, prices)
    if json:
        import msgspec

        from batch.report import forecast_json

        told = None if bought is None else _sample_json(bought)
        say_json(msgspec.json.encode(forecast_json.public(found, checked, told)).decode())
    else:
        say(estimate_text.lines(checked, found, bought))
    return EXIT_OK


def _buy(loaded: Job, rows: int, prices: Path | None) -> Report:
    """Ask some rows, drawn from all that need work.

    Raises:
        BatchError: what stopped the run; there is no estimate then.
    """
    from batch.cli import run as running
    from batch.job.options import RunOptions

    report, _ = running.bought(loaded, RunOptions(limit=rows, sample_seed=0, prices=prices), "auto")
    if report.fault is not None:
        raise report.fault
    return report


def _estimated(loaded: Job, prices: Path | None) -> tuple[CheckedJob, Forecast]:
    from batch.plan import forecast, preflight
    from batch.tokens.calibration import Calibration

    checked = preflight.check_job(loaded, os.environ, prices)
    seen = _Reading()
    try:
        return checked, forecast.forecast(checked, Calibration.load(checked.state), seen=seen)
    finally:
        seen.end()


class _Reading:
    """Tells on stderr how far the input was read, when that takes a while.

    On a terminal in one line that is written over, else in a line each time.
    """

    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY_S
        self._terminal = sys.stderr.isatty()
        self._told = False

    def __call__(self, rows: int, part: float | None) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (_EVERY_S if self._terminal else 5 * _EVERY_S)
        share = f", {part:.0%}" if part is not None else ""
        text = f"reading the input: {count(rows, 'row')}{share}"
        sys.stderr.write(f"\r{text}\x1b[K" if self._terminal else f"{text}\n")
        sys.stderr.flush()
        self._told = True

    def end(self) -> None:
        """Take the line away."""
        if self._told and self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _sample_json(bought: Report) -> dict[str, Any]:
    totals = bought.totals
    return {
        "run": bought.run,
        "state": bought.state,
        "rows": totals.rows,
        "rows_failed": totals.rows_failed,
        "input_tokens": totals.prompt_tokens,
        "output_tokens": totals.completion_tokens,
        "cost": {currency: f"{cost:f}" for currency, cost in totals.cost.items()} or None,
    }
