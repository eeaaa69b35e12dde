"""The ledger's file: its tables, its version, and how it is opened for writing.

Owns the schema. It does not know what the records mean: `writer` writes them, `reader` reads them. Whoever changes the
schema gives it a new `SCHEMA_VERSION` and a way from the old one.

`pending.state`: 0 admitted, 1 settled, 2 published (to be pruned), 3 not asked, only its input columns are written, 4
waits for the answer to another row that asks the same.
`entries.status`: NULL for a place without an outcome (the place of a row that is admitted and was never published may
stand in `pending` alone), 0 ok, 1 failed for good, 2 failed but worth another try.
`calls.late`: 1 for the id of an overdue task, booked as unknown before and polled once more, 2 when that was given up.
`calls.published`: 1 for what is in the book; without a record it is asked for again. `size` and `footer` tell a
published file from another of its name; `next_size` and `next_footer` belong to a part that is about to be replaced;
`size` and `digest` of a range belong to its spill. `content` is the hash of the output columns of a row as the table
has them or, in `pending`, will have them; an empty one is that of columns that may be of either of two nights. `label`
has what was done to bring a row to a valid label (`records.Labelling`). All of these are NULL where an older version
wrote the row. `leaving` has the rows that a part is written anew without, until the index has forgotten them.
"""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw

from batch.core import openfiles
from batch.core.durable import AtomicFile
from batch.core.errors import OutputError, StorageError
from batch.ledger import added_tables, levels, wal, wave_tables
from batch.ledger.pages import open_database, tells_damage, use_checksums
from batch.ledger.wal import Mark

SCHEMA_VERSION: Final = 7
APPLICATION_ID: Final = 0x50524D4C  # "PRML": by it, programs like `file` and we ourselves know whose database it is

_PRAGMAS: Final = {"synchronous": "full", "wal_autocheckpoint": 0, "cache_size": -8_192, "temp_store": "memory"}
_BUSY_MS: Final = 10_000
_FOLDED_IN_MS: Final = 500

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
    content BLOB,
    label BLOB,
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
    rows INTEGER NOT NULL,
    size INTEGER,
    digest BLOB
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
    carried INTEGER NOT NULL DEFAULT 0,
    content BLOB
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
    rows INTEGER NOT NULL,
    size INTEGER,
    footer BLOB,
    next_size INTEGER,
    next_footer BLOB
) STRICT;

CREATE TABLE call_parts(
    run TEXT NOT NULL,
    number INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    size INTEGER,
    footer BLOB,
    PRIMARY KEY(run, number)
) STRICT, WITHOUT ROWID;
"""

LEAVING: Final = """
CREATE TABLE leaving(
    part INTEGER NOT NULL,
    row_id TEXT NOT NULL,
    variant TEXT NOT NULL,
    PRIMARY KEY(part, row_id, variant)
) STRICT, WITHOUT ROWID;
"""

FROM_1: Final = """
ALTER TABLE ranges ADD COLUMN size INTEGER;
ALTER TABLE ranges ADD COLUMN digest BLOB;
ALTER TABLE parts ADD COLUMN size INTEGER;
ALTER TABLE parts ADD COLUMN footer BLOB;
ALTER TABLE parts ADD COLUMN next_size INTEGER;
ALTER TABLE parts ADD COLUMN next_footer BLOB;
ALTER TABLE call_parts ADD COLUMN size INTEGER;
ALTER TABLE call_parts ADD COLUMN footer BLOB;
"""
"""From version 1 to 2. The sizes and footers of files that are there already are filled in by the first start."""

FROM_2: Final = """
ALTER TABLE entries ADD COLUMN content BLOB;
ALTER TABLE pending ADD COLUMN content BLOB;
"""
"""From version 2 to 3. What the rows of the table have is filled in by the first pass over the source."""

FROM_3: Final = """
ALTER TABLE entries ADD COLUMN label BLOB;
"""
"""From version 3 to 4."""

UPGRADES: Final = (FROM_1, FROM_2 + LEAVING, FROM_3, wave_tables.TABLES, levels.TABLES, "")
"""The ways from version 1 to 2, and so on. In version 7 `seen` lacks rows of a first pass, so 6 must refuse it."""

ALL: Final = (SCHEMA, LEAVING, wave_tables.TABLES, levels.TABLES, *added_tables.ALL)


def connect(path: Path) -> apsw.Connection:
    """Open the ledger for writing; make it when it is not there.

    Raises:
        OutputError: the file is no ledger of ours, or a newer promptmill made it.
        StorageError: the file cannot be opened or is damaged.
    """
    try:
        if not path.exists():
            _make(path)
        db = open_database(str(path))
        _check(db, path)
        db.pragma("journal_mode", "wal")
        _set_up(db)
    except (apsw.Error, OSError) as exc:
        if tells_damage(exc):
            raise damaged(path, exc) from exc
        raise StorageError(
            f"{path}: the ledger cannot be opened: {reason(exc)}. {way_out('Free space or mend the file')}, then run "
            "the same command again."
        ) from exc
    return db


def mark_open(db: apsw.Connection, path: Path, now_us: int) -> None:
    """Say in the ledger's own file that a process is at work on it, and in which log; `wal` tells what it is good for.

    The log is not cut short here: from now on a log without a page of ours in it is one that was lost.

    Raises:
        StorageError: the disk refused.
    """
    try:
        # Until the mark says that all is folded in, the log must stay also when the connection is closed.
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        found = db.execute("SELECT value FROM meta WHERE key=?", (wal.KEY,)).fetchone()
        before = Mark.parse(found[0]) if found else None
        mark = Mark((before or Mark.closed()).clean, True, 0, 0, os.getpid(), now_us)
        _write_mark(db, mark)  # from here on the log has a header, and what it follows stands in its first page
        if (log := wal.header(path)) is not None:
            _write_mark(db, mark._replace(salt=log.salt, sequence=log.sequence))
        db.set_busy_timeout(_FOLDED_IN_MS)
        with suppress(apsw.BusyError):  # somebody reads an older state: a later checkpoint folds the mark in
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
        db.set_busy_timeout(_BUSY_MS)
    except apsw.Error as exc:
        raise StorageError(
            f"{path}: the ledger could not be written: {reason(exc)}. {way_out('Free space or mend the disk')}, then "
            "run the same command again."
        ) from exc


def mark_closed(db: apsw.Connection) -> None:
    """Say that everything is in the ledger's own file, or will be with the checkpoint that follows at once."""
    _write_mark(db, Mark.closed())
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)


def _write_mark(db: apsw.Connection, mark: Mark) -> None:
    db.execute("INSERT OR REPLACE INTO meta(key, value) VALUES(?,?)", (wal.KEY, mark.text))


def reason(exc: Exception) -> str:
    """Why the disk refused, in words, and in which operation of SQLite."""
    if isinstance(exc, OSError):
        return exc.strerror or str(exc)
    if tells_damage(exc):
        return "a page of it is not as it was written" if isinstance(exc, apsw.IOError) else str(exc)
    # SQLite keeps no errno that could be trusted by now; the name of the code says what was tried.
    code = apsw.mapping_extended_result_codes.get(getattr(exc, "extendedresult", 0))
    return f"{exc} ({code})" if code else str(exc)


def damaged(path: Path, exc: Exception) -> StorageError:
    """The error of a ledger that is damaged, with the way out."""
    return StorageError(
        f"{path}: the ledger is damaged: {reason(exc)}. Put back an undamaged copy that is as new, or have it made "
        f"again from what was published: promptmill rebuild {shlex.quote(str(path.parent))}"
    )


def way_out(otherwise: str) -> str:
    """What to do about an error of SQLite, which does not say whether it was the disk or that no file could be opened.

    Args:
        otherwise: when files can be opened.
    """
    return f"No more files could be opened. {openfiles.advice()}" if openfiles.none_left() else otherwise


def _check(db: apsw.Connection, path: Path) -> None:
    application = db.pragma("application_id")
    version = db.pragma("user_version")
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and tables != (0,):
        raise OutputError(f"{path}: is a database, but not a ledger of promptmill. Choose another folder with -o.")
    if version > SCHEMA_VERSION:
        raise OutputError(f"{path}: was made by a newer promptmill (format {version}). Update promptmill to go on.")


def _set_up(db: apsw.Connection) -> None:
    db.set_busy_timeout(_BUSY_MS)
    for name, value in _PRAGMAS.items():
        db.pragma(name, value)
    version = db.pragma("user_version")
    if version < SCHEMA_VERSION:
        db.execute("BEGIN IMMEDIATE")  # not `with db`: its roll-back would hide why a full disk ended it
        for statements in ALL if version == 0 else UPGRADES[version - 1 :]:
            db.execute(statements)
        db.pragma("application_id", APPLICATION_ID)
        db.pragma("user_version", SCHEMA_VERSION)
        db.execute("COMMIT")
    for statements in added_tables.ALL:
        db.execute(statements)


def _make(path: Path) -> None:
    """Make the file under a hidden name, and rename it when it is in WAL mode.

    Before that, a power cut would leave a journal beside it that only a writer can roll back, and every command reads
    the ledger before it writes.
    """
    file = AtomicFile(path)
    for suffix in ("", "-journal", "-wal", "-shm"):
        file.hidden.with_name(f"{file.hidden.name}{suffix}").unlink(missing_ok=True)
    db = open_database(str(file.hidden))
    try:
        use_checksums(db)
        db.pragma("journal_mode", "wal")
        _set_up(db)
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        db.close()
    file.rename()  # SQLite has synced what is in it
    file.sync_folder()
