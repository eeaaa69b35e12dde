"""`batch.output.unmatched`: calls of the book whose answer is in no row, and whether it can be had again."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec
import pytest

from batch.core.records import Call
from batch.ledger import paid_table
from batch.ledger.late import LATE
from batch.output import reindex, unmatched
from batch.output.unmatched import Unmatched
from tests.support.values import call, refused

PRINT = "0123456789abcdef" * 2
_encode = msgspec.msgpack.Encoder().encode
TASK: dict[str, Any] = {"lane": "task", "task_id": "t"}
LINE: dict[str, Any] = {"lane": "bulk", "batch_id": "b"}


LEDGER = "CREATE TABLE calls(call_id, work, turn); CREATE TABLE pending(work, state); CREATE TABLE steps(work, turn);"


def counted(
    *calls: Call,
    settled_at: int | None = None,
    status: int = 0,
    fingerprint: str | None = PRINT,
    known: str = "",
    state: int = 0,
    step: int = -1,
) -> Unmatched:
    """What there is of one row.

    Args:
        calls: of it, in the book.
        settled_at: when it settled as it stands in the table; None where it does not.
        status: likewise.
        fingerprint: of what the calls asked, as the book has it.
        known: the id of the call that the old ledger had kept, too.
        state: of the row there.
        step: the turn of that row whose answer the old ledger had.
    """
    db = apsw.Connection(":memory:")
    db.execute(reindex.TABLES + paid_table.TABLES + LEDGER)
    for one in calls:
        answered_at = one.answered_at_us if one.state == "answered" else None
        values = (one.client_call_id, "r", "", 0, 15, _encode(one), answered_at, fingerprint)
        db.execute("INSERT INTO book VALUES(?,?,?,?,?,?,?,?)", values)
    if settled_at is not None:
        db.execute("INSERT INTO rows VALUES(0,'r','',0,x'00',?,?,1,15,NULL,NULL)", (status, settled_at))
    db.execute("INSERT INTO calls VALUES(?,1,0)", (known,))
    db.execute("INSERT INTO pending VALUES(1,?)", (state,))
    db.execute("INSERT INTO steps VALUES(1,?)", (step,))
    unmatched.find(db)
    return unmatched.count(db)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (call(**TASK), Unmatched(again=1)),
        (call(**LINE), Unmatched(again=1)),
        (call(**LINE, turn=1), Unmatched(again=1)),
        (call(**TASK, turn=1), Unmatched(again=1)),
        (call(), Unmatched(gone=1)),
        (refused(), Unmatched()),
    ],
    ids=["task", "line", "later line", "later task", "answered at once", "refused"],
)
def test_an_answer_is_had_again_by_the_id_it_came_under(one: Call, expected: Unmatched) -> None:
    """Of whichever turn; what was refused is no answer."""
    assert counted(one) == expected


def test_a_row_that_settled_after_its_answer_came_has_it() -> None:
    """A row with an older outcome has it not: it was asked anew since."""
    assert counted(call(**TASK, answered_at_us=2_000), settled_at=2_000) == Unmatched()
    assert counted(call(**TASK, answered_at_us=2_001), settled_at=2_000) == Unmatched(again=1)


def test_rows_are_counted_and_not_calls() -> None:
    assert counted(call(1, **TASK), call(2, **TASK)) == Unmatched(again=1)


def test_what_the_ledger_has_open_is_not_counted() -> None:
    """It is collected anyhow."""
    assert counted(call(1, **TASK), known="pm-1") == Unmatched()


def test_the_book_of_an_older_version_does_not_tell_what_a_task_was_asked() -> None:
    assert counted(call(**TASK), fingerprint=None) == Unmatched(gone=1)
    assert counted(call(**LINE), fingerprint=None) == Unmatched(again=1), "the requests of the batch may tell it"


def test_an_answer_that_the_old_ledger_has_is_not_paid_for_again() -> None:
    """As the outcome of a row that is to be published, or as the turn from which it goes on."""
    assert counted(call(1), known="pm-1") == Unmatched(gone=1), "its call is known, and no answer of it"
    assert counted(call(1), known="pm-1", state=1) == Unmatched()
    assert counted(call(1), known="pm-1", step=0) == Unmatched()
    assert counted(call(2), known="pm-1", state=1) == Unmatched(gone=1), "an older answer of the row"


@pytest.mark.parametrize("where", [{}, TASK])
def test_an_answer_that_came_late_for_a_row_that_has_one_is_missed_by_nobody(where: dict[str, Any]) -> None:
    """Only of a row that failed it may be the answer to what it was asked next."""
    late = call(client_call_id=f"pm-0{LATE}", answered_at_us=2_001, **where)
    assert counted(late, settled_at=2_000) == Unmatched()
    assert counted(late, settled_at=2_000, status=2) != Unmatched()
    assert counted(late) != Unmatched()
