"""The command as cron starts it, on another date: `python -m tests.nights.cron 2024-05-31T02:00:00 run JOB …`.

The wall clock is moved and nothing else; it goes on from there as the real one does.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import partial

from batch import cli, runs
from batch.clock import MICROSECONDS, Clock


class Dated(Clock):
    """The real clock, with the wall time moved so that it is `moment` now."""

    def __init__(self, moment: datetime) -> None:
        self._ahead = int(moment.timestamp()) * MICROSECONDS - super().now_us()

    def now_us(self) -> int:
        return super().now_us() + self._ahead


def main() -> int:
    """Run the rest of the command line at the date it begins with."""
    moment = datetime.fromisoformat(sys.argv.pop(1)).replace(tzinfo=UTC)
    runs.Clock = partial(Dated, moment)  # type: ignore[misc,assignment]  # where a run takes its clock from
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
