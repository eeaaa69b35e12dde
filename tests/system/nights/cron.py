"""The command as cron starts it, on another date: `python -m tests.nights.cron 2024-05-31T02:00:00 run JOB …`.

The wall clock is moved; it goes on from there as the real one does. And few rows are admitted ahead of those that are
sent, so that a night of a few hundred rows is read as a night of many thousands is.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import partial

from batch import cli
from batch.core.clock import MICROSECONDS, Clock
from batch.run import command, intake

AHEAD = 40


class Dated(Clock):
    """The real clock, with the wall time moved so that it is `moment` now."""

    def __init__(self, moment: datetime) -> None:
        self._ahead = int(moment.timestamp()) * MICROSECONDS - super().now_us()

    def now_us(self) -> int:
        return super().now_us() + self._ahead


def main() -> int:
    """Run the rest of the command line at the date it begins with."""
    intake.LOW_WATER = AHEAD  # type: ignore[misc]  # a constant, to all but this
    moment = datetime.fromisoformat(sys.argv.pop(1)).replace(tzinfo=UTC)
    command.Clock = partial(Dated, moment)  # type: ignore[attr-defined,assignment]  # where a run takes its clock from
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
