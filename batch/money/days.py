"""Which day a moment belongs to where money is counted by the day.

Owns the zones: bills in yuan begin a day at midnight in China, all others in UTC. Prepaid packs end at midnight in
China as well, which is before it is midnight in UTC.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

from batch.core.clock import MICROSECONDS
from batch.core.hours import midnight_us, tz

GRANT_ZONE: Final = "Asia/Shanghai"
"""On whose clocks the last day of a prepaid pack ends."""
_ZONES: Final = {"CNY": "Asia/Shanghai"}


def zone_of(currency: str) -> str:
    """The zone in which a day of money in this currency begins and ends."""
    return _ZONES.get(currency, "UTC")


def day_of(at_us: int, zone: str) -> date:
    """The day on the clocks of a zone.

    Args:
        at_us: microseconds of UTC.
        zone: its name.
    """
    return datetime.fromtimestamp(at_us / MICROSECONDS, tz=UTC).astimezone(tz(zone)).date()


def end_us(day: date, zone: str) -> int:
    """The first moment after a day in a zone, in microseconds of UTC."""
    return midnight_us(day + timedelta(days=1), zone)
