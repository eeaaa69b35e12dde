"""What the ledger says: the reading side, for starting again, planning, feeding, publishing and reports.

Opens the ledger read-only, in short transactions, beside the one writer. A `LedgerReader` belongs to one thread at a
time. Writes nothing and decides nothing; the statements here are the only other place that knows the tables of
`writer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import apsw
import msgspec

from batch.core.errors import StorageError
from batch.core.records import Call, Outcome
from batch.ledger.schema import reason
from batch.ledger.totals import Planned, Totals

SLICE: Final = 1_000
_PENDING: Final = "work, range, idx, row_id, variant, row_number, part, fingerprint, variant_no"

_call = msgspec.msgpack.Decoder(Call).decode
_outcome = msgspec.msgpack.Decoder(Outcome).decode


class RunRow(msgspec.Struct, frozen=True):
    """One run as the ledger has it. `state` is `running` or the reason it was closed with."""

    run: str
    state: str
    started_at_us: int
    ended_at_us: int | None
    request: str
    digest: str
    source: str
    position: str
    complete: bool
    planned: Planned
    totals: Totals


class Entry(NamedTuple):
    """The index entry of one (row_id, variant); `status` None is a place without an outcome."""

    row_id: str
    variant: str
    row_number: int
    part: int
    fingerprint: bytes | None
    status: int | None


class PendingRow(NamedTuple):
    """One admitted row that is not published."""

    work_id: int
    range: int
    idx: int
    row_id: str
    variant: str
    row_number: int
    part: int
    fingerprint: bytes
    variant_no: int
    outcome: Outcome | None = None


class JournaledCall(NamedTuple):
    """One call as journaled; `record` None: it has no final state yet; `late` as in `schema`."""

    call: int
    work_id: int
    turn: int
    attempt: int
    call_id: str
    lane: str
    sent_at_us: int
    task: str | None
    base_url: str | None
    late: int | None
    record: Call | None


def _unreadable(path: Path, exc: apsw.Error) -> StorageError:
    return StorageError(
        f"{path}: the ledger cannot be read: {reason(exc)}. Mend the disk or put the file back, then run again."
    )


class LedgerReader:
    """A read-only view of one ledger."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            self._db.set_busy_timeout(10_000)
            self._db.pragma("cache_size", -2_048)
        except apsw.Error as exc:
            raise _unreadable(path, exc) from exc

    def close(self) -> None:
        """Close the connection."""
        with suppress(apsw.Error):  # the last one to close folds the log in; the next opening takes it as it is
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside is of one moment."""
        self._first("BEGIN")
        try:
            yield
        finally:
            with suppress(apsw.Error):  # a read that failed has ended it already, and is what must be told
                self._db.execute("COMMIT")

    # -- runs and numbers -----------------------------------------------------------------------------------------

    def _rows(self, statement: str, bindings: tuple[Any, ...] = ()) -> Iterator[Any]:
        """The rows of one statement; apsw types a row as a tuple of anything, which says nothing.

        Raises:
            StorageError: the file is damaged, or the disk does not give it.
        """
        try:
            yield from self._db.execute(statement, bindings)
        except apsw.Error as exc:
            raise _unreadable(self._path, exc) from exc

    def _first(self, statement: str, bindings: tuple[Any, ...] = ()) -> Any:
        """The first row of one statement, None when there is none."""
        return next(self._rows(statement, bindings), None)

    @property
    def made(self) -> bool:
        """Whether there is anything to read: a process killed while it made the ledger leaves a file without tables."""
        return bool(self._first("PRAGMA user_version")[0])

    def meta(self, key: str) -> Any:
        """One value kept beside the runs, None when it is not there."""
        found = self._first("SELECT value FROM meta WHERE key=?", (key,))
        return found[0] if found else None

    def runs(self) -> list[RunRow]:
        """All runs, oldest first."""
        rows = self._rows(
            "SELECT run, state, started_at, ended_at, request, digest, source, position, complete, planned, totals "
            "FROM runs ORDER BY run"
        )
        return [
            RunRow(
                run=run,
                state=state,
                started_at_us=started,
                ended_at_us=ended,
                request=request,
                digest=digest,
                source=source,
                position=position,
                complete=bool(complete),
                planned=msgspec.json.decode(planned, type=Planned),
                totals=msgspec.json.decode(totals, type=Totals),
            )
            for run, state, started, ended, request, digest, source, position, complete, planned, totals in rows
        ]

    def next_number(self, what: str) -> int:
        """The first free number: `row_number`, `part`, `range`, `work` or `call`.

        Row numbers and parts are given for ever, so they are counted; the others are free again once pruned.
        """
        if what in ("row_number", "part"):
            return int(self.meta(f"next_{what}") or 0)
        table = {"range": "ranges", "work": "pending", "call": "calls"}[what]
        found = self._first(f"SELECT max({what}) FROM {table}")
        return int(found[0]) + 1 if found and found[0] is not None else 0

    def sample(self, run: str) -> list[str] | None:
        """The row ids drawn for this run, None when all rows take part."""
        found = self._first("SELECT sample FROM runs WHERE run=?", (run,))
        return msgspec.json.decode(found[0], type=list[str]) if found and found[0] else None

    def last_sent_us(self) -> int | None:
        """Wall time of the last byte known to have left."""
        kept = self.meta("last_sent")
        found = self._first("SELECT max(sent_at) FROM calls")
        times = [int(value) for value in (kept, found[0] if found else None) if value is not None]
        return max(times, default=None)

    def standing_failures(self) -> tuple[int, int]:
        """Rows of the table that failed for good, and that failed but are worth another try."""
        counts = dict(self._rows("SELECT status, count(*) FROM entries WHERE status > 0 GROUP BY status"))
        return counts.get(1, 0), counts.get(2, 0)

    def table_rows(self) -> int:
        """Rows of the result table that are published."""
        found = self._first("SELECT coalesce(sum(rows), 0) FROM parts")
        return int(found[0]) if found else 0

    # -- planning -------------------------------------------------------------------------------------------------

    def entries(self, row_ids: Sequence[str]) -> dict[tuple[str, str], Entry]:
        """The index entries of these rows."""
        rows = self._rows(
            "SELECT row_id, variant, row_number, part, fingerprint, status FROM entries "
            "WHERE row_id IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(row_ids).decode(),),
        )
        return {(row[0], row[1]): Entry(*row) for row in rows}

    def seen(self, row_ids: Sequence[str]) -> dict[str, tuple[int, str | None]]:
        """How often each of these ids was met in this pass over the source, and where first."""
        rows = self._rows(
            "SELECT row_id, times, place FROM seen WHERE row_id IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(row_ids).decode(),),
        )
        return {row[0]: (row[1], row[2]) for row in rows}

    def carried(self) -> set[tuple[str, str]]:
        """Keys of rows that an earlier run left in the middle of a call or conversation.

        Those of them that settled are still among them until they are published: only then does the index say so, and
        a pass over the source must not take them for rows without an outcome.
        """
        return set(self._rows("SELECT row_id, variant FROM pending WHERE carried=1 AND state < 2"))

    # -- feeding and resuming ---------------------------------------------------------------------------------------

    def unsent(self, after: int, count: int) -> list[PendingRow]:
        """Admitted rows without a single call or step, by work number, the first `count` beyond `after`."""
        rows = self._rows(
            f"SELECT {_PENDING} FROM pending p WHERE work > ? "
            "AND state=0 AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.work=p.work) "
            "AND NOT EXISTS (SELECT 1 FROM steps s WHERE s.work=p.work) ORDER BY work LIMIT ?",
            (after, count),
        )
        return [PendingRow(*row) for row in rows]

    def unsent_count(self) -> int:
        """How many rows `unsent` would give in all."""
        found = self._first(
            "SELECT count(*) FROM pending p WHERE state=0 AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.work=p.work) "
            "AND NOT EXISTS (SELECT 1 FROM steps s WHERE s.work=p.work)"
        )
        return int(found[0]) if found else 0

    def open_rows(self) -> list[PendingRow]:
        """Rows in the middle of a call or conversation: admitted, with calls or steps, not settled."""
        rows = self._rows(
            f"SELECT {_PENDING} FROM pending p WHERE state=0 AND ("
            "EXISTS (SELECT 1 FROM calls c WHERE c.work=p.work) OR EXISTS (SELECT 1 FROM steps s WHERE s.work=p.work)) "
            "ORDER BY work"
        )
        return [PendingRow(*row) for row in rows]

    def calls_of(self, work_id: int) -> list[JournaledCall]:
        """The calls of one row, in the order they were made."""
        rows = self._rows(
            "SELECT call, work, turn, attempt, call_id, lane, sent_at, task, base_url, late, record FROM calls "
            "WHERE work=? ORDER BY call",
            (work_id,),
        )
        return [JournaledCall._make((*row[:10], _call(row[10]) if row[10] else None)) for row in rows]

    def steps_of(self, work_id: int) -> list[tuple[int, int, bytes]]:
        """(turn, idx, value) of one row's journaled steps, in order; idx -1 is the reply."""
        return list(self._rows("SELECT turn, idx, value FROM steps WHERE work=? ORDER BY turn, idx", (work_id,)))

    def unsettled_by_part(self) -> dict[int, int]:
        """How many admitted rows each part still waits for."""
        return dict(self._rows("SELECT part, count(*) FROM pending WHERE state=0 GROUP BY part"))

    # -- publishing -----------------------------------------------------------------------------------------------

    def parts_with_outcomes(self) -> list[int]:
        """Parts that have settled rows to publish."""
        return [row[0] for row in self._rows("SELECT DISTINCT part FROM pending WHERE state=1 ORDER BY part")]

    def outcomes(self, part: int, *, after: tuple[int, int] = (-1, -1), count: int = SLICE) -> list[PendingRow]:
        """Settled, unpublished rows of a part in table order; continue with `after` = (row_number, variant_no)."""
        rows = self._rows(
            f"SELECT {_PENDING}, outcome FROM pending "
            "WHERE part=? AND state=1 AND (row_number, variant_no) > (?, ?) ORDER BY row_number, variant_no LIMIT ?",
            (part, *after, count),
        )
        return [PendingRow._make((*row[:9], _outcome(row[9]))) for row in rows]

    def parts(self) -> list[int]:
        """All published parts."""
        return [row[0] for row in self._rows("SELECT part FROM parts ORDER BY part")]

    def part_exists(self, part: int) -> bool:
        """Whether a part was published before."""
        return self._first("SELECT 1 FROM parts WHERE part=?", (part,)) is not None

    def final_calls(self) -> Iterator[tuple[int, str, int, str, Call]]:
        """(call, row_id, row_number, variant, record) of every final call that is not in the book yet."""
        rows = self._rows(
            "SELECT c.call, p.row_id, p.row_number, p.variant, c.record FROM calls c JOIN pending p USING(work) "
            "WHERE c.record IS NOT NULL AND c.published=0 ORDER BY c.call"
        )
        for row in rows:
            yield row[0], row[1], row[2], row[3], _call(row[4])

    def unpublished(self) -> Totals:
        """Sums over what is settled or final and not published: what a killed run had beyond its published totals."""
        sums = Totals()
        for _, _, _, _, call in self.final_calls():
            sums.add_call(call)
        for (blob,) in self._rows("SELECT outcome FROM pending WHERE state=1"):
            sums.add_outcome(_outcome(blob))
        return sums

    def call_parts(self) -> list[tuple[str, int]]:
        """(run, number) of every published file of the book."""
        return list(self._rows("SELECT run, number FROM call_parts ORDER BY run, number"))

    def ranges(self) -> list[int]:
        """Ranges with rows that are not published."""
        return [row[0] for row in self._rows("SELECT DISTINCT range FROM pending WHERE state < 2")]

    def admitted(self, range_number: int) -> bool:
        """Whether a range was admitted; its spill alone does not say so."""
        return self._first("SELECT 1 FROM ranges WHERE range=?", (range_number,)) is not None
