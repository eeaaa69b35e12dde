"""`batch.limits.hours` and the limiter within them, under a clock moved by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest

from batch.core.clock import MICROSECONDS, HandClock
from batch.job.fieldtypes import windows
from batch.limits.holding import held_by
from batch.limits.hours import LOOK_AGAIN_S, Hours
from batch.limits.limiter import Limiter
from batch.limits.outage import MAX_PARK_S
from tests.support.hand import by_hand


def us(text: str) -> int:
    """A moment of UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * MICROSECONDS


def at(text: str) -> HandClock:
    return HandClock(wall_us=us(text))


@pytest.mark.parametrize(
    ("hours", "now", "opens"),
    [
        ("22:00-08:00 Asia/Shanghai", "2026-11-30T12:00:00", "2026-11-30T14:00:00"),
        ("22:00-08:00 Asia/Shanghai", "2026-11-30T00:00:00", "2026-11-30T14:00:00"),
        ("mon-fri 09:00-17:00", "2026-11-28T12:00:00", "2026-11-30T09:00:00"),
        ("mon-fri 09:00-17:00; sat 10:00-11:00", "2026-11-28T09:59:30", "2026-11-28T10:00:00"),
        ("mon 09:00-17:00", "2026-11-30T17:00:00", "2026-12-07T09:00:00"),
        # Clocks go forward at 02:00 on 29 March: that night 02:15 to 02:45 is not there, and the next one is.
        ("02:15-02:45 Europe/Berlin", "2026-03-28T12:00:00", "2026-03-30T00:15:00"),
        # And back at 03:00 on 25 October: 22:00 is an hour later in UTC the evening after.
        ("22:00-23:00 Europe/Berlin", "2026-10-24T22:00:00", "2026-10-25T21:00:00"),
        ("22:00-23:00 Europe/Berlin", "2026-10-24T12:00:00", "2026-10-24T20:00:00"),
    ],
)
def test_it_is_told_when_hours_begin_summer_time_and_days_of_the_week_included(
    hours: str, now: str, opens: str
) -> None:
    """On the clocks of the zone."""
    found = Hours(at(now), windows(hours))
    assert found.wait() > 0
    assert found.opens_us(us(now)) == us(opens)


@pytest.mark.parametrize(
    ("hours", "now", "seconds", "done"),
    [
        ("22:00-08:00 Asia/Shanghai", "2026-11-30T04:00:00", 36_000, "2026-12-01T00:00:00"),
        ("22:00-08:00 Asia/Shanghai", "2026-11-30T04:00:00", 36_001, "2026-12-01T14:00:01"),
        ("22:00-08:00 Asia/Shanghai", "2026-11-30T23:00:00", 7_200, "2026-12-01T15:00:00"),
        ("22:00-08:00 Asia/Shanghai", "2026-11-30T04:00:00", 0, "2026-11-30T04:00:00"),
        ("mon-fri 09:00-17:00; sat 10:00-11:00", "2026-11-27T16:30:00", 7_200, "2026-11-30T09:30:00"),
        ("00:00-24:00", "2026-11-30T04:00:30", 1_000_000, "2026-12-11T17:47:10"),
        # A night with and one without the hour that the clocks skip.
        ("01:00-05:00 Europe/Berlin", "2026-03-28T12:00:00", 7 * 3_600, "2026-03-30T03:00:00"),
        # Beyond some weeks whole ones are skipped: 1,000 nights of an hour each.
        ("22:00-23:00", "2026-01-01T12:00:00", 1_000 * 3_600, "2028-09-26T23:00:00"),
    ],
)
def test_what_takes_hours_is_done_when_so_many_of_them_have_passed(
    hours: str, now: str, seconds: int, done: str
) -> None:
    """Nights, weekends and summer time included."""
    found = Hours(at(now), windows(hours)).done_us(us(now), seconds)
    assert datetime.fromtimestamp(found / MICROSECONDS, UTC).isoformat()[:19] == done


def test_a_window_ends_a_second_early_for_what_is_let_go_takes_a_moment_to_leave() -> None:
    """And two that touch are one."""
    clock = at("2026-11-30T07:59:58")
    hours, joined = (Hours(clock, windows(text)) for text in ("06:00-08:00", "06:00-08:00; 08:00-09:00"))
    assert hours.wait() == 0
    clock.advance(1.5)
    assert hours.wait() > 0
    assert joined.wait() == 0


def test_a_clock_that_is_set_is_believed() -> None:
    """It is looked at again every half minute: nobody sleeps for hours on what the clock said once."""
    clock = at("2026-11-30T12:00:00")
    assert Hours(clock, windows("22:00-23:00")).wait() == LOOK_AGAIN_S


def test_nothing_leaves_outside_the_hours_and_all_goes_on_within_them() -> None:
    """The limiter says until when it waits; a window that closes lets nothing more go, and the next one does."""

    async def main(clock: HandClock) -> list[datetime]:
        limiter = Limiter(clock, concurrency=2, hours=Hours(clock, windows("22:00-22:10")))
        left: list[datetime] = []

        async def send() -> None:
            lease = await limiter.acquire("m")
            await lease.depart()
            left.append(datetime.fromtimestamp(clock.now_us() / MICROSECONDS, tz=UTC))
            await clock.sleep(240)
            lease.release("answered")

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(send)
            await clock.sleep(1)
            assert held_by(limiter) == "its hours, until 2026-11-30 22:00 UTC, 9 h 59 min"
        return left

    left = by_hand(main, at("2026-11-30T12:00:00"))
    times = [f"{moment:%d %H:%M}" for moment in left]
    assert times == ["30 22:00", "30 22:00", "30 22:04", "30 22:04", "30 22:08", "30 22:08", "01 22:00", "01 22:00"]


def test_a_provider_that_was_silent_when_the_hours_ended_is_not_silent_for_all_that_time() -> None:
    """Nobody asked it meanwhile: hours are no part of max_park."""

    async def main(clock: HandClock) -> float:
        limiter = Limiter(clock, concurrency=4, hours=Hours(clock, windows("22:00-22:10")))
        for row in range(8):
            (await limiter.acquire("m", row)).release("unreached", None, "refused")
        outage = limiter.model("m").outage
        assert outage.ongoing
        await clock.sleep(600)
        lease = await limiter.acquire("m")
        assert clock.now_us() >= us("2026-12-01T22:00:00")
        lease.release("unreached", None, "refused")
        return outage.silent_for(clock.monotonic())

    assert 500 < by_hand(main, at("2026-11-30T22:01:00")) < MAX_PARK_S
