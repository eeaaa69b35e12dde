"""Answers that come after the end of their calls: in the book, whatever became of the row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import apsw
import msgspec
import pytest

from batch.ledger.late import Task, dropped_task, kept_task, late_call
from batch.ledger.reader import PendingRow
from batch.ledger.unpublished import Recent, UnpublishedReader
from batch.ledger.writer import Ledger
from tests.support.ledgers import admitted, fingerprint, read
from tests.support.values import call

ROW = PendingRow(3, 0, 3, "row-3", "", 3, 0, fingerprint(3), 0)
LATE = msgspec.structs.replace(call(), client_call_id="c-7-late")


async def booked(path: Path, *before: str) -> None:
    async with Ledger(path) as ledger:
        for statement in before:
            await ledger.execute(lambda db, statement=statement: _do(db, statement))  # type: ignore[misc]  # a default binds it
        await ledger.execute(late_call(ROW, 8, LATE))


def _do(db: apsw.Connection, statement: str) -> None:
    db.execute(statement)


@pytest.mark.parametrize(
    "before", ["UPDATE pending SET state = 0", "UPDATE pending SET state = 1, outcome = x'00'", "DELETE FROM pending"]
)
def test_a_late_answer_is_published_with_the_place_of_its_row(tmp_path: Path, before: str) -> None:
    """One that is still asked, one that has settled, one that was published and forgotten."""
    path = admitted(tmp_path / "ledger.db", 5)
    anyio.run(booked, path, before)
    with UnpublishedReader(path, Recent()) as reader:
        ((found,),) = reader.unpublished_calls()
    assert (found.call, found.row_id, found.row_number, found.variant) == (8, "row-3", 3, "")
    assert found.record == LATE


TASK = Task("t-1", "http://h/v4", "c-7", 0, 5)
OTHER = TASK._replace(task_id="t-2")


async def tasks_changed(path: Path, *changes: Callable[[apsw.Connection], None]) -> None:
    async with Ledger(path) as ledger:
        for change in changes:
            await ledger.execute(change)


def test_a_task_is_kept_until_its_answer_is_booked_or_it_brought_nothing(tmp_path: Path) -> None:
    """Only that one: by then another task of the row may be kept."""
    path = admitted(tmp_path / "ledger.db", 5)
    anyio.run(tasks_changed, path, kept_task(ROW, TASK))
    held = "SELECT row_id, variant, fingerprint, task, base_url, call_id, attempt, sent_at FROM held"
    assert read(path, held) == [("row-3", "", fingerprint(3), "t-1", "http://h/v4", "c-7", 0, 5)]
    anyio.run(tasks_changed, path, late_call(ROW, 8, LATE, OTHER), dropped_task(ROW, OTHER))
    assert len(read(path, held)) == 1
    anyio.run(tasks_changed, path, late_call(ROW, 9, LATE, TASK))
    assert read(path, held) == []
    anyio.run(tasks_changed, path, kept_task(ROW, TASK), dropped_task(ROW, TASK))
    assert read(path, held) == []


def test_a_row_that_was_forgotten_is_not_asked_again_for_its_sake(tmp_path: Path) -> None:
    path = admitted(tmp_path / "ledger.db", 5)
    anyio.run(booked, path, "DELETE FROM pending")
    assert read(path, "SELECT work, state FROM pending") == [(3, 2)]


def test_a_row_that_is_still_asked_stays_so(tmp_path: Path) -> None:
    path = admitted(tmp_path / "ledger.db", 5)
    anyio.run(booked, path)
    assert read(path, "SELECT DISTINCT state FROM pending") == [(0,)]
