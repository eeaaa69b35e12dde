"""The files of a source, read one after another.

Owns the step from one file to the next, and what is put into the rows of each (`origin`). How one file is read is the
matter of its own reader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from batch.input.batches import Position, SourceBatch
from batch.input.files import File

MAX_BYTES: Final = 8 * 1024 * 1024


class FileReader(Protocol):
    """Reads the rows of one file."""

    def read(self, max_rows: int, max_bytes: int) -> SourceBatch | None:
        """The next rows, None at the end of the file."""
        ...

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        ...


class FilesReader:
    """Reads the files of a source one after another.

    Args:
        files: all of them, in their order.
        open_file: makes the reader of one file, from a position on.
        fill: is handed every batch with its file, and gives it back as it is to be.
        start: where to begin.
    """

    def __init__(
        self,
        files: Sequence[File],
        open_file: Callable[[File, Position], FileReader],
        fill: Callable[[File, SourceBatch], SourceBatch],
        start: Position,
    ) -> None:
        self._files = files
        self._open_file = open_file
        self._fill = fill
        self._number = start.file
        self._file: FileReader | None = None
        if start.end:
            self._next()
        elif start.file < len(files):
            self._file = open_file(files[start.file], start)

    def read(self, max_rows: int, max_bytes: int = MAX_BYTES) -> SourceBatch | None:
        """See `Reader.read`."""
        while self._file is not None:
            batch = self._file.read(max_rows, max_bytes)
            if batch is not None:
                return self._fill(self._files[self._number], batch)
            self._file.close()
            self._next()
        return None

    def close(self) -> None:
        """See `Reader.close`."""
        if self._file is not None:
            self._file.close()

    def _next(self) -> None:
        self._number += 1
        more = self._number < len(self._files)
        self._file = self._open_file(self._files[self._number], Position(self._number)) if more else None
