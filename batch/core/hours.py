"""Hours of the week in a time zone: `mon-fri 09:00-12:00 Asia/Shanghai`.

Owns how such a window is written, what a zone is, and whether a moment lies in a window. It does not know what happens
in one. Local time is reckoned by the zone's own rules, so a window keeps to the clock on the wall when summer time
comes or goes; the rules come from the system, or from the `tzdata` distribution where the system has none.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from batch.core.clock import MICROSECONDS
from batch.core.nearest import suggestion

if TYPE_CHECKING:
    from datetime import tzinfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FORM: Final = '"[days] HH:MM-HH:MM [zone]", for example "09:00-12:00 UTC" or "mon-fri,sun 22:00-06:00 Asia/Shanghai"'
"""How a window is written, for an error text."""

_WINDOW: Final = re.compile(r"(?:([a-z][a-z,-]*) +)?(\d\d):(\d\d)-(\d\d):(\d\d)(?: +([A-Za-z][\w+/-]*))?", re.ASCII)
_DAY: Final = 24 * 60
_QUARTER_US: Final = 15 * 60 * MICROSECONDS
"""No zone changes its offset but at a quarter of an hour."""


class Window(msgspec.Struct, frozen=True):
    """Some hours on some days of the week.

    The first minute is in it, the last is not; a window that ends before it begins goes on into the next day, and
    belongs to the day on which it begins.
    """

    days: tuple[int, ...]
    """Days of the week, Monday is 0; in order."""
    begin: int
    """Minute of the day, 0 to 1439."""
    end: int
    """Minute of the day, 1 to 1440."""
    zone: str

    @classmethod
    def parse(cls, text: str, *, zone: str = "UTC") -> Window:
        """The window that a text stands for.

        Args:
            text: as in `FORM`; without days it is every day.
            zone: where the text names none.

        Raises:
            ValueError: it is no window, or the zone is not known; the message says what to write.
        """
        match = _WINDOW.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no window of hours: write {FORM}")
        begin, end = int(match[2]) * 60 + int(match[3]), int(match[4]) * 60 + int(match[5])
        if begin >= _DAY or end > _DAY or int(match[3]) > 59 or int(match[5]) > 59:
            raise ValueError(f"{text!r} has a time that no clock shows: 00:00 to 23:59, and 24:00 for the end of a day")
        if begin == end:
            raise ValueError(f'{text!r} begins and ends at the same minute: a whole day is "00:00-24:00"')
        zone = match[6] or zone
        tz(zone)
        return cls(_days(match[1] or "mon-sun", text), begin, end or _DAY, zone)

    def __contains__(self, at_us: int) -> bool:
        """Whether a moment, in microseconds of UTC, lies in the window."""
        minutes = (at_us // MICROSECONDS + _offset_s(self.zone, at_us // _QUARTER_US)) // 60
        day, minute = divmod(minutes, _DAY)
        weekday = (day + 3) % 7  # 1970 began on a Thursday
        if self.begin < self.end:
            return self.begin <= minute < self.end and weekday in self.days
        if minute >= self.begin:
            return weekday in self.days
        return minute < self.end and (weekday - 1) % 7 in self.days

    def __str__(self) -> str:
        """As `parse` reads it."""
        times = f"{self.begin // 60:02}:{self.begin % 60:02}-{self.end // 60:02}:{self.end % 60:02} {self.zone}"
        return times if len(self.days) == 7 else f"{_day_text(self.days)} {times}"


@lru_cache(maxsize=64)
def tz(name: str) -> tzinfo:
    """The time zone of this name.

    Raises:
        ValueError: no zone has this name; the message proposes the nearest.
    """
    if name == "UTC":
        return UTC
    import zoneinfo  # noqa: PLC0415 - 10 ms, and most prices speak of UTC alone

    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # no such zone, no plain name, a folder of zones
        hint = suggestion(name, zoneinfo.available_timezones(), 'Write "UTC", or a name such as "Asia/Shanghai".')
        raise ValueError(f"{name!r} is no time zone. {hint}") from None


def midnight_us(day: date, zone: str) -> int:
    """When a day begins in a zone, in microseconds of UTC."""
    return moment_us(datetime.combine(day, time()), zone)


def moment_us(moment: datetime, zone: str) -> int:
    """A moment in microseconds of UTC; without an offset of its own it is one on the clocks of the zone.

    Where clocks are put back the earlier of two moments is meant.
    """
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=tz(zone))
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@lru_cache(maxsize=4096)
def _offset_s(zone: str, quarter: int) -> int:
    """How many seconds the clocks of a zone are ahead of UTC during a quarter of an hour since 1970."""
    if zone == "UTC":
        return 0
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * quarter)
    offset = moment.astimezone(tz(zone)).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def _days(text: str, window: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f"{window!r}: {part!r} is no day: write {', '.join(DAYS)}, mon-fri for several")
        start, stop = DAYS.index(first), DAYS.index(last or first)
        found |= {(start + step) % 7 for step in range((stop - start) % 7 + 1)}
    return tuple(sorted(found))


def _day_text(days: tuple[int, ...]) -> str:
    runs: list[list[int]] = []
    for day in days:
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ",".join(DAYS[run[0]] if len(run) == 1 else f"{DAYS[run[0]]}-{DAYS[run[-1]]}" for run in runs)
