"""`batch.ledger.wal`: a log that is lost, cut, damaged or another file's is told before anything opens it."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import anyio
import apsw
import pytest

from batch.core.errors import StorageError
from batch.ledger.schema import connect, mark_closed, mark_open
from batch.ledger.wal import _Steps, _sums, follows, header, why_not_trusted
from batch.ledger.writer import Ledger
from tests.support.ledgers import admitted, count

FILES: Final = ("", "-wal", "-shm")


def killed(path: Path, commits: int = 8) -> Path:
    """The same files as a process leaves them that is killed after so many commits."""

    async def work() -> None:
        async with Ledger(path) as ledger:
            for number in range(commits):
                ledger.sent(number, (number, 0, 0), f"pm-{number}", "sync", 1_000 + number)
                await ledger.committed()
            for suffix in FILES:
                shutil.copy(f"{path}{suffix}", f"{path}.left{suffix}")

    anyio.run(work)
    for suffix in FILES:
        Path(f"{path}.left{suffix}").replace(f"{path}{suffix}")
    return path


def log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def closed(path: Path) -> None:
    """A process that works on it and closes it cleanly."""

    async def work() -> None:
        async with Ledger(path) as ledger:
            ledger.sent(1_000, (0, 0, 0), "pm-x", "sync", 1)
            await ledger.committed()

    anyio.run(work)


def test_the_sums_are_those_of_the_file_format() -> None:
    """Both ways to reckon them, over pieces as long as a page with its header."""
    piece = os.urandom(4_104)
    assert _Steps(513).add(piece, (5, 0xFFFFFFFF)) == _sums(memoryview(piece).cast("I"), (5, 0xFFFFFFFF))


@pytest.mark.parametrize("commits", [0, 1, 8])
def test_a_kill_leaves_nothing_to_tell(tmp_path: Path, commits: int) -> None:
    """Neither once nor twice in a row, nor after a look by a reader."""
    path = admitted(tmp_path / "ledger.db", 20)
    for _ in range(3):
        killed(path, commits)
        assert header(path) is not None
        assert why_not_trusted(path) is None
        assert follows(path)
        assert count(path, "calls") == commits
        with closing(connect(path)) as db:
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            db.execute("DELETE FROM calls")


def test_a_kill_of_a_process_that_came_while_somebody_read_leaves_nothing_to_tell(tmp_path: Path) -> None:
    """SQLite counts from 0 how often a log is begun anew when a reader has the log's index open already."""
    path = killed(admitted(tmp_path / "ledger.db", 20))
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as reader:
        assert list(reader.execute("SELECT count(*) FROM calls")) == [(8,)]
        with closing(connect(path)) as db:
            db.execute("DELETE FROM calls")
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        killed(path)
    found = header(path)
    assert found is not None
    assert found.sequence == 1, "the second process did not count from 0: the test shows nothing"
    assert why_not_trusted(path) is None
    assert follows(path)


def test_a_clean_close_leaves_nothing_to_tell(tmp_path: Path) -> None:
    """With a log that is gone, or one that is empty, as a reader leaves it."""
    path = admitted(tmp_path / "ledger.db", 20)
    closed(path)
    assert why_not_trusted(path) is None
    log(path).write_bytes(b"")
    assert why_not_trusted(path) is None


def test_a_kill_at_the_end_of_a_clean_close_leaves_nothing_to_tell(tmp_path: Path) -> None:
    """All is folded in, and the log is not cut short yet."""
    path = admitted(tmp_path / "ledger.db", 20)
    with closing(connect(path)) as db:
        mark_open(db, path, 1)
        mark_closed(db)
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
    assert log(path).stat().st_size > 0
    assert why_not_trusted(path) is None
    killed(path)
    assert why_not_trusted(path) is None


def test_a_ledger_that_broke_keeps_its_log(tmp_path: Path) -> None:
    """SQLite folds a log in and deletes it when the last connection is closed, whatever the mark says."""
    path = admitted(tmp_path / "ledger.db", 20)

    async def work() -> None:
        async with Ledger(path) as ledger:
            ledger.sent(1, (1, 0, 0), "pm-1", "sync", 1)
            await ledger.committed()
            ledger.broken = StorageError("the disk is full")

    anyio.run(work)
    assert why_not_trusted(path) is None
    assert count(path, "calls") == 1


def _without(path: Path) -> None:
    log(path).unlink()


def _empty(path: Path) -> None:
    log(path).write_bytes(b"")


def _cut(path: Path) -> None:
    os.truncate(log(path), log(path).stat().st_size // 2)


def _flipped(path: Path) -> None:
    data = bytearray(log(path).read_bytes())
    data[len(data) // 3] ^= 1
    log(path).write_bytes(data)


def _header_flipped(path: Path) -> None:
    data = bytearray(log(path).read_bytes())
    data[17] ^= 1
    log(path).write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_without, "is lost"),
        (_empty, "is lost"),
        (_cut, "cut or damaged"),
        (_flipped, "cut or damaged"),
        (_header_flipped, "is damaged"),
    ],
)
def test_a_log_that_lost_something_is_told(tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    """SQLite takes each of these for a log in which nothing more was written."""
    path = killed(admitted(tmp_path / "ledger.db", 20))
    damage(path)
    for _ in range(2):
        assert words in str(why_not_trusted(path))


def test_one_of_two_folders_log_is_told(tmp_path: Path) -> None:
    """Two ledgers that were killed, and their logs swapped."""
    first, second = (killed(admitted(tmp_path / name, 20)) for name in ("a.db", "b.db"))
    held = log(first).read_bytes()
    shutil.copy(log(second), log(first))
    log(second).write_bytes(held)
    for path in (first, second):
        assert "not the log of this" in str(why_not_trusted(path))
        assert not follows(path)


def test_an_older_file_under_a_newer_log_is_told(tmp_path: Path) -> None:
    """The log was begun anew since: what it had held before is in the file that was replaced, and there alone."""
    path = admitted(tmp_path / "ledger.db", 20)
    closed(path)
    older = path.read_bytes()
    killed(path, commits=8)
    assert why_not_trusted(path) is None
    path.write_bytes(older)
    assert "not the log of this" in str(why_not_trusted(path))


def test_an_index_that_is_damaged_tells_nothing(tmp_path: Path) -> None:
    """It is a hint, kept by a kill and lost by a copy: without it a whole log is believed."""
    path = killed(admitted(tmp_path / "ledger.db", 20))
    index = path.with_name(f"{path.name}-shm")
    data = bytearray(index.read_bytes())
    data[16:20] = struct.pack("=I", 10_000)
    index.write_bytes(data)
    assert why_not_trusted(path) is None
    index.unlink()
    assert why_not_trusted(path) is None


def test_a_damaged_page_of_a_small_ledger_is_told(tmp_path: Path) -> None:
    """Else the first statement that meets it ends the run in the middle."""
    path = admitted(tmp_path / "ledger.db", 2_000)
    data = bytearray(path.read_bytes())
    for start in range(4_096, len(data), 4_096):
        data[start : start + 8] = b"\xff" * 8
    path.write_bytes(data)
    assert "ledger.db: " in str(why_not_trusted(path))
