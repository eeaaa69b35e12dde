"""`batch.output.rebuild`: a ledger made of the files alone, of files that overlap, and of an old ledger in part."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.core.errors import OutputError, StorageError
from batch.ledger.index import BEGAN_EMPTY, IndexReader
from batch.ledger.levels import ENTRIES
from batch.ledger.reader import LedgerReader
from batch.ledger.schema import SCHEMA_VERSION, connect
from batch.output import tables
from batch.output.folder import OutputFolder
from batch.output.parts import write_part
from batch.output.rebuild import Rebuilt, rebuild
from tests.support.ledgers import admitted, read
from tests.support.values import call, outcome

POINTS = ("publish.results_written", "publish.results_named")
INPUTS = pa.schema([("n", pa.int64()), ("status", pa.large_string())])
SCHEMA = tables.result_schema(INPUTS, None)
RUN = "20261121T020000123Z-a1b2"


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    """Three parts of four rows, a call for each row, no ledger."""
    made = OutputFolder(tmp_path / "out")
    made.prepare()
    for part in range(3):
        results(made, part, range(4 * part, 4 * part + 4))
    calls(made, range(12))
    return made


def results(folder: OutputFolder, part: int, numbers: Any, *, settled_at: int = 1_000, name: str = "") -> Path:
    """A part with these rows."""
    target = folder.results / name if name else folder.part(part)
    rows = [
        tables.ResultRow(
            row_id=f"r{n}",
            row_number=n,
            variant=None,
            run=RUN,
            fingerprint=n.to_bytes(16, "big"),
            outcome=outcome(f"{n} at {settled_at}", settled_at_us=settled_at),
        )
        for n in numbers
    ]
    inputs = pa.table({"n": list(numbers), "status": ["new"] * len(rows)}, INPUTS)
    write_part(target, SCHEMA, [tables.result_batch(SCHEMA, inputs, rows)], points=POINTS)
    return target


def calls(folder: OutputFolder, numbers: Any, number: int = 0) -> Path:
    """A file of the book with a call for each of these rows."""
    target = folder.calls_part(RUN, number)
    rows = [tables.CallRow(row_id=f"r{n}", row_number=n, variant=None, call=call(n)) for n in numbers]
    write_part(target, tables.CALL_SCHEMA, [tables.call_batch(rows, {}, run=RUN, job="tickets")], points=POINTS)
    return target


def entries(folder: OutputFolder) -> list[Any]:
    """(row_id, row_number, part, status) of the index, in the order of the table."""
    return read(folder.ledger, "SELECT row_id, row_number, part, status FROM entries ORDER BY row_number")


def made_of(folder: OutputFolder) -> Rebuilt:
    return rebuild(folder, 1_790_000_000_000_000)


WHOLE = [(f"r{n}", n, n // 4, 0) for n in range(12)]


def test_a_ledger_is_made_of_the_files_alone(folder: OutputFolder) -> None:
    """Index, numbers, sums of the run, and the input's columns under the names of the source."""
    made = made_of(folder)
    assert (made.rows, made.parts, made.calls, made.call_parts, made.runs) == (12, 3, 12, 1, 1)
    assert entries(folder) == WHOLE
    with LedgerReader(folder.ledger) as reader:
        assert (reader.next_number("row_number"), reader.next_number("part")) == (12, 3)
        assert reader.last_sent_us() == max(call(n).sent_at_us for n in range(12))
        (run,) = reader.runs()
        assert (run.run, run.state, run.totals.calls, run.totals.rows_ok) == (RUN, "killed", 12, 12)
        assert pa.ipc.read_schema(pa.py_buffer(reader.meta("inputs"))).equals(INPUTS)
        assert reader.meta("types") == '{"n":"int64","status":"large_string"}'


def test_a_ledger_that_is_made_again_knows_of_no_pass_that_began_with_an_empty_index(folder: OutputFolder) -> None:
    """Ours: its index has what the files have, and that may be more than the pass had met."""
    with closing(connect(folder.ledger)) as db:
        db.execute("INSERT INTO meta(key, value) VALUES(?, ?), ('kept', 'as it was')", (BEGAN_EMPTY, RUN))
    made_of(folder)
    with IndexReader(folder.ledger) as reader:
        assert (reader.began_empty(RUN), reader.meta("kept")) == (False, "as it was")


def test_a_call_of_the_book_comes_back_as_it_was(folder: OutputFolder) -> None:
    """Its sums are made of it, to the last digit."""
    made_of(folder)
    expected = sum(call(n).cost or 0 for n in range(12))
    with LedgerReader(folder.ledger) as reader:
        assert sum(reader.runs()[0].totals.units.values()) == expected


def test_rows_of_a_part_that_is_lost_with_the_ledger_keep_their_places(folder: OutputFolder) -> None:
    """The book knows their numbers, so the table is in the order of the input again."""
    folder.part(1).unlink()
    made = made_of(folder)
    assert made.kept.places == 4
    assert entries(folder) == [(name, n, part, None if part == 1 else 0) for name, n, part, _ in WHOLE]


def test_a_copy_of_a_part_goes_and_the_newest_outcome_of_a_row_stays(folder: OutputFolder) -> None:
    """One row a key: a part that overlaps with others is written again without what is older there."""
    results(folder, 0, range(4), name="part-00000 (copy).parquet")
    results(folder, 0, [2, 3, 12, 13], settled_at=900, name="more.parquet")
    made = made_of(folder)
    assert any("(copy)" in line for line in made.lost)
    assert (made.rows, made.parts) == (14, 4)
    assert entries(folder) == [*WHOLE, ("r12", 12, 3, 0), ("r13", 13, 3, 0)]
    assert sorted(path.name for path in folder.results.iterdir()) == [f"part-{n:05d}.parquet" for n in range(4)]
    aside = sorted(path.name for path in (folder.strays / "results").iterdir())
    assert aside == ["more.parquet", "part-00000 (copy).parquet"]
    found = [row for part in range(4) for row in pq.read_table(folder.part(part)).column("answer").to_pylist()]
    assert len(found) == 14
    assert "2 at 1000" in found


def test_parts_that_were_swapped_get_their_names_back(folder: OutputFolder) -> None:
    """By the order of their rows."""
    folder.part(0).rename(folder.results / "x")
    folder.part(2).rename(folder.part(0))
    (folder.results / "x").rename(folder.part(2))
    made_of(folder)
    assert entries(folder) == WHOLE


def test_what_cannot_be_read_is_set_aside_and_named(folder: OutputFolder) -> None:
    """Nothing is deleted, and each loss is one line."""
    folder.part(1).write_bytes(b"PAR1 no more")
    (folder.results / "mine.parquet").write_bytes(folder.calls_part(RUN, 0).read_bytes())
    shutil.copy(folder.calls_part(RUN, 0), folder.calls_part(RUN, 7))
    broken = folder.calls_part(RUN, 8)
    broken.write_bytes(b"PAR1PAR1")
    made = made_of(folder)
    assert len(made.lost) == 6, made.lost
    for words in ("part-00001", "mine.parquet: is no part", "part-00007", "part-00008", "ledger.db: is missing"):
        assert any(words in line for line in made.lost), words
    assert len(list(folder.strays.rglob("*.parquet"))) == 4
    assert read(folder.ledger, "SELECT run, number, rows FROM call_parts") == [(RUN, 0, 12)]


def test_calls_that_are_in_no_file_of_the_book_are_counted(folder: OutputFolder) -> None:
    """The table says how many calls a row had."""
    folder.calls_part(RUN, 0).unlink()
    calls(folder, range(10))
    assert "calls: 2 calls of 2 rows are in no file of the book" in made_of(folder).lost


def test_an_old_ledger_that_is_damaged_in_part_gives_what_it_can(folder: OutputFolder, tmp_path: Path) -> None:
    """A row of nonsense is left out; ids that are held go on."""
    admitted(folder.ledger, 3)
    with closing(apsw.Connection(str(folder.ledger))) as db:
        db.execute("UPDATE pending SET state=1, outcome=x'c1c1' WHERE work=1")
        held = "INSERT INTO held VALUES('r99', '', x'00', 'task-1', 'http://x', 'pm-1', 0, 5)"
        db.execute(held)
    made = made_of(folder)
    assert any("table pending is damaged" in line for line in made.lost)
    assert made.kept.accepted == 1
    assert read(folder.ledger, "SELECT task FROM held") == [("task-1",)]
    assert [path.name.partition("-")[0] for path in folder.strays.glob("*.db")] == ["ledger"]


@pytest.mark.parametrize("damaged", ENTRIES.tables)
def test_a_level_of_the_index_that_is_damaged_takes_nothing_from_the_others(folder: OutputFolder, damaged: str) -> None:
    """Places of rows that have left the table for a while, one in each level, and one in all of them."""
    with closing(connect(folder.ledger)) as db:
        for level, table in enumerate(ENTRIES.tables, 1):
            put = f"INSERT INTO {table}(row_id, variant, row_number, part) VALUES(?, '', ?, ?)"
            db.executemany(put, [(f"only-{level}", 20 + level, 4), ("all", 30 + level, 5)])
        page = int(db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (damaged,)).get)
        size = int(db.pragma("page_size"))
    with folder.ledger.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    made = made_of(folder)
    newest = 2 if damaged == ENTRIES.newest else 1
    left = [(f"only-{level}", 20 + level, 4, None) for level in (1, 2, 3) if ENTRIES.tables[level - 1] != damaged]
    assert entries(folder) == [*WHOLE, *left, ("all", 30 + newest, 5, None)]
    (told,) = (line for line in made.lost if "a part of its table" in line)
    assert f"table {damaged} is damaged and lost" in told


def test_rows_that_an_old_ledger_had_admitted_and_never_sent_keep_their_places(folder: OutputFolder) -> None:
    """Ours: they are planned again, and go where they would have gone."""
    admitted(folder.ledger, 2, range_number=3, part=3, first=12)
    made = made_of(folder)
    assert made.kept.places == 2
    assert entries(folder) == [*WHOLE, ("row-12", 12, 3, None), ("row-13", 13, 3, None)]
    assert read(folder.ledger, "SELECT count(*) FROM pending") == [(0,)]


def test_a_folder_with_nothing_in_it_is_no_output_folder(tmp_path: Path) -> None:
    """Nothing is made there."""
    with pytest.raises(OutputError, match="is no output folder"):
        made_of(OutputFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_cannot_be_opened_now_is_not_taken_for_damaged(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 41. With too few open files a whole ledger was put aside, and with it what was bought and not published."""
    rebuild(folder, 1)
    before = folder.ledger.read_bytes()

    def refuse(path: Path) -> apsw.Connection:
        try:
            raise apsw.CantOpenError("unable to open database file")
        except apsw.Error as exc:
            raise StorageError(f"{path}: the ledger cannot be opened") from exc

    monkeypatch.setattr("batch.output.salvage.connect", refuse)
    with pytest.raises(StorageError, match=r"cannot be made again: unable to open .* nothing was taken away"):
        rebuild(folder, 2)
    assert folder.ledger.read_bytes() == before


def test_a_ledger_of_a_newer_version_is_not_taken_for_damaged(folder: OutputFolder) -> None:
    """Its tasks and batches would be bought again, although a newer promptmill knows them."""
    rebuild(folder, 1)
    with closing(connect(folder.ledger)) as db:
        db.pragma("user_version", SCHEMA_VERSION + 1)
    before = folder.ledger.read_bytes()
    with pytest.raises(OutputError, match=r"/ledger.db: was made by a newer promptmill .* are paid for"):
        rebuild(folder, 2)
    assert folder.ledger.read_bytes() == before


def test_no_more_open_files_are_no_full_disk_for_a_rebuild(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 41: "Too many open files. Free space or mend the disk"."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("batch.output.salvage.copy", refuse)
    with pytest.raises(StorageError, match="files that may be open") as caught:
        rebuild(folder, 1)
    assert "space" not in str(caught.value)
