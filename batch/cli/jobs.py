"""What the commands over a job share: their arguments, and how the job is loaded from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from batch.core import places
from batch.core.errors import RefusedToStart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch.job.job import Job


def typed_place(_: Any, tokens: Sequence[Any]) -> Path:
    """A path, or a place in an object store, as it was typed: a `Path` alone would not see a slash too few.

    Raises:
        RefusedToStart: the name of a place is misspelt.
    """
    given = str(tokens[0].value)
    if (why := places.wrong(given)) is not None:
        raise RefusedToStart(f"{given}: {why}.")
    return Path(given)


def typed_file(_: Any, tokens: Sequence[Any]) -> Path:
    """A file of this machine, as it was typed.

    Raises:
        RefusedToStart: it names a place in an object store.
    """
    given = str(tokens[0].value)
    if places.is_store(Path(given)):
        raise RefusedToStart(f"{given}: is written to a file of this machine. Name one, and copy it there afterwards.")
    return Path(given)


JobPath = Annotated[Path, Parameter(negative=())]
Out = Annotated[Path, Parameter(negative=(), converter=typed_place)]
File = Annotated[Path, Parameter(negative=(), converter=typed_file)]
OutPath = Annotated[Path | None, Parameter(name=["--output", "-o"], negative=(), converter=typed_place)]
PricesPath = Annotated[Path | None, Parameter(name="--prices", negative=())]
MetricsPath = Annotated[Path | None, Parameter(negative=())]
Settings = Annotated[tuple[str, ...], Parameter(name="--set", negative=())]
LaneName = Annotated[
    Literal["sync", "stream", "task", "bulk", "auto", "bulk,sync", "bulk,stream", "bulk,task"] | None,
    Parameter(negative=()),
]

ShardText = Annotated[str | None, Parameter(name="--shard", negative=(), allow_leading_hyphen=True)]
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


def part(job: Job) -> str:
    """Which part of a job this is, for people; empty for a whole one."""
    from batch.job.shard import shard_of

    shard = shard_of(job)
    return "" if shard is None else f"{shard.text}: {1 / shard.count:.1%} of the rows, limits and budgets"


def sharers(job: Job) -> str:
    """Who may share limits with a job, for people."""
    from batch.job.shard import shard_of

    shard = shard_of(job)
    return "your other jobs" if shard is None else f"shard {shard.text} of your other jobs"


def load(
    path: Path,
    *,
    settings: tuple[str, ...] = (),
    output: Path | None = None,
    lane: str | None = None,
    max_cost: str | None = None,
    shard: str | None = None,
) -> Job:
    """Load a job, with the changes that the command line makes to it.

    Args:
        path: job folder, or its job.toml.
        settings: `section.key=value`, each over the job's own.
        output: output folder instead of the job's own.
        lane: instead of the job's own.
        max_cost: instead of budget.max_cost.
        shard: one part of the job alone, such as 0/3.

    Raises:
        RefusedToStart: there is no such shard.
        JobError: every fault in one go.
    """
    from batch.job.job import Job

    return Job.load(path, overrides=settings, output=output, lane=lane, max_cost=max_cost, shard=shard)
