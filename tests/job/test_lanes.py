"""`batch.job.lanes`: one lane or two, as a file, a flag or a program names them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from batch.core.errors import JobError
from batch.job.bulkspec import BulkSpec
from batch.job.job import InputSpec, Job, ModelSpec, PromptSpec
from tests.support.jobtext import SOUND, faults, load


def built(lane: object, deadline: object = None) -> Job:
    """A job from code."""
    model = ModelSpec(provider="glm", name="glm-4", lane=lane)  # type: ignore[arg-type]  # what a program may write
    bulk = BulkSpec(deadline=deadline)  # type: ignore[arg-type]  # the same
    return Job(name="a", input=InputSpec(path="a"), prompt=PromptSpec(user="{{ a }}"), model=model, bulk=bulk)


@pytest.mark.parametrize("lane", ["bulk,sync", "bulk, sync", ["bulk", "sync"], ("bulk", "sync")])
def test_two_lanes_may_be_written_as_a_list_or_as_the_flag_takes_them(tmp_path: Path, lane: object) -> None:
    """From a file as from code."""
    assert built(lane).model.lanes == ("bulk", "sync")
    assert built(lane).model.lane_text == "bulk,sync"
    text = msgspec.json.encode(lane).decode()
    assert load(tmp_path, SOUND, overrides=[f"model.lane={text}"]).model.first_lane == "bulk"


def test_one_lane_is_what_it_always_was() -> None:
    """A run that was begun before there were two goes on: the hash of its job is the same."""
    assert built("task").model.lane == "task"
    assert built("task").model.lanes == ("task",)
    assert msgspec.to_builtins(built("task").model)["lane"] == "task"


@pytest.mark.parametrize("lane", ["sync,bulk", "bulk,bulk", "sync,task", "bulk,x", "bulk,sync,task", "bulk,"])
def test_two_lanes_that_do_not_go_together_are_refused_with_those_that_do(tmp_path: Path, lane: str) -> None:
    """From a file as from code."""
    (said,) = faults(tmp_path, SOUND, lane=lane)
    assert 'two lanes are "bulk" and one of "sync", "stream" and "task", for example ["bulk", "sync"]' in said
    assert f"--lane {lane}" in said
    with pytest.raises(JobError, match="two lanes are"):
        built(lane)


def test_two_lanes_in_the_wrong_order_are_told_the_right_one() -> None:
    """Of the same two."""
    with pytest.raises(JobError, match=r'for example \["bulk", "task"\]'):
        built(["task", "bulk"])


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("6h", 21_600), ("1h 30min", 5_400), ("90min", 5_400), ("2d", 172_800), ("45s", 45), (7.5, 7.5), (None, None)],
)
def test_a_deadline_is_a_duration_or_seconds(given: object, seconds: float | None) -> None:
    """As people write it."""
    assert built("bulk", given).bulk.deadline == seconds


@pytest.mark.parametrize("given", ["", "soon", "6", "h", "6h6h", "-1h", "0s", 0, True])
def test_what_is_no_deadline_is_told_what_one_is(given: object) -> None:
    """A number in quotes, too: it may be meant in hours."""
    with pytest.raises(JobError, match=r'bulk.deadline = .*: expected a duration such as "6h"'):
        built("bulk", given)
