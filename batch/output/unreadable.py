"""What is said of a file of the table or of the book that is gone or damaged: what is wrong, and the way out.

Owns these words, for whoever reads such a file: a run as well as a report.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from batch.core.errors import StorageError


class UnreadableFile(StorageError):
    """A file of the table or the book is gone, or cannot be read to its end."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


def unreadable(part: Path, exc: Exception) -> UnreadableFile:
    """What a command that reads the table or the book says of a file of it that is gone or cannot be read."""
    lost = isinstance(exc, FileNotFoundError)
    reason = "it is not there" if lost else " ".join(str(exc).split()).rstrip(".")  # Arrow writes several lines
    if part.parent.name.startswith("run="):
        return UnreadableFile(
            part,
            f"{part}: cannot be read: {reason}. The ledger says that this file of calls exists: restore it from a "
            "backup. If there is none, its calls are lost to the book, and the next run goes on without them after: "
            f"promptmill rebuild {part.parent.parent.parent}",
        )
    return UnreadableFile(
        part,
        f"{part}: cannot be read: {reason}. The ledger says that this part exists: restore it from a backup. If there "
        f"is none, the next run asks its rows again after: promptmill rebuild {part.parent.parent}",
    )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tell what goes wrong while a file is read.

    Args:
        path: the file.

    Raises:
        UnreadableFile: it is gone, or cannot be read to its end.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as exc:
        raise unreadable(path, exc) from exc
