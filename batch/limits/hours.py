"""The hours in which requests may leave, and how long it is until they may.

Owns the answer to that, for windows of `batch.core.hours`, and how long they have held everything back. A window ends
`MARGIN_US` early, for what is let go takes a moment to leave. The clock on the wall decides, for these are hours of
people; it is looked at again now and then, because it may be set, and a machine may have slept.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from batch.core.clock import MICROSECONDS, Clock, describe
from batch.core.hours import Window, tz

MARGIN_US: Final = MICROSECONDS
LOOK_AGAIN_S: Final = 30.0
_MINUTE_US: Final = 60 * MICROSECONDS
_WEEK_MINUTES: Final = 7 * 24 * 60
_WEEK_US: Final = _WEEK_MINUTES * _MINUTE_US
_EXACT_US: Final = 6 * _WEEK_US
"""So far ahead hours are looked at one by one; what lies behind that is taken to be alike."""
_FAR_MINUTES: Final = 15 * 24 * 60  # a window of one day of the week that summer time swallows comes a week later


class Hours:
    """Some windows, each on the clocks of its zone.

    Args:
        clock: tells the time.
        windows: at least one.

    Attributes:
        shut_s: for how many seconds they have let nothing go so far; it grows when they open.
    """

    def __init__(self, clock: Clock, windows: Iterable[Window]) -> None:
        self._clock = clock
        self._windows = tuple(windows)
        self._looked_us = self._opens_us = 0
        self._shut_at: float | None = None
        self.shut_s = 0.0

    def __str__(self) -> str:
        """As the job has them."""
        return "; ".join(map(str, self._windows))

    def wait(self) -> float:
        """The seconds until it is worth looking again; 0 when a request may leave now."""
        now_us = self._clock.now_us()
        if self._open(now_us) and self._open(now_us + MARGIN_US):
            if self._shut_at is not None:
                self.shut_s += self._clock.monotonic() - self._shut_at
                self._shut_at = None
            return 0.0
        if self._shut_at is None:
            self._shut_at = self._clock.monotonic()
        return min(LOOK_AGAIN_S, (self.opens_us(now_us) - now_us) / MICROSECONDS)

    def opens_us(self, now_us: int) -> int:
        """When a request may leave next, in microseconds of UTC; for a moment at which none may."""
        if not self._looked_us <= now_us < self._opens_us:
            self._looked_us = now_us
            minute = now_us // _MINUTE_US
            later = range(minute + 1, minute + _FAR_MINUTES)
            found = next((at for at in later if self._open(at * _MINUTE_US)), minute + _FAR_MINUTES)
            self._opens_us = found * _MINUTE_US
        return self._opens_us

    def first_us(self, from_us: int) -> int:
        """When a request may leave, at a moment or soonest after it, in microseconds of UTC."""
        return from_us if self._open(from_us) else self.opens_us(from_us)

    def open_s(self, from_us: int, until_us: int) -> float:
        """For how many seconds requests may leave between two moments, in microseconds of UTC; none the other way."""
        return self._open_for_us(from_us, until_us) / MICROSECONDS

    def done_us(self, from_us: int, seconds: float) -> int:
        """When what takes so many seconds of these hours is done, in microseconds of UTC.

        Args:
            from_us: when it begins, in microseconds of UTC.
            seconds: how long requests are to leave.
        """
        at_us, left_us, ahead = from_us, round(seconds * MICROSECONDS), True
        while left_us > 0:
            begins_us = self.first_us(at_us)
            at_us = self._shuts_us(begins_us)
            if begins_us + left_us <= at_us:
                return begins_us + left_us
            left_us -= at_us - begins_us
            if ahead and at_us - from_us > _EXACT_US:
                ahead = False
                a_week_us = max(1, self._open_for_us(at_us, at_us + _WEEK_US))
                at_us += left_us // a_week_us * _WEEK_US
                left_us %= a_week_us
        return at_us

    def _open_for_us(self, at_us: int, end_us: int) -> int:
        """For how long requests may leave between two moments."""
        open_us = 0
        while (begins_us := self.first_us(at_us)) < end_us:
            at_us = min(end_us, self._shuts_us(begins_us))
            open_us += at_us - begins_us
        return open_us

    def _shuts_us(self, at_us: int) -> int:
        """The end of the hours that a moment lies in, at most a week later; the moment itself if it lies in none."""
        if not self._open(at_us):
            return at_us
        minute = at_us // _MINUTE_US
        later = range(minute + 1, minute + _WEEK_MINUTES)
        return _MINUTE_US * next((end for end in later if not self._open(end * _MINUTE_US)), minute + _WEEK_MINUTES)

    def waits_for(self) -> str:
        """Until when nothing leaves, for people; while nothing may."""
        now_us = self._clock.now_us()
        opens_us = self.opens_us(now_us)
        return f"its hours, until {self.local(opens_us)}, {describe((opens_us - now_us) / MICROSECONDS)}"

    def local(self, at_us: int) -> str:
        """A moment on the clocks of the first window, with the name of their zone, to the minute."""
        zone = self._windows[0].zone
        moment = datetime.fromtimestamp(at_us / MICROSECONDS, tz=UTC).astimezone(tz(zone))
        return f"{moment:%Y-%m-%d %H:%M} {zone}"

    def _open(self, at_us: int) -> bool:
        return any(at_us in window for window in self._windows)
