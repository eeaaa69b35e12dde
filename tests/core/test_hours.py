"""Hours of the week in a zone: how they are written, and which moments lie in them when clocks are changed."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.hours import DAYS, Window, midnight_us, moment_us, tz

ZONES = ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("09:00-12:00", "09:00-12:00 UTC"),
        ("mon-fri 09:00-12:00 Asia/Shanghai", "mon-fri 09:00-12:00 Asia/Shanghai"),
        ("  sun,mon,tue,sat 00:00-24:00 UTC ", "mon-tue,sat-sun 00:00-24:00 UTC"),
        ("sat-mon 22:00-06:00", "mon,sat-sun 22:00-06:00 UTC"),
        ("22:00-00:00", "22:00-24:00 UTC"),
    ],
)
def test_a_window_is_read_and_written(text: str, same: str) -> None:
    assert str(Window.parse(text)) == same
    assert Window.parse(same) == Window.parse(text)


def test_a_window_without_a_zone_is_in_that_of_its_list() -> None:
    assert Window.parse("09:00-12:00", zone="Asia/Shanghai").zone == "Asia/Shanghai"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("9-12", "is no window of hours: write "),
        ("09:00", "is no window of hours"),
        ("24:00-06:00", "a time that no clock shows"),
        ("09:60-10:00", "a time that no clock shows"),
        ("09:00-24:01", "a time that no clock shows"),
        ("09:00-09:00", 'a whole day is "00:00-24:00"'),
        ("may 09:00-10:00", "'may' is no day: write mon, tue"),
        ("mon- 09:00-10:00", "is no day"),
        ("09:00-10:00 Asia/Shangai", "Did you mean Asia/Shanghai?"),
        ("09:00-10:00 Mars", 'Write "UTC", or a name such as "Asia/Shanghai".'),
    ],
)
def test_what_is_no_window_is_told_how_one_is_written(text: str, says: str) -> None:
    with pytest.raises(ValueError, match="(?s).*") as refused:
        Window.parse(text)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("mon 09:00-12:00", ["2026-11-23T09:00Z", "2026-11-23T11:59Z"], ["2026-11-23T08:59Z", "2026-11-23T12:00Z", "2026-11-24T09:00Z"]),
        ("fri 22:00-06:00", ["2026-11-27T22:00Z", "2026-11-28T05:59Z"], ["2026-11-27T05:00Z", "2026-11-28T06:00Z", "2026-11-28T22:00Z"]),
        # Summer time: eight o'clock in Berlin is seven in UTC in winter and six in summer.
        ("08:00-09:00 Europe/Berlin", ["2026-03-28T07:00Z", "2026-03-29T06:00Z"], ["2026-03-28T06:59Z", "2026-03-29T07:00Z"]),
        # The hour from two to three is not there on 29 March, and comes twice on 25 October.
        ("02:00-03:00 Europe/Berlin", ["2026-10-25T00:30Z", "2026-10-25T01:30Z"], ["2026-03-29T01:00Z", "2026-03-29T00:59Z", "2026-10-25T02:00Z"]),
    ],
)  # fmt: skip
def test_the_first_minute_is_in_a_window_and_the_last_is_not(text: str, inside: list[str], outside: list[str]) -> None:
    window = Window.parse(text)
    assert [moment for moment in inside if us(moment) not in window] == []
    assert [moment for moment in outside if us(moment) in window] == []


@given(
    days=st.sets(st.integers(0, 6), min_size=1),
    begin=st.integers(0, 1439),
    length=st.integers(1, 1439),
    zone=st.sampled_from(ZONES),
    minute=st.integers(0, 2 * 366 * 24 * 60),
)
def test_a_moment_lies_in_a_window_when_the_clocks_there_show_it(
    days: set[int], begin: int, length: int, zone: str, minute: int
) -> None:
    """Against the calendar of the standard library, over two years with their changes of clocks."""
    end = (begin + length) % 1440 or 1440
    text = ",".join(DAYS[day] for day in days)
    window = Window.parse(f"{text} {begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02} {zone}")
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    local = moment.astimezone(ZoneInfo(zone))
    shown = local.hour * 60 + local.minute
    if begin < end:
        expected = begin <= shown < end and local.weekday() in days
    else:
        expected = (shown >= begin and local.weekday() in days) or (shown < end and (local.weekday() - 1) % 7 in days)
    assert (int(moment.timestamp()) * 1_000_000 in window) == expected


def test_a_day_begins_when_the_clocks_of_its_zone_say_so() -> None:
    assert midnight_us(date(2026, 9, 10), "Asia/Shanghai") == us("2026-09-09T16:00Z")
    assert midnight_us(date(2026, 3, 30), "Europe/Berlin") == us("2026-03-29T22:00Z")
    assert moment_us(datetime.fromisoformat("2026-09-10T01:00"), "Asia/Shanghai") == us("2026-09-09T17:00Z")
    assert moment_us(datetime(2026, 9, 10, 1, tzinfo=UTC), "Asia/Shanghai") == us("2026-09-10T01:00Z")


@pytest.mark.slow
def test_zones_are_known_on_a_machine_without_any() -> None:
    """Slim containers have no /usr/share/zoneinfo; the tzdata distribution stands in."""
    code = (
        "from batch.core.hours import Window; print(1_795_395_600_000_000 in Window.parse('09:00-10:00 Asia/Shanghai'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONTZPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("True", "")
    assert tz("UTC") is UTC
