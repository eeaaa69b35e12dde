"""What the commands over a job share: their arguments, and how the job is loaded from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from batch.job.job import Job

JobPath = Annotated[Path, Parameter(negative=())]
OutPath = Annotated[Path | None, Parameter(name=["--output", "-o"], negative=())]
PricesPath = Annotated[Path | None, Parameter(name="--prices", negative=())]
MetricsPath = Annotated[Path | None, Parameter(negative=())]
Settings = Annotated[tuple[str, ...], Parameter(name="--set", negative=())]
LaneName = Annotated[
    Literal["sync", "stream", "task", "bulk", "auto", "bulk,sync", "bulk,stream", "bulk,task"] | None,
    Parameter(negative=()),
]

MaxCost = Annotated[str | None, Parameter(negative=())]


def make_room(job: Job) -> None:
    """Let this process open as many files as the job's calls in flight need, if the system allows it.

    Raises:
        RefusedToStart: there is no room for a single call.
    """
    from batch.core import openfiles
    from batch.limits import sockets

    openfiles.raise_to(sockets.wanted(job.limits.concurrency))
    # Before there is an event loop: one that gets no files leaves things behind that write to stderr on their own.
    sockets.calls(job.limits.concurrency, loop=False)


def way(job: Job) -> str:
    """How the requests of a job travel, for people: `lane bulk, each batch for 6 h 00 min at most, then lane sync`."""
    from batch.core.clock import describe

    if job.model.decides:
        return f"lane auto: batch files first, lane sync for what would not be done by {job.bulk.by}"
    first, *then = (f"lane {lane}" for lane in job.model.lanes)
    deadline = job.bulk.deadline if job.model.first_lane == "bulk" else None
    limit = [] if deadline is None else [f"each batch for {describe(deadline)} at most"]
    return ", ".join([first, *limit, *(f"then {lane}" for lane in then)])


def load(
    path: Path,
    *,
    settings: tuple[str, ...] = (),
    output: Path | None = None,
    lane: str | None = None,
    max_cost: str | None = None,
) -> Job:
    """Load a job, with the changes that the command line makes to it.

    Args:
        path: job folder, or its job.toml.
        settings: `section.key=value`, each over the job's own.
        output: output folder instead of the job's own.
        lane: instead of the job's own.
        max_cost: instead of budget.max_cost.

    Raises:
        JobError: every fault in one go.
    """
    from batch.job.job import Job

    return Job.load(path, overrides=settings, output=output, lane=lane, max_cost=max_cost)
