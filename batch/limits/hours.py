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

    def waits_for(self) -> str:
        """Until when nothing leaves, for people; while nothing may."""
        now_us = self._clock.now_us()
        opens_us, zone = self.opens_us(now_us), self._windows[0].zone
        local = datetime.fromtimestamp(opens_us / MICROSECONDS, tz=UTC).astimezone(tz(zone))
        return f"its hours, until {local:%Y-%m-%d %H:%M} {zone}, {describe((opens_us - now_us) / MICROSECONDS)}"

    def _open(self, at_us: int) -> bool:
        return any(at_us in window for window in self._windows)
