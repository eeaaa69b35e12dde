"""`batch.money.pots`: what several processes spend from, in one file."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.errors import StorageError
from batch.money.pots import FILE, KEPT, Held, PotBook

LARGE = 3 * 10**25
"""Beyond 64 bits: thirty million yuan and a few more digits."""


def taken(book: PotBook, name: str = "day") -> int:
    return book.taken([name])[name]


def test_slices_are_set_aside_until_there_is_no_more(tmp_path: Path) -> None:
    """At least what is needed, at best what is wanted, and nothing where less is left than needed."""
    book = PotBook(tmp_path, Path("/a"))
    assert book.extend("day", "r", limit=100, need=10, want=40) == (40, 0)
    assert book.extend("day", "r", limit=100, need=10, want=40) == (80, 0)
    assert PotBook(tmp_path, Path("/b")).extend("day", "r", limit=100, need=10, want=40) == (20, 80)
    assert book.extend("day", "r", limit=100, need=1, want=40) == (80, 20)
    assert taken(book) == 100
    assert book.extend("other", "r", limit=LARGE, need=LARGE - 1, want=1) == (LARGE - 1, 0)
    assert taken(PotBook(tmp_path, Path("/c")), "other") == LARGE - 1


def test_what_was_not_used_is_given_back_and_what_outlives_the_run_is_not(tmp_path: Path) -> None:
    """Tasks that stay with the provider keep what they can come to until the next run of the folder takes them up."""
    book = PotBook(tmp_path, Path("/a"))
    book.extend("day", "r1", limit=100, need=60, want=60)
    book.settle("r1", {"day": 25}, {"day": 5})
    assert taken(book) == 30

    def used(run: str, held: Mapping[str, Held]) -> dict[str, int]:
        assert (run, held["day"].amount) == ("r1", 30)
        return {"day": 25}

    fresh = {"day": Held("", "", 5, 0)}
    found = book.open("r2", used, fresh)
    assert (found["day"][0].amount, found["day"][1]) == (5, 0)
    book.settle("r2", {"day": 4}, {})
    assert taken(book) == 29


def test_a_slice_stays_until_its_folder_is_opened_again(tmp_path: Path) -> None:
    """Of a killed run nobody knows what it used but its own folder."""
    PotBook(tmp_path, Path("/a")).extend("day", "r", limit=100, need=60, want=60)
    other = PotBook(tmp_path, Path("/b"))
    assert other.open("r", lambda _, __: {}, {}) == {}
    assert taken(other) == 60
    again = PotBook(tmp_path, Path("/a")).open("r", lambda _, __: {"day": 10}, {})
    assert (again["day"][0].amount, again["day"][1]) == (60, 10)
    PotBook(tmp_path, Path("/a")).open("later", lambda _, __: {"day": 10}, {})
    assert taken(other) == 10


def _known(used: int, _: str, held: Mapping[str, Held]) -> dict[str, int]:
    return dict.fromkeys(held, used)


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["extend", "use", "settle", "kill"]), st.integers(1, 40)), max_size=40
)


@settings(max_examples=25, deadline=None)
@given(STEPS, st.integers(50, 150))
def test_no_history_spends_more_than_there_is(steps: list[tuple[int, str, int]], limit: int) -> None:
    """Three folders that take, use, give back, or are killed and come again, in any order."""
    with tempfile.TemporaryDirectory() as folder:
        books = [PotBook(Path(folder), Path(f"/{name}")) for name in "abc"]
        amount, used, spent = [0, 0, 0], [0, 0, 0], 0
        for who, what, number in steps:
            if what == "extend":
                amount[who], _ = books[who].extend("day", "r", limit=limit, need=number, want=2 * number)
            elif what == "use":
                used[who] = min(amount[who], used[who] + number)
            elif what == "settle":
                books[who].settle("r", {"day": used[who]}, {})
                spent, amount[who], used[who] = spent + used[who], 0, 0
            else:
                found = books[who].open("r", partial(_known, used[who]), {})
                assert ("day" in found) == (amount[who] > 0)
            assert spent + sum(amount) == taken(books[0]) <= limit


def _take(state: Path, folder: int, limit: int) -> None:
    book, amount = PotBook(state, Path(f"/{folder}")), 0
    while (more := book.extend("day", "r", limit=limit, need=7, want=9)[0]) > amount:
        amount = more
    book.settle("r", {"day": amount}, {})


@pytest.mark.slow
def test_processes_that_take_at_the_same_time_never_take_more_than_there_is(tmp_path: Path) -> None:
    """The file is locked while it is changed."""
    start = multiprocessing.get_context("fork")
    processes = [start.Process(target=_take, args=(tmp_path, folder, 500)) for folder in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert 493 < taken(PotBook(tmp_path, Path("/x"))) <= 500


def test_old_pots_are_forgotten_but_for_those_somebody_holds_something_in(tmp_path: Path) -> None:
    """A day a line: the file does not grow for ever."""
    book = PotBook(tmp_path, Path("/a"))
    book.extend("held", "r", limit=10, need=1, want=1)
    pots = {name: {"spent": 1, "held": []} for name in map(str, range(KEPT + 5))}
    document = json.loads((tmp_path / FILE).read_text("utf-8"))
    (tmp_path / FILE).write_text(json.dumps({**document, "pots": {**document["pots"], **pots}}), encoding="utf-8")
    book.extend("new", "r", limit=10, need=1, want=1)
    names = json.loads((tmp_path / FILE).read_text("utf-8"))["pots"]
    assert len(names) == KEPT
    assert {"held", "new"} <= names.keys()


def test_a_pack_that_is_used_is_not_forgotten_however_many_days_have_been(tmp_path: Path) -> None:
    """It is as old as the file; with its pot forgotten, it would be spent once more."""
    pots = {name: {"spent": 7, "held": []} for name in ("pack", *(f"day {day}" for day in range(KEPT - 1)))}
    (tmp_path / FILE).write_text(json.dumps({"version": 1, "pots": pots}), encoding="utf-8")
    book = PotBook(tmp_path, Path("/a"))
    for name in ("pack", "today"):  # one after the other: nobody holds a part of the pack when a day is forgotten
        book.extend(name, "r", limit=10_000, need=1, want=1)
        book.settle("r", {name: 1}, {})
    assert taken(book, "pack") == 8
    assert taken(book, "day 0") == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pots": {"day": {"spent": "x"}}}', '{"pots": 3}'])
def test_a_damaged_file_is_refused_with_the_way_out(tmp_path: Path, text: str) -> None:
    """Nobody spends on while it is not known what was spent."""
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(StorageError, match=r"spend\.json: is damaged.*take it away"):
        PotBook(tmp_path, Path("/a")).extend("day", "r", limit=10, need=1, want=1)
