"""`batch.run.auto`: what lane `auto` decides from what is known, by the hands of a clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from batch.core.clock import MICROSECONDS, HandClock
from batch.core.hours import Window
from batch.core.moments import Moment
from batch.ledger.totals import Totals
from batch.ledger.waves import CREATED, Told, WaveRow
from batch.limits.hours import Hours
from batch.limits.limiter import Limiter
from batch.run.auto import Auto, Due, calls_of
from batch.run.experience import Experience
from batch.run.pace import Pace
from batch.run.schedule import Schedule
from batch.run.wave_work import WaveWork

HOUR_S = 3_600.0
BY = Moment.parse("08:00 Asia/Shanghai")


def us(text: str) -> int:
    """A time of UTC, in microseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * MICROSECONDS


class Night:
    """A run in lane `auto` at 22:00 in Shanghai, ten hours before its moment; ten calls a second in lane `sync`."""

    def __init__(self, *models: str, **how: Any) -> None:
        self.clock = HandClock(wall_us=us("2026-11-30 14:00"))
        self.limiter = Limiter(self.clock, concurrency=20)
        self.schedule: Schedule[Any] = Schedule(
            self.clock,
            open_limits=dict.fromkeys(models or ("m",), 40),
            model_of=lambda row: str(row[0]),
            needs_slot=lambda _: True,
        )
        self.works: dict[int, WaveWork] = {}
        self.seen: Experience = how.pop("seen", None) or Experience(None, lambda _: None)
        self.totals = Totals()
        for model in models or ("m",):
            self.seen.learn_call(model, 2.0, 100)
        self.auto = self.begin(**how)

    def begin(self, **how: Any) -> Auto:
        """What a process decides that begins now."""
        now_us = self.clock.now_us()
        return Auto(
            Due.of(BY, now_us, now_us),
            self.clock,
            schedule=self.schedule,
            works=self.works,
            pace=Pace(self.limiter, self.seen),
            experience=self.seen,
            totals=self.totals,
            **how,
        )

    def batch(self, lines: int, done: int | None = 0, *, status: str = "in_progress", model: str = "m") -> WaveRow:
        """A batch that is at the provider, whose rows lie in the ledger."""
        number = len(self.works)
        wave = WaveRow(
            wave=number,
            run="r",
            model=model,
            base_url="http://x",
            state=CREATED,
            lines=lines,
            size=9,
            digest="d",
            made_at_us=self.clock.now_us() + number,
            batch_id=f"batch_{number}",
            told=Told(status, 0.0, completed=done),
        )
        self.works[number] = WaveWork(wave, doubted=False)
        self.schedule.expect_back(model, lines)
        return wave

    def bought(self, number: int) -> None:
        """A batch is collected, and its rows have settled."""
        wave = self.works.pop(number).wave
        self.schedule.expect_back(wave.model, -wave.lines)

    def taken(self) -> list[int]:
        """The batches that are taken back by now."""
        self.auto.look()
        return [number for number, work in self.works.items() if self.auto.left_s(work.wave) <= 0]

    def at(self, shown: str) -> None:
        """Move the hands to a time of UTC."""
        self.clock.advance((us(shown) - self.clock.now_us()) / MICROSECONDS)


def test_a_batch_is_waited_for_until_sync_needs_what_is_left_of_the_time() -> None:
    """36,000 rows at 10 a second are an hour; a quarter more, two minutes, and ten to cancel: at 06:33."""
    night = Night()
    wave = night.batch(36_000)
    assert night.auto.left_s(wave) == 10 * HOUR_S - 1.25 * HOUR_S - 120 - 600
    night.at("2026-11-30 22:32:59")
    assert night.taken() == []
    night.at("2026-11-30 22:33:00")
    assert night.taken() == [0]


def test_lines_that_are_done_need_no_time() -> None:
    """What the provider told of the batch last counts."""
    night = Night()
    wave = night.batch(36_000, 30_000)
    assert night.auto.left_s(wave) == 10 * HOUR_S - 750 - 120 - 600


def test_batches_are_taken_back_one_by_one_while_sync_has_enough_to_do() -> None:
    """First the one that has done least; the next when what it left is nearly bought."""
    night = Night()
    for done in (4_000, 1_000, 9_000):
        night.batch(10_000, done)
    night.at("2026-11-30 23:20")
    assert night.taken() == [1], "9,000 rows are a quarter of an hour"
    night.bought(1)
    assert night.taken() == [], "7,000 rows have time until half past"
    night.at("2026-11-30 23:34")
    assert night.taken() == [0, 2], "6,000 rows are bought before another batch can be cancelled"


def test_a_clock_that_is_set_back_takes_nothing_back_of_what_was_decided() -> None:
    """A cancelled batch stays cancelled, and rows that begin then have time again."""
    night = Night()
    night.batch(1_000)
    night.at("2026-11-30 23:55")
    assert night.taken() == [0]
    assert night.auto.straight("m")
    night.at("2026-11-30 15:00")
    assert night.taken() == [0]
    assert not night.auto.straight("m")


def test_a_batch_that_another_process_cancelled_counts_as_taken() -> None:
    """It is not counted as one that may still answer."""
    night = Night()
    for _ in range(2):
        night.batch(8_000, status="cancelling")
    night.batch(8_000)
    night.at("2026-11-30 22:30")
    assert night.taken() == [], "sync has 16,000 rows to buy before"


def test_rows_for_which_no_batch_has_time_go_at_once() -> None:
    """As long as nobody has seen how fast batches are, one is taken to need half an hour."""
    night = Night()
    assert not night.auto.straight("m")
    night.at("2026-11-30 23:17:59")
    night.auto.look()
    assert not night.auto.straight("m")
    night.at("2026-11-30 23:18:01")
    night.auto.look()
    assert night.auto.straight("m")
    assert night.auto.text().endswith(": batches first, lane sync for what they would bring too late")
    assert "lane sync at once" not in night.auto.text(), "there is no row"
    night.schedule.add("m", [("m", 1)])
    said = night.auto.text()
    assert said.startswith(
        "by 2026-12-01 08:00 Asia/Shanghai: lane sync at once, for 41 min 59 s are left, and a batch is"
    )
    night.seen.learn_batch("m", 300.0)
    night.auto.look()
    assert not night.auto.straight("m")


def test_more_rows_than_sync_can_buy_keep_it_busy_from_the_start() -> None:
    """The others go into batches; no batch is cancelled as long as sync has enough to do."""
    night = Night()
    night.batch(400_000)
    night.schedule.add("m", [("m", number) for number in range(200)])
    assert night.auto.straight("m")
    begun = [night.schedule.begin("m") for _ in range(30)]
    night.auto.look()
    assert not night.auto.straight("m")
    for row in begun:
        night.schedule.done(row)
    night.auto.look()
    assert night.auto.straight("m")


def test_a_command_that_does_not_wait_leaves_while_another_comes_in_time() -> None:
    """Nobody knows that before the second one; the longest time between two counts."""
    night = Night(no_wait=True)
    night.batch(1_000)
    assert night.auto.may_leave
    assert "the same command has to come again before that" in night.auto.text()
    night.at("2026-11-30 18:00")
    night.auto = night.begin(no_wait=True)
    assert night.auto.may_leave
    night.at("2026-11-30 22:00")
    night.auto = night.begin(no_wait=True)
    assert not night.auto.may_leave, "the next one comes at 10:00"
    assert night.taken() == [0]
    assert night.auto.straight("m")
    assert "1 batch taken back" in night.auto.text()


def test_a_command_that_waits_leaves_to_nobody() -> None:
    """It is there at the moment itself."""
    night = Night()
    night.batch(1_000)
    night.at("2026-11-30 22:00")
    assert night.taken() == []


def test_only_hours_in_which_requests_may_leave_are_time() -> None:
    """Until 06:00 in Shanghai: batches are taken back two hours earlier."""
    clock = HandClock(wall_us=us("2026-11-30 14:00"))
    night = Night(hours=Hours(clock, [Window.parse("20:00-06:00 Asia/Shanghai")]))
    wave = night.batch(36_000)
    assert night.auto.left_s(wave) == pytest.approx(8 * HOUR_S - 1.25 * HOUR_S - 720)


def test_models_share_the_slots_of_a_job_as_long_as_they_have_rows() -> None:
    """Alone, the same rows take half the time."""
    night = Night("a", "b")
    waves = [night.batch(7_200, model=model) for model in ("a", "b")]
    night.auto.look()
    assert night.auto.left_s(waves[0]) == 10 * HOUR_S - 1.25 * 1_440 - 720
    night.bought(1)
    night.auto.look()
    assert night.auto.left_s(waves[0]) == 10 * HOUR_S - 1.25 * 720 - 720


def test_conversations_need_as_many_calls_as_rows_have_shown() -> None:
    """Until twenty have settled, what the job says."""
    night = Night(calls_per_row=calls_of(3, tools=True))
    wave = night.batch(6_000)
    assert night.auto.left_s(wave) == 10 * HOUR_S - 1.25 * 3_600 - 720
    night.totals.rows_asked, night.totals.answered = 20, 30
    night.auto.look()
    assert night.auto.left_s(wave) == 10 * HOUR_S - 1.25 * 900 - 720


def test_what_is_too_late_is_told_and_goes_on() -> None:
    """A batch that never ends is taken back when its moment has passed at the latest."""
    night = Night()
    night.batch(10)
    night.at("2026-12-01 00:10")
    assert night.taken() == [0]
    assert night.auto.text().startswith("by 2026-12-01 08:00 Asia/Shanghai: late, 10 rows at 10.0 calls/s are left")


def test_a_job_that_asks_another_model_now_takes_old_batches_back_too() -> None:
    """Else the new rows would wait for the old ones beyond their time."""
    night = Night()
    night.batch(100, model="old")
    night.at("2026-11-30 23:55")
    assert night.taken() == [0]


@pytest.mark.parametrize(
    ("by", "started", "now", "due"),
    [
        ("08:00 UTC", "2026-11-30 22:00", "2026-11-30 22:00", "by 2026-12-01 08:00 UTC"),
        ("08:00 UTC", "2026-11-30 22:00", "2026-12-01 07:59", "by 2026-12-01 08:00 UTC"),
        (
            "08:00 UTC",
            "2026-11-30 22:00",
            "2026-12-01 08:00",
            "by 2026-12-02 08:00 UTC (2026-12-01 08:00 UTC has passed)",
        ),
        ("08:00 UTC", "2026-11-30 22:00", "2026-11-30 07:00", "by 2026-11-30 08:00 UTC"),
        ("2026-12-01 08:00 UTC", "2026-11-30 22:00", "2026-12-01 09:00", "by 2026-12-01 08:00 UTC"),
        ("2026-12-01 08:00 UTC", "2026-12-02 22:00", "2026-12-02 22:00", "by 2026-12-01 08:00 UTC"),
    ],
)
def test_a_run_keeps_the_moment_it_began_with_until_that_has_passed(by: str, started: str, now: str, due: str) -> None:
    """Also where the clock was set back since; a moment that comes once is kept when it has passed."""
    assert str(Due.of(Moment.parse(by), us(started), us(now))) == due
