"""A disk that can be told to fail: counts every operation under one folder, and refuses or loses power at the k-th.

Production code knows nothing of it. `under` puts it below everything this process does: an apsw VFS (`vfs`) below the
ledger, and below all other files the few functions of `os` and `io` that change a file or a name (`files`). Memory maps
and Arrow's own reads go past it; they only read.

A power cut keeps what had been synced, and of the rest as much or as little as a real disk may: see `shadow`.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

Kind = Literal[
    "ledger.open",
    "ledger.write",
    "ledger.sync",
    "ledger.truncate",
    "ledger.delete",
    "ledger.lock",
    "ledger.read",
    "file.open",
    "file.write",
    "file.sync",
    "file.rename",
    "file.remove",
    "file.folder",
    "file.sync_folder",
]
How = Literal["once", "for_ever", "cut", "torn_cut"]
"""`cut`: power is lost and nothing that was not synced survives. `torn_cut`: some of it does, in any order, torn."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
NEEDS_ROOM: Final[frozenset[Kind]] = frozenset(
    {"ledger.open", "ledger.write", "file.open", "file.write", "file.folder"}
)
"""What a full disk refuses; it still renames, removes and syncs what is there."""
READS: Final[frozenset[Kind]] = frozenset({"ledger.read", "ledger.lock"})


@dataclass(frozen=True)
class Fault:
    """The `at`-th operation of a kind is refused with `error`; `short`: half of a write's bytes get through first."""

    kind: Kind
    at: int
    how: How = "once"
    error: int = errno.EIO
    short: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.at} {self.how} {errno.errorcode[self.error]}{' short' if self.short else ''}"


class Disk:
    """The disk under one folder. Counts, and fails as told; several threads use it."""

    def __init__(self, root: Path, fault: Fault | None = None, *, room: int | None = None) -> None:
        self.root = str(root)
        self.fault = fault
        self.room = room
        """Bytes that may still be written to files other than the ledger's shared memory; None is plenty."""
        self.passed: Counter[Kind] = Counter()
        self.struck: list[str] = []
        """Each operation that was refused, with its path."""
        self.lock = threading.RLock()
        self.on_cut: Callable[[], None] = lambda: None
        self.is_cut = False

    def holds(self, path: object) -> bool:
        """Whether a path lies on this disk."""
        try:
            text = os.fspath(path)  # type: ignore[call-overload]  # that is the question
        except TypeError:
            return False
        return isinstance(text, str) and (text == self.root or text.startswith(f"{self.root}/"))

    def strikes(self, kind: Kind, path: object, size: int = 0) -> int:
        """Pass one operation; the errno it fails with, 0 when it goes through."""
        with self.lock:
            self.passed[kind] += 1
            error = self._error(kind) or self._too_full(kind, size)
            if error:
                self.struck.append(f"{kind} {path}")
            return error

    def _error(self, kind: Kind) -> int:
        fault = self.fault
        if fault is None:
            return 0
        if self.is_cut:
            return 0 if kind in READS else errno.EIO
        count = self.passed[fault.kind]
        now = kind == fault.kind and count == fault.at
        if fault.how in ("cut", "torn_cut"):
            if not now:
                return 0
            self.is_cut = True
            self.on_cut()
            return errno.EIO
        if fault.how == "once" or count < fault.at or now:
            return fault.error if now else 0
        if fault.kind in READS:
            return fault.error if kind == fault.kind else 0
        later = kind in NEEDS_ROOM if fault.error == errno.ENOSPC else kind not in READS
        return fault.error if later else 0

    def _too_full(self, kind: Kind, size: int) -> int:
        if self.room is None or kind not in NEEDS_ROOM:
            return 0
        if size > self.room:
            return errno.ENOSPC
        self.room -= size
        return 0

    def check(self, kind: Kind, path: object) -> None:
        """Pass one operation of the file layer.

        Raises:
            OSError: it is refused.
        """
        if error := self.strikes(kind, path):
            raise OSError(error, os.strerror(error), str(path))

    @property
    def short(self) -> bool:
        """Whether half of a refused write gets through."""
        return self.fault is not None and self.fault.short and not self.is_cut


@contextmanager
def under(disk: Disk) -> Iterator[Disk]:
    """Put the disk below the ledger and the file layer of this process."""
    from tests.system.faults import files, shadow, vfs

    survivor = shadow.Shadow(disk) if disk.fault is not None and disk.fault.how in ("cut", "torn_cut") else None
    if survivor is not None:
        disk.on_cut = survivor.cut
    with vfs.below(disk, survivor), files.below(disk, survivor):
        yield disk
