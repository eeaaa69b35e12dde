"""`batch.report.cost.zones`: days as a bill has them, whatever the clocks do."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.errors import RefusedToStart
from batch.report.cost import zones
from batch.report.cost.zones import PERIODS, Zones, floored, local_us, name_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = ("UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
MOMENTS = st.integers(1_600_000_000_000_000, 1_900_000_000_000_000)


@settings(max_examples=40)
@given(st.lists(MOMENTS, min_size=1, max_size=20), st.sampled_from(NAMES))
def test_local_time_is_that_of_the_zone_at_every_moment(moments: list[int], name: str) -> None:
    """Also where the moments of one batch lie on both sides of many changes of the clocks."""
    zone = ZoneInfo(name)
    found = local_us(pa.array(moments, pa.int64()), zone).to_pylist()
    for moment, local in zip(moments, found, strict=True):
        wall = (EPOCH + timedelta(microseconds=moment)).astimezone(zone).replace(tzinfo=UTC)
        assert local == (wall - EPOCH) // timedelta(microseconds=1)


@settings(max_examples=60)
@given(MOMENTS, st.sampled_from(NAMES), st.sampled_from(PERIODS))
def test_each_moment_lies_in_the_day_hour_week_and_month_that_the_calendar_says(
    moment: int, name: str, period: str
) -> None:
    """Names are those of ISO 8601; an hour says its offset."""
    zone = ZoneInfo(name)
    wall = (EPOCH + timedelta(microseconds=moment)).astimezone(zone)
    year, week, _ = wall.isocalendar()
    expected = {
        "day": wall.date().isoformat(),
        "week": f"{year}-W{week:02d}",
        "month": f"{wall.year}-{wall.month:02d}",
    }
    told = name_of(floored(pa.array([moment]), zone, period)[0].as_py(), zone, period)
    if period != "hour":
        assert told == expected[period]
    else:
        assert datetime.fromisoformat(told) <= wall < datetime.fromisoformat(told) + timedelta(hours=1)
        assert told[14:16] == "00"


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    """25 October 2026 in Berlin: 02:30 before and after the clocks are set back."""
    zone = ZoneInfo("Europe/Berlin")
    moments = [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1)]
    begins = floored(pa.array([int(m.timestamp()) * 1_000_000 for m in moments]), zone, "hour").to_pylist()
    assert [name_of(begin, zone, "hour") for begin in begins] == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]


def test_the_days_of_a_bill_are_those_of_its_provider() -> None:
    """`--tz` wins over all of them; a provider of the job's own is billed in UTC as far as anybody knows."""
    own = Zones()
    known = {name: own.of(name).key for name in ("glm", "moonshot", "dashscope", "openai", "deepseek", "zai", "mycorp")}
    assert {name for name, zone in known.items() if zone == "Asia/Shanghai"} == {"glm", "moonshot", "dashscope"}
    assert {zone for name, zone in known.items() if name in ("openai", "deepseek", "zai", "mycorp")} == {"UTC"}
    assert Zones("Europe/Berlin").of("glm").key == "Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "first", "behind"),
    [
        ("2026-10-01", "2026-09-30T16:00", "2026-10-01T16:00"),
        ("2026-10", "2026-09-30T16:00", "2026-10-31T16:00"),
        ("2026-12", "2026-11-30T16:00", "2026-12-31T16:00"),
        ("2026", "2025-12-31T16:00", "2026-12-31T16:00"),
        ("2026-10-01T08:00", "2026-10-01T00:00", "2026-10-01T00:00"),
        ("2026-10-01T08:00+02:00", "2026-10-01T06:00", "2026-10-01T06:00"),
    ],
)
def test_a_day_a_month_and_a_year_belong_to_the_time_that_ends_with_them(text: str, first: str, behind: str) -> None:
    """In the zone of each provider; a moment is its own end."""
    zone = ZoneInfo("Asia/Shanghai")

    def utc(at_us: int) -> str:
        return (EPOCH + timedelta(microseconds=at_us)).strftime("%Y-%m-%dT%H:%M")

    assert utc(zones.since(text).at_us(zone)) == first
    assert utc(zones.until(text).at_us(zone)) == behind


def test_what_is_no_time_or_no_zone_is_refused_with_the_way_out() -> None:
    """The nearest zone is named, and how a day is written."""
    for text in ("2026-13", "2026-02-30", "yesterday", "26", "2026-10-1"):
        with pytest.raises(RefusedToStart, match=r"is no day and no moment. Give a day \(2026-10-01\)"):
            zones.since(text)
    with pytest.raises(RefusedToStart, match="Did you mean Asia/Shanghai"):
        Zones("Asia/Shangai")
    for name in ("", "../etc/passwd", "Mars/Olympus"):
        with pytest.raises(RefusedToStart, match="there is no such time zone"):
            Zones(name)


@pytest.mark.slow
def test_days_are_known_on_a_machine_without_a_database_of_zones() -> None:
    """Neither the system's files nor Arrow's are read: the zones of the package tzdata are enough."""
    program = (
        "import zoneinfo; zoneinfo.reset_tzpath(to=[])\n"
        "import pyarrow as pa\n"
        "from batch.report.cost.zones import Zones, floored, name_of\n"
        "zone = Zones().of('glm')\n"
        "print(name_of(floored(pa.array([1790784000000000]), zone, 'day')[0].as_py(), zone, 'day'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("2026-10-01\n", "")
