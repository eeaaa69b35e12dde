"""A moment that people set: how it is written, and when it comes next while clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.moments import Moment

ZONES = ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
HOUR_US = 3_600_000_000


def us(text: str) -> int:
    """A moment with an offset, in microseconds of UTC."""
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("08:00 Asia/Shanghai", "08:00 Asia/Shanghai"),
        (" 00:05  UTC ", "00:05 UTC"),
        ("2026-12-01 08:00 Asia/Shanghai", "2026-12-01 08:00 Asia/Shanghai"),
        ("2026-12-01T08:00:30 UTC", "2026-12-01 08:00:30 UTC"),
        ("2026-12-01T08:00:00+08:00", "2026-12-01 00:00 UTC"),
        ("2026-12-01T08:00Z", "2026-12-01 08:00 UTC"),
    ],
)
def test_a_moment_is_read_and_written(text: str, same: str) -> None:
    assert str(Moment.parse(text)) == same
    assert Moment.parse(same) == Moment.parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("soon", "'soon' is no moment: write \"HH:MM ZONE\""),
        ("8:00 UTC", "is no moment"),
        ("08:00", "has no time zone, and clocks differ: write"),
        ("2026-12-01 08:00", "has no time zone"),
        ("24:00 UTC", "has a time that no clock shows: 00:00 to 23:59"),
        ("08:60 UTC", "has a time that no clock shows"),
        ("08:00 Asia/Shangai", "'Asia/Shangai' is no time zone. Did you mean Asia/Shanghai?"),
        ("2026-02-30 08:00 UTC", "has a day that no calendar shows"),
        ("08:00+08:00", "is a time of every day, and that is told in minutes and a zone"),
        ("2026-12-01T08:00+08:00 UTC", "has an offset and a zone: keep one of them"),
    ],
)
def test_what_is_no_moment_is_told_what_one_is(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Moment.parse(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("after", "comes"),
    [
        ("2026-11-30T14:00:00+00:00", "2026-12-01T00:00:00+00:00"),
        ("2026-11-30T23:59:59+00:00", "2026-12-01T00:00:00+00:00"),
        ("2026-12-01T00:00:00+00:00", "2026-12-02T00:00:00+00:00"),
    ],
)
def test_a_time_of_every_day_comes_next_after_a_moment_and_never_with_it(after: str, comes: str) -> None:
    assert Moment.parse("08:00 Asia/Shanghai").next_us(us(after)) == us(comes)


def test_a_time_that_clocks_leave_out_comes_when_they_first_show_more() -> None:
    """In Berlin 02:00 is 03:00 on the last Sunday of March."""
    moment = Moment.parse("02:30 Europe/Berlin")
    assert moment.next_us(us("2026-03-28T12:00:00+00:00")) == us("2026-03-29T01:00:00+00:00")
    assert moment.next_us(us("2026-03-29T01:00:00+00:00")) == us("2026-03-30T00:30:00+00:00")
    once = Moment.parse("2026-03-29 02:30 Europe/Berlin")
    assert once.local(once.at_us or 0) == "2026-03-29 03:00 Europe/Berlin"


def test_a_time_that_clocks_show_twice_comes_twice() -> None:
    """In Berlin 03:00 is 02:00 on the last Sunday of October; written with its day, the first of both is meant."""
    moment = Moment.parse("02:30 Europe/Berlin")
    first, second = us("2026-10-25T00:30:00+00:00"), us("2026-10-25T01:30:00+00:00")
    assert moment.next_us(us("2026-10-24T12:00:00+00:00")) == first
    assert moment.next_us(first) == second
    assert moment.next_us(second) == us("2026-10-26T01:30:00+00:00")
    assert Moment.parse("2026-10-25 02:30 Europe/Berlin").at_us == first


def test_a_moment_that_comes_once_has_passed_for_good() -> None:
    moment = Moment.parse("2026-12-01 08:00 UTC")
    at = us("2026-12-01T08:00:00+00:00")
    assert (moment.next_us(at - 1), moment.next_us(at)) == (at, None)


@given(
    zone=st.sampled_from(ZONES),
    minute=st.integers(0, 1439),
    after_us=st.integers(us("2026-01-01T00:00:00+00:00"), us("2027-12-31T00:00:00+00:00")),
)
def test_the_next_moment_is_never_more_than_25_hours_and_a_minute_away(zone: str, minute: int, after_us: int) -> None:
    """And the clocks show it, or more where they leave it out by at most an hour."""
    moment = Moment.parse(f"{minute // 60:02}:{minute % 60:02} {zone}")
    comes = moment.next_us(after_us)
    assert comes is not None
    assert after_us < comes <= after_us + 25 * HOUR_US
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=comes)).astimezone(ZoneInfo(zone))
    assert 0 <= local.hour * 60 + local.minute - minute <= 60
