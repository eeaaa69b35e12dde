"""`batch.ledger.unpublished`: what is published is what the ledger has, whether it comes from memory or from the file."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.core.records import Call, Outcome
from batch.ledger.reader import LedgerReader, PendingRow
from batch.ledger.unpublished import FinalCall, Recent, UnpublishedReader
from batch.ledger.writer import Ledger
from tests.support.ledgers import admitted
from tests.support.values import call, calls, outcome, outcomes


def read(path: Path, recent: Recent) -> tuple[list[PendingRow], list[FinalCall]]:
    """What a publisher with this memory would publish, slice by slice."""
    rows: list[PendingRow] = []
    with UnpublishedReader(path, recent) as reader, reader.snapshot():
        while found := reader.outcomes(0, after=(rows[-1].row_number, 0) if rows else (-1, -1), count=3):
            rows += found
        return rows, [call for calls in reader.unpublished_calls(3) for call in calls]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(calls, outcomes), max_size=8),
    st.integers(0, 6_000),
    st.sets(st.integers(0, 7)),
)
async def test_memory_and_file_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[Call, Outcome]], most_bytes: int, published: set[int]
) -> None:
    """With a memory for all, for some and for none of it, and with some of it published already."""
    path = admitted(tmp_path_factory.mktemp("u") / "ledger.db", 10)
    async with Ledger(path) as ledger:
        ledger.recent = Recent(most_bytes)
        for number, (record, settled) in enumerate(lives):
            ledger.sent(number, (number, 0, 0), "c", "sync", 1)
            ledger.closed(number, record, outcome=(number, settled))
        ledger.sent(20, (9, 0, 0), "c", "sync", 1)  # still open
        await ledger.execute(
            lambda db: db.executemany("UPDATE calls SET published = 1 WHERE call = ?", [(n,) for n in published])
        )
        await ledger.execute(
            lambda db: db.executemany("UPDATE pending SET state = 2 WHERE work = ?", [(n,) for n in published])
        )
        assert ledger.recent.bytes <= most_bytes
        whole = read(path, ledger.recent)
    assert whole == read(path, Recent())
    with LedgerReader(path) as reader:
        assert whole[0] == reader.outcomes(0)
        assert [(*one[:1], *one[2:5], one.record) for one in whole[1]] == list(reader.final_calls())
    assert [one.work_id for one in whole[1]] == [n for n in range(len(lives)) if n not in published]


async def test_what_is_in_memory_is_not_read_from_the_file(tmp_path: Path) -> None:
    """Proved by a file that says something else."""
    path = admitted(tmp_path / "ledger.db", 2)
    async with Ledger(path) as ledger:
        for number in range(2):
            ledger.sent(number, (number, 0, 0), "c", "sync", 1)
            ledger.closed(number, call(number), outcome=(number, outcome(f"answer {number}")))

        def spoil(db: apsw.Connection) -> None:
            db.execute("UPDATE pending SET outcome = (SELECT outcome FROM pending WHERE work = 1)")
            db.execute("UPDATE calls SET record = (SELECT record FROM calls WHERE call = 1)")

        await ledger.execute(spoil)
        rows, found = read(path, ledger.recent)
        assert [row.outcome for row in rows] == [outcome("answer 0"), outcome("answer 1")]
        assert [one.record for one in found] == [call(0), call(1)]
        ledger.recent.forget([0], [0])
        rows, found = read(path, ledger.recent)
    assert [row.outcome for row in rows] == [outcome("answer 1")] * 2, "forgotten, and so read from the file"
    assert [one.record for one in found] == [call(1)] * 2


def test_memory_never_takes_more_than_its_bytes_and_gives_them_back() -> None:
    """A run of long answers is published from the file; one that was told twice counts once."""
    recent = Recent(10_000)
    for number in range(20):
        recent.add_call(number, call(number), 100)
        recent.add_outcome(number, outcome("long " * 100), 600)
        assert 0 < recent.bytes <= 10_000
    held = recent.bytes
    assert recent.call(0) is not None
    assert recent.outcome(0) is not None
    assert recent.outcome(19) is None, "no room"
    recent.forget(range(20), range(20))
    assert (recent.bytes, recent.call(0), recent.outcome(0)) == (0, None, None)
    for _ in range(3):
        recent.add_outcome(1, outcome(), 10)
    assert 0 < recent.bytes < held
    recent.forget([], [1, 1])
    assert recent.bytes == 0


def test_an_outcome_without_room_does_not_leave_an_older_one_of_its_number() -> None:
    """Numbers of rows are given again, and no row may get the answer of another."""
    recent = Recent(6_000)
    recent.add_outcome(1, outcome("first"), 10)
    recent.add_call(1, call(1), 10)
    recent.add_outcome(1, outcome("x" * 9_000), 9_000)
    recent.add_call(1, call(1, request_id="r" * 9_000), 9_000)
    assert (recent.outcome(1), recent.call(1), recent.bytes) == (None, None, 0)
