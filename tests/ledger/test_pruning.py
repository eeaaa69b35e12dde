"""`batch.ledger.pruning`: a publication takes with it what need not be kept, and nothing else."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.ledger import pruning
from batch.ledger.pruning import drop_published, prune_slice
from batch.ledger.schema import connect
from tests.support.ledgers import admit

ROWS = 6
CALLS = ("waits", "is written", "was written", "is open")
lives = st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(CALLS), max_size=3), st.booleans(), st.booleans()))


def filled(path: Path, rows: list[tuple[bool, list[str], bool, bool]]) -> tuple[apsw.Connection, list[int], list[Any]]:
    """A ledger with these rows: whether it settled, its calls, whether it has steps, whether others wait for it."""
    db = connect(path)
    admit(db, ROWS)
    works, written, number = [], [], 0
    for work_id, (settled, calls, steps, asked) in enumerate(rows[:ROWS]):
        if settled:
            db.execute("UPDATE pending SET state = 1, outcome = x'00' WHERE work = ?", (work_id,))
            works.append(work_id)
        for how in calls:
            number += 1
            db.execute(
                "INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at, record, published) "
                "VALUES(?,?,0,0,'','',0,?,?)",
                (number, work_id, None if how == "is open" else b"x", how == "was written"),
            )
            if how == "is written":
                written.append((number, work_id))
        if steps:
            db.execute("INSERT INTO steps(work, turn, idx, value) VALUES(?,0,-1,x'00')", (work_id,))
        if asked:
            db.execute("INSERT INTO asked(key, work, row_id) VALUES(?,?,'')", (work_id.to_bytes(4, "big"), work_id))
    return db, works, written


def pruned(db: apsw.Connection) -> dict[str, list[Any]]:
    """All that is left when nothing more is to be pruned."""
    while prune_slice(db):
        pass
    return {table: list(db.execute(f"SELECT * FROM {table} ORDER BY 1, 2")) for table in ("pending", "calls", "steps")}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives)
def test_what_is_left_is_what_marking_and_pruning_would_leave(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[bool, list[str], bool, bool]]
) -> None:
    """Rows with calls that are not in the book, rows in the middle, rows that others wait for."""
    folder = tmp_path_factory.mktemp("p")
    db, works, written = filled(folder / "a.db", rows)
    with closing(db):
        drop_published(db, works, written)
        found = pruned(db)
    db, works, written = filled(folder / "b.db", rows)
    with closing(db):
        db.executemany("UPDATE calls SET published = 1 WHERE call = ?", [(call,) for call, _ in written])
        db.executemany("UPDATE pending SET state = 2 WHERE work = ?", [(work_id,) for work_id in works])
        expected = pruned(db)
    # A call in the book may go before the other calls of its row: nobody asks for it any more.
    booked = {call for call, _ in written}
    for left in (found, expected):
        left["calls"] = [call for call in left["calls"] if call[0] not in booked]
    assert found == expected


def test_ordinary_rows_are_gone_with_their_publication(tmp_path: Path) -> None:
    """Nothing is left to be pruned between two commits."""
    db, works, written = filled(tmp_path / "a.db", [(True, ["is written"], True, False)] * ROWS)
    with closing(db):
        drop_published(db, works, written)
        assert not prune_slice(db)
        assert pruned(db) == {"pending": [], "calls": [], "steps": []}


def test_a_row_whose_call_is_not_in_the_book_stays_until_it_is(tmp_path: Path) -> None:
    """A slow part is published before its calls are."""
    db, works, written = filled(
        tmp_path / "a.db", [(True, ["waits"], False, False), (True, ["is written"], False, False)]
    )
    with closing(db):
        drop_published(db, works, written)
        assert list(db.execute("SELECT work, state FROM pending WHERE work < 2")) == [(0, 2)]
        assert [row[0] for row in db.execute("SELECT call FROM calls")] == [1]


def test_very_many_rows_go_slice_by_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that are about to leave wait for the end of the transaction."""
    monkeypatch.setattr(pruning, "DROPPED_AT_ONCE", 3)
    db, works, written = filled(tmp_path / "a.db", [(True, ["is written"], True, False)] * ROWS)
    with closing(db):
        drop_published(db, works, written)
        assert list(db.execute("SELECT DISTINCT state FROM pending")) == [(2,)]
        assert list(db.execute("SELECT DISTINCT published FROM calls")) == [(1,)]
        assert pruned(db) == {"pending": [], "calls": [], "steps": []}
