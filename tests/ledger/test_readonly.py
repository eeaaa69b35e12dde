"""`batch.ledger.readonly`: a ledger can be read where nothing may be written, whatever a kill left beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from batch.ledger import readonly

ROOT = Path(__file__).resolve().parents[2]
READ = """
import os, sys
from pathlib import Path
from batch.ledger import readonly
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for path in map(Path, sys.argv[1:]):
    db = readonly.connect(path)
    print(db.execute("SELECT count(*) FROM numbers").get)
    db.close()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        for root, _, _ in os.walk(name):
            Path(root).chmod(0o755)


def ledger(folder: Path, *, log: bool, index: bool = True) -> Path:
    """A database with a hundred numbers in it; with `log`, as a kill leaves it: all of them stand there alone."""
    copy = folder / ("log" if log else "clean") / "ledger.db"
    working = folder / f"{copy.parent.name}.db"
    copy.parent.mkdir()
    db = apsw.Connection(str(working))
    db.pragma("journal_mode", "wal")
    db.pragma("wal_autocheckpoint", 0)
    db.execute("CREATE TABLE numbers(n)")
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    db.executemany("INSERT INTO numbers VALUES(?)", [(n,) for n in range(100)])
    if not log:
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    for ending in ("", *(("-wal",) if log else ()), *(("-shm",) if log and index else ())):
        shutil.copy(f"{working}{ending}", f"{copy}{ending}")
    db.close()
    for path in copy.parent.iterdir():
        path.chmod(0o444)
    copy.parent.chmod(0o555)
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("index", [True, False])
def test_a_ledger_is_read_where_nothing_may_be_written(index: bool, folder: Path) -> None:
    """FIELD 45. What stands in its log alone, too, with the log's index or without; and nothing is left behind."""
    paths = [ledger(folder, log=False), ledger(folder, log=True, index=index)]
    before = sorted(folder.rglob("*"))
    command = [sys.executable, "-c", READ, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["100", "100"]), done.stderr
    assert sorted(folder.rglob("*")) == before


def test_a_ledger_that_may_be_written_is_read_beside_its_writer(tmp_path: Path) -> None:
    """FIELD 45. The usual way stays the usual way: what is committed meanwhile is seen."""
    db = apsw.Connection(str(tmp_path / "ledger.db"))
    db.pragma("journal_mode", "wal")
    db.execute("CREATE TABLE numbers(n)")
    reader = readonly.connect(tmp_path / "ledger.db")
    db.execute("INSERT INTO numbers VALUES(1)")
    assert reader.execute("SELECT n FROM numbers").get == 1
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM numbers")
    reader.close()
    db.close()


def test_a_file_that_is_no_database_is_left_to_its_reader(tmp_path: Path) -> None:
    """FIELD 45. It knows what to say of it."""
    (tmp_path / "ledger.db").write_bytes(b"no database at all, not even nearly one, but long enough" * 100)
    db = readonly.connect(tmp_path / "ledger.db")
    with pytest.raises(apsw.NotADBError):
        db.execute("SELECT 1 FROM numbers")
    db.close()
