"""Files of a table or of the book that the ledger names and nobody can read: lost, damaged, or others by their names.

Owns what is said of them. Figures go on without such a file and say so: what is there is told all the same, and nobody
takes it for the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from batch.core.errors import StorageError
from batch.ledger.published import Footprint, PublishedReader
from batch.output.folder import OutputFolder, holder
from batch.output.parts import footprint
from batch.output.unreadable import UnreadableFile, unreadable
from batch.report.identity import Identity, identity

T = TypeVar("T")

MOST_NAMED: Final = 3
_REMEMBERED: Final = 20_000


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


def by_name(*lost: Missing) -> tuple[Missing, ...]:
    """Each of these files once: those of the table, then those of the book."""
    return tuple(sorted({one.path: one for one in lost}.values(), key=lambda one: (one.of_book, one.path)))


class Reading:
    """Reads files one after the other, and goes on behind one that cannot be read, which is noted.

    Args:
        root: the output folder of the files.
        lost: files of which it is known already.
    """

    def __init__(self, root: Path, lost: Iterable[Missing] = ()) -> None:
        self._root = root
        self._lost: dict[Path, Missing] = {root / one.path: one for one in lost}

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
            files: some of them; none where all are lost already.
            read: as in `each`, for one value.

        Raises:
            StorageError: none of them can be read.
        """
        for file in reversed(files):
            try:
                return read(file)
            except StorageError as exc:
                self._lost[file] = missing(self._root, file, exc)
        raise StorageError(self.missing[-1].reason)


def opening(folder: OutputFolder, files: Sequence[Path]) -> tuple[list[Path], tuple[Missing, ...]]:
    """Those of some files that are the ones that were published, and the others; no page of them is read.

    Args:
        folder: of the files. While a run is at work in it none is looked at: it replaces files.
        files: all of them.
    """
    if holder(folder) is not None:
        return list(files), ()
    there, lost = [], []
    known = _footprints(folder)
    for file in files:
        try:
            found = _footprint(file, identity(file))
            if found not in known.get(file, (found,)):
                raise OSError("it is not the file that was published")  # noqa: TRY301 - told as the system's
            there.append(file)
        except (OSError, ValueError) as exc:
            lost.append(missing(folder.root, file, unreadable(file, exc)))
    return there, tuple(lost)


def _footprints(folder: OutputFolder) -> dict[Path, tuple[Footprint | None, ...]]:
    """By file, what tells it, and the one that was about to take its place; none of what an older version published."""
    with PublishedReader(folder.ledger) as reader, reader.snapshot():
        if not reader.keeps_footprints:
            return {}
        named = {folder.part(number): known for number, known in reader.published_parts().items()}
        named |= {folder.calls_part(*key): known for key, known in reader.published_calls().items()}
    return {path: (known.footprint, known.next) for path, known in named.items() if known.footprint is not None}


@lru_cache(maxsize=_REMEMBERED)
def _footprint(path: Path, _seen: Identity) -> Footprint:
    """What tells a file from others; remembered, because a page asks for all files time and again."""
    return footprint(path)


def leaving_out(
    root: Path, files: Sequence[Path], read: Callable[[Sequence[Path]], T]
) -> tuple[T, tuple[Missing, ...]]:
    """What is read of some files; one that breaks off is left out, and the others are read once more without it.

    Args:
        root: the output folder.
        files: all of them.
        read: finds in some of the files what is asked for.

    Raises:
        StorageError: something else cannot be read.
    """
    left = list(files)
    lost: list[Missing] = []
    while True:
        try:
            return read(left), tuple(lost)
        except UnreadableFile as exc:
            if exc.path not in left:
                raise
            left.remove(exc.path)
            lost.append(missing(root, exc.path, exc))


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
