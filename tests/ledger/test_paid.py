"""`batch.ledger.paid`: answers that were paid for and are in no row, and the rows that get their tasks back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batch.ledger import paid
from batch.ledger.paid import Paid, PaidReader
from batch.ledger.reader import JournaledCall, PendingRow
from batch.ledger.schema import connect
from tests.support.ledgers import admitted, fingerprint, read


def noted(call_id: str, row: int, *, asks: bytes | None = None, turn: int = 0, **where: Any) -> tuple[Any, ...]:
    """One of them, as it is written down; its task or batch in `where`."""
    known = {"sent_at": 50, "task": None, "place": None, "batch": None, **where}
    print_ = fingerprint(row) if asks is None else asks
    return (
        call_id,
        f"row-{row}",
        "",
        print_,
        turn,
        1,
        *(known[name] for name in ("sent_at", "task", "place", "batch")),
    )


def adopted(path: Path, *found: tuple[Any, ...], first: int = 0, last: int = 4) -> list[int]:
    with closing(connect(path)) as db:
        db.executemany(paid.INSERT, found)
        return paid.adopt_tasks(db, first, last)


def test_a_row_that_asks_the_same_gets_its_task_as_an_open_call_that_is_booked(tmp_path: Path) -> None:
    """The newest of several, and it is given once."""
    path = admitted(tmp_path / "ledger.db", 5)
    older, newer = noted("pm-1", 1, task="t-1", sent_at=40), noted("pm-2", 1, task="t-2", place="#far")
    assert adopted(path, newer, older) == [1]
    found = read(
        path, "SELECT call, work, turn, attempt, call_id, lane, sent_at, task, base_url, late, published FROM calls"
    )
    assert found == [(-1, 1, 0, 1, "pm-2", "task", 50, "t-2", "#far", 1, 1)]
    assert read(path, "SELECT call_id FROM paid") == [("pm-1",)]


@pytest.mark.parametrize(
    "other",
    [
        noted("pm-1", 1, task="t", asks=fingerprint(2)),
        noted("pm-1", 1, task="t", turn=1),
        noted("pm-1", 1, batch="b"),
        noted("pm-1", 9, task="t"),
        noted("pm-1", 0, task="t"),
    ],
    ids=[
        "asks something else",
        "a later turn",
        "a line of a batch",
        "a row that is not here",
        "a row of another range",
    ],
)
def test_no_row_gets_a_task_that_did_not_answer_what_it_asks(tmp_path: Path, other: tuple[Any, ...]) -> None:
    path = admitted(tmp_path / "ledger.db", 5)
    assert adopted(path, other, first=1) == []
    assert read(path, "SELECT count(*) FROM calls") == [(0,)]


def test_the_numbers_of_such_calls_never_meet_those_of_a_run(tmp_path: Path) -> None:
    """Those of overdue tasks are negative, too."""
    path = admitted(tmp_path / "ledger.db", 5)
    with closing(connect(path)) as db:
        db.execute(
            "INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at) VALUES(-3, 4, 0, 0, 'x', 'task', 1)"
        )
    assert adopted(path, noted("pm-1", 1, task="t-1"), noted("pm-2", 2, task="t-2")) == [1, 2]
    assert read(path, "SELECT call FROM calls ORDER BY call") == [(-5,), (-4,), (-3,)]


def test_those_of_a_batch_are_found_by_its_id(tmp_path: Path) -> None:
    path = admitted(tmp_path / "ledger.db", 1)
    adopted(path, noted("pm-1", 1, batch="b-1"), noted("pm-2", 2, batch="b-2"), noted("pm-3", 3, task="t"))
    with PaidReader(path) as reader:
        assert reader.paid_in("b-1") == {"pm-1": Paid("pm-1", "row-1", "", fingerprint(1), 0)}


def test_a_later_turn_gets_its_task_unless_the_row_was_asked_anew_since(tmp_path: Path) -> None:
    """What was bought after it may say other words, which the old answer does not answer."""
    path = admitted(tmp_path / "ledger.db", 3)
    row = PendingRow(1, 0, 1, "row-1", "", 1, 0, fingerprint(1), 0)
    with closing(connect(path)) as db:
        db.executemany(
            paid.INSERT,
            [noted("pm-0", 1, task="t-0", sent_at=40), noted("pm-1", 1, task="t-1", turn=1, place="#far")],
        )
        with PaidReader(path) as reader:
            assert reader.with_later_turns() == {("row-1", "")}
        assert paid.adopt_tasks(db, 0, 2) == [1]
        assert paid.adopt_turn(db, row, 2) is None
        assert paid.adopt_turn(db, row._replace(fingerprint=fingerprint(2)), 1) is None
        db.execute("UPDATE calls SET sent_at=60")
        assert paid.adopt_turn(db, row, 1) is None, "the first turn was asked after it"
        db.execute("UPDATE calls SET sent_at=40")
        found = paid.adopt_turn(db, row, 1)
        assert found == JournaledCall(-2, 1, 1, 1, "pm-1", "task", 50, "t-1", "#far", 1, None, booked=True)
        assert paid.adopt_turn(db, row, 1) is None, "it is given once"
    assert read(path, "SELECT count(*) FROM paid") == [(0,)]
