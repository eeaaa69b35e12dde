"""Checksums on the pages of the ledger: SQLite gives an error for a damaged page, not whatever stands there now.

Without them nine of ten flipped bits go unnoticed, and a row whose key is misread is bought again. Owns how the file is
opened, and the loading of `cksumvfs`, SQLite's own extension for this, which comes with apsw: it writes a checksum of
eight bytes into each page and verifies it at each reading. It does not know what the pages hold. A ledger that was made
without checksums, by an older version or where the extension is not to be had, is read and written as it is.
"""

from __future__ import annotations

import functools
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import apsw

_CHECKSUM_BYTES: Final = 8
"""What `cksumvfs` wants to have free at the end of each page."""


def open_database(name: str, flags: int = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE) -> apsw.Connection:
    """Open a ledger; pages that have checksums are verified whenever they are read.

    Args:
        name: path, or address for SQLITE_OPEN_URI.
        flags: of apsw.
    """
    load_checksums()
    return apsw.Connection(name, flags=flags)


def use_checksums(db: apsw.Connection) -> None:
    """Have the pages of a database carry checksums; nothing may have been written in it yet."""
    if load_checksums():
        db.reserve_bytes(reserve=_CHECKSUM_BYTES)


@functools.cache
def load_checksums() -> bool:
    """Load the extension for the whole process; whether this installation has it."""
    extension = Path(apsw.__file__).with_name("sqlite_extra_binaries") / "cksumvfs"
    with suppress(apsw.Error), closing(apsw.Connection(":memory:")) as db:
        db.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1)
        db.load_extension(str(extension))  # SQLite adds the ending of the platform
        return True
    return False


def tells_damage(exc: Exception) -> bool:
    """Whether an error of SQLite says that what is in the file is damaged, or is no database at all."""
    if isinstance(exc, apsw.CorruptError | apsw.NotADBError):
        return True
    return getattr(exc, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA
