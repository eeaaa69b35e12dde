"""Opens a ledger for reading, also where nothing may be written: a copy on another disk, somebody else's folder.

SQLite keeps an index of the log beside a database in WAL mode, and makes one even to read. Where it cannot, the log is
read with an index in memory, and without a log the file is read as one that nobody changes. Whoever may not write there
sees no run begin meanwhile; a run that is at work has made the index, and is read like any other. Owns these three
ways; what is read is not known here.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import apsw

from batch.ledger.pages import open_database

_READ: Final = apsw.SQLITE_OPEN_READONLY


def connect(path: Path) -> apsw.Connection:
    """Open a ledger that is there, in whichever way it can be read.

    Raises:
        apsw.Error: it cannot be read.
    """
    db = open_database(str(path), _READ)
    try:
        db.pragma("user_version")  # only now are the files opened
    except (apsw.ReadOnlyError, apsw.CantOpenError):
        db.close()
        if _may_write(path):
            raise  # a full disk, say: what stands in the log counts, and must not be read past
        return _without_writing(path)
    except apsw.Error:
        pass  # whoever reads will meet it, and knows what to say
    return db


def _may_write(path: Path) -> bool:
    """Whether the files beside the database could be made and written, as far as rights go."""
    beside = [path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm")]
    return all(os.access(place, os.W_OK) for place in (path.parent, *(file for file in beside if file.exists())))


def _without_writing(path: Path) -> apsw.Connection:
    log = path.with_name(f"{path.name}-wal")
    with suppress(OSError):
        if log.stat().st_size:
            db = open_database(_uri(path, "vfs=unix-none"), _READ | apsw.SQLITE_OPEN_URI)
            db.pragma("locking_mode", "exclusive")  # the index of the log is then in memory
            return db
    return open_database(_uri(path, "immutable=1"), _READ | apsw.SQLITE_OPEN_URI)


def _uri(path: Path, how: str) -> str:
    return f"file:{quote(str(path.absolute()))}?{how}"
