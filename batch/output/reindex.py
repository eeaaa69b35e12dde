"""The published files of an output folder, read whole, as temporary tables that `rebuild` makes a ledger of.

Owns which file is what: a part of the result table, a file of the book, a copy of one, something else. Every page is
read and its sum verified. What cannot be read, is a copy, or is not ours is set aside under `.strays`, never deleted,
and named. Memory holds one row group at a time. It does not know what an old ledger said beyond the temporary tables
`old_entries`, `old_parts` and `old_call_parts` that `salvage` filled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.core.records import COST_DIGITS, Call, Usage
from batch.ledger.totals import Totals, answered_by
from batch.output import columns, files, labelled, parts
from batch.output.folder import OutputFolder
from batch.output.input_columns import input_contents
from batch.output.integrity import CALLS, PART, folders_in_the_way, parquet_files

TABLES: Final = """
CREATE TEMP TABLE rows(
    file INTEGER NOT NULL, row_id TEXT NOT NULL, variant TEXT NOT NULL, row_number INTEGER NOT NULL,
    fingerprint BLOB NOT NULL, status INTEGER NOT NULL, settled_at INTEGER NOT NULL, calls INTEGER NOT NULL,
    total_tokens INTEGER, content BLOB, label BLOB
);
CREATE TEMP TABLE book(
    call_id TEXT PRIMARY KEY, row_id TEXT NOT NULL, variant TEXT NOT NULL, row_number INTEGER NOT NULL,
    total_tokens INTEGER, record BLOB NOT NULL, answered_at INTEGER, fingerprint TEXT
) WITHOUT ROWID;
"""
_OURS: Final = ("row_id", "variant", "row_number", "fingerprint", "status", "retryable", "settled_at", "run", "calls")
_TIMES: Final = frozenset(column.name for column in columns.RESULTS if column.type == columns.TIME)
_CALL_TIMES: Final = frozenset(column.name for column in columns.CALLS if column.type == columns.TIME)
_encode = msgspec.msgpack.Encoder().encode


class Files(msgspec.Struct):
    """What the files came to."""

    aside: list[str] = []
    """Files that were moved under `.strays`, by their new names."""
    lost: list[str] = []
    """One line for each loss."""
    totals: dict[str, Totals] = {}
    """Sums over calls and rows by the run that published them."""
    schema: pa.Schema | None = None
    """Of the part with the most columns."""
    last_sent_us: int = 0
    rows: int = 0
    calls: int = 0
    parts: int = 0
    call_parts: int = 0

    def of(self, run: str) -> Totals:
        """The sums of one run."""
        return self.totals.setdefault(run, Totals())


class _Part(msgspec.Struct):
    """A file of the result table that can be read."""

    path: Path
    file: int
    number: int | None
    rows: int = 0
    first: int = 0


def index(folder: OutputFolder, db: apsw.Connection) -> Files:
    """Read all published files into the temporary tables, and the tables `parts` and `call_parts`.

    Args:
        folder: under the lock.
        db: a new ledger inside its transaction, with what an old one said.

    Raises:
        StorageError: a file cannot be moved or written anew.
    """
    db.execute(TABLES)
    found = Files()
    for path in folders_in_the_way(folder):
        _set_aside(folder, path, "is a folder, and no file of the output", found)
    _read_book(folder, db, found)
    readable = _read_parts(folder, db, found)
    readable = _without_copies(folder, db, readable, found)
    _number(folder, db, readable)
    _drop_replaced(db)
    for part in readable:
        footprint = parts.footprint(folder.part(part.file))
        db.execute("INSERT INTO parts(part, rows, size, footer) VALUES(?,?,?,?)", (part.file, part.rows, *footprint))
    found.parts = len(readable)
    found.rows = sum(part.rows for part in readable)
    for run, rows in _outcomes(folder, readable):
        _count_rows(found.of(run), rows)
    return found


# -- the book ------------------------------------------------------------------------------------------------------


def _read_book(folder: OutputFolder, db: apsw.Connection, found: Files) -> None:
    known = {(run, number) for run, number in db.execute("SELECT run, number FROM old_call_parts")}

    def key(path: Path) -> tuple[str, int] | None:
        name = CALLS.fullmatch(path.relative_to(folder.calls).as_posix())
        return (name[1], int(name[2])) if name else None

    # What the old ledger names comes first: of a file and its copy, the copy goes.
    for path in sorted(parquet_files(folder.calls), key=lambda path: (key(path) not in known, path)):
        place = key(path)
        why = None if place is not None else "is no file of the book"
        calls: list[tuple[Any, ...]] = []
        if place is not None:
            try:
                calls = list(_calls(path))
            except (OSError, KeyError, ValueError, pa.ArrowException) as exc:
                why = f"cannot be read, the calls in it are lost to the book: {' '.join(str(exc).split())[:200]}"
        ids = msgspec.json.encode([call[0] for call in calls]).decode()
        (twice,) = db.execute(
            "SELECT count(*) FROM book WHERE call_id IN (SELECT value FROM json_each(?))", (ids,)
        ).fetchone() or (0,)
        if why is None and calls and twice == len(calls):
            why = "holds only calls that stand in another file, too"
        if why is not None or place is None:
            _set_aside(folder, path, str(why), found)
            continue
        if twice:
            found.lost.append(f"{path.relative_to(folder.root)}: {twice} of its calls stand in another file, too")
        _add_calls(db, found, place, path, calls)
    for run, number in sorted(known):
        name = folder.calls_part(run, number).relative_to(folder.root).as_posix()
        if not (folder.root / name).exists() and not any(line.startswith(f"{name}: ") for line in found.lost):
            found.lost.append(f"{name}: is missing, the calls in it are lost to the book")


def _add_calls(
    db: apsw.Connection, found: Files, place: tuple[str, int], path: Path, calls: list[tuple[Any, ...]]
) -> None:
    for call_id, row_id, variant, row_number, call, fingerprint in calls:
        found.of(place[0]).add_call(call)
        found.last_sent_us = max(found.last_sent_us, call.sent_at_us)
        tokens = call.usage.total_tokens if call.usage is not None else None
        answered_at = call.answered_at_us if call.state == "answered" else None
        db.execute(
            "INSERT OR IGNORE INTO book VALUES(?,?,?,?,?,?,?,?)",
            (call_id, row_id, variant, row_number, tokens, _encode(call), answered_at, fingerprint),
        )
    found.calls += len(calls)
    found.call_parts += 1
    db.execute(
        "INSERT INTO call_parts(run, number, rows, size, footer) VALUES(?,?,?,?,?)",
        (*place, len(calls), *parts.footprint(path)),
    )


def _calls(path: Path) -> Iterator[tuple[str, str, str, int, Call, str | None]]:
    """(call id, row_id, variant, row_number, record, fingerprint) of each call of one file of the book."""
    if (name := columns.misfit(pq.read_schema(path), columns.CALLS)) is not None:
        raise ValueError(f"its column {name} holds something else than ours")
    for table in _groups(path, times=_CALL_TIMES):
        for row in table.drop_columns(["tags"]).to_pylist():
            place = row["client_call_id"], row["row_id"], row["variant"] or "", row["row_number"]
            yield *place, _call(row), row.get("fingerprint")


def _call(row: dict[str, Any]) -> Call:
    values = {name: row[name] for name in Call.__struct_fields__ if name in row}
    usage = None
    if row["total_tokens"] is not None:
        counts = {name: row[name] for name in Usage.__struct_fields__ if name in row}
        usage = Usage(**counts, estimated=bool(row["usage_estimated"]))
    costs: dict[str, Decimal | None] = {name: row.get(name) for name in ("cost", "cost_bound")}
    values |= {name: None if cost is None else int(cost.scaleb(COST_DIGITS)) for name, cost in costs.items()}
    values["usage"] = usage
    values |= {f"{name}_us": row[name] for name in ("sent_at", "answered_at")}
    return Call(**values)


# -- the result table ----------------------------------------------------------------------------------------------


def _read_parts(folder: OutputFolder, db: apsw.Connection, found: Files) -> list[_Part]:
    readable: list[_Part] = []
    for file, path in enumerate(parquet_files(folder.results)):
        name = PART.fullmatch(path.relative_to(folder.results).as_posix())
        part = _Part(path, file, int(name[1]) if name else None)
        before = db.total_changes()
        db.execute("SAVEPOINT part")
        try:
            if (odd := columns.misfit(schema := pq.read_schema(path), columns.RESULTS)) is not None:
                raise KeyError(odd)  # noqa: TRY301 - as of a file that lacks it
            for table in _groups(path):
                ours = table.select([*_OURS, "total_tokens", "error_kind", *labelled.columns(table.schema)]).to_pylist()
                contents = input_contents(table)
                rows = [
                    (file, *_row(row), content, labelled.from_book(db, row, table.schema))
                    for row, content in zip(ours, contents, strict=True)
                ]
                db.executemany("INSERT INTO rows VALUES(?,?,?,?,?,?,?,?,?,?,?)", rows)
            part.rows = db.total_changes() - before
        except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as exc:
            db.execute("ROLLBACK TO part")
            why = f"cannot be read, its rows are to be asked again: {' '.join(str(exc).split())[:200]}"
            if isinstance(exc, KeyError):
                why = "is no part of the table"
            _set_aside(folder, path, why, found)
            continue
        finally:
            db.execute("RELEASE part")
        if found.schema is None or len(schema) > len(found.schema):
            found.schema = schema
        readable.append(part)
    db.execute("CREATE INDEX temp.rows_key ON rows(row_id, variant)")
    aside = {part.path for part in readable}
    for number, count in db.execute("SELECT part, rows FROM old_parts ORDER BY part"):
        path = folder.part(number)
        if path not in aside and not any(line.startswith(f"results/{path.name}: ") for line in found.lost):
            found.lost.append(f"results/{path.name}: is missing, its {count:,} rows are to be asked again")
    return readable


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    status = 0 if row["status"] == "ok" else 2 if row["retryable"] else 1
    fingerprint = bytes.fromhex(row["fingerprint"])
    place = (row["row_id"], row["variant"] or "", row["row_number"], fingerprint)
    return (*place, status, row["settled_at"], row["calls"], row["total_tokens"])


def _without_copies(folder: OutputFolder, db: apsw.Connection, readable: list[_Part], found: Files) -> list[_Part]:
    """One row a key: of several files that hold it, the one the old ledger names has it, else the newest outcome."""
    db.execute("CREATE TEMP TABLE numbers(file INTEGER PRIMARY KEY, number INTEGER)")
    db.executemany("INSERT INTO numbers VALUES(?,?)", [(part.file, part.number) for part in readable])
    db.execute(
        "CREATE TEMP TABLE losers AS SELECT row, file FROM ("
        "SELECT r.rowid AS row, r.file, row_number() OVER ("
        "PARTITION BY r.row_id, r.variant "
        "ORDER BY coalesce(o.part = n.number, 0) DESC, r.settled_at DESC, n.number IS NULL, r.file) AS place "
        "FROM rows r JOIN numbers n USING(file) LEFT JOIN old_entries o USING(row_id, variant)) WHERE place > 1"
    )
    counts: list[Any] = db.execute("SELECT file, count(*) FROM losers GROUP BY file").fetchall()
    doubled = dict(counts)
    left = []
    for part in readable:
        count = doubled.get(part.file, 0)
        if count and count == part.rows:
            _set_aside(folder, part.path, "holds only rows that stand in another part, too", found)
            continue
        if count:
            _rewrite(folder, db, part, found)
            part.rows -= count
        left.append(part)
    db.execute("DELETE FROM rows WHERE rowid IN (SELECT row FROM losers)")
    return left


def _rewrite(folder: OutputFolder, db: apsw.Connection, part: _Part, found: Files) -> None:
    """Write a part again without the rows that stand in another one; the old file is kept aside."""
    sql = "SELECT row_id, variant FROM rows WHERE rowid IN (SELECT row FROM losers WHERE file=?)"
    doubled = set(db.execute(sql, (part.file,)).fetchall())
    (old,) = files.set_aside([part.path], folder.root, copy=True)
    found.aside.append(old)
    source = folder.root / old

    def batches() -> Iterator[pa.RecordBatch]:
        for table in _groups(source, times=()):
            keys = zip(table.column("row_id").to_pylist(), table.column("variant").to_pylist(), strict=True)
            kept = [(row_id, variant or "") not in doubled for row_id, variant in keys]
            yield from table.filter(pa.array(kept)).to_batches()

    points = ("publish.rewrite_written", "publish.rewrite_named")
    parts.write_part(part.path, pq.read_schema(source), batches(), points=points)


def _number(folder: OutputFolder, db: apsw.Connection, readable: list[_Part]) -> None:
    """Names in the order of the rows: parts that were swapped or renamed get the number their rows had."""
    firsts: list[Any] = db.execute("SELECT file, min(row_number) FROM rows GROUP BY file").fetchall()
    for part in readable:
        part.first = dict(firsts).get(part.file, 0)
    numbers = sorted(part.number for part in readable if part.number is not None)
    after = max([-1, *numbers, *(n for (n,) in db.execute("SELECT part FROM old_parts"))]) + 1
    numbers += range(after, after + len(readable) - len(numbers))
    readable.sort(key=lambda part: (part.first, part.number is None, part.number or 0))
    moves = [(part, number) for part, number in zip(readable, numbers, strict=True) if part.number != number]
    for part, number in moves:  # out of each other's way; killed here, these are parts without a number
        part.path = part.path.rename(folder.results / f"moving-{number:05d}.parquet")
    for part, number in moves:
        part.path = part.path.rename(folder.part(number))
    files.sync_folder(folder.results)
    # `file` is from now on the number of the part; by way of negative ones, so that no two meet.
    for place, part in enumerate(readable):
        db.execute("UPDATE rows SET file=? WHERE file=?", (-1 - place, part.file))
    for place, (part, number) in enumerate(zip(readable, numbers, strict=True)):
        part.file = part.number = number
        db.execute("UPDATE rows SET file=? WHERE file=?", (number, -1 - place))


def _drop_replaced(db: apsw.Connection) -> None:
    for table in ("losers", "numbers"):
        db.execute(f"DROP TABLE {table}")


def _outcomes(folder: OutputFolder, readable: list[_Part]) -> Iterator[tuple[str, dict[str, Any]]]:
    chosen = ["run", "status", "error_kind", "error_code", "retryable", "tool_calls", "tool_errors", "flags", "calls"]
    chosen.append("deduplicated_from")
    for part in readable:
        for table in _groups(folder.part(part.file), chosen):
            for row in table.to_pylist():
                yield row["run"], row


def _count_rows(totals: Totals, row: dict[str, Any]) -> None:
    totals.count_row(
        ok=row["status"] == "ok",
        retryable=bool(row["retryable"]),
        tool_calls=row["tool_calls"] or 0,
        tool_errors=row.get("tool_errors") or 0,  # a part of an older version has no such column
        kind=row["error_kind"],
        code=row["error_code"],
        flags=row["flags"] or (),
        answered_by=answered_by(row["calls"], row.get("deduplicated_from")),
    )


# -- both --------------------------------------------------------------------------------------------------------


def _groups(path: Path, chosen: list[str] | None = None, *, times: Collection[str] = _TIMES) -> Iterator[pa.Table]:
    """The row groups of a file, each page verified; those of our columns that are in `times` are microseconds."""
    with parts.PartReader(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=chosen)
            for place, field in enumerate(table.schema):
                if field.name in times:
                    table = table.set_column(place, field.name, table.column(place).cast(pa.int64()))
            yield table


def _set_aside(folder: OutputFolder, path: Path, why: str, found: Files) -> None:
    found.aside += files.set_aside([path], folder.root)
    found.lost.append(f"{path.relative_to(folder.root)}: {why}; it lies in {found.aside[-1]}")
