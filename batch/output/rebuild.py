"""A ledger made again from what stands in `results` and `calls`, for a folder whose ledger is lost, old or damaged.

Owns the order of it: read what the old ledger still says, read every published file, bring the two together in a new
file, and give that the ledger's name in one rename, the old one set aside. Rows whose answers are in no part leave the
index, so that the next run asks those and no others. Says what was kept and what is lost; buys and sends nothing. The
caller holds the lock of the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec
import pyarrow as pa

from batch.core import durable, openfiles
from batch.core.arrowtypes import type_name
from batch.core.clock import stamp
from batch.core.errors import OutputError, StorageError
from batch.labels.schema import label_columns
from batch.ledger import index, wal
from batch.ledger.orphans import LOST
from batch.ledger.published import forget_tags, record_tags
from batch.ledger.schema import connect, mark_closed, reason, way_out
from batch.ledger.totals import Planned
from batch.output import files, mirror, reindex, salvage, unmatched
from batch.output.folder import OutputFolder
from batch.output.input_columns import input_schema
from batch.output.integrity import batch_files, parquet_files, run_files
from batch.output.reindex import Files
from batch.output.salvage import Kept
from batch.output.tables import LABELS
from batch.output.unmatched import Unmatched

TYPES: Final = "types"
INPUTS: Final = "inputs"
"""Keys of the ledger's `meta` that keep the input's columns for later runs; the job's check reads and writes them."""
_FILES: Final = ("", "-wal", "-shm")


class Rebuilt(msgspec.Struct, frozen=True):
    """What a new ledger holds, and what it could not be given."""

    rows: int
    parts: int
    calls: int
    call_parts: int
    runs: int
    kept: Kept
    unmatched: Unmatched
    """How many rows the book has an answer for, and the table none."""
    lost: list[str]
    """One line for each loss."""
    seeks: bool
    """Whether the next run looks for batches at the provider that this ledger does not know."""
    old: list[str]
    """The old ledger's files, by their new names relative to the folder."""


def rebuild(folder: OutputFolder, now_us: int) -> Rebuilt:
    """Make the ledger again.

    Args:
        folder: under the lock.
        now_us: wall time, for the name of the old ledger.

    Raises:
        OutputError: there is nothing here to make a ledger of.
        StorageError: the disk refused; the old ledger is where it was.
    """
    mirror.fetch_all(folder)
    published = [*parquet_files(folder.results), *parquet_files(folder.calls), *run_files(folder), *batch_files(folder)]
    if not published and not folder.ledger.exists():
        raise OutputError(f"{folder.text}: is no output folder: it has no ledger, no results, no calls and no runs.")
    folder.prepare()
    files.remove_hidden(folder.root)
    work = folder.root / ".ledger.db.rebuilt"
    try:
        with closing(connect(work)) as db:
            db.pragma("temp_store", "file")
            made = _fill(folder, db)
            _send(folder, db)
            mark_closed(db)
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        old = _put_in_place(folder, work, now_us)
    except (apsw.Error, OSError) as exc:
        advice = openfiles.advice() if openfiles.used_up(exc) else way_out("Free space or mend the disk")
        raise StorageError(
            f"{folder.ledger}: cannot be made again: {reason(exc)}. {advice}, then run the same command again; nothing "
            "was taken away."
        ) from exc
    return msgspec.structs.replace(made, old=old)


def _send(folder: OutputFolder, db: apsw.Connection) -> None:
    """Readers see what was made of the files, before a ledger says so."""
    tags = mirror.send_all(folder)
    db.execute("BEGIN IMMEDIATE")
    forget_tags(db)
    record_tags(db, tags)
    db.execute("COMMIT")


def _fill(folder: OutputFolder, db: apsw.Connection) -> Rebuilt:
    db.execute("BEGIN IMMEDIATE")
    kept = salvage.copy(folder, db)
    found = reindex.index(folder, db)
    lost = [*kept.lost, *found.lost]
    _runs(folder, db, found, lost)
    unmatched.find(db)
    unmatched.keep_late_tasks(db)
    salvage.reconcile(db, kept)
    missed = unmatched.count(db)
    lost += _sums(db)
    seeks = bool(lost or missed.again)
    _meta(db, found, lost=seeks)
    (runs,) = db.execute("SELECT count(*) FROM runs").fetchone() or (0,)
    db.execute("COMMIT")
    return Rebuilt(found.rows, found.parts, found.calls, found.call_parts, runs, kept, missed, lost, seeks, [])


def _runs(folder: OutputFolder, db: apsw.Connection, found: Files, lost: list[str]) -> None:
    """Runs that the old ledger lacks, from their files; sums are made again where the book of a run changed."""
    old: dict[str, list[int]] = {}
    for run, number in db.execute("SELECT run, number FROM old_call_parts ORDER BY run, number"):
        old.setdefault(run, []).append(number)
    now: dict[str, list[int]] = {}
    for run, number in db.execute("SELECT run, number FROM call_parts ORDER BY run, number"):
        now.setdefault(run, []).append(number)
    known = {run for (run,) in db.execute("SELECT run FROM runs")}
    told = {path.stem: path for path in run_files(folder)}
    for run in sorted({*told, *now, *found.totals} - known):
        lost.append(f"ledger.db: says nothing of run {run}; its sums are made again from its calls and rows")
        db.execute(
            "INSERT INTO runs(run, state, started_at, ended_at, request, digest, source, position, planned, totals) "
            "VALUES(?,?,?,NULL,?,'',?,'{}',?,'{}')",
            (run, *_told(told.get(run))),
        )
    for run, totals in found.totals.items():
        if run not in known or old.get(run) != now.get(run):
            db.execute("UPDATE runs SET totals=? WHERE run=?", (msgspec.json.encode(totals).decode(), run))


def _told(path: Path | None) -> tuple[str, int, str, str, str]:
    """State, start, request, source and plan of a run as its file has them."""
    told: dict[str, Any] = {}
    if path is not None:
        try:
            told = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        except (OSError, ValueError):
            told = {}
    try:
        planned = msgspec.convert(told.get("planned", {}), Planned)
    except msgspec.ValidationError:
        planned = Planned()
    state = told.get("exit_reason") or "killed"
    request = msgspec.json.encode(_inside(told, "job").get("request", {}), order="sorted").decode()
    source = msgspec.json.encode(_inside(told, "source")).decode()
    return str(state), _started_us(told.get("started_at")), request, source, msgspec.json.encode(planned).decode()


def _inside(told: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = told.get(name)
    return found if isinstance(found, dict) else {}


def _started_us(text: object) -> int:
    try:
        return int(pa.scalar(str(text).rstrip("Z")).cast(pa.timestamp("us")).value)
    except (pa.ArrowException, ValueError, TypeError):
        return 0


def _sums(db: apsw.Connection) -> list[str]:
    """What the table says of its rows' calls, against the book."""
    (rows, calls) = db.execute(
        "SELECT count(*), coalesce(sum(short), 0) FROM ("
        "SELECT r.calls - count(b.call_id) AS short FROM rows r LEFT JOIN ("
        # A part may be published before the calls of its rows: those are in the ledger, and the next run books them.
        "SELECT call_id, row_id, variant FROM book UNION "
        "SELECT c.call_id, p.row_id, p.variant FROM calls c JOIN pending p USING(work) WHERE c.record IS NOT NULL"
        ") b USING(row_id, variant) GROUP BY r.row_id, r.variant HAVING short > 0)"
    ).fetchone() or (0, 0)
    lost = [f"calls: {calls:,} calls of {rows:,} rows are in no file of the book"] if rows else []
    (rows,) = db.execute(
        "SELECT count(*) FROM (SELECT 1 FROM rows r JOIN book b USING(row_id, variant) "
        "GROUP BY r.row_id, r.variant HAVING r.total_tokens > sum(b.total_tokens) AND count(*) >= r.calls)"
    ).fetchone() or (0,)
    (others,) = db.execute(
        "SELECT count(*) FROM rows r JOIN old_entries o USING(row_id, variant) "
        "WHERE o.fingerprint != r.fingerprint OR o.status != r.status"
    ).fetchone() or (0,)
    lost += [f"results: {others:,} rows are not those that the old ledger knew; the table counts"] if others else []
    return [*lost, f"results: {rows:,} rows say more tokens than their calls in the book"] if rows else lost


def _meta(db: apsw.Connection, found: Files, *, lost: bool) -> None:
    """The numbers from which the next run goes on, and the columns of the input; whether it looks for lost batches."""
    pairs: list[Any] = db.execute("SELECT key, value FROM meta").fetchall()
    kept = dict(pairs)
    numbers: Any = db.execute(
        "SELECT coalesce(max(row_number), -1) + 1, coalesce(max(part), -1) + 1 FROM entries"
    ).fetchone()
    values: dict[str, Any] = {
        "next_row_number": max(int(kept.get("next_row_number") or 0), numbers[0]),
        "next_part": max(int(kept.get("next_part") or 0), numbers[1]),
    }
    if last := max(int(kept.get("last_sent") or 0), found.last_sent_us):
        values["last_sent"] = last
    if lost:
        values[LOST] = 1
    if found.schema is not None and LABELS not in kept:
        values[LABELS] = label_columns(found.schema).serialize().to_pybytes()
    if found.schema is not None and (INPUTS not in kept or TYPES not in kept):
        inputs = input_schema(found.schema)
        values[INPUTS] = inputs.serialize().to_pybytes()
        types = {field.name: type_name(field) for field in inputs if field.name != "input_rest"}
        values[TYPES] = msgspec.json.encode(types).decode()
    db.executemany("INSERT OR REPLACE INTO meta(key, value) VALUES(?,?)", list(values.items()))
    # What was true when a pass began is not of this ledger: its index has what the files have.
    db.executemany("DELETE FROM meta WHERE key=?", [(wal.KEY,), (index.BEGAN_EMPTY,)])


def _put_in_place(folder: OutputFolder, work: Path, now_us: int) -> list[str]:
    """Keep copies of the old files, then rename the new ledger over the old; the log goes only after that."""
    files.make_folder(folder.strays)
    old = []
    for suffix in _FILES:
        path = folder.ledger.with_name(f"{folder.ledger.name}{suffix}")
        if path.is_file():
            target = folder.strays / f"ledger-{stamp(now_us)}.db{suffix}"
            durable.copy(path, target)
            old.append(target.relative_to(folder.root).as_posix())
    files.sync_folder(folder.strays)
    work.replace(folder.ledger)
    for suffix in _FILES[1:]:
        folder.ledger.with_name(f"{folder.ledger.name}{suffix}").unlink(missing_ok=True)
        work.with_name(f"{work.name}{suffix}").unlink(missing_ok=True)
    files.sync_folder(folder.root)
    return old
