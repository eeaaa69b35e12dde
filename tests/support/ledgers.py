"""Ledgers with admitted rows, faulty disks under them, and their tables read by a second connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from batch.ledger import pages
from batch.ledger.schema import connect


def fingerprint(work_id: int) -> bytes:
    return work_id.to_bytes(16, "big")


def admit(db: apsw.Connection, rows: int, *, range_number: int = 0, part: int = 0, first: int = 0) -> None:
    """Rows `first`… as one admitted range; `row_number` and `work` are the same."""
    db.execute("INSERT INTO ranges(range, rows) VALUES(?,?)", (range_number, rows))
    db.executemany(
        "INSERT INTO pending(work, range, idx, row_id, variant, variant_no, row_number, part, fingerprint, state) "
        "VALUES(?,?,?,?,'',0,?,?,?,0)",
        [
            (work_id, range_number, work_id - first, f"row-{work_id}", work_id, part, fingerprint(work_id))
            for work_id in range(first, first + rows)
        ],
    )


def admitted(path: Path, rows: int, **where: int) -> Path:
    """A ledger on disk with so many admitted rows; returns its path."""
    with closing(connect(path)) as db:
        db.execute("BEGIN")
        admit(db, rows, **where)
        db.execute("COMMIT")
    return path


def read(path: Path, statement: str, *bindings: Any) -> list[Any]:
    """All rows of one statement, as another process would see them."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        return list(db.execute(statement, bindings))


def count(path: Path, table: str) -> int:
    return int(read(path, f"SELECT count(*) FROM {table}")[0][0])


SYSTEM = "unix"
"""SQLite's own way to the disk, whatever else this process has on top of it."""


class Disk(apsw.VFS):
    """The system's disk, which refuses its `fail_at`-th write or sync, once or from then on."""

    def __init__(self, name: str) -> None:
        self.operations = 0
        self.fail_at: int | None = None
        self.for_ever = False
        self.failed = 0
        self.base = SYSTEM
        super().__init__(name, self.base, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802 - SQLite's name
        return _File(self, name, flags)

    def breaks(self, fail_at: int, *, for_ever: bool) -> None:
        """Refuse the `fail_at`-th operation from now on."""
        self.operations, self.failed = 0, 0
        self.fail_at, self.for_ever = fail_at, for_ever

    def mended(self) -> None:
        self.fail_at = None

    def pass_one(self, code: int) -> None:
        self.operations += 1
        if self.fail_at is None:
            return
        if self.operations == self.fail_at or (self.for_ever and self.operations > self.fail_at):
            self.failed += 1
            raise apsw.exception_for(code)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(disk.base, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.pass_one(apsw.SQLITE_FULL)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.pass_one(apsw.SQLITE_IOERR_FSYNC)  # the real one is left out: the machine goes on


@contextmanager
def disk(name: str = "test-disk") -> Iterator[Disk]:
    """Every database opened inside lies on this disk, without sums on its pages.

    What gives the pages their sums stands below whatever Python sees of a disk, and cannot be moved.
    """
    with without_sums():
        made = Disk(name)
        try:
            yield made
        finally:
            made.unregister()


@contextmanager
def without_sums() -> Iterator[None]:
    """Ledgers that are made inside have no sums on their pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "load_checksums", lambda: False)
        yield
