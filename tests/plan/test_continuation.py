"""`batch.plan.continuation`: what a run leaves behind in the ledger, and what the next one finds."""

from contextlib import closing
from pathlib import Path

from batch.ledger.schema import connect
from batch.plan import continuation
from tests.support.ledgers import admitted, read


def test_rows_whose_admission_is_taken_back_keep_their_places(tmp_path: Path) -> None:
    """Ours: the number of a row in the table is given once, when it is admitted, also if it is planned anew later."""
    path = admitted(tmp_path / "ledger.db", 3, part=7)
    with closing(connect(path)) as db:
        db.execute(
            "INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at) VALUES(0, 1, 0, 0, 'c', 's', 1)"
        )
        continuation.drop_unsent(db)
    assert read(path, "SELECT work FROM pending") == [(1,)], "the row that was sent goes on"
    places = read(path, "SELECT row_id, row_number, part, status FROM entries ORDER BY row_number")
    assert places == [("row-0", 0, 7, None), ("row-1", 1, 7, None), ("row-2", 2, 7, None)]
