"""`batch.run.state`: when a part is taken for complete."""

from __future__ import annotations

from typing import Any

from batch.core.clock import HandClock
from batch.limits.limiter import Limiter
from batch.run.schedule import Schedule
from batch.run.state import RunState
from tests.support.values import outcome

DONE = outcome("fine")


def state() -> RunState:
    clock = HandClock()
    schedule: Schedule[Any] = Schedule(
        clock, open_limits={"glm-4": 2}, model_of=lambda _: "glm-4", needs_slot=lambda _: False
    )
    return RunState(Limiter(clock, concurrency=1), schedule)


async def test_a_part_that_more_rows_are_about_to_be_admitted_to_is_not_complete() -> None:
    """Ours: the first rows of a part are answered while the others are planned, and its file is written once."""
    made = state()
    made.hold(0)
    made.rows_admitted({0: 1}, [])
    made.row_settled(0, DONE)
    assert made.take_complete() == []
    made.rows_admitted({0: 2}, [(0, DONE)])
    made.hold(None)
    assert made.take_complete() == []
    made.row_settled(0, DONE)
    made.row_settled(0, DONE)
    assert made.take_complete() == [0]


async def test_a_part_that_nothing_more_came_for_is_complete_when_nothing_more_will() -> None:
    """Ours: the source ended behind the first rows, or could not be read on."""
    made = state()
    made.hold(3)
    made.rows_admitted({3: 1}, [])
    made.row_settled(3, DONE)
    made.hold(None)
    made.hold(None)
    assert made.take_complete() == [3]
    assert made.take_complete() == []


async def test_a_part_of_rows_that_cannot_be_asked_is_complete_at_once() -> None:
    """Ours: nothing is awaited for it."""
    made = state()
    made.rows_admitted({1: 1}, [(2, DONE)])
    assert (made.take_complete(), dict(made.unsettled)) == ([2], {1: 1})
