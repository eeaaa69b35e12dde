"""What a ledger that is lost, old or damaged still says, copied into a new one as far as it can be read.

Owns the private copy that the old ledger is read from, so that the old files stay as they are; the reading of tables
that are damaged in the middle, from both ends; and the way an entry of the old ledger is brought together with the
published files, which may be newer: what was published since is not open any more. Task ids that were accepted come
first of all. Reads no Parquet: `reindex` did.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from batch.core.errors import BatchError, OutputError
from batch.core.records import Call, Outcome
from batch.ledger import paid, wal
from batch.ledger.levels import ENTRIES
from batch.ledger.published import PublishedReader
from batch.ledger.schema import connect, reason
from batch.ledger.totals import Planned, Totals
from batch.output import labelled
from batch.output.folder import OutputFolder

_KEPT: Final = {
    "meta": "key",
    "runs": "run",
    "ranges": "range",
    "pending": "work",
    "calls": "call",
    "steps": "work, turn, idx",
    "waves": "wave",
    "lines": "call",
    "bounds": "call",
    "orphans": "id",
    "held": "row_id, variant",
    "overtime": "row_id, variant",
    "effects": "row_id, variant, fingerprint, turn, idx",
}
"""Tables that go on in the new ledger, with their keys."""
_COMPARED: Final = {"entries": "row_id, variant", "parts": "part", "call_parts": "run, number"}
"""Tables that are made anew, and held against what they were."""
_HIGHEST: Final = 2**63 - 1
_outcome = msgspec.msgpack.Decoder(Outcome).decode
_json = msgspec.json.Decoder().decode
_CHECKS: Final[dict[str, dict[int, Callable[[Any], Any]]]] = {
    "runs": {
        4: _json,
        6: _json,
        7: _json,
        9: msgspec.json.Decoder(Planned).decode,
        10: msgspec.json.Decoder(Totals).decode,
    },
    "pending": {8: bytes, 10: _outcome},
    "calls": {10: msgspec.msgpack.Decoder(Call).decode},
    "steps": {3: bytes},
    "held": {2: bytes},
    "effects": {2: bytes, 6: bytes},
}
"""What must be readable, by table and place of the column in it."""


class Kept(msgspec.Struct):
    """What of an old ledger goes on."""

    readable: bool = False
    batches: int = 0
    """Batches that are collected by the next run."""
    accepted: int = 0
    """Task ids that are polled by the next run."""
    settled: int = 0
    """Rows with an answer that is in no part yet."""
    begun: int = 0
    """Rows in the middle of a call or conversation."""
    places: int = 0
    """Rows that have a place in the table and no outcome there any more: the next run asks them."""
    lost: list[str] = []


def copy(folder: OutputFolder, db: apsw.Connection) -> Kept:
    """Copy what can be read into the new ledger `db`; what is made anew goes to temporary `old_…` tables.

    Raises:
        OutputError: a newer version made the old one: what it holds would be lost, although nothing of it is damaged.
    """
    kept = Kept()
    for table in _COMPARED:
        db.execute(f"CREATE TEMP TABLE old_{table} AS SELECT * FROM {table}")
    db.execute("CREATE UNIQUE INDEX temp.old_entries_key ON old_entries(row_id, variant)")
    private = folder.root / ".ledger.db.salvaged"
    _remove(private)
    if not folder.ledger.is_file() or folder.ledger.stat().st_size == 0:
        how = "empty" if folder.ledger.exists() else "missing"
        kept.lost.append(
            f"{folder.ledger.name}: is {how}; what was bought and not published yet is lost, and so is what tools with "
            "effects did: a row that is asked again may act again"
        )
        return kept
    _copy_files(folder, private, kept)
    _require_no_newer(folder, private)
    try:
        with closing(connect(private)) as old:
            kept.readable = True
            for table, key in (_KEPT | _COMPARED).items():
                target = table if table in _KEPT else f"old_{table}"
                # The view of the index cannot be read when one of its levels is damaged. What a newer level has of a
                # row stands here first, and stays.
                for source in ENTRIES.tables if table == ENTRIES.name else (table,):
                    if lost := _copy_table(old, db, key=key, source=source, target=target):
                        what = f"a part of its table {source} is damaged and lost: {lost}"
                        kept.lost.append(f"{folder.ledger.name}: {what}")
    except BatchError as exc:
        if isinstance(exc.__cause__, apsw.CantOpenError):
            raise exc.__cause__ from None  # of a copy that was just made: this machine refuses, the ledger may be whole
        why = reason(exc.__cause__) if isinstance(exc.__cause__, apsw.Error) else str(exc).partition(": ")[2]
        kept.lost.append(f"{folder.ledger.name}: {why}")
    finally:
        _remove(private)
    return kept


def reconcile(db: apsw.Connection, kept: Kept) -> None:
    """Bring the old ledger's open rows and calls together with the published files in `rows` and `book`."""
    # An admitted row has its place in its record alone until it is published.
    db.execute(
        "INSERT OR IGNORE INTO old_entries(row_id, variant, row_number, part) "
        "SELECT row_id, variant, row_number, part FROM pending"
    )
    # Not asked, only to be written anew: what their parts hold is known by now, and the next pass finds them again.
    db.execute("DELETE FROM pending WHERE state=3 OR (state > 0 AND outcome IS NULL)")
    _close_published(db)
    _know_the_book(db)
    # Never sent: they keep their places and are planned again. Their spill may be gone, too.
    db.execute(
        "DELETE FROM pending WHERE state=0 AND work NOT IN (SELECT work FROM calls) "
        "AND work NOT IN (SELECT work FROM steps)"
    )
    db.execute("DELETE FROM calls WHERE work NOT IN (SELECT work FROM pending)")
    db.execute("DELETE FROM steps WHERE work NOT IN (SELECT work FROM pending)")
    db.execute("DELETE FROM lines WHERE call NOT IN (SELECT call FROM calls)")
    paid.adopt_tasks(db, 0, _HIGHEST)
    db.execute("UPDATE pending SET carried=1 WHERE state < 2")
    # None counts as having seen the whole source: what left the table is only found by looking again.
    db.execute(
        "UPDATE runs SET complete=0, state=CASE WHEN state IN ('running', 'waiting') THEN 'killed' ELSE state END"
    )
    db.execute(
        "DELETE FROM held WHERE EXISTS (SELECT 1 FROM rows r WHERE r.row_id=held.row_id AND r.variant=held.variant "
        "AND r.fingerprint=held.fingerprint AND r.status=0)"
    )
    _give_places(db)
    kept.accepted = _count(db, "calls WHERE record IS NULL AND task IS NOT NULL") + _count(db, "held")
    kept.batches = _count(db, "waves WHERE state < 3")
    kept.settled = _count(db, "pending WHERE state=1")
    kept.begun = _count(db, "pending WHERE state=0")
    kept.places = _count(
        db,
        "entries e WHERE status IS NULL AND NOT EXISTS "
        "(SELECT 1 FROM pending p WHERE p.row_id=e.row_id AND p.variant=e.variant AND p.state < 2)",
    )


def _close_published(db: apsw.Connection) -> None:
    """Rows that reached the table after the old ledger was written are not open; those that left it are again."""
    found: list[Any] = db.execute(
        "SELECT p.work, p.state, p.outcome, r.settled_at, "
        "(SELECT min(c.sent_at) FROM calls c WHERE c.work=p.work) "
        "FROM pending p LEFT JOIN rows r ON r.row_id=p.row_id AND r.variant=p.variant AND r.fingerprint=p.fingerprint"
    ).fetchall()
    states: list[tuple[int, int]] = []
    for work, state, blob, settled_at, sent_at in found:
        settled = _outcome(blob).settled_at_us if blob is not None else None
        since = settled if settled is not None else sent_at
        in_table = settled_at is not None and since is not None and settled_at >= since
        if in_table:
            states.append((work, 2))
        elif state == 2:
            # Published, and the part is gone: as long as the record is not pruned the answer is still here.
            states.append((work, 1))
    db.executemany("UPDATE pending SET state=?2 WHERE work=?1", states)


def _know_the_book(db: apsw.Connection) -> None:
    """Calls that stand in the book are final and published, whatever the old ledger knew of them.

    But one that is open here and whose answer is in no row is asked for once more, by its task or batch (`paid`).
    """
    db.execute("UPDATE calls SET published=1 WHERE call_id IN (SELECT call_id FROM book)")
    db.execute(
        "UPDATE calls SET record=coalesce(record, (SELECT b.record FROM book b WHERE b.call_id=calls.call_id)) "
        "WHERE call_id IN (SELECT call_id FROM book) AND call_id NOT IN (SELECT call_id FROM paid)"
    )
    db.execute("UPDATE calls SET late=1 WHERE record IS NULL AND published=1 AND task IS NOT NULL AND late IS NOT 2")
    db.execute("UPDATE calls SET published=0 WHERE call_id NOT IN (SELECT call_id FROM book)")
    db.execute("DELETE FROM calls WHERE record IS NULL AND work IN (SELECT work FROM pending WHERE state=2)")


def _give_places(db: apsw.Connection) -> None:
    """The index: what stands in the table, then the places of rows that stood there or are under way."""
    db.execute(
        f"INSERT INTO {ENTRIES.largest}(row_id, variant, row_number, part, fingerprint, status, content, label) "
        "SELECT row_id, variant, row_number, file, fingerprint, status, content, label FROM rows"
    )
    labelled.keep_known(db)
    db.execute(
        f"INSERT OR IGNORE INTO {ENTRIES.largest}(row_id, variant, row_number, part) "
        "SELECT row_id, variant, row_number, part FROM old_entries"
    )
    # A row that only the book knows goes where its number belongs: into the part that is missing there, else, when it
    # had been pruned, beside its neighbours.
    spans: list[Any] = db.execute("SELECT part, min(row_number), max(row_number) FROM entries GROUP BY part").fetchall()
    lasts = {part: last for part, _, last in spans}
    unplaced: list[Any] = db.execute(
        "SELECT row_id, variant, min(row_number) FROM book b WHERE NOT EXISTS "
        "(SELECT 1 FROM entries e WHERE e.row_id=b.row_id AND e.variant=b.variant) GROUP BY row_id, variant"
    ).fetchall()
    places = []
    for row_id, variant, number in unplaced:
        before = max((part for part, first, _ in spans if first <= number), default=-1)
        inside = before + 1 in lasts or number <= lasts.get(before, -1)
        part = max(before, 0) if inside else before + 1
        places.append((row_id, variant, number, part))
    db.executemany(
        f"INSERT OR IGNORE INTO {ENTRIES.largest}(row_id, variant, row_number, part) VALUES(?,?,?,?)", places
    )


def _copy_files(folder: OutputFolder, private: Path, kept: Kept) -> None:
    """The old ledger and, if it is the log of this ledger, its log."""
    why = wal.why_not_trusted(folder.ledger)
    if why is not None:
        kept.lost.append(why)
    shutil.copyfile(folder.ledger, private)
    log = folder.ledger.with_name(f"{folder.ledger.name}-wal")
    if log.is_file() and wal.follows(folder.ledger):
        shutil.copyfile(log, private.with_name(f"{private.name}-wal"))


def _require_no_newer(folder: OutputFolder, private: Path) -> None:
    """Refuse a ledger that a newer version made: it is whole, and only not for this one to read."""
    newer = None
    with suppress(BatchError), PublishedReader(private) as reader:  # what is damaged is told by whoever reads all of it
        newer = reader.newer
    if newer is not None:
        _remove(private)
        raise OutputError(
            f"{folder.ledger}: was made by a newer promptmill (format {newer}). Update promptmill and give the same "
            "command again: tasks and batches stand in it that are paid for and would be bought once more."
        )


def _copy_table(old: apsw.Connection, db: apsw.Connection, *, key: str, source: str, target: str) -> str:
    """Copy all rows, or those that can be reached from either end of a table that is damaged in the middle.

    Returns:
        What is wrong with the table; empty when it is whole.
    """
    lost = ""
    try:
        width = len(old.execute(f"PRAGMA table_info({source})").fetchall())
    except apsw.Error as exc:
        return reason(exc)
    insert = f"INSERT OR IGNORE INTO {target} VALUES({','.join('?' * width)})"
    for order in ("", " DESC"):
        backwards = ", ".join(f"{column}{order}" for column in key.split(", "))
        try:
            db.executemany(insert, _whole(source, old.execute(f"SELECT * FROM {source} ORDER BY {backwards}")))
        except apsw.Error as exc:
            lost = lost or reason(exc)
        else:
            break
    return lost


def _whole(table: str, rows: Iterable[Any]) -> Iterator[Any]:
    """Rows that hold what they must: a damaged page may well give rows, of anything.

    Raises:
        apsw.CorruptError: one does not.
    """
    checks = _CHECKS.get(table, {})
    for row in rows:
        try:
            for place, check in checks.items():
                if row[place] is not None:
                    check(row[place])
        except (msgspec.MsgspecError, TypeError, ValueError):
            raise apsw.CorruptError("a row of it is no row of ours") from None
        yield row


def _count(db: apsw.Connection, what: str) -> int:
    found = db.execute(f"SELECT count(*) FROM {what}").fetchone()
    return int(found[0]) if found else 0


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
