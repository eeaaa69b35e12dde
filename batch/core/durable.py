"""Files that are there whole or not at all, also after a power cut.

Owns the one way a file of ours comes under its name: a hidden name beside it, the data on the disk, a rename, and the
folder on the disk too, because a name survives a power cut only when its folder was synced. It does not know what is
written. It raises what the system says; whoever writes the file tells of it in words of its own.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

_CANNOT: Final = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


class AtomicFile:
    """A file that is written under a hidden name and gets its own name when it is whole.

    In this order: `open` and write, `seal`, `rename`, `sync_folder`; `commit` does the last three. Until the rename
    a reader finds the old file, or none; from then on the new one. `abandon` after an error leaves nothing behind.
    One writer of one name at a time.

    Attributes:
        path: the name it gets.
        hidden: the name it is written under; a reader's `*.parquet` matches neither its leading dot nor its ending.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hidden = path.with_name(f".{path.name}.tmp")
        self._file: IO[bytes] | None = None

    def open(self) -> IO[bytes]:
        """Make the hidden file and return it, empty, to write to.

        Everything goes through this one object: an error of a delayed write-back reaches the handle that is synced.

        Raises:
            OSError: the disk refused.
        """
        self._file = self.hidden.open("wb")
        return self._file

    def seal(self, *, sync: bool = True) -> None:
        """Close the file when its data is on the disk; `sync=False` closes it only, for data a power cut may take.

        Raises:
            OSError: the disk refused a write that it had seemed to accept, or this one.
        """
        if self._file is not None:
            self._file.flush()
            if sync:
                os.fsync(self._file.fileno())
            self._file.close()

    def rename(self) -> None:
        """Give the file its name, in place of the old file if there is one.

        Raises:
            OSError: the disk refused.
        """
        self.hidden.replace(self.path)

    def sync_folder(self) -> None:
        """Make the new name durable.

        Raises:
            OSError: the disk refused.
        """
        sync_folder(self.path.parent)

    def commit(self) -> None:
        """Seal, rename and sync the folder: when this returns, the file is there for good.

        Raises:
            OSError: the disk refused one of the three.
        """
        self.seal()
        self.rename()
        self.sync_folder()

    def abandon(self) -> None:
        """Remove what was written under the hidden name; harmless after the rename and when repeated."""
        if self._file is not None:
            with suppress(OSError):  # what could not be written is not wanted any more
                self._file.close()
        with suppress(OSError):
            self.hidden.unlink(missing_ok=True)


def copy(source: Path, target: Path) -> None:
    """Copy what is in a file onto the disk; the name of the copy is durable with the next `sync_folder`.

    Raises:
        OSError: the disk refused.
    """
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. A file system that cannot sync folders at all is taken as it is.

    Raises:
        OSError: the disk refused.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as exc:
        if exc.errno not in _CANNOT:
            raise
    finally:
        os.close(handle)
