"""`batch.output.unmatched`: calls of the book whose answer is in no row, and whether it can be had again."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec
import pytest

from batch.core.records import Call
from batch.ledger import paid_table
from batch.output import reindex, unmatched
from batch.output.unmatched import Unmatched
from tests.support.values import call, refused

PRINT = "0123456789abcdef" * 2
_encode = msgspec.msgpack.Encoder().encode
TASK: dict[str, Any] = {"lane": "task", "task_id": "t"}
LINE: dict[str, Any] = {"lane": "bulk", "batch_id": "b"}


def counted(*calls: Call, settled_at: int | None = None, fingerprint: str | None = PRINT, known: str = "") -> Unmatched:
    """What there is of one row, which the table has as it settled then, or not at all."""
    db = apsw.Connection(":memory:")
    db.execute(reindex.TABLES + paid_table.TABLES + "CREATE TABLE calls(call_id TEXT);")
    for one in calls:
        answered_at = one.answered_at_us if one.state == "answered" else None
        values = (one.client_call_id, "r", "", 0, 15, _encode(one), answered_at, fingerprint)
        db.execute("INSERT INTO book VALUES(?,?,?,?,?,?,?,?)", values)
    if settled_at is not None:
        db.execute("INSERT INTO rows VALUES(0,'r','',0,x'00',0,?,1,15,NULL,NULL)", (settled_at,))
    db.execute("INSERT INTO calls VALUES(?)", (known,))
    unmatched.find(db)
    return unmatched.count(db)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (call(**TASK), Unmatched(again=1)),
        (call(**LINE), Unmatched(again=1)),
        (call(**LINE, turn=1), Unmatched(again=1)),
        (call(**TASK, turn=1), Unmatched(gone=1)),
        (call(), Unmatched(gone=1)),
        (refused(), Unmatched()),
    ],
    ids=["task", "line", "later line", "later task", "answered at once", "refused"],
)
def test_an_answer_is_had_again_by_the_id_it_came_under(one: Call, expected: Unmatched) -> None:
    """Of a later turn only the requests of a batch tell what it asked; what was refused is no answer."""
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
