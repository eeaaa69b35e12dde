"""Whether a job of lane `auto` can still be done in time. Owns what is said where its moment has passed."""

from __future__ import annotations

from batch.core.clock import MICROSECONDS, describe
from batch.core.errors import RefusedToStart
from batch.job.job import Job


def passed(job: Job, now_us: int) -> str | None:
    """What to say of a moment that comes once and has passed; None where it has not, and in other lanes.

    Args:
        job: the job.
        now_us: wall time in microseconds, UTC.
    """
    by = job.bulk.by
    if not job.model.decides or by is None or by.at_us is None or by.next_us(now_us) is not None:
        return None
    ago = describe((now_us - by.at_us) / MICROSECONDS)
    return (
        f"bulk.by = {str(by)!r} has passed, {ago} ago: give a later one, or a time alone, such as "
        f'"08:00 {by.zone}", which is the next one each time. A run that was begun before goes on all the same; --lane '
        "sync buys everything at once"
    )


def require_time(job: Job, now_us: int) -> None:
    """Refuse a new run whose moment has passed: it would pay full price for everything, and be late all the same.

    Args:
        job: the job.
        now_us: wall time in microseconds, UTC.

    Raises:
        RefusedToStart: the moment has passed.
    """
    if (text := passed(job, now_us)) is not None:
        raise RefusedToStart(f"{job.where}: {text}")
