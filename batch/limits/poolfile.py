"""The file of a shared budget: its lock, its members, and where it cannot be had.

Owns the files of one pool in the state folder, and who is still alive: each member holds a lock of its own for as long
as its process lives, stopped ones included, and the system takes it away from one that is killed at any moment. The
file is replaced whole, and never synced: after a crash of the machine nothing in it is true any more. It does not know
what a budget is; that is `pool`.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

from batch.core.clock import MICROSECONDS

FOLDER: Final = "limits"
OLD_S: Final = 30 * 24 * 3_600.0
"""A pool that nobody visited for so long is taken away."""
_SALT: Final = "salt"
_OURS_ALONE: Final = 0o600
_REMOTE: Final = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse", "gpfs", "beegfs",
        "wekafs", "panfs", "pvfs2", "gfs2", "ocfs2", "virtiofs", "vboxsf", "prl_fs",
    }
)  # fmt: skip
_MOUNTS: Final = Path("/proc/self/mountinfo")
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """What tells this start of the machine from others; empty where the system does not say it."""
    with suppress(OSError):
        return _BOOT.read_text(encoding="ascii").strip()
    return ""


def remote(folder: Path, mounts: str | None = None) -> str | None:
    """The kind of file system of a folder that lies on another machine; None of a local one.

    Times of one machine mean nothing on another, so a budget in such a folder could be used twice.

    Args:
        folder: it need not exist yet.
        mounts: what the system has mounted where; None asks it.
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
    path, found, longest = os.path.realpath(folder), "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or not kinds:
            continue
        point = fields[4].replace("\\040", " ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:
            found, longest = kinds[0], len(point)
    return found if found.partition(".")[0] in _REMOTE else None


class PoolFile:
    """The files of one pool, seen by one member.

    Args:
        folder: of all pools of this user.
        parts: what the pool is of, the hash of a key among them; it decides the name, and cannot be read from it.
        member: a name that no other member has.
        now_us: wall time in microseconds, UTC.

    Attributes:
        taken_away: somebody removed the files while this member used them, and they were made anew; whoever knows what
            that means for what stood in them sets it back.

    Raises:
        OSError: the folder or a file in it cannot be made or locked.
    """

    def __init__(self, folder: Path, parts: tuple[str, ...], member: str, *, now_us: int) -> None:
        self._folder = folder
        self._parts = parts
        self.member = member
        self.taken_away = False
        self._lock: int | None = None
        self._alive: int | None = None
        self._make()
        _tidy(folder, now_us / MICROSECONDS - OLD_S)

    def _make(self) -> None:
        """Make what is not there: the folder, the secret of its names, and the file that says this member is alive."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = "\0".join(self._parts).encode("utf-8", "surrogatepass")
        self._name = blake2b(data, digest_size=16, key=_salt(self._folder)).hexdigest()
        self._path = self._folder / f"{self._name}.json"
        self._lock_path = self._folder / f"{self._name}.lock"
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None
        self._alive = os.open(self._member_path(self.member), os.O_RDWR | os.O_CREAT, _OURS_ALONE)
        fcntl.flock(self._alive, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the lock of the file; False where somebody else holds it just now, and nothing may be done.

        Raises:
            OSError: it cannot be locked at all.
        """
        handle = self._locked()
        try:
            yield handle is not None
        finally:
            if handle is not None:
                fcntl.flock(handle, fcntl.LOCK_UN)

    def _locked(self) -> int | None:
        for _ in range(3):
            if self._lock is None:
                self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, _OURS_ALONE)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._is_lock():
                    return None
            # One that was taken away, as old or by a person, is no lock any more: others make a new one.
            if self._is_lock():
                return self._lock
            os.close(self._lock)
            self._lock = None
            if not self._member_path(self.member).exists():
                self._make()
                self.taken_away = True
        return None

    def take_over(self) -> None:
        """Make the lock void that another process holds, stopped with it in its hands; what it writes later is dropped.

        Raises:
            OSError: the folder cannot be changed.
        """
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of several that wait, one makes the new lock
            if self._is_lock():
                self._lock_path.unlink()
        except BlockingIOError:
            pass  # somebody else is at it
        finally:
            os.close(folder)

    def _is_lock(self) -> bool:
        """Whether the lock file is the one that this member has open, and no newer one."""
        with suppress(FileNotFoundError):
            return self._lock is not None and self._lock_path.stat().st_ino == os.fstat(self._lock).st_ino
        return False

    def read(self) -> bytes | None:
        """What is in the file; None when there is none.

        Raises:
            OSError: it cannot be read.
        """
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, data: bytes) -> None:
        """Replace the file; call it while holding the lock. Nothing happens when that was made void meanwhile.

        Raises:
            OSError: the disk refused; the old file is still there.
        """
        hidden = self._folder / f".{self._name}.tmp"
        handle = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OURS_ALONE)
        try:
            if os.write(handle, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)
        if self._is_lock():
            hidden.replace(self._path)

    def is_alive(self, member: str) -> bool:
        """Whether the process of a member is there; what a dead one left is cleared away."""
        if member == self.member:
            return True
        path = self._member_path(member)
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(handle)
        return False

    def close(self) -> None:
        """Be a member no more; a second time is harmless."""
        if self._alive is not None:
            with suppress(OSError):
                self._member_path(self.member).unlink(missing_ok=True)
            os.close(self._alive)
            self._alive = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _member_path(self, member: str) -> Path:
        return self._folder / f"{self._name}.{member}.member"


def _salt(folder: Path) -> bytes:
    """What the names of pools are made with, so that nobody can find out from one which key it is of."""
    path = folder / _SALT
    for _ in range(2):
        with suppress(FileNotFoundError):
            if len(salt := path.read_bytes()) >= 16:
                return salt[:64]
        hidden = folder / f".{_SALT}.{os.getpid()}.{os.urandom(4).hex()}"
        handle = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OURS_ALONE)
        try:
            os.write(handle, os.urandom(32))
        finally:
            os.close(handle)
        try:
            os.link(hidden, path)  # whole or not at all, and only for the first who comes
        except FileExistsError:
            if path.stat().st_size < 16:
                hidden.replace(path)
        finally:
            hidden.unlink(missing_ok=True)
    return path.read_bytes()[:64]


def _tidy(folder: Path, before: float) -> None:
    for path in folder.glob("*.json"):
        with suppress(OSError):
            if path.stat().st_mtime < before:
                for ending in (".json", ".lock"):
                    path.with_suffix(ending).unlink(missing_ok=True)
