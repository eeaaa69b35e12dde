"""Remembers what was found in each file of a table, as long as it is the same file.

Owns when two looks see the same file: a run at work replaces parts whole, by rename, so inode, size and time tell. What
is found in one file is small; the oldest answers go when there are too many.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa

from batch.report.folders import unreadable

T = TypeVar("T")
MOST: Final = 20_000
"""Answers that are kept."""


def identity(path: Path) -> tuple[int, int, int]:
    """What tells this file from another of its name.

    Raises:
        OSError: it is gone.
    """
    found = path.stat()
    return (found.st_ino, found.st_size, found.st_mtime_ns)


class FileMemory:
    """Answers by file and question. It may be asked by several threads at once.

    Args:
        most: answers that are kept.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[tuple[int, int, int], Any]] = OrderedDict()

    def of(self, path: Path, question: Hashable, find: Callable[[Path], T]) -> T:
        """What `find` says of a file; it is asked once for each file and question.

        Args:
            path: the file.
            question: what is asked; the same `find` always has the same.
            find: reads the file.

        Raises:
            StorageError: the file cannot be read.
        """
        key = (path, question)
        try:
            seen = identity(path)
            if (kept := self._known(key, seen)) is not None:
                return kept[0]
            found = find(path)
            if identity(path) == seen:  # else it was replaced meanwhile, and the next to ask reads the new one
                self._keep(key, seen, found)
        except (OSError, pa.ArrowException) as exc:
            raise unreadable(path, exc) from exc
        return found

    def _known(self, key: Hashable, seen: tuple[int, int, int]) -> tuple[Any] | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept[0] != seen:
                return None
            self._kept.move_to_end(key)
            return (kept[1],)

    def _keep(self, key: Hashable, seen: tuple[int, int, int], found: object) -> None:
        with self._lock:
            self._kept[key] = (seen, found)
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
