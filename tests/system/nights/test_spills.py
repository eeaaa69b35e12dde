"""A spill goes when its rows are published and not a moment before, whatever is admitted meanwhile."""

from __future__ import annotations

from typing import Any

import apsw
import pytest

from batch.ledger.reader import LedgerReader
from batch.output.folder import OutputFolder
from batch.output.publish import Publisher
from tests.simulator.conftest import Start, start
from tests.system.nights.house import SCENARIO, House

__all__ = ["start"]


def test_a_range_admitted_while_spills_are_cleared_keeps_its_spill(
    tmp_path: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: two looks at the ledger took a range for done that was admitted between them, and its rows were lost."""
    house = House(tmp_path / "job", start(SCENARIO), form="file", lane="sync")
    house.add("day-1", 10)
    house.put()
    assert house.night().code == 0
    folder = OutputFolder(house.out)
    spill = folder.spill(1)
    spill.write_bytes(b"written, and about to be admitted")
    look = LedgerReader.ranges

    def admitted_right_after(replay: LedgerReader) -> list[int]:
        found = look(replay)
        with apsw.Connection(str(folder.ledger)) as db:
            db.execute("INSERT INTO ranges(range, rows) VALUES(1, 1)")
            db.execute(
                "INSERT INTO pending(work, range, idx, row_id, variant, variant_no, row_number, part, fingerprint, state) "
                "VALUES(0, 1, 0, 'T-1', '', 0, 10, 1, x'00', 0)"
            )
        db.close()
        return found

    publisher = Publisher(folder, "run", job="job", schema=None, tags={}, announce=lambda _: None)
    monkeypatch.setattr(LedgerReader, "ranges", admitted_right_after)
    publisher.tidy()
    monkeypatch.undo()
    assert spill.exists()
    publisher.tidy()
    assert spill.exists(), "its row is not published"
    publisher.close()
