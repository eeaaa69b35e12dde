"""Seven nights from cron over one output folder: whatever happened, each key once, nothing bought twice, exact money."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.conftest import Gate, Start, start
from tests.support.longer import longer
from tests.system.nights.house import CONCURRENCY, SCENARIO, Form, House, interrupt, kill
from tests.system.runs.test_stops import stopping, until

__all__ = ["start"]


@pytest.mark.parametrize(("form", "lane"), [("folder", "sync"), ("parquet", "task"), *longer([("file", "sync")])])
def test_seven_nights_leave_each_key_once_and_the_books_exact(
    form: Form, lane: str, tmp_path: Path, start: Start
) -> None:
    """Promises 1, 2, 3 and 5, as a team that runs the command from cron meets them."""
    gate = Gate()
    house = House(tmp_path / "job", start(SCENARIO, gate), form=form, lane=lane, gate=gate)
    first_data(house)
    new_rows(house)
    edited_rows(house)
    failures(house)
    a_price_change_and_a_kill(house)
    a_file_replaced_in_the_middle(house)
    a_ctrl_c(house)
    house.check_bill()


def first_data(house: House) -> None:
    """Night 1: 120 rows."""
    keys = house.add("day-1", 120)
    house.put()
    night = house.night(cron=True)
    assert night.code == 0, night.said
    house.check_end(work_id=set(keys))
    house.check_asked(house.runs()[-1]["run"], dict.fromkeys(keys, 1))
    house.check_nothing_to_do()
    house.later(days=1)


def new_rows(house: House) -> None:
    """Night 2: 30 more."""
    keys = house.add("day-2", 30)
    house.put()
    assert house.night().code == 0
    house.check_end(work_id=set(keys))
    house.check_asked(house.runs()[-1]["run"], dict.fromkeys(keys, 1))
    house.check_nothing_to_do()
    house.later(days=1)


def edited_rows(house: House) -> None:
    """Night 3: 7 of the first and 3 of the second day have another text, 20 are new."""
    all_ = list(house.source())
    edited = [*all_[3:90:14], *all_[125:140:5]]
    house.edit(edited)
    keys = [*edited, *house.add("day-3", 20)]
    house.put()
    assert house.work_id() == set(keys)
    assert house.night().code == 0
    house.check_end(work_id=set(keys))
    run = house.runs()[-1]
    assert (run["planned"]["changed"], run["planned"]["new"]) == (len(edited), 20)
    house.check_asked(run["run"], dict.fromkeys(keys, 1))
    house.check_nothing_to_do()
    house.later(days=1)


def failures(house: House) -> None:
    """Night 4: a row that fails for good, three that fail for a passing reason, asked once more the night after."""
    house.add("day-4", 20)
    [forbidden] = house.add("day-4", 1, kind="forbidden")
    flaky = house.add("day-4", 3, kind="flaky")
    house.put()
    work_id = house.work_id()
    night = house.night(cron=True)
    assert night.code == 1, night.said
    house.check_end(work_id=work_id)
    house.check_asked(house.runs()[-1]["run"], {**dict.fromkeys(work_id, 1), **dict.fromkeys(flaky, 2)})
    failed = {row["id"] for row in house.table() if row["status"] == "failed"}
    assert failed == {forbidden, *flaky}
    house.later(days=1)
    assert house.work_id() == set(flaky)
    night = house.night()
    assert night.code == 0, night.said
    house.check_end(work_id=set(flaky))
    house.check_asked(house.runs()[-1]["run"], dict.fromkeys(flaky, 1))
    house.check_nothing_to_do()


def a_price_change_and_a_kill(house: House) -> None:
    """Night 5: killed at a failpoint and at a moment nobody chose; from the bill's midnight on a token costs a fifth."""
    house.now = datetime(2024, 5, 31, 15, 30, tzinfo=UTC)
    dear = house.add("day-5", 160)
    house.put()
    work_id = house.work_id()
    night = house.night(failpoint="settled.committed:4")
    assert night.code == -9, night.said
    house.risk += CONCURRENCY
    house.check(may_change=work_id)
    house.now = datetime(2024, 5, 31, 16, 1, tzinfo=UTC)
    night = house.night(after=15, then=kill)
    assert (night.code, night.disturbed) == (-9, True), night.said
    house.risk += CONCURRENCY
    house.check(may_change=work_id)
    house.now = datetime(2024, 5, 31, 16, 10, tzinfo=UTC)
    assert house.night().code == 0
    house.check_end(work_id=work_id)
    prices = {call["price_id"] for call in house.book() if call["row_id"] in dear and call["state"] == "answered"}
    assert len(prices) == 2, "both prices stand in the book of one night"
    house.check_nothing_to_do()
    house.later(days=1)


def a_file_replaced_in_the_middle(house: House) -> None:
    """Night 6: more rows than are admitted at once; while they are in flight the files are replaced."""
    many = house.add("day-6a", 260)
    tail = house.add("day-6b", 60)
    house.put()
    work_id = house.work_id()
    others = [key for key in house.source() if key not in work_id]

    def replace(_: Any) -> None:
        house.edit([*others[5:100:10], *many[:40:4], *many[-30:], *tail[::2]])
        house.add("day-6b", 25)
        house.put()

    night = house.night(after=20, then=replace)
    assert (night.code, night.disturbed) == (0, True), night.said
    house.check(may_change=work_id | house.work_id() | set(tail))
    assert {row["id"] for row in house.table()} >= {*many, *tail}
    left = house.work_id()
    assert left >= {*others[5:100:10], *many[:40:4]}, "what had been read was not read again"
    assert house.night().code == 0
    house.check_end(work_id=left)
    house.check_asked(house.runs()[-1]["run"], dict.fromkeys(left, 1))
    house.check_nothing_to_do()
    house.later(days=1)


def a_ctrl_c(house: House) -> None:
    """Night 7: Ctrl-C in the middle; the next start finishes."""
    house.add("day-7", 80)
    house.edit(list(house.source())[60:70])
    house.put()
    work_id = house.work_id()

    def stop(process: subprocess.Popen[str]) -> None:
        interrupt(process)
        until(lambda: stopping(house), "that it stops")

    night = house.night(after=20, then=stop)
    assert (night.code, night.disturbed) == (4, True), night.said
    house.check(may_change=work_id)
    assert house.status()["state"] == "interrupted"
    left = house.work_id()
    assert set() < left < work_id
    house.later(days=1)
    assert house.night(cron=True).code == 0
    house.check_end(work_id=left)
    house.check_nothing_to_do(cron=True)
    assert house.status()["runs"] == len(house.runs())
