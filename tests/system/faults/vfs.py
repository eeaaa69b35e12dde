"""The faulty disk as SQLite sees it: a VFS over the system's own, which becomes the default for as long as it stands."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import apsw

from tests.support.ledgers import SYSTEM, without_sums

if TYPE_CHECKING:
    from tests.system.faults.disk import Disk, Kind
    from tests.system.faults.shadow import Shadow

NAME: Final = "faulty-disk"
_CODES: Final[dict[Kind, int]] = {
    "ledger.open": apsw.SQLITE_CANTOPEN,
    "ledger.write": apsw.SQLITE_IOERR_WRITE,
    "ledger.sync": apsw.SQLITE_IOERR_FSYNC,
    "ledger.truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "ledger.delete": apsw.SQLITE_IOERR_DELETE,
    "ledger.lock": apsw.SQLITE_IOERR_LOCK,
    "ledger.read": apsw.SQLITE_IOERR_READ,
}
_TEXTS: Final = {
    apsw.SQLITE_FULL: "database or disk is full",
    apsw.SQLITE_IOERR: "disk I/O error",
    apsw.SQLITE_CANTOPEN: "unable to open database file",
}


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk, shadow: Shadow | None) -> None:
        self.disk = disk
        self.shadow = shadow
        self.base = SYSTEM
        super().__init__(NAME, self.base, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or not self.disk.holds(path):
            return apsw.VFSFile(self.base, name, flags)
        pass_one(self.disk, "ledger.open", path)
        with self.disk.lock:
            opened = _File(self, path, name, flags)
            if self.shadow is not None:
                self.shadow.opened(path)
        return opened

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        held = self.disk.holds(filename)
        if held:
            pass_one(self.disk, "ledger.delete", filename)
        with self.disk.lock:
            super().xDelete(filename, syncdir)
            if held and self.shadow is not None:
                self.shadow.removed(filename, synced=syncdir)


class _File(apsw.VFSFile):
    def __init__(self, vfs: _Vfs, path: str, name: Any, flags: list[int]) -> None:
        self._disk, self._shadow, self._path = vfs.disk, vfs.shadow, path
        super().__init__(vfs.base, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        data = bytes(data)
        error = self._disk.strikes("ledger.write", self._path, len(data))
        if error and not self._disk.short:
            raise _refusal("ledger.write", error)
        with self._disk.lock:
            written = data[: len(data) // 2] if error else data
            super().xWrite(written, offset)
            if self._shadow is not None:
                self._shadow.wrote(self._path, offset, written)
        if error:
            raise _refusal("ledger.write", error)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        pass_one(self._disk, "ledger.truncate", self._path)
        with self._disk.lock:
            super().xTruncate(newsize)
            if self._shadow is not None:
                self._shadow.truncated(self._path, newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        pass_one(self._disk, "ledger.sync", self._path)
        with self._disk.lock:
            # The machine goes on, so the real sync, which is slow, is left out.
            if self._shadow is not None:
                self._shadow.ledger_synced(self._path)

    def xLock(self, level: int) -> None:  # noqa: N802 - SQLite's name
        pass_one(self._disk, "ledger.lock", self._path)
        try:
            super().xLock(level)
        except apsw.IOError:
            # A reader that is the last to close asks for a lock it cannot have. SQLite makes nothing of the refusal,
            # but as a Python exception it would come out of `close`.
            raise apsw.BusyError from None

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's name
        pass_one(self._disk, "ledger.read", self._path)
        return super().xRead(amount, offset)


def pass_one(disk: Disk, kind: Kind, path: str) -> None:
    if error := disk.strikes(kind, path):
        raise _refusal(kind, error)


def _refusal(kind: Kind, error: int) -> Exception:
    code = apsw.SQLITE_FULL if error == errno.ENOSPC and kind == "ledger.write" else _CODES[kind]
    refusal: Any = apsw.exception_for(code)
    refusal.extendedresult = code
    refusal.args = (_TEXTS[code & 0xFF],)  # as SQLite says it when its own VFS is refused
    assert isinstance(refusal, apsw.Error)
    return refusal


@contextmanager
def below(disk: Disk, shadow: Shadow | None) -> Iterator[None]:
    """Every database opened inside and lying on the disk goes through it, without sums on its pages."""
    with without_sums():
        made = _Vfs(disk, shadow)
        try:
            yield
        finally:
            made.unregister()
