"""Days as a bill has them: which time zone a provider's days are of, and how moments become local time.

Owns the reading of `--since`, `--until` and `--tz`. Offsets come from `zoneinfo`, not from Arrow, whose own database of
zones is missing on small machines. It knows no calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.core.clock import MICROSECONDS
from batch.core.errors import RefusedToStart
from batch.core.nearest import suggestion
from batch.providers.registry import billing_zone

_STEP_US: Final = 6 * 3600 * MICROSECONDS
"""No zone changes its offset twice within so short a time."""
_EXAMPLES: Final = "Give a day (2026-10-01), a month (2026-10), a year, or a moment (2026-10-01T08:00+08:00)."
_DAY: Final = timedelta(days=1)


class Zones:
    """Which zone the days of each provider's bill are of.

    Args:
        name: one zone for all of them, as a name of the IANA database; None for each its own.

    Raises:
        RefusedToStart: there is no zone of this name.
    """

    def __init__(self, name: str | None = None) -> None:
        self._one = None if name is None else _zone(name)
        self._own: dict[str, ZoneInfo] = {}

    def of(self, provider: str | None) -> ZoneInfo:
        """The zone of one provider."""
        if self._one is not None:
            return self._one
        name = billing_zone(provider or "")
        if name not in self._own:
            self._own[name] = _zone(name)
        return self._own[name]


class Limit(msgspec.Struct, frozen=True):
    """One end of a stretch of time: a local day, whose moment depends on the zone, or a moment."""

    local: datetime
    aware: bool
    text: str

    def at_us(self, zone: ZoneInfo) -> int:
        """The moment, in microseconds of UTC."""
        moment = self.local if self.aware else self.local.replace(tzinfo=zone)
        return _us(moment)


def since(text: str) -> Limit:
    """The beginning of a stretch: that of the day, month or year that is named, or a moment.

    Raises:
        RefusedToStart: the text is no such thing.
    """
    return _limit(text, "--since", end=False)


def until(text: str) -> Limit:
    """The end of a stretch: the day, month or year that is named still belongs to it, a moment does not.

    Raises:
        RefusedToStart: the text is no such thing.
    """
    return _limit(text, "--until", end=True)


def _limit(text: str, flag: str, *, end: bool) -> Limit:
    try:
        if re.fullmatch(r"\d{4}(-\d{2})?(-\d{2})?", text):
            first = date.fromisoformat(f"{text}-01-01"[:10] if len(text) < 10 else text)
            first = _next(first, len(text)) if end else first
            return Limit(datetime(first.year, first.month, first.day), aware=False, text=text)  # noqa: DTZ001 - local
        moment = datetime.fromisoformat(text)
        return Limit(moment, aware=moment.tzinfo is not None, text=text)
    except (ValueError, OverflowError):
        raise RefusedToStart(f"{flag} {text}: is no day and no moment. {_EXAMPLES}") from None


def _next(day: date, length: int) -> date:
    """The day behind a year, a month or a day, by how long its text is."""
    if length == len("2026"):
        return date(day.year + 1, 1, 1)
    if length == len("2026-10"):
        return (day + timedelta(days=32)).replace(day=1)
    return day + _DAY


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = suggestion(name, available_timezones(), "It has names like Asia/Shanghai, Europe/Berlin and UTC.")
        raise RefusedToStart(f"--tz {name}: there is no such time zone. {near}") from None


# -- local time -------------------------------------------------------------------------------------------------------


def local_us(times: Any, zone: ZoneInfo) -> Any:
    """Moments as local time.

    Args:
        times: N moments in microseconds of UTC, int64; may be null.
        zone: where the clock hangs.

    Returns:
        N readings of that clock, in microseconds since 1970 by it.
    """
    ends = pc.min_max(times).as_py()
    if ends["min"] is None:
        return times
    changes = iter(_changes(zone.key, ends["min"] // _STEP_US, ends["max"] // _STEP_US + 1))
    _, offset = next(changes)
    shift: Any = pa.scalar(offset, pa.int64())
    for moment, offset in changes:
        shift = pc.if_else(pc.greater_equal(times, moment), pa.scalar(offset, pa.int64()), shift)
    return pc.add(times, shift)


@lru_cache(maxsize=64)
def _changes(name: str, first_step: int, last_step: int) -> tuple[tuple[int, int], ...]:
    """The offsets of a zone over a stretch of time: each with the moment from which it holds, in microseconds."""
    return tuple(_found(ZoneInfo(name), first_step * _STEP_US, last_step * _STEP_US))


def _found(zone: tzinfo, first: int, last: int) -> Iterator[tuple[int, int]]:
    offset = _offset(zone, first)
    yield first, offset
    for begin in range(first, last, _STEP_US):
        later = _offset(zone, begin + _STEP_US)
        if later != offset:
            before, after = begin, begin + _STEP_US
            while after - before > 1:
                middle = (before + after) // 2
                before, after = (before, middle) if _offset(zone, middle) == later else (middle, after)
            yield after, later
            offset = later


def _offset(zone: tzinfo, at_us: int) -> int:
    try:
        moment = datetime.fromtimestamp(at_us // MICROSECONDS, UTC).astimezone(zone)
    except (OverflowError, ValueError, OSError):
        return 0
    return (moment.utcoffset() or timedelta()) // timedelta(microseconds=1)


def _us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


# -- names of stretches -----------------------------------------------------------------------------------------------

PERIODS: Final = ("hour", "day", "week", "month")


def floored(times: Any, zone: ZoneInfo, period: str) -> Any:
    """The beginning of the hour, day, week or month that each moment lies in.

    Args:
        times: N moments in microseconds of UTC.
        zone: whose clock counts.
        period: one of `PERIODS`.

    Returns:
        N numbers: of an hour the moment at which it begins, in microseconds of UTC, because the hour of the night in
        which clocks are set back comes twice; else the local midnight, in microseconds since 1970 by that clock.
    """
    local = local_us(times, zone)
    stamps = local.cast(pa.timestamp("us"))
    begin = pc.floor_temporal(stamps, unit=period, week_starts_monday=True).cast(pa.int64())
    return begin if period != "hour" else pc.subtract(times, pc.subtract(local, begin))


def name_of(begin: int, zone: ZoneInfo, period: str) -> str:
    """What a stretch is called: `2026-10-05`, `2026-10-05T14:00+08:00`, `2026-W41`, `2026-10`.

    Args:
        begin: as `floored` gave it.
        zone: whose clock counts.
        period: one of `PERIODS`.
    """
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=begin)
    if period == "hour":
        return moment.astimezone(zone).isoformat(timespec="minutes")
    if period == "week":
        year, week, _ = moment.isocalendar()
        return f"{year}-W{week:02d}"
    return moment.strftime("%Y-%m") if period == "month" else moment.date().isoformat()
