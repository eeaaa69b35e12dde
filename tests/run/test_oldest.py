"""`batch.run.oldest`: whoever watches a run sees the rows that have been open for longest, and what each waits for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio

from batch.core.clock import HandClock
from batch.limits.limiter import Limiter
from batch.run.oldest import oldest
from batch.run.schedule import Schedule
from tests.support.hand import by_hand


def row(number: int, left_at: float | None, **more: Any) -> Any:
    pending = SimpleNamespace(row_id=f"r{number}", variant="short" if number == 3 else "")
    return SimpleNamespace(
        **{"work_id": number, "pending": pending, "left_at": left_at, "call": None, "replied": None, "model": "m"}
        | more
    )


async def watched(clock: HandClock) -> list[tuple[str, str | None, float, str]]:
    schedule: Schedule[Any] = Schedule(
        clock, open_limits={"m": 100}, model_of=lambda _: "m", needs_slot=lambda row: row.call is None
    )
    limiter = Limiter(clock, concurrency=1)
    now = clock.monotonic()
    task = SimpleNamespace(task_id="t-7")
    rows = [
        row(1, now - 10, replied=object()),
        row(2, now - 50, call=task),
        row(3, now - 40),
        row(4, now - 30),
        row(5, None),
        row(6, now - 20),
        row(7, now - 1),
        row(8, now - 60),
    ]
    schedule.add("m", rows)
    for _ in rows:
        await schedule.next_to_send("m")
    schedule.done(rows[-1])
    schedule.schedule(rows[1], 4.0)
    schedule.schedule(rows[2], 12.0)
    lease = await limiter.acquire("m", 99)
    async with anyio.create_task_group() as group:
        group.start_soon(limiter.acquire, "m", 4)
        await anyio.lowlevel.checkpoint()
        shown = oldest(schedule, limiter, now)
        group.cancel_scope.cancel()
    lease.release()
    return [(old.row_id, old.variant, old.age_s, old.waits_for) for old in shown]


def test_the_oldest_rows_stand_first_with_what_they_wait_for() -> None:
    """Five of them; a row that was never sent is not open, and one that is done is not either."""
    assert by_hand(watched) == [
        ("r2", None, 50.0, "task t-7, polled in 4.0 s"),
        ("r3", "short", 40.0, "another try in 12 s"),
        ("r4", None, 30.0, "a limit: calls in flight"),
        ("r6", None, 20.0, "an answer, or its turn to be sent"),
        ("r1", None, 10.0, "its tools"),
    ]
