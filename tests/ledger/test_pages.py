"""`batch.ledger.pages`: whatever bit of a ledger is flipped, it is told, and nothing is read from there."""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from batch.core.errors import StorageError
from batch.ledger import pages, wal
from batch.ledger.reader import LedgerReader
from batch.ledger.schema import connect, mark_closed
from tests.support.ledgers import admit, admitted, count, without_sums


def closed(path: Path, rows: int) -> Path:
    """A ledger with so many admitted rows that was closed cleanly, all of it in one file."""
    with closing(connect(path)) as db:
        admit(db, rows)
        mark_closed(db)
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    return path


def flip(path: Path, place: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))


def test_a_bit_flipped_anywhere_in_a_ledger_is_told(tmp_path: Path) -> None:
    """FIELD 2. Without sums nine of ten were not, and the rows whose keys they changed were bought again."""
    whole = closed(tmp_path / "whole.db", 400)
    copy, size, chance = tmp_path / "ledger.db", whole.stat().st_size, random.Random(1)
    assert wal.why_not_trusted(whole) is None
    for _ in range(120):
        shutil.copy(whole, copy)
        place = chance.randrange(100, size)  # before that, SQLite's own header: numbers that it checks or ignores
        flip(copy, place, chance.randrange(8))
        assert wal.why_not_trusted(copy) is not None, place


def test_a_damaged_page_that_is_met_later_names_the_way_out(tmp_path: Path) -> None:
    """FIELD 2. A ledger too large to look at all of it at each start says so when it comes to the page."""
    path = closed(tmp_path / "ledger.db", 2_000)
    with closing(connect(path)) as db:
        offset = db.execute("SELECT max(pgoffset) FROM dbstat WHERE name = 'pending' AND pagetype = 'leaf'").get
    flip(path, offset + 2_000, 4)
    with (
        pytest.raises(StorageError, match="is not as it was written.*promptmill rebuild"),
        LedgerReader(path) as reader,
    ):
        list(reader._rows("SELECT * FROM pending NOT INDEXED"))


def test_a_ledger_without_sums_goes_on_without(tmp_path: Path) -> None:
    """As older versions made them."""
    path = tmp_path / "ledger.db"
    with without_sums():
        closed(path, 3)
    with closing(connect(path)) as db:
        admit(db, 2, range_number=1, first=3)
    assert wal.why_not_trusted(path) is None
    assert count(path, "pending") == 5


def test_sums_are_written_by_this_installation(tmp_path: Path) -> None:
    """The extension comes with apsw; without it the tests above could not fail."""
    assert pages.load_checksums()
    assert admitted(tmp_path / "ledger.db", 1).read_bytes()[20] == 8, "bytes that are kept free in each page"
