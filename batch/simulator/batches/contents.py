"""What files hold: small ones in memory, large ones in one temporary file without a name, so that memory stays small.

Owns that temporary file. What was written into it is never moved, so whoever has a `Content` can read it for ever; the
room is given back when the simulator ends.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path

import msgspec

IN_MEMORY = 64 << 10
"""Bytes up to which a file stays in memory."""


class _Disk:
    """A temporary file without a name, closed when nobody has anything in it any more."""

    def __init__(self) -> None:
        self._number, name = tempfile.mkstemp(prefix="promptmill-simulator-")
        Path(name).unlink()
        self._closed = weakref.finalize(self, os.close, self._number)
        self._end = 0

    def close(self) -> None:
        """Give the room back; nothing can be read any more."""
        self._closed()

    def write(self, data: bytes | bytearray) -> int:
        """Write this behind all else; where it begins."""
        began, view = self._end, memoryview(data)
        while view:  # a write takes 2 GB at most
            written = os.pwrite(self._number, view, self._end)
            self._end += written
            view = view[written:]
        return began

    def read(self, begin: int, size: int) -> bytes:
        """So many bytes from there."""
        pieces, end = [], begin + size
        while begin < end and self._closed.alive:  # else nobody is served any more
            pieces.append(os.pread(self._number, end - begin, begin))
            begin += len(pieces[-1])
        return b"".join(pieces)


class Content(msgspec.Struct, eq=False):
    """What one file holds.

    Attributes:
        size: in bytes.
    """

    size: int
    _data: bytes | None = None
    _disk: _Disk | None = None
    _begin: int = 0

    def read(self) -> bytes:
        """All of it."""
        return self._data or b"" if self._disk is None else self._disk.read(self._begin, self.size)


class Contents:
    """Keeps what files hold."""

    def __init__(self) -> None:
        """Keep nothing yet; the temporary file is made for the first large one."""
        self._disk: _Disk | None = None

    def close(self) -> None:
        """Give the room on the disk back, when the simulator ends."""
        if self._disk is not None:
            self._disk.close()

    def keep(self, data: bytes | bytearray) -> Content:
        """Keep this."""
        if len(data) <= IN_MEMORY:
            return Content(len(data), bytes(data))
        self._disk = self._disk or _Disk()
        return Content(len(data), None, self._disk, self._disk.write(data))
