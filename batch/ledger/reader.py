"""The reading side of the ledger: what a run reads to start again, to plan, to feed, to publish and to report.

Owns the values that come out of the ledger. It opens the file read-only, in short transactions, beside the one writer;
it writes nothing and decides nothing. A `LedgerReader` belongs to one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import apsw
import msgspec

from batch.core.errors import StorageError
from batch.core.labelling import Labelling
from batch.core.records import Call, Lane, Outcome
from batch.ledger import readonly, statements, wal
from batch.ledger.pages import tells_damage
from batch.ledger.schema import damaged, reason, way_out
from batch.ledger.totals import Planned, Totals

SLICE: Final = 1_000
_call = msgspec.msgpack.Decoder(Call).decode
_outcome = msgspec.msgpack.Decoder(Outcome).decode


class RunRow(msgspec.Struct, frozen=True):
    """One run in the ledger; `state` is `running`, or the reason with which it was closed."""

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
    """One row of the result table in the index; `status` None means that its place has no outcome yet.

    `content` and `labelling` are known to the index's own reader only.
    """

    row_id: str
    variant: str
    row_number: int
    part: int
    fingerprint: bytes | None
    status: int | None
    content: bytes | None = None
    labelling: Labelling | None = None
    """What was done to bring it to a valid label."""


class PendingRow(NamedTuple):
    """One row that is admitted and not published."""

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
    """One call in the ledger; `record` is None while it has no final state; `schema` has `late`, and `booked` too."""

    call: int
    work_id: int
    turn: int
    attempt: int
    call_id: str
    lane: Lane
    sent_at_us: int
    task: str | None
    base_url: str | None
    late: int | None
    record: Call | None
    booked: bool


def journaled_call(row: Sequence[Any]) -> JournaledCall:
    """A call from its values in the ledger, in the order of `JournaledCall`."""
    return JournaledCall._make((*row[:10], _call(row[10]) if row[10] else None, bool(row[11])))


def _unreadable(path: Path, exc: apsw.Error) -> StorageError:
    if tells_damage(exc):
        return damaged(path, exc)
    return StorageError(
        f"{path}: the ledger cannot be read: {reason(exc)}. {way_out('Mend the disk or put the file back')}, then run "
        "again."
    )


class LedgerReader:
    """A read-only view of one ledger."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = readonly.connect(path)
        except apsw.Error as exc:
            raise _unreadable(path, exc) from exc
        try:
            self._db.set_busy_timeout(10_000)
            self._db.pragma("cache_size", -2_048)
        except apsw.Error as exc:
            self.close()
            raise _unreadable(path, exc) from exc

    def close(self) -> None:
        """Close the connection."""
        with suppress(apsw.Error):  # the last to close writes the log into the file; if it cannot, the next opener does
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything that is read inside be of one moment."""
        self._first("BEGIN")
        try:
            yield
        finally:
            with suppress(apsw.Error):  # a read that failed has ended it already, and its error is the one to raise
                self._db.execute("COMMIT")

    # -- runs and numbers -----------------------------------------------------------------------------------------

    def _rows(self, statement: str, bindings: tuple[Any, ...] = ()) -> Iterator[Any]:
        """The rows of one statement.

        Raises:
            StorageError: the file is damaged or cannot be read.
        """
        try:
            yield from self._db.execute(statement, bindings)
        except apsw.Error as exc:
            raise _unreadable(self._path, exc) from exc

    def _first(self, statement: str, bindings: tuple[Any, ...] = ()) -> Any:
        """The first row of one statement, or None."""
        return next(self._rows(statement, bindings), None)

    @property
    def made(self) -> bool:
        """Whether the file has tables: a process that was killed while it made the ledger may leave one without."""
        return bool(self._first("PRAGMA user_version")[0])

    @property
    def writer(self) -> tuple[int, int] | None:
        """The process that has the ledger open for writing, or died while it had, and since when; None for nobody."""
        if not self.made or (found := self.meta(wal.KEY)) is None:
            return None
        mark = wal.Mark.parse(found)
        return (mark.process, mark.since_us) if mark is not None and mark.open else None

    def meta(self, key: str) -> Any:
        """One value that is kept beside the runs, or None."""
        row = self._first(statements.META, (key,))
        return row[0] if row else None

    def runs(self) -> list[RunRow]:
        """All runs, oldest first."""
        rows = self._rows(statements.RUNS)
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
        """The first free number of a kind: `row_number`, `part`, `range`, `work` or `call`.

        Row numbers and parts are given once and for ever, so they are counted; the others are free again when pruned.
        """
        if what in ("row_number", "part"):
            return int(self.meta(f"next_{what}") or 0)
        row = self._first(statements.highest(what, {"range": "ranges", "work": "pending", "call": "calls"}[what]))
        return int(row[0]) + 1 if row and row[0] is not None else 0

    def sample(self, run: str) -> list[str] | None:
        """The ids of the rows drawn for this run, or None when all rows take part."""
        row = self._first(statements.SAMPLE, (run,))
        return msgspec.json.decode(row[0], type=list[str]) if row and row[0] else None

    def last_sent_us(self) -> int | None:
        """When the last request left that the ledger knows of: UTC wall time in microseconds, or None."""
        kept = self.meta("last_sent")
        row = self._first(statements.LAST_SENT)
        times = [int(value) for value in (kept, row[0] if row else None) if value is not None]
        return max(times, default=None)

    def standing_failures(self) -> tuple[int, int]:
        """How many rows of the table failed for good, and how many failed but are worth another try."""
        counts = dict(self._rows(statements.FAILED_ENTRIES))
        return counts.get(1, 0), counts.get(2, 0)

    def table_rows(self) -> int:
        """How many rows of the result table are published."""
        row = self._first(statements.PUBLISHED_ROWS)
        return int(row[0]) if row else 0

    # -- planning -------------------------------------------------------------------------------------------------

    def entries(self, row_ids: Sequence[str]) -> dict[tuple[str, str], Entry]:
        """The index entries of these rows, by row id and variant."""
        rows = self._rows(statements.ENTRIES, (msgspec.json.encode(row_ids).decode(),))
        return {(row[0], row[1]): Entry(*row) for row in rows}

    def seen(self, row_ids: Sequence[str]) -> dict[str, tuple[int, str | None]]:
        """How often each of these row ids was met in this pass over the source, and where it was met first."""
        rows = self._rows(statements.SEEN, (msgspec.json.encode(row_ids).decode(),))
        return {row[0]: (row[1], row[2]) for row in rows}

    def overtime(self) -> dict[tuple[str, str], tuple[bytes, int]]:
        """By (row_id, variant): what the row asked, as a fingerprint, and how often that outlasted somebody."""
        return {(row[0], row[1]): (row[2], row[3]) for row in self._rows(statements.OVERTIME)}

    def carried(self) -> set[tuple[str, str]]:
        """Row id and variant of the rows that an earlier run left in the middle of a call or conversation.

        A row that has settled stays among them until it is published. Only then does the index know it, and a pass over
        the source must not take it for a row without an outcome.
        """
        return set(self._rows(statements.CARRIED))

    # -- feeding and resuming ---------------------------------------------------------------------------------------

    def unsent(self, after: int, count: int, *, variants: Sequence[str] | None = None) -> list[PendingRow]:
        """The first admitted rows that have no call and no step yet, by work id.

        Args:
            after: the work id beyond which to look.
            count: rows, at most.
            variants: only rows of these; None for all.
        """
        names = None if variants is None else msgspec.json.encode(list(variants)).decode()
        rows = self._rows(statements.UNSENT, (after, names, count))
        return [PendingRow(*row) for row in rows]

    def unsent_by_variant(self) -> dict[str, int]:
        """By variant, how many admitted rows have no call and no step yet."""
        return dict(self._rows(statements.UNSENT_BY_VARIANT))

    def open_rows(self) -> list[PendingRow]:
        """The rows in the middle of a call or conversation: admitted and not settled, with calls or steps."""
        rows = self._rows(statements.OPEN_ROWS)
        return [PendingRow(*row) for row in rows]

    def kept(self, row_id: str) -> list[PendingRow]:
        """What the ledger has of the row with this id, in each variant; a published one stays until it is pruned."""
        return [PendingRow(*row) for row in self._rows(statements.KEPT_ROW, (row_id,))]

    def calls_of(self, work_id: int) -> list[JournaledCall]:
        """The calls of one row, in the order they were made."""
        return list(map(journaled_call, self._rows(statements.CALLS_OF_ROW, (work_id,))))

    def steps_of(self, work_id: int) -> list[tuple[int, int, bytes]]:
        """The steps of one row's conversation in their order, as (turn, idx, value); idx -1 is the reply."""
        return list(self._rows(statements.STEPS_OF_ROW, (work_id,)))

    def unsettled_by_part(self) -> dict[int, int]:
        """By part, how many admitted rows it still waits for."""
        return dict(self._rows(statements.UNSETTLED_BY_PART))

    # -- publishing -----------------------------------------------------------------------------------------------

    def settled_by_part(self) -> dict[int, int]:
        """By part, how many rows it has to publish: settled ones, or such of which the input columns alone are new."""
        return dict(self._rows(statements.SETTLED_BY_PART))

    def outcomes(self, part: int, *, after: tuple[int, int] = (-1, -1), count: int = SLICE) -> list[PendingRow]:
        """Settled rows of a part that are not published, in the order of the table.

        Args:
            part: number of the part.
            after: row number and variant number of the last row before them.
            count: how many rows at most.
        """
        rows = self._rows(statements.OUTCOMES, (part, *after, count))
        return [PendingRow._make((*row[:9], _outcome(row[9]))) for row in rows]

    def parts(self) -> list[int]:
        """All published parts."""
        return [row[0] for row in self._rows(statements.PARTS)]

    def part_exists(self, part: int) -> bool:
        """Whether a part was published before."""
        return self._first(statements.PART, (part,)) is not None

    def final_calls(self) -> Iterator[tuple[int, str, int, str, Call]]:
        """Every final call that is not published, as (call, row_id, row_number, variant, record)."""
        for row in self._rows(statements.FINAL_CALLS):
            yield row[0], row[1], row[2], row[3], _call(row[4])

    def final_calls_waiting(self) -> int:
        """How many calls are final and not published."""
        row = self._first(statements.COUNT_FINAL_CALLS)
        return int(row[0]) if row else 0

    def unpublished(self) -> Totals:
        """The sums over final calls and settled rows that are not published: what a killed run did after publishing."""
        sums = Totals()
        for _, _, _, _, call in self.final_calls():
            sums.add_call(call)
        for (blob,) in self._rows(statements.ALL_OUTCOMES):
            sums.add_outcome(_outcome(blob))
        return sums

    def call_parts(self) -> list[tuple[str, int]]:
        """Every published file of the table `calls`, as (run, number)."""
        return list(self._rows(statements.CALL_PARTS))

    def ranges(self) -> list[int]:
        """The ranges with rows that are not published."""
        return [row[0] for row in self._rows(statements.RANGES)]

    def admitted(self, range_number: int) -> bool:
        """Whether a range was admitted; that its spill exists does not mean so."""
        return self._first(statements.RANGE, (range_number,)) is not None
