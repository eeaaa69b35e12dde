"""`batch.output.removal`: rows leave a part and the index, the others stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.core.errors import StorageError
from batch.core.records import Outcome, Sums
from batch.ledger.schema import connect
from batch.output import integrity, parts, removal, tables
from batch.output.folder import OutputFolder
from batch.output.parts import write_part
from tests.support.ledgers import read
from tests.support.values import outcome

POINTS = ("publish.results_written", "publish.results_named")
INPUTS = pa.schema([("n", pa.int64())])
SCHEMA = tables.result_schema(INPUTS, None)
Execute = Callable[[Callable[[apsw.Connection], None]], None]


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    """Two parts of four rows and their ledger; of the second part rows 4 and 5 failed, 5 with what it asked."""
    made = OutputFolder(tmp_path / "out")
    made.prepare()
    with closing(connect(made.ledger)) as db:
        for part in range(2):
            numbers = list(range(4 * part, 4 * part + 4))
            rows = [
                tables.ResultRow(
                    row_id=f"r{n}", row_number=n, variant=None, run="r", fingerprint=bytes(16), outcome=ended(n)
                )
                for n in numbers
            ]
            inputs = pa.table({"n": numbers}, INPUTS)
            write_part(made.part(part), SCHEMA, [tables.result_batch(SCHEMA, inputs, rows)], points=POINTS)
            db.execute(
                "INSERT INTO parts(part, rows, size, footer) VALUES(?,4,?,?)",
                (part, *parts.footprint(made.part(part))),
            )
            db.executemany(
                "INSERT INTO entries_2 VALUES(?,'',?,?,x'00',?,NULL,NULL)",
                [(f"r{n}", n, part, int(n in (4, 5))) for n in numbers],
            )
    return made


def ended(n: int) -> Outcome:
    if n not in (4, 5):
        return outcome("fine")
    kind, sums = ("input", Sums()) if n == 4 else ("content_filter", Sums(calls=1))
    return outcome(None, status="failed", error_kind=kind, retryable=False, sums=sums)


@pytest.fixture
def execute(folder: OutputFolder) -> Iterator[Execute]:
    """The ledger's, as the writer runs it."""
    with closing(connect(folder.ledger)) as db:

        def run(change: Callable[[apsw.Connection], None]) -> None:
            db.execute("BEGIN IMMEDIATE")
            change(db)
            db.execute("COMMIT")

        yield run


def numbers(folder: OutputFolder, part: int) -> list[int]:
    return pq.read_table(folder.part(part)).column("row_number").to_pylist()  # type: ignore[no-any-return]  # untyped


def known(folder: OutputFolder) -> list[str]:
    return [row[0] for row in read(folder.ledger, "SELECT row_id FROM entries ORDER BY row_number")]


def test_rows_leave_a_part_and_the_index_and_the_folder_belongs_together(
    folder: OutputFolder, execute: Execute
) -> None:
    """FIELD 30. The others keep every value; a row that is not in the part takes nothing with it."""
    before = pq.read_table(folder.part(0)).filter(pa.array([True, False, True, True]))
    assert removal.remove(folder, 0, {("r1", ""), ("r7", ""), ("r2", "other")}, execute) == 1
    assert pq.read_table(folder.part(0)).equals(before)
    assert known(folder) == ["r0", "r2", "r3", "r4", "r5", "r6", "r7"]
    assert read(folder.ledger, "SELECT rows FROM parts ORDER BY part") == [(3,), (4,)]
    assert read(folder.ledger, "SELECT * FROM leaving") == []
    assert integrity.compare(folder) == integrity.Compared()
    written = folder.part(0).stat().st_mtime_ns
    assert removal.remove(folder, 0, {("r1", "")}, execute) == 0
    assert folder.part(0).stat().st_mtime_ns == written


def test_a_part_that_loses_all_its_rows_is_removed(folder: OutputFolder, execute: Execute) -> None:
    """FIELD 30. No empty file stays for every reader to open."""
    assert removal.remove(folder, 0, {(f"r{n}", "") for n in range(4)}, execute) == 4
    assert not folder.part(0).exists()
    assert read(folder.ledger, "SELECT part FROM parts") == [(1,)]
    assert integrity.compare(folder) == integrity.Compared()


def test_only_what_was_never_asked_is_no_row(folder: OutputFolder, execute: Execute) -> None:
    """FIELD 29. A row that failed with what it asked, or has an answer, stays for somebody to look at."""
    assert removal.remove_unasked(folder, 1, {(f"r{n}", "") for n in range(4, 8)}, execute) == 1
    assert numbers(folder, 1) == [5, 6, 7]


@pytest.mark.parametrize("fails", [1, 2])
def test_a_kill_between_two_steps_is_seen_by_the_file(fails: int, folder: OutputFolder, execute: Execute) -> None:
    """FIELD 30. Before the new file has the name nothing left; after it they are gone, and the index learns it."""
    calls = 0

    def dies(change: Callable[[apsw.Connection], None]) -> None:
        nonlocal calls
        calls += 1
        if calls == fails:
            raise KeyboardInterrupt
        execute(change)

    with pytest.raises(KeyboardInterrupt):
        removal.remove(folder, 0, {("r1", "")}, dies)
    compared = integrity.compare(folder)
    execute(compared.transaction())
    left = [0, 2, 3] if fails == 2 else [0, 1, 2, 3]
    assert (compared.leaving, numbers(folder, 0)) == (fails == 2, left)
    assert known(folder)[: len(left)] == [f"r{n}" for n in left]
    assert read(folder.ledger, "SELECT rows FROM parts WHERE part=0") == [(len(left),)]
    assert integrity.compare(folder) == integrity.Compared()


def test_a_part_that_cannot_be_read_stays_and_says_so(folder: OutputFolder, execute: Execute) -> None:
    """FIELD 30. With the way out."""
    folder.part(0).write_bytes(b"PAR1" + bytes(40) + b"PAR1")
    with pytest.raises(StorageError, match="promptmill rebuild"):
        removal.remove(folder, 0, {("r1", "")}, execute)
    assert len(known(folder)) == 8
