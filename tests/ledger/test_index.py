"""`batch.ledger.index`: what a pass over the source says of the table, and how rows leave the index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from batch.core.labelling import Labelling
from batch.ledger import index, index_statements, levels
from batch.ledger.index import Gone, IndexReader, gone_of
from batch.ledger.reader import Entry
from batch.ledger.schema import SCHEMA_VERSION, UPGRADES, connect
from tests.support.ledgers import admitted, fingerprint, read


@pytest.fixture(params=[*levels.ENTRIES.tables, "all"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A table of six rows in two parts, asked in two variants; the last has a place and no outcome.

    They stand in one level or, where it is all, row by row in another one, and beneath it as they were before.
    """
    made = tmp_path / "ledger.db"
    with closing(connect(made)) as db:
        rows: list[tuple[Any, ...]] = [
            (f"r{n}", variant, n, n // 3, b"\0", n % 2, b"\1", None) for n in range(6) for variant in ("a", "b")
        ]
        for number, row in enumerate([*rows, ("place", "a", 6, 1, None, None, None, None)]):
            over = number % 3 if request.param == "all" else levels.ENTRIES.tables.index(request.param)
            beneath = (*row[:4], b"old", 1 - (row[5] or 0), b"old", b"old")
            for level, table in enumerate(levels.ENTRIES.tables):
                if level == over or (level > over and request.param == "all"):
                    db.execute(f"INSERT INTO {table} VALUES(?,?,?,?,?,?,?,?)", row if level == over else beneath)
        db.execute("INSERT INTO parts(part, rows) VALUES(0,6),(1,6)")
    return made


@pytest.fixture
def reader(path: Path) -> Iterator[IndexReader]:
    """Of that table."""
    with IndexReader(path) as made:
        yield made


def change(path: Path, what: Callable[[apsw.Connection], Any]) -> None:
    with closing(connect(path)) as db:
        db.execute("BEGIN")
        what(db)
        db.execute("COMMIT")


def met(*ids: str) -> Callable[[apsw.Connection], Any]:
    return lambda db: index.meet(db, [(row_id, 1, "here") for row_id in ids])


def test_rows_that_were_not_met_and_variants_that_are_not_asked_are_told_apart(path: Path, reader: IndexReader) -> None:
    """FIELD 30. A place without an outcome is no row of the table."""
    change(path, met("r0", "r1", "r2", "r9"))
    assert reader.count_gone(["a", "b"]) == Gone(6, 0)
    assert reader.count_gone(["b", "c"]) == Gone(6, 3)
    assert gone_of(reader) == Gone()
    change(path, lambda db: index.keep_gone(db, Gone(6, 3), run=None))
    assert (gone_of(reader).total, gone_of(reader)) == (9, Gone(6, 3))


def test_a_row_is_met_whichever_level_has_its_id(path: Path, reader: IndexReader) -> None:
    """Ours: ids move on while the pass goes on."""
    with closing(connect(path)) as db:
        for table, row_id in zip(levels.SEEN.tables, ("r0", "r1", "r3"), strict=True):
            db.execute(f"INSERT INTO {table} VALUES(?, 1, NULL)", (row_id,))
    assert reader.count_gone(["a", "b"]) == Gone(6, 0)
    assert list(reader.failed_and_gone()) == [(1, {("r5", "a"), ("r5", "b")})]


def test_a_pass_that_began_with_no_row_met_all_that_are_there(path: Path, reader: IndexReader) -> None:
    """Ours: it does not write down each of them. Variants that nobody asks for are gone all the same."""
    change(path, lambda db: db.execute("INSERT INTO meta(key, value) VALUES(?, 'first')", (index.BEGAN_EMPTY,)))
    assert (reader.count_gone(["a", "b"]), reader.count_gone(["b"])) == (Gone(0, 0), Gone(0, 6))
    assert list(reader.failed_and_gone()) == []
    change(path, lambda db: index.begin_pass(db, "next"))
    assert reader.count_gone(["a", "b"]) == Gone(12, 0)


def test_whether_a_row_was_met_is_asked_once_of_each_level(path: Path) -> None:
    """Ours: at the end of each night, for every row of the table."""
    with closing(connect(path)) as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {index_statements.COUNT_GONE}", ("[]",))]
    asked = [sum(f"SEARCH {name} " in step for step in plan) for name in levels.SEEN.tables]
    assert asked == [3, 3, 3], "once for each level in which the row itself may stand"


def test_a_pass_began_empty_while_it_is_the_last_that_began_and_no_row_was_there_by_then(tmp_path: Path) -> None:
    """Ours: who reads that it did looks for no row of the pass in the index."""
    path = tmp_path / "ledger.db"
    with IndexReader(admitted(path, 0)) as reader:
        assert not reader.began_empty("first")
        change(path, lambda db: index.begin_pass(db, "first"))
        assert reader.began_empty("first")
        change(path, lambda db: index.begin_pass(db, "second"))
        assert (reader.began_empty("first"), reader.began_empty("second")) == (False, True)
        admitted(path, 1, range_number=1)
        assert reader.began_empty("second"), "what comes in while it goes on are rows of its own"
        change(path, lambda db: index.begin_pass(db, "third"))
        assert [reader.began_empty(run) for run in ("first", "second", "third")] == [False, False, False]
        change(path, index.keep_places)
        change(path, lambda db: db.execute("DELETE FROM pending"))
        change(path, lambda db: index.begin_pass(db, "fourth"))
        assert not reader.began_empty("fourth")


def test_rows_that_failed_for_good_and_are_gone_come_part_after_part(path: Path, reader: IndexReader) -> None:
    """FIELD 29. Of the even and the odd rows the odd ones failed."""
    change(path, met("r0", "r1"))
    assert list(reader.failed_and_gone()) == [(1, {("r3", "a"), ("r3", "b"), ("r5", "a"), ("r5", "b")})]


def test_rows_that_left_a_part_are_forgotten_with_it_or_without_it(path: Path, reader: IndexReader) -> None:
    """FIELD 30. What is announced and not done can be crossed out; what was done is known of the announced alone."""
    change(path, lambda db: index.announce_leaving(db, 0, [("r0", "a"), ("r2", "a")]))
    change(path, lambda db: index.announce_leaving(db, 0, [("r0", "a"), ("r0", "b")]))
    change(path, lambda db: index.forget_entries(db, 0))
    assert reader.entries(["r0"]) == {}
    assert set(reader.entries(["r2"])) == {("r2", "a"), ("r2", "b")}
    assert read(path, "SELECT rows FROM parts ORDER BY part") == [(4,), (6,)]
    change(path, lambda db: index.announce_leaving(db, 1, [("r3", "a")]))
    change(path, index.forget_leaving)
    change(path, lambda db: index.forget_entries(db, 1))
    assert read(path, "SELECT rows FROM parts ORDER BY part") == [(4,), (6,)]
    change(path, lambda db: index.announce_leaving(db, 1, [(f"r{n}", v) for n in (3, 4, 5) for v in "ab"]))
    change(path, lambda db: index.forget_part(db, 1))
    assert read(path, "SELECT part FROM parts") == [(0,)]
    assert list(reader.entries(["r3", "r4", "r5", "place"])) == [("place", "a")]
    assert read(path, "SELECT DISTINCT part FROM leaving") == [(1,)], "until the file is gone, too"


@pytest.mark.parametrize("at_once", [1, 2, 500])
def test_outcomes_of_any_kind_are_known_with_places_and_labels(
    path: Path, reader: IndexReader, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Rows that the index has already and new ones, answered and failed, with a label and without, some at a time."""
    monkeypatch.setattr(index, "SETTLED_AT_ONCE", at_once)
    label = msgspec.msgpack.encode(Labelling())
    kinds: list[tuple[str, int, bytes | None]] = [
        ("r0", 0, None), ("r5", 2, None), ("r7", 0, label), ("r8", 1, None), ("r9", 0, None),
    ]  # fmt: skip

    def settle(db: apsw.Connection) -> None:
        for work, (row_id, _, _) in enumerate(kinds):
            where = (work, row_id, 10 + work, fingerprint(work), b"c%d" % work)
            db.execute("INSERT INTO pending VALUES(?,0,0,?,'a',0,?,2,?,1,x'00',0,?)", where)
        index.learn_outcomes(
            db, [index.SettledRow(row_id, "a", work, status, told) for work, (row_id, status, told) in enumerate(kinds)]
        )

    change(path, settle)
    found = reader.entries([row_id for row_id, _, _ in kinds])
    for work, (row_id, status, labelled) in enumerate(kinds):
        known = Labelling() if labelled else None
        expected = Entry(row_id, "a", 10 + work, 2, fingerprint(work), status, b"c%d" % work, known)
        assert found[row_id, "a"] == expected
    assert found["r0", "b"] == Entry("r0", "b", 0, 0, b"\0", 0, b"\1"), "another variant of it"


def test_columns_are_known_when_they_are_written_and_the_last_of_two_counts(path: Path, reader: IndexReader) -> None:
    """FIELD 28. A row may wait twice, after a kill; what came after the part was written waits on."""

    def wait(work: int, content: bytes) -> Callable[[apsw.Connection], Any]:
        return lambda db: db.execute(
            "INSERT INTO pending VALUES(?,0,0,'r1','a',0,1,0,?,3,NULL,0,?)", (work, fingerprint(1), content)
        )

    for work, content in ((5, b"old"), (7, b"new"), (9, b"later")):
        change(path, wait(work, content))
    assert [row.work_id for row in reader.refreshed(0, 0, 2)] == [5, 7, 9]
    assert (reader.refreshed(0, 2, 9), reader.refreshed(1, 0, 9)) == ([], [])
    assert (reader.last_refreshed(0), reader.last_refreshed(1)) == (9, None)
    assert reader.settled_by_part() == {0: 3}
    assert reader.ranges() == [0]
    change(path, lambda db: index.settle_refreshed(db, 0, 7))
    assert reader.entries(["r1"])["r1", "a"] == Entry("r1", "a", 1, 0, b"\0", 1, b"new")
    assert reader.entries(["r1"])["r1", "b"].content == b"\1"
    assert reader.last_refreshed(0) == 9
    change(path, lambda db: index.drop_refreshed(db, [0]))
    assert reader.entries(["r1"])["r1", "a"].content == b"", "its part may have been written already"
    assert (reader.last_refreshed(0), reader.settled_by_part()) == (None, {})


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_ledger_of_any_older_format_gets_the_tables_of_today(version: int, tmp_path: Path) -> None:
    """FIELD 28. Each step of the way once, and no column in another place than in a new ledger."""
    path, new = tmp_path / "ledger.db", tmp_path / "new.db"
    connect(new).close()
    with closing(connect(path)) as db:
        for levelled in (levels.ENTRIES, levels.SEEN) if version < 6 else ():
            db.execute(f"DROP VIEW {levelled.name}")
            for small in levelled.tables[:-1]:
                db.execute(f"DROP TABLE {small}")
            db.execute(f"ALTER TABLE {levelled.largest} RENAME TO {levelled.name}")
        if version < 6:
            db.execute("DROP TABLE levels")
        later = [
            (words[2], words[5])
            for statements in UPGRADES[version - 1 :]
            for line in statements.splitlines()
            if "ADD COLUMN" in line and (words := line.rstrip(";").split())
        ]
        for table, column in later:
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        if version < 3:
            db.execute("DROP TABLE leaving")
        if version < 5:
            db.execute("DROP TABLE waves")
            db.execute("DROP TABLE lines")
        db.pragma("user_version", version)
    assert len(UPGRADES) == SCHEMA_VERSION - 1
    connect(path).close()
    tables = "SELECT m.name, i.name, i.type FROM sqlite_schema m, pragma_table_info(m.name) i ORDER BY m.name, i.cid"
    assert read(path, tables) == read(new, tables)
