"""Files of a table or of the book that the ledger names and nobody can read: lost, cut short, or no Parquet any more.

Owns what is said of them. Figures go on without such a file and say so: what is there is told all the same, and nobody
takes it for the whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import pyarrow as pa

from batch.core.errors import StorageError
from batch.output.folder import OutputFolder, holder
from batch.report.folders import unreadable

T = TypeVar("T")

MOST_NAMED: Final = 3
MAGIC: Final = b"PAR1"
"""How a Parquet file begins and ends."""


class Missing(msgspec.Struct, frozen=True):
    """A file that cannot be read."""

    path: str
    """In the output folder: `results/part-00001.parquet`."""
    reason: str
    """Why, and what to do."""

    @property
    def of_book(self) -> bool:
        """Whether it is a file of the book of calls, and no part of the table."""
        return self.path.startswith("calls/")


def missing(root: Path, file: Path, why: StorageError) -> Missing:
    """What is told of a file.

    Args:
        root: the output folder.
        file: the file.
        why: as `folders.unreadable` words it.
    """
    return Missing(str(file.relative_to(root)) if file.is_relative_to(root) else str(file), str(why))


class Reading:
    """Reads files one after the other, and goes on behind one that cannot be read, which is noted.

    Args:
        root: the output folder of the files.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lost: dict[Path, Missing] = {}

    @property
    def missing(self) -> tuple[Missing, ...]:
        """The files that could not be read to their end, by their names."""
        return tuple(self._lost[file] for file in sorted(self._lost))

    def each(self, files: Iterable[Path], read: Callable[[Path], Iterable[T]]) -> Iterator[T]:
        """What stands in these files; of one that breaks off, what stands before that.

        Args:
            files: in the order in which they are read.
            read: gives what one file has, and raises `StorageError` where it cannot be read on.
        """
        for file in files:
            try:
                yield from read(file)
            except StorageError as exc:
                self._lost[file] = missing(self._root, file, exc)

    def newest(self, files: Sequence[Path], read: Callable[[Path], T]) -> T:
        """What is read of the last of these files that can be read.

        Args:
            files: at least one.
            read: as in `each`, for one value.

        Raises:
            StorageError: none of them can be read.
        """
        for file in reversed(files):
            try:
                return read(file)
            except StorageError as exc:
                self._lost[file] = missing(self._root, file, exc)
        raise StorageError(self._lost[files[-1]].reason)


def opening(folder: OutputFolder, files: Sequence[Path]) -> tuple[list[Path], tuple[Missing, ...]]:
    """Those of some files that are there as whole Parquet files, and the others; no page of them is read.

    Args:
        folder: of the files. While a run is at work in it none is looked at: it replaces files.
        files: all of them.
    """
    if holder(folder) is not None:
        return list(files), ()
    there, lost = [], []
    for file in files:
        try:
            with file.open("rb") as opened:
                begin = opened.read(4)
                opened.seek(-4, os.SEEK_END)
                if begin != MAGIC or opened.read() != MAGIC:
                    raise OSError("it is cut short, or no Parquet file any more")  # noqa: TRY301 - told as the system's
            there.append(file)
        except OSError as exc:
            lost.append(missing(folder.root, file, unreadable(file, exc)))
    return there, tuple(lost)


def without_lost(
    root: Path, files: Sequence[Path], read: Callable[[Sequence[Path]], T]
) -> tuple[T, tuple[Missing, ...]]:
    """What stands in those of some files that can be read, and those that cannot.

    Args:
        root: the output folder.
        files: all of them.
        read: finds in some of the files what is asked for.

    Raises:
        StorageError: a file that could be read a moment ago cannot be read any more.
    """
    try:
        return read(files), ()
    except (OSError, pa.ArrowException):
        pass
    there, lost = [], []
    for file in files:
        try:
            read([file])
            there.append(file)
        except (OSError, pa.ArrowException) as exc:
            lost.append(missing(root, file, unreadable(file, exc)))
    try:
        return read(there), tuple(lost)
    except (OSError, pa.ArrowException) as exc:
        raise StorageError(f"{root}: files of it were replaced while they were read: {exc}. Ask again.") from exc


def warning(files: Sequence[Missing], figures: str) -> str:
    """What is said beside figures that lack some files; empty where they lack none.

    Args:
        files: those that cannot be read.
        figures: what is incomplete without them.
    """
    if not files:
        return ""
    told = f"incomplete: {figures} are of what can be read"
    if len(files) > 1:
        rest = f" and {len(files) - MOST_NAMED:,} more" if len(files) > MOST_NAMED else ""
        told += f"; {len(files):,} files cannot: {', '.join(one.path for one in files[:MOST_NAMED])}{rest}"
    return f"{told}. {files[0].reason}"
