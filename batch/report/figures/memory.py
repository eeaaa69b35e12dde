"""Remembers what was found in each file of a table, as long as it is the same file.

What is found in one file is small; the oldest answers go when there are too many. When two looks see the same file is
`identity`'s.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import pyarrow as pa

from batch.output.unreadable import unreadable
from batch.report.identity import Identity, identity

T = TypeVar("T")
MOST: Final = 20_000
"""Answers that are kept."""


class FileMemory:
    """Answers by file and question. It may be asked by several threads at once.

    Args:
        most: answers that are kept.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Identity, Any]] = OrderedDict()

    def of(self, path: Path, question: Hashable, find: Callable[[Path], T]) -> T:
        """What `find` says of a file; it is asked once for each file and question.

        Args:
            path: the file.
            question: what is asked; the same `find` always has the same.
            find: reads the file.

        Raises:
            StorageError: the file cannot be read.
        """
        try:
            seen = identity(path)
            if (kept := self.known(path, question, seen)) is not None:
                return cast("T", kept[0])
            found = find(path)
            if identity(path) == seen:  # else it was replaced meanwhile, and the next to ask reads the new one
                self.keep(path, question, seen, found)
        except (OSError, pa.ArrowException) as exc:
            raise unreadable(path, exc) from exc
        return found

    def known(self, path: Path, question: Hashable, seen: Identity) -> tuple[Any] | None:
        """The answer that is remembered of this very file, alone in a tuple; None when there is none.

        Args:
            path: the file.
            question: what is asked.
            seen: the identity of the file now.
        """
        with self._lock:
            kept = self._kept.get((path, question))
            if kept is None or kept[0] != seen:
                return None
            self._kept.move_to_end((path, question))
            return (kept[1],)

    def keep(self, path: Path, question: Hashable, seen: Identity, answer: object) -> None:
        """Remember an answer.

        Args:
            path: the file.
            question: what was asked.
            seen: the identity of the file that was read.
            answer: what was found.
        """
        with self._lock:
            self._kept[path, question] = (seen, answer)
            self._kept.move_to_end((path, question))
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def known_now(self, path: Path, question: Hashable) -> tuple[Any] | None:
        """The answer that is remembered of the file as it is now, alone in a tuple; None when there is none.

        Args:
            path: the file.
            question: what is asked.
        """
        with self._lock:
            if (path, question) not in self._kept:
                return None
        with suppress(OSError):
            return self.known(path, question, identity(path))
        return None
