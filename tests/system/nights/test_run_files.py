"""What monitors read is true again after the next command, at whatever moment the one before was killed."""

from __future__ import annotations

import json
from pathlib import Path

from batch.ledger.totals_texts import PLANNED, TOTALS
from batch.run.progress import PROGRESS
from batch.run.status_files import HEARTBEAT, RUN_FILE
from tests.simulator.conftest import Start, start
from tests.system.nights.house import SCENARIO, House

__all__ = ["start"]


def test_the_file_of_a_run_that_was_killed_before_it_told_its_end_is_put_right(tmp_path: Path, start: Start) -> None:
    """Ours: closed in the ledger and killed right after, it said `running` and 0 calls for ever."""
    house = House(tmp_path / "job", start(SCENARIO), form="file", lane="sync")
    keys = house.add("day-1", 20)
    house.put()
    assert house.night(failpoint="run.closed:1").code == -9
    assert (house.runs()[0]["state"], house.runs()[0]["totals"]["calls"]) == ("running", 0)
    house.check_nothing_to_do()
    [told] = house.runs()
    assert (told["state"], told["exit_code"], told["exit_reason"], told["complete"]) == ("finished", None, None, True)
    house.check_end(work_id=set(keys))
    again = house.runs()
    house.check_nothing_to_do()
    assert house.runs() == again


def test_every_key_of_what_a_run_leaves_for_monitors_is_explained(tmp_path: Path, start: Start) -> None:
    """FIELD 50. Who adds a key to a run's file or to `status.json` adds a line beside it."""
    house = House(tmp_path / "job", start(SCENARIO), form="file", lane="sync")
    house.add("day-1", 3)
    house.put()
    assert house.night().code == 0
    [told] = house.runs()
    beat = json.loads((house.out / "status.json").read_bytes())
    assert set(told) == set(RUN_FILE)
    assert set(beat) == {*PROGRESS, *HEARTBEAT}
    assert set(told["planned"]) == set(PLANNED)
    assert set(told["totals"]) == set(beat["totals"]) == set(TOTALS)
