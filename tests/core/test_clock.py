"""`batch.core.clock`: real waits are never short, a clock moved by hand jumps, and times are written as people read them."""

import asyncio
import time

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.clock import MICROSECONDS, Clock, HandClock, describe, iso, stamp
from tests.support.hand import by_hand

DAY_US = 86_400 * MICROSECONDS


async def test_the_real_clock_never_wakes_early() -> None:
    """A wait that is short would put one request too many into the window of a limit."""
    clock = Clock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01
    await clock.sleep(-1)


async def test_the_real_clock_is_the_event_loops_own_and_tells_utc() -> None:
    """Deadlines of anyio and pauses of ours must agree."""
    clock = Clock()
    assert abs(clock.monotonic() - asyncio.get_running_loop().time()) < 1
    assert abs(clock.now_us() / MICROSECONDS - time.time()) < 5


def test_hours_under_a_hand_clock_pass_at_once_and_in_order() -> None:
    """Deadlines, sleeps and third-party timers all follow the one clock."""

    async def main(clock: HandClock) -> list[tuple[str, float]]:
        start, seen = clock.monotonic(), []

        async def wait(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            seen.append((name, clock.monotonic() - start))

        async with anyio.create_task_group() as group:
            group.start_soon(wait, "day", 86_400.0)
            group.start_soon(wait, "minute", 60.0)
            with anyio.move_on_after(3_600) as scope:
                await anyio.sleep_forever()
            assert scope.cancelled_caught
            seen.append(("hour", clock.monotonic() - start))
        return seen

    real = time.monotonic()
    seen = by_hand(main)
    assert [name for name, _ in seen] == ["minute", "hour", "day"]
    assert [at for _, at in seen] == pytest.approx([60, 3_600, 86_400])
    assert time.monotonic() - real < 5


def test_wall_time_moves_with_the_hand_clock() -> None:
    """What is written down agrees with what was waited."""
    clock = HandClock(wall_us=1_000 * MICROSECONDS)
    clock.advance(2.5)
    assert clock.now_us() == 1_002_500_000


@given(st.integers(0, 4_000_000_000 * MICROSECONDS))
def test_written_times_sort_as_the_moments_do(us: int) -> None:
    """Run ids and logs are sorted as text."""
    assert iso(us) <= iso(us + DAY_US)
    assert stamp(us) < stamp(us + 1_000)
    assert iso(us).endswith("Z")
    assert len(iso(us)) == 24
    assert len(stamp(us)) == 19


def test_times_are_written_in_utc_with_milliseconds() -> None:
    """The run id of the design."""
    assert iso(1_795_226_400_123_999) == "2026-11-21T02:00:00.123Z"
    assert stamp(1_795_226_400_123_999) == "20261121T020000123Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.99, "10 s"),
        (12.4, "12 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3_599.7, "1 h 00 min"),
        (7_800, "2 h 10 min"),
        (47 * 3600 + 59 * 60, "47 h 59 min"),
        (76 * 3600, "3 d 4 h"),
    ],
)
def test_durations_are_told_in_the_two_units_that_matter(seconds: float, text: str) -> None:
    """No `60 s` and no `10.0 s` at the borders."""
    assert describe(seconds) == text


def test_a_timer_set_for_this_very_instant_again_and_again_comes_to_an_end() -> None:
    """Aiolimiter does that when rounding leaves it a hair short; a clock that stood still would hang the test."""

    async def main(clock: HandClock) -> int:
        loop, rounds, due = asyncio.get_running_loop(), 0, clock.monotonic() + 1e-7
        while clock.monotonic() < due:
            woken = anyio.Event()
            loop.call_at(clock.monotonic(), woken.set)
            await woken.wait()
            rounds += 1
        return rounds

    assert by_hand(main) < 1_000
