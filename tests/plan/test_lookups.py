"""`batch.plan.lookups`: what a pass asks a real ledger about its rows, and that nothing is overlooked by not asking."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import apsw
import pytest

from batch.core.canonical import repeated_key_id
from batch.core.clock import HandClock
from batch.job.job import InputSpec, Job, LimitSpec, ModelSpec, OutputSpec, PromptSpec
from batch.job.options import RunOptions
from batch.ledger import index
from batch.ledger.direct import DirectLedger
from batch.ledger.index import IndexReader, Key
from batch.ledger.levels import ENTRIES
from batch.ledger.reader import Entry
from batch.output.folder import OutputFolder
from batch.plan import continuation
from batch.plan.admission import Admitted, admit
from batch.plan.continuation import Identity
from batch.plan.lookups import Lookups
from batch.plan.planner import Planner
from batch.plan.unindexed import Unindexed
from batch.prompts.variants import Variants
from batch.tools.registry import ToolSet
from tests.support.rows import jsonl, source

NOW_US = 1_790_000_000_000_000
IN_PART = 1_000
"""Rows of a range."""


class Counting(IndexReader):
    """A reader that counts the ids it is asked for."""

    asked_seen = asked_entries = 0

    def seen(self, row_ids: Sequence[str]) -> dict[str, tuple[int, str | None]]:
        self.asked_seen += len(row_ids)
        return super().seen(row_ids)

    def entries(self, row_ids: Sequence[str]) -> dict[Key, Entry]:
        self.asked_entries += len(row_ids)
        return super().entries(row_ids)


class House:
    """One job, its input and its ledger, without a run around them."""

    def __init__(self, folder: Path, key: str | None) -> None:
        self._key = key
        self._tmp = folder
        self.folder = OutputFolder(folder / "out")
        self.folder.prepare()
        self.commands = 0

    def write(self, names: Sequence[Any]) -> None:
        self._path = jsonl(self._tmp, [{"q": str(name), "n": 0} for name in names])

    @contextmanager
    def command(self, **options: Any) -> Iterator[tuple[Planner, Counting, DirectLedger, str]]:
        """What a command has in its hands once its run is open; killed at the end of it."""
        job = Job(
            name="plan",
            folder=self._tmp,
            input=InputSpec(path=self._path, key=self._key),
            prompt=PromptSpec(user="{{ q }}"),
            model=ModelSpec(provider="simulator", name="glm-4"),
            limits=LimitSpec(),
            output=OutputSpec(rows_per_part=IN_PART),
        )
        self.commands += 1
        found = source(self._path, key=self._key)
        with DirectLedger(self.folder.ledger) as ledger, Counting(self.folder.ledger) as reader:
            identity = Identity("{}", "digest", found.stat)
            wishes = RunOptions(**options)
            start = continuation.choose_run(reader, identity, NOW_US + self.commands, options=wishes)
            assert start is not None
            assert start.mode in ("new", "continue")
            ledger.execute(continuation.start_transaction(start, identity, NOW_US))
            planner = Planner(
                job,
                found,
                Variants(job, ToolSet.empty()),
                self.folder,
                spilled=["q", "n"],
                outputs=["q", "n"],
                lookups=Lookups.of_pass(reader, start, by_content=self._key is None),
                clock=HandClock(),
            )
            planner.restrict(limit=wishes.limit)
            planner.start(start.position, start.planned)
            yield planner, reader, ledger, start.run

    def plan(self, ranges: int = 99, **options: Any) -> tuple[list[Admitted], Counting]:
        """Admit ranges in a command that is killed then; the rows, and the reader that was asked for them."""
        rows: list[Admitted] = []
        with self.command(**options) as (planner, reader, ledger, run):
            for _ in range(ranges):
                plan = planner.next_range()
                do(ledger, admit(plan, run))
                rows += plan.rows
                if plan.planned.complete or not plan.rows:
                    break
            return rows, reader

    def publish(self) -> None:
        """All that is admitted gets an outcome, stands in the table, and the run ends."""
        with DirectLedger(self.folder.ledger) as ledger, IndexReader(self.folder.ledger) as reader:
            run = reader.runs()[-1].run
            rows = [
                index.SettledRow(row.row_id, row.variant, row.work_id, 0, None)
                for row in sorted(reader.unsent(-1, 99_999), key=attrgetter("row_id"))
            ]
            learn = partial(index.learn_outcomes, settled=rows)
            forget = partial(apsw.Connection.execute, statements="DELETE FROM pending")
            do(ledger, learn, forget, continuation.close(run, "finished", NOW_US))

    def publish_part(self, part: int) -> None:
        """The rows of a part get an outcome and stand in the table; the run goes on."""

        def change(db: apsw.Connection) -> None:
            found: list[Any] = db.execute(
                "SELECT row_id, variant, work, 0, NULL FROM pending WHERE part=? ORDER BY 1, 2", (part,)
            ).fetchall()
            index.learn_outcomes(db, [index.SettledRow(*row) for row in found])
            db.execute("DELETE FROM pending WHERE part=?", (part,))

        with DirectLedger(self.folder.ledger) as ledger:
            ledger.execute(change)

    def told(self) -> dict[str, tuple[int, str | None]]:
        """What is written down of rows that were met."""
        with IndexReader(self.folder.ledger) as reader:
            return {row[0]: (row[1], row[2]) for row in reader._rows("SELECT row_id, times, place FROM seen")}

    def began_empty(self) -> bool:
        """Whether the pass of the last run is known to have begun with an empty index."""
        with IndexReader(self.folder.ledger) as reader:
            return reader.began_empty(reader.runs()[-1].run)


def do(ledger: DirectLedger, *changes: Callable[[apsw.Connection], object]) -> None:
    """All of it in one transaction."""

    def change(db: apsw.Connection) -> None:
        for one in changes:
            one(db)

    ledger.execute(change)


@pytest.fixture(params=["q", None], ids=["key", "content"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> House:
    return House(tmp_path, request.param)


def test_the_first_pass_over_a_source_looks_for_no_row_in_the_index_and_hardly_for_one_it_met(house: House) -> None:
    """Ours: each look-up is at a random place of a table of millions of rows, and can find nothing."""
    house.write(range(5_000))
    rows, reader = house.plan()
    assert len(rows) == len({row.row_id for row in rows}) == 5_000
    assert reader.asked_entries == 0
    assert reader.asked_seen < 100
    assert house.began_empty()


def test_a_first_pass_that_was_killed_goes_on_without_the_index_and_asks_what_was_met(house: House) -> None:
    """Ours: what this process has in memory says nothing of the one before it."""
    house.write(range(5_000))
    before, _ = house.plan(2)
    after, reader = house.plan(1, limit=2_500)
    rest, _ = house.plan()
    assert [len(before), len(after), len(rest)] == [2_000, 500, 2_500]
    assert len({row.row_id for row in before + after + rest}) == 5_000
    assert (reader.asked_entries, reader.asked_seen >= 500) == (0, True)


@pytest.mark.parametrize("killed", [False, True], ids=["one process", "killed in between"])
def test_a_row_that_stands_again_ranges_later_is_told_apart(house: House, killed: bool) -> None:
    """Promise 7: with a key it fails and both places are named, without one it has a name of its own."""
    house.write([*range(2_500), 7, 2_000, *range(3_000, 4_000), 7])
    rows, _ = house.plan(3 if killed else 99)
    if killed:
        rows += house.plan()[0]
    assert len(rows) == len({row.row_id for row in rows}) == 3_503
    first, again, late = (rows[place].row_id for place in (7, 2_500, 3_502))
    named = repeated_key_id if first == "7" else "{}-{}".format
    assert (again, late) == (named(first, 2), named(first, 3))
    assert rows[2_501].row_id == named(rows[2_000].row_id, 2)
    if first == "7":
        outcome = rows[3_502].outcome
        assert outcome is not None
        assert outcome.error_code == "duplicate_key"
        said = outcome.error_message or ""
        assert "rows.jsonl line 3503: " in said
        assert "rows.jsonl line 8;" in said
    else:
        assert {row.outcome for row in rows} == {None}


@pytest.mark.parametrize("published", [[], [0], [1], [0, 1]], ids=str)
@pytest.mark.parametrize("killed", [False, True], ids=["one process", "killed in between"])
def test_a_row_that_stands_again_is_told_apart_wherever_the_first_one_is(
    house: House, killed: bool, published: list[int]
) -> None:
    """Promise 7: an id is met while its row waits, is in the index, or has moved on there."""
    house.write([*range(2_500), 7, 1_500, *range(3_000, 3_600), 7, 1_500])
    first = house.plan(2)[0] if killed else []
    names = [row.row_id for row in first]
    with house.command() as (planner, _, ledger, run):
        while len(names) < 3_104:
            plan = planner.next_range()
            do(ledger, admit(plan, run))
            names += [row.row_id for row in plan.rows]
            if len(names) == 2_000 or not published:
                continue
            for part in published:
                house.publish_part(part)
            published = []
    assert len(names) == len(set(names)) == 3_104
    named = repeated_key_id if names[7] == "7" else "{}-{}".format
    again = [named(names[first], times) for times in (2, 3) for first in (7, 1_500)]
    assert [*names[2_500:2_502], *names[3_102:]] == again


def test_of_rows_without_a_key_a_first_pass_writes_down_only_what_the_index_does_not_say(tmp_path: Path) -> None:
    """Ours: to write down each of a million ids costs as much as to keep the index."""
    house = House(tmp_path, None)
    house.write([*range(1_500), 7, 7])
    rows, _ = house.plan()
    assert house.told() == {rows[7].row_id: (3, None)}
    house.publish()
    house.write(range(1_600))
    house.plan()
    assert len(house.told()) == 1_600, "in any other pass what is not met is looked for among all rows"


def test_rows_that_take_no_part_are_written_down_as_met(tmp_path: Path) -> None:
    """Ours: neither their records nor the index will know them."""
    house = House(tmp_path, None)
    house.write([*range(1_000), *range(500)])
    with house.command() as (planner, _, ledger, run):
        planner.restrict(sample=[])
        plan = planner.next_range()
        do(ledger, admit(plan, run))
        assert (plan.rows, plan.planned.read) == ([], 1_500)
    assert sorted(times for times, _ in house.told().values()) == [1] * 1_000 + [2] * 500


def test_more_ids_than_have_room_in_memory_are_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours: rows of batches wait by the million."""
    monkeypatch.setattr(Unindexed.__init__, "__defaults__", (2_200,))
    house = House(tmp_path, None)
    house.write([*range(5_000), *range(5_000)])
    rows, _ = house.plan(4)
    assert set(house.told()) == {row.row_id for row in rows[2_000:]}
    for part in (0, 1):
        house.publish_part(part)
    rows += house.plan(2)[0]
    assert len({row.row_id for row in rows}) == len(rows) == 6_000
    assert set(house.told()) - {row.row_id for row in rows[2_000:4_000]} == {row.row_id for row in rows[:1_000]}
    rows += house.plan()[0]
    assert len({row.row_id for row in rows}) == len(rows) == 10_000


def test_a_key_that_looks_like_the_name_of_a_repeat_is_met_too(tmp_path: Path) -> None:
    """Ours: keys are free text, and somebody may have taken such a name from a table of results."""
    house = House(tmp_path, "q")
    name = repeated_key_id("a", 2)
    house.write(["a", "a-2", name, *range(1_500), "a", "a-3", *range(2_000, 3_000), "a-3", "a-2", "a"])
    rows, reader = house.plan()
    repeats = [repeated_key_id(*repeat) for repeat in (("a", 3), ("a-3", 2), ("a-2", 2), ("a", 4))]
    found = [row.row_id for row in rows if row.row_id[0] == "a"]
    assert found == ["a", "a-2", name, repeats[0], "a-3", *repeats[1:]]
    assert reader.asked_entries == 0


def test_a_source_that_changed_is_held_against_the_table_and_only_what_is_new_is_admitted(house: House) -> None:
    """Design 4: nothing is bought twice."""
    house.write(range(2_500))
    old = {row.row_id for row in house.plan()[0]}
    house.publish()
    house.write([*range(1_000), "new", *range(1_000, 2_500), 7])
    rows, reader = house.plan()
    assert len(rows) == 2
    assert not old.intersection(row.row_id for row in rows)
    assert reader.asked_entries == 2_502
    assert not house.began_empty()
    house.plan()
    house.publish()
    house.write([*range(2_600)])
    assert len(house.plan()[0]) == 100


def test_rows_that_were_admitted_and_never_sent_keep_their_places_in_the_next_pass(house: House) -> None:
    """Ours: a row that was admitted stands in the index once its admission is taken back."""
    house.write(range(2_500))
    first = {row.row_id: (row.row_number, row.part) for row in house.plan(2)[0]}
    with DirectLedger(house.folder.ledger) as ledger, IndexReader(house.folder.ledger) as reader:
        do(ledger, continuation.close(reader.runs()[-1].run, "interrupted", NOW_US))
    house.write(["new", *reversed(range(2_500))])
    rows, reader = house.plan()
    assert reader.asked_entries == len(rows) == 2_501
    assert {row.row_id: (row.row_number, row.part) for row in rows if row.row_id in first} == first


@pytest.mark.parametrize("table", ["entries", "pending"])
def test_a_pass_began_empty_only_if_no_row_is_in_the_index_and_none_admitted(tmp_path: Path, table: str) -> None:
    """Ours: what is admitted comes into the index while the pass goes on."""
    house = House(tmp_path, "q")
    house.write(range(10))
    assert len(house.plan()[0]) == 10
    emptied = ["pending"] if table == "entries" else ENTRIES.tables

    def change(db: Any) -> None:
        index.keep_places(db)
        for name in emptied:
            db.execute(f"DELETE FROM {name}")
        db.execute("UPDATE runs SET state = 'killed'")

    with DirectLedger(house.folder.ledger) as ledger:
        ledger.execute(change)
    assert house.began_empty()
    house.plan(0)
    assert not house.began_empty()


def test_rows_are_drawn_from_what_the_ledger_says(house: House) -> None:
    """Ours: who draws reads the source from its beginning, and in a pass that goes on there are rows it met."""
    house.write(range(2_500))
    house.plan(2)
    with house.command() as (planner, reader, _, _):
        list(planner.candidates())
        assert reader.asked_entries == reader.asked_seen == 500
