"""`batch.ledger.saved`: which rows are in the middle of something, and how many."""

from __future__ import annotations

from pathlib import Path

from batch.ledger.saved import SavedReader
from batch.ledger.writer import Ledger
from tests.support.ledgers import admitted
from tests.support.values import call, outcome, refused


async def test_a_row_is_begun_once_something_was_sent_for_it_until_it_is_settled(tmp_path: Path) -> None:
    """In flight, refused and to be tried again, between two turns; not what is only admitted."""
    path = admitted(tmp_path / "ledger.db", 10)
    with SavedReader(path) as reader:
        assert reader.count_begun() == 0
        async with Ledger(path) as ledger:
            ledger.sent(1, (1, 0, 0), "c1", "sync", 1)
            ledger.sent(2, (2, 0, 0), "c2", "sync", 1)
            ledger.closed(2, refused(2))
            ledger.step(3, 0, -1, b"reply")
            ledger.settled(4, outcome())
            ledger.sent(5, (5, 0, 0), "c5", "sync", 1)
            ledger.closed(5, call(5), outcome=(5, outcome()))
            await ledger.committed()
            assert reader.count_begun() == 3
            assert {row.work_id for row in reader.begun()} == {1, 2, 3}
