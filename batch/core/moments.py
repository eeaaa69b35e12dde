"""A moment that people set: a time of every day, or one day's, on the clocks of a zone.

Owns how such a moment is written, and when it comes next. Where clocks are put forward over a time, it is the moment at
which they first show it or more; where they are put back, it comes twice. It does not know what is to be done by then.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from batch.core.clock import MICROSECONDS
from batch.core.hours import tz

FORM: Final = '"HH:MM ZONE", for example "08:00 Asia/Shanghai", or a day as well: "2026-12-01 08:00 Asia/Shanghai"'
"""How a moment is written, for an error text."""

_TEXT: Final = re.compile(
    r"(?:(2\d{3})-(\d\d)-(\d\d)[ T])?(\d\d):(\d\d)(?::(\d\d))?(Z|[+-]\d\d:\d\d)?(?: *([A-Za-z][\w+/-]*))?", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)


class Moment(msgspec.Struct, frozen=True):
    """A time of every day in a zone, or one moment alone."""

    zone: str
    """On whose clocks it is told."""
    minute: int | None = None
    """Minute of every day, 0 to 1439; None for a moment that comes once."""
    at_us: int | None = None
    """The moment that comes once, in microseconds of UTC."""

    @classmethod
    def parse(cls, text: str) -> Moment:
        """The moment that a text stands for.

        Raises:
            ValueError: it is none, no clock or calendar shows it, or the zone is missing or not known; the message
                says what to write.
        """
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no moment: write {FORM}")
        year, month, day, hour, minute, second, offset, zone = match.groups()
        if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59:
            raise ValueError(f"{text!r} has a time that no clock shows: 00:00 to 23:59")
        if offset and zone:
            raise ValueError(f"{text!r} has an offset and a zone: keep one of them")
        if year is None and (second or offset):
            raise ValueError(f"{text!r} is a time of every day, and that is told in minutes and a zone: write {FORM}")
        if not offset and not zone:
            raise ValueError(f"{text!r} has no time zone, and clocks differ: write {FORM}")
        clocks = tz(zone) if zone else UTC
        if year is None:
            return cls(zone, minute=int(hour) * 60 + int(minute))
        try:
            naive = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0))  # noqa: DTZ001 - its zone comes next
        except ValueError:
            raise ValueError(f"{text!r} has a day that no calendar shows") from None
        if offset:
            return cls("UTC", at_us=_us(datetime.fromisoformat(f"{naive.isoformat()}{offset.replace('Z', '+00:00')}")))
        return cls(zone, at_us=_first(naive.replace(tzinfo=clocks)))

    def next_us(self, after_us: int) -> int | None:
        """When it comes next after a moment, both in microseconds of UTC; None when it has come for good."""
        if self.minute is None:
            assert self.at_us is not None
            return self.at_us if self.at_us > after_us else None
        today = self._local(after_us)
        first = today.replace(hour=self.minute // 60, minute=self.minute % 60, second=0, microsecond=0, fold=0)
        days = (first + timedelta(days=step) for step in (-1, 0, 1, 2))
        moments = (moment for day in days for moment in _moments(day))
        return min(moment for moment in moments if moment > after_us)

    def local(self, at_us: int) -> str:
        """A moment on the clocks of this zone, to the minute: `2026-12-01 08:00 Asia/Shanghai`."""
        return f"{self._local(at_us):%Y-%m-%d %H:%M} {self.zone}"

    def __str__(self) -> str:
        """As `parse` reads it."""
        if self.minute is not None:
            return f"{self.minute // 60:02}:{self.minute % 60:02} {self.zone}"
        assert self.at_us is not None
        moment = self._local(self.at_us)
        return f"{moment:%Y-%m-%d %H:%M}{f':{moment:%S}' if moment.second else ''} {self.zone}"

    def _local(self, at_us: int) -> datetime:
        return (_EPOCH + timedelta(microseconds=at_us)).astimezone(tz(self.zone))


def _moments(day: datetime) -> tuple[int, ...]:
    """When clocks show a time on its day: once or twice, and where they leave it out, when they first show more."""
    first, second = _first(day), _us(day.replace(fold=1))
    return (first, second) if second > first else (first,)


def _first(moment: datetime) -> int:
    """When clocks first show a time, or more where they leave it out, in microseconds of UTC."""
    early, late = _utc(moment.replace(fold=1)), _utc(moment.replace(fold=0))
    if early >= late:  # it comes once, or twice, and then the first of both is meant
        return _us(late)
    while late - early > _MINUTE:  # left out: the clocks are put forward somewhere between the two
        middle = early + (late - early) / 2
        shown = middle.astimezone(moment.tzinfo).replace(tzinfo=None)
        early, late = (middle, late) if shown < moment.replace(tzinfo=None) else (early, middle)
    return _us(late) // (60 * MICROSECONDS) * 60 * MICROSECONDS


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
