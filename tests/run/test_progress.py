"""`batch.run.progress`: what the live line and `status.json` say of a run."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.ledger.totals import Planned, Totals
from batch.run.progress import WINDOW_S, Meter, Progress, expected, time_left


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    """What was fast an hour ago says nothing about what is left."""
    meter = Meter()
    rate = meter.rate(0.0, 100)
    assert rate == 0.0
    for second in range(1, 61):
        rate = meter.rate(float(second), 100 + 10 * second)
        assert rate == pytest.approx(10)
    for second in range(61, 61 + int(WINDOW_S) + 2):
        rate = meter.rate(float(second), 700)
    assert rate == 0.0
    assert meter.rate(92.0 + 600, 700 + 600) == pytest.approx(1, rel=0.1)


def test_two_looks_in_one_moment_are_no_division_by_zero() -> None:
    """A snapshot is taken at every stop, too."""
    meter = Meter()
    meter.rate(5.0, 10)
    assert meter.rate(5.0, 20) == 0.0


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 1_000)), min_size=1, max_size=200))
def test_a_rate_is_never_negative_and_memory_is_bounded(steps: list[tuple[float, int]]) -> None:
    """One entry for every look within the window and one before it."""
    meter, now, done = Meter(), 0.0, 0
    for seconds, rows in steps:
        now, done = now + seconds, done + rows
        assert meter.rate(now, done) >= 0
        assert len(meter._seen) <= 2 or now - meter._seen[0][0] <= WINDOW_S


@pytest.mark.parametrize(
    ("planned", "fraction", "rows"),
    [
        (Planned(new=100), None, None),
        (Planned(new=100), 0.0, None),
        (Planned(new=100), 0.25, 400),
        (Planned(new=100, unchanged=300), 0.5, 200),
        (Planned(new=100), 1.5, 100),
        (Planned(new=3), 0.9, 3),
        (Planned(new=70, changed=20, retried=10, complete=True), 0.3, 100),
        (Planned(new=0), 0.5, 0),
    ],
)
def test_the_number_of_rows_is_projected_from_the_share_that_was_read(
    planned: Planned, fraction: float | None, rows: int | None
) -> None:
    """Exact once the whole source was read; unknown while nothing was."""
    assert expected(planned, fraction) == rows


@pytest.mark.parametrize(
    ("rate", "done", "total", "left"),
    [(10.0, 50, 150, 10.0), (0.0, 50, 150, None), (10.0, 50, None, None), (10.0, 160, 150, 0.0)],
)
def test_the_time_left_is_unknown_rather_than_wrong(
    rate: float, done: int, total: int | None, left: float | None
) -> None:
    """No rate or no total, no promise; never a negative one."""
    assert time_left(rate, done, total) == left


def snapshot(**fields: Any) -> Progress:
    known: dict[str, Any] = {
        "run": "20261121T020000123Z-a1b2",
        "state": "running",
        "elapsed_s": 12.34567,
        "planned": Planned(read=10, new=7, unchanged=3, complete=True),
        "totals": Totals(rows_ok=4, calls=5, units={"CNY": 5}),
        "expected": 7,
        "done": 4,
        "rate": 0.33333,
        "in_flight": 2,
        "waiting_tasks": 1,
        "held_back": 0,
        "left_s": 9.06,
        "waits_for": None,
    }
    return Progress(**{**known, **fields})


def test_a_snapshot_is_written_as_plain_json() -> None:
    """Monitors read it: rounded times, decimal strings, null where it cannot be said."""
    shown = json.loads(json.dumps(snapshot().public()))
    assert shown["rows"] == {
        "done": 4,
        "expected": 7,
        "read": 10,
        "new": 7,
        "changed": 0,
        "retried": 0,
        "unchanged": 3,
        "refreshed": 0,
        "gone": None,
        "gone_variants": 0,
        "standing": 0,
        "source_rows": 0,
        "left_out": 0,
        "empty": "fail",
        "kinds": ["new", "changed", "failed", "short"],
        "given_up": False,
        "complete": True,
        "left": None,
        "unread": None,
        "short": 0,
        "taken_over": 0,
    }
    assert (shown["elapsed_s"], shown["rows_per_second"], shown["left_s"]) == (12.346, 0.333, 9.1)
    assert shown["totals"]["cost"] == {"CNY": "0.000000000005"}
    assert snapshot(left_s=None, expected=None).public()["left_s"] is None
