"""`batch.plan.timely`: what is said of a moment that has passed."""

from __future__ import annotations

import pytest

from batch.core.errors import RefusedToStart
from batch.job.bulkspec import BulkSpec
from batch.job.job import InputSpec, Job, ModelSpec, PromptSpec
from batch.plan.timely import passed, require_time

AT_US = 1_796_083_200_000_000  # 2026-12-01 00:00 UTC


def job(by: str | None, lane: str = "auto") -> Job:
    """A job from code."""
    model = ModelSpec(provider="glm", name="glm-4", lane=lane)  # type: ignore[arg-type]  # one of those there are
    bulk = BulkSpec(by=by)  # type: ignore[arg-type]  # a text will do
    return Job(name="a", input=InputSpec(path="a"), prompt=PromptSpec(user="{{ a }}"), model=model, bulk=bulk)


@pytest.mark.parametrize(
    ("by", "lane"), [("00:00 UTC", "auto"), ("2026-12-01 00:01 UTC", "auto"), ("2020-01-01 00:00 UTC", "sync")]
)
def test_a_moment_that_comes_or_that_nobody_keeps_is_not_told(by: str, lane: str) -> None:
    assert passed(job(by, lane), AT_US) is None
    require_time(job(by, lane), AT_US)


def test_a_moment_that_has_passed_is_refused_with_what_to_write() -> None:
    with pytest.raises(RefusedToStart) as caught:
        require_time(job("2026-11-30T23:00:00+00:00"), AT_US)
    said = str(caught.value)
    assert "bulk.by = '2026-11-30 23:00 UTC' has passed, 1 h 00 min ago: give a later one, or a time alone" in said
    assert "--lane sync buys everything at once" in said


@pytest.mark.parametrize("lane", ["bulk", "bulk,sync"])
def test_a_moment_is_for_no_other_lane_that_makes_batches(lane: str) -> None:
    with pytest.raises(RefusedToStart, match=r'bulk\.by.*is kept by lane "auto" alone'):
        job("08:00 UTC", lane)


def test_lane_auto_without_a_moment_is_refused_with_one() -> None:
    with pytest.raises(RefusedToStart, match=r"model\.lane.*needs the time by which all rows are to be done"):
        job(None)
