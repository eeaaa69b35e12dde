"""The durable record: what was admitted, sent, accepted, answered and settled, and where every row stands.

SQLite in WAL mode with synchronous=FULL, one file, one writer. The Parquet files are derived from it; what it says is
enough to go on after a kill at any instant. `Ledger` owns the one writing connection and the one thread that uses it;
`batch.ledger.reader` reads with connections of its own, in short transactions.

Records of the hot path (`sent`, `accepted`, `step`, `closed`, `settled`) are queued without waiting and committed in
groups: the writer takes all that is queued, up to `GROUP_RECORDS` and `GROUP_BYTES`, and commits; there is no timer.
Whoever needs durability awaits `committed()`. The queue is first in, first out over whole groups, and inside a group
the kinds are written in the order of a row's life. So every committed state is one that really was, and a slot freed
by a queued `closed` may be taken by a call whose `sent` is queued behind it: no committed prefix ever shows more open
calls than slots.

A failed commit breaks the ledger: the reason is kept, every waiter is woken with `StorageError`, nothing more is
written.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

import anyio
import apsw
import msgspec

from batch.core import failpoints
from batch.core.errors import StorageError
from batch.core.records import Call, Outcome
from batch.ledger.schema import connect, reason

T = TypeVar("T")

GROUP_RECORDS: Final = 1_024
GROUP_BYTES: Final = 8 << 20
PRUNE_ROWS: Final = 1_000  # of one slice between two commits: about 5 ms
CHECKPOINT_PAGES: Final = 4_000  # 16 MB of log; a passive checkpoint then takes some 10 ms
_KINDS: Final = ("sent", "accepted", "closed", "step", "held", "settled", "dropped", "noted")
_STATEMENTS: Final = {
    "sent": "INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at) VALUES(?,?,?,?,?,?,?)",
    "accepted": "UPDATE calls SET task=?2, base_url=?3 WHERE call=?1",
    "closed": "UPDATE calls SET record=?2 WHERE call=?1",
    "step": "INSERT OR REPLACE INTO steps(work, turn, idx, value) VALUES(?,?,?,?)",
    "settled": "UPDATE pending SET state=1, outcome=?2 WHERE work=?1",
    "held": "INSERT OR REPLACE INTO held(row_id, variant, fingerprint, task, base_url, call_id, attempt, sent_at) "
    "SELECT p.row_id, p.variant, p.fingerprint, c.task, c.base_url, c.call_id, c.attempt, c.sent_at "
    "FROM calls c JOIN pending p USING(work) WHERE c.call=?1",
    "dropped": "UPDATE calls SET late=2 WHERE call=?1",
    "noted": "INSERT OR REPLACE INTO meta(key, value) VALUES(?,?)",
}
_AFTER: Final = {"sent": "sent.committed", "accepted": "accepted.committed", "settled": "settled.committed"}

_encode = msgspec.msgpack.Encoder().encode


class _Record(NamedTuple):
    kind: str
    row: tuple[Any, ...]
    size: int


def _settled(work_id: int, outcome: Outcome) -> _Record:
    blob = _encode(outcome)
    return _Record("settled", (work_id, blob), len(blob))


class _Group:
    """The records of one commit, by kind, and the event its waiters wait for."""

    __slots__ = ("bytes", "done", "fault", "jobs", "records", "rows")

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[Any, ...]]] = {kind: [] for kind in _KINDS}
        self.jobs: list[Callable[[apsw.Connection], None]] = []
        self.records = 0
        self.bytes = 0
        self.fault: Exception | None = None
        """What a job raised; its transaction was undone, and its caller is told."""
        self.done = anyio.Event()


class Ledger:
    """The one writer. Use as an async context manager inside the event loop that queues the records."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = connect(path)
        self._groups: deque[_Group] = deque()
        self._latest: _Group | None = None
        self._wake = threading.Condition()
        self._closing = False
        self._pruning = True  # a killed run may have left published records behind
        self._wal_pages = 0
        self.broken: StorageError | None = None
        self.commits = 0
        self._on_broken: Callable[[], None] | None = None
        self._db.set_wal_hook(self._note_wal)

    # -- hot path: queue and go on ------------------------------------------------------------------------------

    def sent(self, call: int, row: tuple[int, int, int], call_id: str, lane: str, sent_at_us: int) -> None:
        """A call is about to leave: `row` is (work, turn, attempt). Bytes may leave once it is committed."""
        self._put(_Record("sent", (call, *row, call_id, lane, sent_at_us), 80))

    def accepted(self, call: int, task_id: str, base_url: str) -> None:
        """The provider gave a task id; it may be polled once this is committed."""
        self._put(_Record("accepted", (call, task_id, base_url), 80))

    def step(self, work_id: int, turn: int, idx: int, value: bytes) -> None:
        """A step of a conversation: idx -1 is the reply of the turn, 0… the results of its tool calls."""
        self._put(_Record("step", (work_id, turn, idx, value), len(value)))

    def closed(
        self,
        call: int,
        record: Call | None,
        *,
        reply: tuple[int, int, bytes] | None = None,
        outcome: tuple[int, Outcome] | None = None,
        hold: bool = False,
    ) -> None:
        """A call has its final state, and what follows from it is recorded in the same commit.

        Were they two commits, a kill between them would leave a paid answer without its row.

        Args:
            call: number of the call.
            record: its line of the book; None gives up a call that was booked before, an old task that brought nothing.
                It stays as a mark that the row was begun, or the feeder would hand the row out a second time.
            reply: (work, turn, value), the reply to go on from in a later turn.
            outcome: (work, outcome) when the row settles with it.
            hold: keep the task id beyond the row's outcome, to be polled first when the row comes again.
        """
        records = [_Record("dropped", (call,), 10)]
        if record is not None:
            blob = _encode(record)
            records = [_Record("closed", (call, blob), len(blob))]
        if reply is not None:
            records.append(_Record("step", (reply[0], reply[1], -1, reply[2]), len(reply[2])))
        if hold:
            records.append(_Record("held", (call,), 40))
        if outcome is not None:
            records.append(_settled(*outcome))
        self._put(*records)

    def settled(self, work_id: int, outcome: Outcome) -> None:
        """A row has its outcome without a call of its own."""
        self._put(_settled(work_id, outcome))

    def note(self, key: str, value: str) -> None:
        """Keep a value beside the runs; `LedgerReader.meta` reads it."""
        self._put(_Record("noted", (key, value), len(value)))

    async def committed(self) -> None:
        """Return when everything queued so far is durable.

        Raises:
            StorageError: the commit failed; the run must end.
        """
        if self._latest is not None:
            await self._latest.done.wait()
        if self.broken is not None:
            raise self.broken

    # -- cold path ----------------------------------------------------------------------------------------------

    async def execute(self, change: Callable[[apsw.Connection], T], *, after: str | None = None) -> T:
        """Run `change` in the writer thread, inside one transaction of its own, and return what it returns.

        `after` names a failpoint passed when the transaction is durable.
        """
        result: list[T] = []

        def job(db: apsw.Connection) -> None:
            self._pruning = True  # `change` may have published something, or may say itself that nothing is left
            result.append(change(db))

        group = _Group()
        group.jobs.append(job)
        group.records = GROUP_RECORDS  # nothing joins a transaction that is not its own
        self._queue(group)
        await group.done.wait()
        if self.broken is not None:
            raise self.broken
        if group.fault is not None:
            raise group.fault
        if after is not None:
            failpoints.hit(after)
        return result[0]

    async def pruned(self) -> None:
        """Wait until nothing published is left to prune; for the end of a run."""
        while self._pruning:
            await self.execute(self._prune)

    # -- life ---------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write_groups, name="ledger", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._thread.join)
        self._db.set_wal_hook(None)
        self._db.set_busy_timeout(0)
        if self.broken is None:
            with suppress(
                apsw.Error
            ):  # no room to fold the log in, or somebody reads: the next opening takes it as it is
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        with suppress(apsw.Error):  # closing tries to fold it in again
            self._db.close()

    def on_broken(self, call: Callable[[], None]) -> None:
        """Have `call` run in the event loop when a commit fails."""
        self._on_broken = call

    # -- inside -------------------------------------------------------------------------------------------------

    def _put(self, *records: _Record) -> None:
        size = sum(record.size for record in records)
        with self._wake:
            group = self._groups[-1] if self._groups else None
            if group is None or group.records + len(records) > GROUP_RECORDS or group.bytes + size > GROUP_BYTES:
                group = _Group()
                self._groups.append(group)
                self._latest = group
                self._wake.notify()
            for kind, row, _ in records:
                group.rows[kind].append(row)
            group.bytes += size
            group.records += len(records)

    def _queue(self, group: _Group) -> None:
        with self._wake:
            self._groups.append(group)
            self._latest = group
            self._wake.notify()

    def _take(self) -> _Group | None:
        """The next group, None when closing and empty. Prunes and checkpoints while there is nothing to write."""
        while True:
            with self._wake:
                if self._groups:
                    # Left in the deque until committed would let late records join a group being written.
                    return self._groups.popleft()
                if self._closing:
                    return None
                if not (self._pruning or self._wal_pages > CHECKPOINT_PAGES) or self.broken is not None:
                    self._wake.wait()
                    continue
            self._tidy()

    def _write_groups(self) -> None:
        while (group := self._take()) is not None:
            if self.broken is None:
                self._commit(group)
            self._loop.call_soon_threadsafe(group.done.set)
            if self.broken is None and self._wal_pages > 4 * CHECKPOINT_PAGES:
                self._tidy()  # never idle: the log must not grow for ever

    def _commit(self, group: _Group) -> None:
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            for kind, rows in group.rows.items():
                if rows:
                    db.executemany(_STATEMENTS[kind], rows)
            for job in group.jobs:
                job(db)
            db.execute("COMMIT")
            self.commits += 1
        except Exception as exc:  # noqa: BLE001 - whatever it is, this thread must live to tell those who wait
            self._undo(group, exc)
            return
        for kind, name in _AFTER.items():
            if group.rows[kind]:
                failpoints.hit(name)
        if group.rows["step"]:
            replies = any(row[2] < 0 for row in group.rows["step"])
            failpoints.hit("answered.committed" if replies else "tool.committed")

    def _undo(self, group: _Group, exc: Exception) -> None:
        """A fault of the disk breaks the ledger; one of a job's own is told to its caller alone."""
        if isinstance(exc, apsw.Error) or not group.jobs:
            self._break(exc)
            return
        try:
            self._db.execute("ROLLBACK")
            group.fault = exc
        except apsw.Error as refused:
            self._break(refused)

    def _prune(self, db: apsw.Connection) -> None:
        self._pruning = prune_slice(db)

    def _tidy(self) -> None:
        """One slice of housekeeping between two commits."""
        try:
            if self._wal_pages > CHECKPOINT_PAGES:
                self._wal_pages = 0
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            elif self._pruning:
                self._db.execute("BEGIN IMMEDIATE")  # not `with self._db`: its roll-back would hide the reason
                self._pruning = prune_slice(self._db)
                self._db.execute("COMMIT")
        except apsw.Error as exc:
            self._break(exc)

    def _break(self, exc: Exception) -> None:
        self.broken = StorageError(
            f"{self._path}: the ledger could not be written: {reason(exc)}. What was acknowledged before is safe. "
            "Free space or mend the disk, then run the same command again: it goes on from here."
        )
        self.broken.__cause__ = exc
        if self._on_broken is not None:
            self._loop.call_soon_threadsafe(self._on_broken)

    def _note_wal(self, _: apsw.Connection, __: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK


def prune_slice(db: apsw.Connection) -> bool:
    """Delete the records of up to `PRUNE_ROWS` published rows; True when there may be more."""
    works = [row[0] for row in db.execute("SELECT work FROM pending WHERE state=2 LIMIT ?", (PRUNE_ROWS,))]
    if not works:
        return False
    listed = msgspec.json.encode(works).decode()
    for table in ("calls", "steps", "pending"):
        db.execute(f"DELETE FROM {table} WHERE work IN (SELECT value FROM json_each(?))", (listed,))
    return True
