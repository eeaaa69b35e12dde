"""`batch.ledger.reader`: what the ledger says, read beside its one writer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.core.errors import StorageError
from batch.core.records import Call, Outcome
from batch.ledger.reader import Entry, LedgerReader, PendingRow, RunRow
from batch.ledger.schema import connect
from batch.ledger.totals import Planned, Totals
from batch.ledger.writer import Ledger
from tests.support.ledgers import admit, admitted, fingerprint
from tests.support.values import call, calls, failed, outcome, outcomes, refused, unknown

encode = msgspec.msgpack.Encoder().encode


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return admitted(tmp_path / "ledger.db", 10)


@pytest.fixture
def replay(path: Path) -> Iterator[LedgerReader]:
    with LedgerReader(path) as reading:
        yield reading


def change(path: Path, *statements: str) -> None:
    with closing(connect(path)) as db:
        for statement in statements:
            db.execute(statement)


def row(work_id: int, settled: Outcome | None = None) -> PendingRow:
    return PendingRow(work_id, 0, work_id, f"row-{work_id}", "", work_id, 0, fingerprint(work_id), 0, settled)


# -- numbers and runs -----------------------------------------------------------------------------------------------------


def test_a_new_ledger_says_that_nothing_was(tmp_path: Path) -> None:
    """Every question has an answer before the first row."""
    path = tmp_path / "ledger.db"
    connect(path).close()
    with LedgerReader(path) as replay:
        assert replay.made
        assert replay.runs() == []
        assert [replay.next_number(n) for n in ("row_number", "part", "range", "work", "call")] == [0] * 5
        assert (replay.last_sent_us(), replay.standing_failures(), replay.table_rows()) == (None, (0, 0), 0)
        assert (replay.unsent(-1, 10), replay.open_rows(), replay.unsent_by_variant()) == ([], [], {})
        assert (replay.parts(), replay.call_parts(), replay.ranges()) == ([], [], [])
        assert (replay.unpublished(), replay.carried(), replay.meta("x")) == (Totals(), set(), None)
        assert (replay.entries(["a"]), replay.seen(["a"]), replay.sample("r")) == ({}, {}, None)


def test_runs_come_oldest_first_with_all_that_was_kept(path: Path, replay: LedgerReader) -> None:
    """Order is that of their names, which begin with the time."""
    with closing(connect(path)) as db:
        for run, ended in (("20261122T-b", None), ("20261121T-a", 9)):
            planned, totals = (
                msgspec.json.encode(Planned(read=5)).decode(),
                msgspec.json.encode(Totals(calls=2)).decode(),
            )
            db.execute(
                "INSERT INTO runs(run, state, started_at, ended_at, request, digest, source, position, complete, planned, "
                "totals, sample) VALUES(?,'finished',5,?,'{}','d','s','p',1,?,?,?)",
                (run, ended, planned, totals, '["x"]' if ended else None),
            )
    one, two = replay.runs()
    assert one == RunRow("20261121T-a", "finished", 5, 9, "{}", "d", "s", "p", True, Planned(read=5), Totals(calls=2))
    assert (two.run, two.ended_at_us) == ("20261122T-b", None)
    assert (replay.sample(one.run), replay.sample(two.run)) == (["x"], None)


def test_numbers_given_for_ever_are_counted_and_others_are_the_highest_and_one(
    path: Path, replay: LedgerReader
) -> None:
    """A row number is never given twice, even when all rows of its part are gone."""
    assert [replay.next_number(n) for n in ("range", "work", "call")] == [1, 10, 0]
    change(
        path,
        "INSERT INTO meta(key, value) VALUES('next_row_number', 99), ('next_part', 7)",
        "INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at) VALUES(41,0,0,0,'','sync',0)",
    )
    assert [replay.next_number(n) for n in ("row_number", "part", "call")] == [99, 7, 42]


def test_the_last_sent_byte_is_known_after_its_call_was_pruned(path: Path, replay: LedgerReader) -> None:
    """The first window of the next run is counted from it."""
    change(path, "INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at) VALUES(1,1,0,0,'','sync',500)")
    assert replay.last_sent_us() == 500
    change(path, "INSERT INTO meta(key, value) VALUES('last_sent', 900)")
    assert replay.last_sent_us() == 900
    change(path, "UPDATE calls SET sent_at=1000")
    assert replay.last_sent_us() == 1_000


def test_places_and_ids_are_looked_up_by_row(path: Path, replay: LedgerReader) -> None:
    """Ids are data: quotes, commas, emptiness and other scripts among them."""
    ids = ["a", "it's", 'say "x", y', "", "行", "a\x00b", "\u2028"]
    with closing(connect(path)) as db:
        for number, row_id in enumerate(ids):
            db.execute(
                "INSERT INTO entries_2 VALUES(?,'',?,?,?,?,NULL,NULL)", (row_id, number, 3, fingerprint(number), 0)
            )
            db.execute("INSERT INTO seen_2 VALUES(?,?,?)", (row_id, number, f"line {number}"))
        db.execute("INSERT INTO entries_2 VALUES('a','v2',0,3,NULL,NULL,NULL,NULL)")
    found = replay.entries([*ids, "none"])
    assert {key for key, _ in found} == set(ids)
    assert found["a", ""] == Entry("a", "", 0, 3, fingerprint(0), 0)
    assert found["a", "v2"] == Entry("a", "v2", 0, 3, None, None)
    assert replay.seen([*ids, "none"]) == {row_id: (n, f"line {n}") for n, row_id in enumerate(ids)}
    assert replay.entries([]) == {}


def test_standing_failures_are_told_apart_by_whether_they_are_worth_another_try(
    path: Path, replay: LedgerReader
) -> None:
    """`status` 1 for good, 2 retryable, 0 and none neither."""
    change(
        path,
        "INSERT INTO entries_2 SELECT row_id, '', row_number, 0, fingerprint, "
        "CASE WHEN work < 3 THEN 1 WHEN work < 8 THEN 2 WHEN work = 8 THEN 0 END, NULL, NULL FROM pending",
    )
    assert replay.standing_failures() == (3, 5)


# -- feeding and resuming --------------------------------------------------------------------------------------------------


async def test_every_admitted_row_is_unsent_open_or_settled(path: Path, replay: LedgerReader) -> None:
    """Never two of them, never none; a row with journaled steps alone is open."""
    async with Ledger(path) as ledger:
        ledger.sent(1, (1, 0, 0), "c1", "sync", 1)  # in flight
        ledger.sent(2, (2, 0, 0), "c2", "sync", 1)
        ledger.closed(2, refused(2))  # waits to be sent again
        ledger.step(3, 0, -1, b"reply")  # between two turns
        ledger.settled(4, outcome())  # never sent
        ledger.sent(5, (5, 0, 0), "c5", "sync", 1)
        ledger.closed(5, call(5), outcome=(5, outcome()))
        await ledger.committed()
        assert replay.unsent(-1, 100) == [row(n) for n in (0, 6, 7, 8, 9)]
        assert sum(replay.unsent_by_variant().values()) == 5
        assert replay.open_rows() == [row(n) for n in (1, 2, 3)]
        assert replay.outcomes(0) == [row(4, outcome()), row(5, outcome())]
        assert replay.unsettled_by_part() == {0: 8}
        assert replay.settled_by_part() == {0: 2}


def test_unsent_rows_are_handed_out_page_by_page(replay: LedgerReader) -> None:
    """Each once, in the order of admission."""
    assert [found.work_id for found in replay.unsent(-1, 4)] == [0, 1, 2, 3]
    assert [found.work_id for found in replay.unsent(3, 4)] == [4, 5, 6, 7]
    assert [found.work_id for found in replay.unsent(7, 4)] == [8, 9]
    assert replay.unsent(9, 4) == []


async def test_the_calls_and_steps_of_a_row_come_in_the_order_they_were_made(path: Path, replay: LedgerReader) -> None:
    """With their records, and the task a call left behind."""
    async with Ledger(path) as ledger:
        ledger.sent(7, (1, 0, 0), "c7", "task", 70)
        ledger.accepted(7, "t7", "https://host")
        ledger.closed(7, unknown(7))
        ledger.sent(8, (1, 0, 1), "c8", "sync", 80)
        ledger.step(1, 1, 0, b"b")
        ledger.step(1, 0, 10, b"k")
        ledger.step(1, 0, 2, b"c")
        ledger.step(1, 0, -1, b"a")
        await ledger.committed()
    one, two = replay.calls_of(1)
    assert (one.call, one.attempt, one.call_id, one.lane, one.sent_at_us) == (7, 0, "c7", "task", 70)
    assert (one.task, one.base_url, one.late, one.record) == ("t7", "https://host", None, unknown(7))
    assert (two.call, two.task, two.record) == (8, None, None)
    assert replay.steps_of(1) == [(0, -1, b"a"), (0, 2, b"c"), (0, 10, b"k"), (1, 0, b"b")]
    assert replay.calls_of(2) == []


def test_rows_left_in_the_middle_are_known_by_their_key(path: Path, replay: LedgerReader) -> None:
    """Published ones are not."""
    change(path, "UPDATE pending SET carried=1 WHERE work < 3", "UPDATE pending SET state=2 WHERE work=0")
    change(path, "UPDATE pending SET state=1 WHERE work=1")
    assert replay.carried() == {("row-1", ""), ("row-2", "")}, "until it is published, the index does not know it"


# -- publishing ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(st.tuples(st.integers(0, 6), st.integers(0, 2)), max_size=20),
    st.integers(1, 7),
)
def test_the_outcomes_of_a_part_come_whole_and_in_table_order_however_they_are_paged(
    tmp_path_factory: pytest.TempPathFactory, places: set[tuple[int, int]], page: int
) -> None:
    """By row number, then variant; each once."""
    path = tmp_path_factory.mktemp("r") / "ledger.db"
    with closing(connect(path)) as db:
        for work_id, (number, variant) in enumerate(places):
            db.execute(
                "INSERT INTO pending VALUES(?,0,0,?,?,?,?,5,?,1,?,0,NULL)",
                (work_id, f"{number}", f"v{variant}", variant, number, b"", encode(outcome())),
            )
        db.execute("INSERT INTO pending VALUES(900,0,0,'x','',0,3,6,x'00',1,NULL,0,NULL)")  # of another part
        db.execute("INSERT INTO pending VALUES(901,0,0,'y','',0,3,5,x'00',0,NULL,0,NULL)")  # not settled
        db.execute("INSERT INTO pending VALUES(902,0,0,'z','',0,3,5,x'00',2,NULL,0,NULL)")  # published
    found: list[tuple[int, int]] = []
    after = (-1, -1)
    with LedgerReader(path) as replay:
        while rows := replay.outcomes(5, after=after, count=page):
            assert len(rows) <= page
            found += [(one.row_number, one.variant_no) for one in rows]
            after = found[-1]
        assert replay.ranges() == [0]
        assert replay.admitted(0) is False
    assert found == sorted(places)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(calls, max_size=8), st.lists(outcomes, max_size=8))
async def test_what_a_killed_run_had_beyond_its_published_totals_is_added_up(
    tmp_path_factory: pytest.TempPathFactory, made: list[Call], settled: list[Outcome]
) -> None:
    """Only final calls that are not in the book, only outcomes that are not in the table; exact through the ledger."""
    path = admitted(tmp_path_factory.mktemp("r") / "ledger.db", 20)
    expected = Totals()
    async with Ledger(path) as ledger:
        for number, one in enumerate(made):
            ledger.sent(number, (number, 0, 0), "c", "sync", 1)
            ledger.closed(number, one)
            expected.add_call(one)
        for number, row_outcome in enumerate(settled):
            ledger.settled(number, row_outcome)
            expected.add_outcome(row_outcome)
        ledger.sent(50, (15, 0, 0), "c", "sync", 1)  # still open
        for number in (51, 52):  # in the book, in the table
            ledger.sent(number, (16, 0, 0), "c", "sync", 1)
            ledger.closed(number, call(number))
        ledger.settled(17, failed())
        await ledger.execute(lambda db: db.execute("UPDATE calls SET published=1 WHERE call > 50"))
        await ledger.execute(lambda db: db.execute("UPDATE pending SET state=3 WHERE work=17"))
    with LedgerReader(path) as replay:
        assert replay.unpublished() == expected
        found = list(replay.final_calls())
    assert [one[0] for one in found] == list(range(len(made)))
    assert [one[4] for one in found] == made
    assert all(one[1:4] == (f"row-{one[0]}", one[0], "") for one in found)


def test_published_parts_are_known_by_number(path: Path, replay: LedgerReader) -> None:
    """Of the table and of the book."""
    change(
        path,
        "INSERT INTO parts(part, rows) VALUES(3, 100), (1, 50)",
        "INSERT INTO call_parts(run, number, rows) VALUES('r2', 0, 5), ('r1', 1, 5), ('r1', 0, 5)",
    )
    assert (replay.parts(), replay.table_rows()) == ([1, 3], 150)
    assert (replay.part_exists(3), replay.part_exists(2)) == (True, False)
    assert replay.call_parts() == [("r1", 0), ("r1", 1), ("r2", 0)]
    assert (replay.admitted(0), replay.admitted(1)) == (True, False)


# -- the reader itself ----------------------------------------------------------------------------------------------------------


async def test_a_snapshot_is_of_one_moment_and_ends_even_by_an_error(path: Path, replay: LedgerReader) -> None:
    """What is committed meanwhile is seen after it, not in the middle."""
    async with Ledger(path) as ledger:
        with pytest.raises(LookupError), replay.snapshot():
            before = sum(replay.unsent_by_variant().values())
            ledger.settled(0, outcome())
            await ledger.committed()
            assert sum(replay.unsent_by_variant().values()) == before == 10
            raise LookupError
        assert sum(replay.unsent_by_variant().values()) == 9


def test_a_reader_cannot_write(replay: LedgerReader) -> None:
    """There is one writer."""
    with pytest.raises(apsw.ReadOnlyError):
        replay._db.execute("DELETE FROM pending")


def test_a_ledger_that_is_not_there_or_not_one_cannot_be_read(tmp_path: Path) -> None:
    """Exit 5 with its name, at once; and nothing is made in its place."""
    missing, noise = tmp_path / "missing.db", tmp_path / "noise.db"
    noise.write_bytes(b"x" * 9_000)
    for path in (missing, noise):
        with pytest.raises(StorageError, match=r"cannot be read|is damaged") as caught:
            LedgerReader(path)
        assert str(path) in str(caught.value)
    assert not missing.exists()


def test_a_ledger_that_was_only_begun_says_so(tmp_path: Path) -> None:
    """A process killed while it made the ledger leaves a file without tables."""
    path = tmp_path / "ledger.db"
    path.touch()
    with LedgerReader(path) as replay:
        assert not replay.made


def test_a_damaged_page_is_a_storage_fault_wherever_it_is_met(tmp_path: Path) -> None:
    """Not a bug of ours: exit 5, with the file's name."""
    path = tmp_path / "ledger.db"
    with closing(connect(path)) as db:
        admit(db, 2_000)
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        for page in range(3, size // 4_096):
            file.seek(page * 4_096)
            file.write(b"\xff" * 4_096)
    with pytest.raises(StorageError, match=str(path)), LedgerReader(path) as replay:
        replay.unsent(-1, 5_000)
