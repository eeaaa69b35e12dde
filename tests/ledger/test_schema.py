"""`batch.ledger.schema`: a ledger is made whole or not at all, and what is not ours is left alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from batch.core.errors import OutputError, StorageError
from batch.ledger.schema import APPLICATION_ID, SCHEMA_VERSION, connect
from tests.support.ledgers import admit, admitted, count, disk


def test_a_new_ledger_is_durable_before_anything_else(tmp_path: Path) -> None:
    """WAL, synchronous=FULL, our application id, so that `file` knows whose database it is."""
    path = tmp_path / "ledger.db"
    with closing(connect(path)) as db:
        assert db.pragma("journal_mode") == "wal"
        assert db.pragma("synchronous") == 2
        assert db.pragma("application_id") == APPLICATION_ID
        assert db.pragma("user_version") == SCHEMA_VERSION
        admit(db, 3)
    with closing(connect(path)) as db:
        assert next(db.execute("SELECT count(*) FROM pending")) == (3,)


def foreign(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as db:
        db.execute("CREATE TABLE mine(x)")


def newer(path: Path) -> None:
    with closing(connect(path)) as db:
        db.pragma("user_version", SCHEMA_VERSION + 1)


def noise(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(10_000))


def folder(path: Path) -> None:
    path.mkdir()


def cut(path: Path) -> None:
    admitted(path, 2_000)
    with path.open("r+b") as file:
        file.truncate(5_000)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (foreign, OutputError, "not a ledger of promptmill"),
        (newer, OutputError, "newer promptmill"),
        (noise, StorageError, "is damaged: .*promptmill rebuild"),
        (folder, StorageError, "cannot be opened"),
        (cut, StorageError, "is damaged: .*promptmill rebuild"),
    ],
)
def test_a_file_that_is_no_ledger_of_ours_is_refused_untouched(
    tmp_path: Path, make: Callable[[Path], None], error: type[Exception], text: str
) -> None:
    """Another program's database must not get our tables; a newer one's must not be written by us."""
    path = tmp_path / "ledger.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(error, match=text) as caught:
        connect(path)
    assert str(path) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    """What a kill in the first moment of the first run leaves."""
    path = tmp_path / "ledger.db"
    path.touch()
    with closing(connect(path)) as db:
        admit(db, 1)
    assert count(path, "pending") == 1


def test_a_ledger_on_a_full_disk_is_not_half_made(tmp_path: Path) -> None:
    """Wherever the disk refuses, the next opening makes it whole."""
    for fail_at in range(1, 150):
        path = tmp_path / f"{fail_at}.db"
        with disk() as under:
            under.breaks(fail_at, for_ever=True)
            try:
                db = connect(path)
                under.mended()
                db.close()
            except StorageError as exc:
                assert exc.exit_code == 5
        with closing(connect(path)) as db:
            admit(db, 1)
        if not under.failed:
            return
    pytest.fail("opening a ledger takes that many writes")
