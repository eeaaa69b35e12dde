"""Tells a file from another of its name: a run at work replaces parts whole, by rename: inode, size and time tell."""

from __future__ import annotations

import os
from pathlib import Path

Identity = tuple[int, int, int]
"""Inode, size, time of the last change."""


def identity(path: Path | int) -> Identity:
    """What tells this file from another of its name.

    Args:
        path: the file, or the number under which it is open.

    Raises:
        OSError: it is gone.
    """
    found = os.stat(path)  # noqa: PTH116 - of an open file, too
    return (found.st_ino, found.st_size, found.st_mtime_ns)
