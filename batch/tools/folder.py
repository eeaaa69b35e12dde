"""A folder that cannot be left: files in it are opened by names that a stranger gave.

Owns the way from a name to an open file. Every part of it is opened by itself, in the folder that was opened before it,
and never through a link; so what is opened lies in the folder even when somebody exchanges parts of it meanwhile. It
knows nothing of tools.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

LONGEST: Final = 1_000
"""Characters of the longest name."""
DEEPEST: Final = 20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WORDS: Final = {
    errno.ENOENT: "there is no such file",
    errno.ENOTDIR: "a part of it is no folder",
    errno.ELOOP: "a part of it is a link, which is not followed",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "a part of it is too long",
    errno.EACCES: "it may not be opened",
    errno.ENOSPC: "the disk is full",
}


class NotInFolder(ValueError):
    """A name that is no file in the folder, or one that cannot be read or written; the text is for the model."""


class ConfinedFolder:
    """The files below one folder, by relative names with `/` between their parts.

    Args:
        root: the folder; links in the way to it are its owner's business.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str, *, most: int) -> bytes:
        """The bytes of a file.

        Raises:
            NotInFolder: there is no such file in the folder, it is no ordinary file, or it has more than `most` bytes.
        """
        with _told(name), self._parent(name, make=False) as (folder, last):
            # A pipe would be waited for, and a device do what it does: neither is even opened to be looked at.
            number = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            try:
                if not stat.S_ISREG(os.fstat(number).st_mode):
                    raise NotInFolder(f"{name!r}: it is no file")
                with os.fdopen(number, "rb", closefd=False) as file:
                    data = file.read(most + 1)
            finally:
                os.close(number)
        if len(data) > most:
            raise NotInFolder(f"{name!r}: it has more than {most:,} bytes, the most that can be read")
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all, in place of one of that name; folders on the way are made.

        Raises:
            NotInFolder: the name leads out of the folder or through a link, or something else than a file has it.
        """
        with _told(name), self._parent(name, make=True) as (folder, last):
            with suppress(FileNotFoundError):
                if not stat.S_ISREG(os.lstat(last, dir_fd=folder).st_mode):
                    raise NotInFolder(f"{name!r}: it is no file")
            temporary = f".{secrets.token_hex(8)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            number = os.open(temporary, flags, 0o666, dir_fd=folder)
            try:
                with os.fdopen(number, "wb") as file:
                    file.write(data)
                os.replace(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise

    @contextmanager
    def _parent(self, name: str, *, make: bool) -> Iterator[tuple[int, str]]:
        """The open folder in which the last part of a name stands, and this part."""
        *folders, last = _parts(name)
        if make:
            self._root.mkdir(parents=True, exist_ok=True)
        here = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in folders:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=here)
                inner = os.open(part, _FOLDER, dir_fd=here)
                os.close(here)
                here = inner
            yield here, last
        finally:
            os.close(here)


def _parts(name: str) -> list[str]:
    """The parts of a name.

    Raises:
        NotInFolder: it is no relative name, or one with `..` in it.
    """
    if not name or len(name) > LONGEST or "\0" in name:
        raise NotInFolder(f"{name[:80]!r}: give the name of a file, with at most {LONGEST:,} characters")
    if name.startswith(("/", "~")):
        raise NotInFolder(f"{name!r}: give a name without {name[0]} in front, it starts in the folder of the files")
    if name.endswith("/"):
        raise NotInFolder(f"{name!r}: it is the name of a folder, give that of a file")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if not parts or ".." in parts or len(parts) > DEEPEST:
        raise NotInFolder(f"{name!r}: no .. in a name, and at most {DEEPEST} folders: nothing outside can be reached")
    return parts


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Say what the system refuses in words for the model, without the place of the folder."""
    try:
        yield
    except OSError as error:
        why = _WORDS.get(error.errno or 0, error.strerror or "it cannot be opened")
        raise NotInFolder(f"{name!r}: {why}") from None
    except UnicodeEncodeError:
        raise NotInFolder(f"{name!r}: the name has half a character in it") from None
