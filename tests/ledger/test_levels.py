"""`batch.ledger.levels`: what stands in which level is nobody's matter, and the small ones stay small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.ledger import levels
from batch.ledger.levels import ENTRIES, SEEN, Levelled, everywhere
from batch.ledger.schema import connect

IDS = ["", "a", "a\x00b", "b", "c", "it's", "行", "\u2028", *(f"r{n}" for n in range(20))]
VARIANTS = ["", "v"]
_PUT = f"INSERT OR REPLACE INTO {ENTRIES.newest} VALUES(?,?,?,?,?,?,?,?)"
_CHANGE = everywhere("UPDATE {table} SET content = ?3 WHERE row_id = ?1 AND variant = ?2")
_DROP = everywhere("DELETE FROM {table} WHERE row_id = ?1 AND variant = ?2")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[apsw.Connection]:
    """The writing connection of a new ledger."""
    with closing(connect(tmp_path / "ledger.db")) as made:
        yield made


def meet(db: apsw.Connection, *ids: str) -> None:
    db.executemany(f"INSERT OR REPLACE INTO {SEEN.newest} VALUES(?,1,NULL)", [(row_id,) for row_id in ids])
    levels.count(db, SEEN, len(ids))


def sizes(db: apsw.Connection, table: Levelled) -> list[int]:
    return [db.execute(f"SELECT count(*) FROM {name}").get for name in table.tables]


def move_all(db: apsw.Connection, *, everything: Levelled | None = None) -> int:
    """Move until there is nothing to move, and say how often that was."""
    for times in range(10_000):
        if not levels.move(db, everything=everything):
            return times
    raise AssertionError("it never ends")


def smaller(patch: pytest.MonkeyPatch, first: int, second: int, rows: int) -> None:
    """Levels of a few rows: named tuples are the same objects wherever they are used."""
    patch.setattr(levels, "SLICE_ROWS", rows)
    for name in ("ENTRIES", "SEEN"):
        patch.setattr(levels, name, getattr(levels, name)._replace(most=(first, second)))
    patch.setattr(levels, "_ALL", (levels.ENTRIES, levels.SEEN))


keys = st.tuples(st.sampled_from(IDS), st.sampled_from(VARIANTS))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, st.integers(0, 2)),
        st.tuples(st.just("change"), keys, st.integers(0, 2)),
        st.tuples(st.just("drop"), keys, st.just(0)),
        st.tuples(st.just("move"), st.just(("", "")), st.integers(1, 5)),
    ),
    max_size=80,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps, rows=st.integers(1, 4))
def test_whatever_is_put_changed_dropped_and_moved_the_view_has_the_last_of_each_row(
    steps: list[tuple[str, tuple[str, str], int]], rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    known: dict[tuple[str, str], tuple[int, bytes]] = {}
    with closing(connect(tmp_path_factory.mktemp("levels") / "ledger.db")) as db, pytest.MonkeyPatch.context() as patch:
        smaller(patch, 3, 7, rows)
        db.execute("BEGIN")
        for what, key, value in steps:
            content = bytes([value])
            if what == "put":
                db.execute(_PUT, (*key, 1, 1, b"f", value, content, None))
                levels.count(db, ENTRIES, 1)
                known[key] = value, content
            elif what == "change":
                for statement in _CHANGE:
                    db.execute(statement, (*key, content))
                if key in known:
                    known[key] = known[key][0], content
            elif what == "drop":
                for statement in _DROP:
                    db.execute(statement, key)
                known.pop(key, None)
            else:
                for _ in range(value):
                    levels.move(db)
            found: list[Any] = db.execute("SELECT row_id, variant, status, content FROM entries").fetchall()
            assert {(row[0], row[1]): (row[2], row[3]) for row in found} == known
            assert len(found) == len(known)
        move_all(db)
        first, second, _ = sizes(db, ENTRIES)
        assert first <= 3
        assert second <= 7
        move_all(db, everything=levels.ENTRIES)
        assert sizes(db, ENTRIES) == [0, 0, len(known)]
        db.execute("COMMIT")


def test_a_full_level_gives_away_the_rows_that_waited_for_longest_and_in_the_end_all_of_them(
    db: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller(monkeypatch, 6, 100, 2)
    meet(db, *"acegikmo")
    assert move_all(db) == 1
    assert db.execute("SELECT row_id FROM seen_2").fetchall() == [("a",), ("c",)]
    meet(db, "b", "p")
    assert move_all(db) == 1
    assert db.execute("SELECT row_id FROM seen_2").fetchall() == [("a",), ("c",), ("e",), ("g",)], "b came later"
    assert sizes(db, SEEN) == [6, 4, 0]
    move_all(db, everything=levels.SEEN)
    assert sizes(db, SEEN) == [0, 0, 10]
    assert db.execute("SELECT group_concat(row_id, '') FROM (SELECT row_id FROM seen ORDER BY 1)").get == "abcegikmop"


def test_rows_that_come_again_do_not_make_a_level_look_fuller_for_ever(
    db: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is counted when it comes, and the true number is found at the end of each round."""
    smaller(monkeypatch, 5, 20, 2)
    moves = []
    for _ in range(60):
        meet(db, "a", "b", "c", "d")
        moves.append(move_all(db))
        assert db.execute("SELECT max(rows) FROM levels").get <= 20
    assert max(moves) <= 10
    assert db.execute("SELECT count(*) FROM seen").get == 4


def test_the_second_level_may_be_the_larger_the_more_rows_the_table_has(
    db: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller(monkeypatch, 1, 2, 2)
    db.execute("INSERT INTO meta(key, value) VALUES('next_row_number', 80)")
    meet(db, *(f"{n:02}" for n in range(30)))
    move_all(db)
    assert sizes(db, SEEN) == [0, 10, 20]


def test_a_table_that_is_emptied_is_empty_in_each_level_and_counted_so(
    db: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller(monkeypatch, 1, 3, 2)
    meet(db, *"abcdefgh")
    move_all(db)
    assert all(sizes(db, SEEN)[1:])
    levels.forget(db, SEEN)
    assert (sizes(db, SEEN), db.execute("SELECT * FROM levels").fetchall()) == ([0, 0, 0], [])
    meet(db, "a")
    assert move_all(db) == 0


@pytest.mark.parametrize(
    ("statement", "bindings"),
    [
        ("SELECT row_id, times FROM seen WHERE row_id IN (SELECT value FROM json_each(?))", ("[]",)),
        ("SELECT * FROM entries WHERE row_id IN (SELECT value FROM json_each(?))", ("[]",)),
        ("SELECT 1 FROM pending p JOIN entries e USING (row_id, variant) WHERE p.work = ?", (1,)),
        ("SELECT status, count(*) FROM entries WHERE status > ? GROUP BY status", (0,)),
    ],
)
def test_rows_are_looked_up_in_each_level_and_none_is_read_through(
    db: apsw.Connection, statement: str, bindings: tuple[Any, ...]
) -> None:
    """A table of ten million rows must not be copied beside for it."""
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", bindings)]
    scans = [step for step in plan if step.startswith("SCAN") and "json_each" not in step]
    assert [step for step in scans if step != "SCAN entries"] == []
    assert not any("MATERIALIZE" in step or "AUTOMATIC" in step for step in plan)


def test_a_level_that_has_twice_what_it_may_is_emptied_ten_times_as_fast(
    db: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk is slow there are few transactions, and many rows come between two of them."""
    smaller(monkeypatch, 30, 1_000, 2)
    meet(db, *(f"{n:03}" for n in range(100)))
    left = []
    while levels.move(db):
        left.append(sizes(db, SEEN)[0])
    assert left == [80, *range(60, 29, -2)]
