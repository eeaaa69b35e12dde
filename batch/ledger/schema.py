"""The ledger's file: its tables, its version, and how it is opened for writing.

Owns the schema. It does not know what the records mean: `writer` writes them, `reader` reads them. Whoever changes the
schema gives it a new `SCHEMA_VERSION` and a way from the old one.

`pending.state`: 0 admitted, 1 settled, 2 published (to be pruned). `entries.status`: NULL for a place without an
outcome, 0 ok, 1 failed for good, 2 failed but worth another try. `calls.late`: 1 for the id of an overdue task, which
was booked as unknown before and is polled once more, 2 when that was given up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import apsw

from batch.core.durable import AtomicFile
from batch.core.errors import OutputError, StorageError

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x50524D4C  # "PRML": by it, programs like `file` and we ourselves know whose database it is

SCHEMA: Final = """
CREATE TABLE meta(
    key TEXT PRIMARY KEY,
    value ANY
) STRICT, WITHOUT ROWID;

CREATE TABLE runs(
    run TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    request TEXT NOT NULL,
    digest TEXT NOT NULL,
    source TEXT NOT NULL,
    position TEXT NOT NULL,
    complete INTEGER NOT NULL DEFAULT 0,
    planned TEXT NOT NULL DEFAULT '{}',
    totals TEXT NOT NULL DEFAULT '{}',
    sample TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE entries(
    row_id TEXT NOT NULL,
    variant TEXT NOT NULL,
    row_number INTEGER NOT NULL,
    part INTEGER NOT NULL,
    fingerprint BLOB,
    status INTEGER,
    PRIMARY KEY(row_id, variant)
) STRICT, WITHOUT ROWID;

CREATE INDEX entries_failed ON entries(status, row_number) WHERE status > 0;

CREATE TABLE seen(
    row_id TEXT PRIMARY KEY,
    times INTEGER NOT NULL,
    place TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE ranges(
    range INTEGER PRIMARY KEY,
    rows INTEGER NOT NULL
) STRICT;

CREATE TABLE pending(
    work INTEGER PRIMARY KEY,
    range INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    row_id TEXT NOT NULL,
    variant TEXT NOT NULL,
    variant_no INTEGER NOT NULL,
    row_number INTEGER NOT NULL,
    part INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    state INTEGER NOT NULL,
    outcome BLOB,
    carried INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX pending_part ON pending(part, row_number, variant_no);

CREATE TABLE calls(
    call INTEGER PRIMARY KEY,
    work INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    call_id TEXT NOT NULL,
    lane TEXT NOT NULL,
    sent_at INTEGER NOT NULL,
    task TEXT,
    base_url TEXT,
    late INTEGER,
    record BLOB,
    published INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX calls_work ON calls(work);

CREATE TABLE steps(
    work INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY(work, turn, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE held(
    row_id TEXT NOT NULL,
    variant TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    task TEXT NOT NULL,
    base_url TEXT NOT NULL,
    call_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    sent_at INTEGER NOT NULL,
    PRIMARY KEY(row_id, variant)
) STRICT, WITHOUT ROWID;

CREATE TABLE parts(
    part INTEGER PRIMARY KEY,
    rows INTEGER NOT NULL
) STRICT;

CREATE TABLE call_parts(
    run TEXT NOT NULL,
    number INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    PRIMARY KEY(run, number)
) STRICT, WITHOUT ROWID;
"""


OVERTIME: Final = """
CREATE TABLE IF NOT EXISTS overtime(
    row_id TEXT NOT NULL,
    variant TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY(row_id, variant)
) STRICT, WITHOUT ROWID;
"""
"""Attempts that outlasted somebody, by row. A table of its own: a ledger made before it gets it when it is opened."""


def connect(path: Path) -> apsw.Connection:
    """Open the ledger for writing; make it when it is not there.

    Raises:
        OutputError: the file is no ledger of ours, or a newer promptmill made it.
        StorageError: the file cannot be opened or is damaged.
    """
    try:
        if not path.exists():
            _make(path)
        db = apsw.Connection(str(path))
        _check(db, path)
        db.pragma("journal_mode", "wal")
        _set_up(db)
    except (apsw.Error, OSError) as exc:
        raise StorageError(
            f"{path}: the ledger cannot be opened: {reason(exc)}. Free space or mend the file, then run the same "
            "command again."
        ) from exc
    return db


def reason(exc: Exception) -> str:
    """Why the disk refused, in words, and in which operation of SQLite."""
    if isinstance(exc, OSError):
        return exc.strerror or str(exc)
    # SQLite keeps no errno that could be trusted by now; the name of the code says what was tried.
    code = apsw.mapping_extended_result_codes.get(getattr(exc, "extendedresult", 0))
    return f"{exc} ({code})" if code else str(exc)


def _check(db: apsw.Connection, path: Path) -> None:
    application = db.pragma("application_id")
    version = db.pragma("user_version")
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and tables != (0,):
        raise OutputError(f"{path}: is a database, but not a ledger of promptmill. Choose another folder with -o.")
    if version > SCHEMA_VERSION:
        raise OutputError(f"{path}: was made by a newer promptmill (format {version}). Update promptmill to go on.")


def _set_up(db: apsw.Connection) -> None:
    db.set_busy_timeout(10_000)
    db.pragma("synchronous", "full")
    db.pragma("wal_autocheckpoint", 0)
    db.pragma("cache_size", -8_192)
    db.pragma("temp_store", "memory")
    if db.pragma("user_version") == 0:
        db.execute("BEGIN IMMEDIATE")  # not `with db`: its roll-back would hide why a full disk ended it
        db.execute(SCHEMA)
        db.pragma("application_id", APPLICATION_ID)
        db.pragma("user_version", SCHEMA_VERSION)
        db.execute("COMMIT")
    db.execute(OVERTIME)


def _make(path: Path) -> None:
    """Make the file under a hidden name, and rename it when it is in WAL mode.

    Before that, a power cut would leave a journal beside it that only a writer can roll back, and every command reads
    the ledger before it writes.
    """
    file = AtomicFile(path)
    for suffix in ("", "-journal", "-wal", "-shm"):
        file.hidden.with_name(f"{file.hidden.name}{suffix}").unlink(missing_ok=True)
    db = apsw.Connection(str(file.hidden))
    try:
        db.pragma("journal_mode", "wal")
        _set_up(db)
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        db.close()
    file.rename()  # SQLite has synced what is in it
    file.sync_folder()
