"""Runs in which the provider does one hostile thing to chosen rows, and what is asked of each of them afterwards."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from batch.run.command import Report
from tests.system.runs.conftest import Make, Mill

STRUCK = 1
"""The row that the fault strikes, unless a test says otherwise."""


def faulty(make: Make, behaviour: int, *, rows: int = 4, **options: Any) -> Mill:
    """A job of some rows, of which number 1 meets the fault; `lane`, `provider` and `name` go to the job.

    The rows around it are answered, so that what is seen is the row's own fate and not that of an outage.
    """
    how = {key: options.pop(key) for key in ("lane", "provider", "name") if key in options}
    struck = options.pop("struck", (STRUCK,))
    more = options.pop("more", "")
    told: dict[str, Any] = {"behaviour": behaviour, **options}
    if struck:
        told["rows"] = [f"number {n}." for n in struck]
    lines = [f"{key} = {json.dumps(value)}" for key, value in told.items()]
    mill = make("\n".join(["[[fault]]", *lines, more]), **how)
    mill.limits.update(concurrency=4, max_attempts=4)
    mill.questions(rows)
    return mill


def finished(mill: Mill, *, failed: tuple[int, ...] = (), bounded: bool = True) -> Report:
    """Run it: every row is there once, those named failed, the books hold, and the fault did strike."""
    report = mill.run()
    count = report.totals.rows
    assert report.exit_code == (1 if failed else 0), report
    mill.check_table(count)
    assert [n for n, status in mill.results("n, status") if status == "failed"] == list(failed)
    if bounded:
        mill.check_books(at_risk=-1)
    mill.check_sums()
    assert mill.sim is not None
    assert mill.sim.faults(), "nothing was tested"
    return report


def told(mill: Mill, n: int = STRUCK) -> tuple[Any, ...]:
    """Kind, code and retryability of a row's error."""
    [found] = [row[1:] for row in mill.results("n, error_kind, error_code, retryable") if row[0] == n]
    return found


def calls(mill: Mill, n: int = STRUCK) -> list[tuple[Any, ...]]:
    """State, error kind and code of a row's calls, in order."""
    number = next(number for m, number in mill.results("n, row_number") if m == n)
    rows = mill.calls("attempt, state, error_kind, error_code", f"row_number = {number}")
    return [row[1:] for row in sorted(rows)]


def flags(mill: Mill, n: int = STRUCK) -> set[str]:
    """A row's flags."""
    [found] = [row[1] for row in mill.results("n, flags") if row[0] == n]
    return set(found or ())


def gaps(mill: Mill, n: int = STRUCK) -> list[float]:
    """Seconds between the requests of a row, by the provider's clock."""
    number = next(number for m, number in mill.results("n, row_number") if m == n)
    ours = {row[0] for row in mill.calls("client_call_id", f"row_number = {number}")}
    at = sorted(record["at"] for record in mill.books() if record["client_call_id"] in ours)
    return [later - earlier for earlier, later in pairwise(at)]
