"""`batch.ledger.bounds`: what a call can come to is kept until it is booked, and no later call is taken for it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from batch.ledger import bounds_table
from batch.ledger.bounds import BoundsReader, CallBound
from batch.ledger.schema import connect

SENT = (
    "INSERT OR REPLACE INTO calls(call, work, turn, attempt, call_id, lane, sent_at, record) VALUES(?,0,0,0,?,'s',1,?)"
)


def test_the_next_process_finds_what_calls_without_an_end_can_come_to(tmp_path: Path) -> None:
    """Not those that are booked, and none under a number that another call has by now."""
    path = tmp_path / "ledger.db"
    with closing(connect(path)) as db:
        for number, name, record in ((0, "open", None), (1, "booked", b"x"), (2, "new", None), (3, "done", None)):
            db.execute(SENT, (number, name, record))
        kept = [(0, "open"), (1, "booked"), (2, "old"), (3, "done")]
        db.executemany(bounds_table.KEEP, [(*call, 40, 60, "CNY", 1) for call in kept])
        db.execute(bounds_table.FORGET, (3,))
        with BoundsReader(path) as reader:
            assert reader.open_bounds() == {"open": CallBound(40, 60, "CNY", known=True)}
        db.execute(bounds_table.KEEP, (2, "new", 50, 0, "", 0))
        with BoundsReader(path) as reader:
            assert reader.open_bounds()["new"] == CallBound(50, 0, "", known=False)
