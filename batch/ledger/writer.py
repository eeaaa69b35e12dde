"""The writing side of the ledger: what was admitted, sent, accepted, answered and settled is recorded durably.

Owns the one writing connection and the one thread that uses it. It does not know what follows from a record; `reader`
reads with connections of its own. The file is SQLite in WAL mode with synchronous=FULL. What it says is enough to go on
after a kill at any instant; the Parquet files are derived from it.

Records of the hot path (`sent`, `accepted`, `step`, `closed`, `settled`) are queued without waiting and committed in
groups (`queue`): a commit costs the same for one record and for a hundred, so few large ones are what makes it fast.
Whoever needs durability awaits `committed()`. Whole groups are committed in the order of the queue, and inside a group
the kinds are written in the order of a row's life. So every committed state is one that really was. A slot that a
queued `closed` frees may be taken by a call whose `sent` is queued behind it: after a kill the ledger never shows more
open calls than there are slots.

A failed commit breaks the ledger: the reason is kept, every waiter is woken with `StorageError`, nothing more is
written.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import anyio
import apsw

from batch.core import failpoints
from batch.core.clock import Clock
from batch.core.errors import StorageError
from batch.core.records import Call, Outcome
from batch.ledger import levels
from batch.ledger.group import GROUP_RECORDS, Group, Written, encode, outcome_record
from batch.ledger.pages import tells_damage
from batch.ledger.pruning import prune_slice
from batch.ledger.queue import GroupQueue
from batch.ledger.schema import connect, damaged, mark_closed, mark_open, reason, way_out
from batch.ledger.unpublished import Recent

T = TypeVar("T")

CHECKPOINT_PAGES: Final = 4_000  # 16 MB of log; a passive checkpoint then takes some 10 ms
PUT_OFF: Final = 8
"""So many commits may go before a slice of housekeeping."""


class Ledger:
    """The one writer. Use it as an async context manager inside the event loop that queues the records.

    Attributes:
        recent: what it has recorded and need not be read back to be published.
        broken: the error that ended all writing, or None.
        commits: how many commits were made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = connect(path)
        try:
            mark_open(self._db, path, Clock().now_us())
        except StorageError:
            with suppress(apsw.Error):
                self._db.close()
            raise
        self._queue = GroupQueue()
        self.recent = Recent()
        self._pruning = True  # a killed run may have left published records behind
        self._moving = True  # and a level of the index that is full
        self._put_off = 0
        self._wal_pages = 0
        self.broken: StorageError | None = None
        self.commits = 0
        self._on_broken: Callable[[], None] | None = None
        self._db.set_wal_hook(self._note_wal)

    # -- hot path: queue and go on ------------------------------------------------------------------------------

    def sent(self, call: int, row: tuple[int, int, int], call_id: str, lane: str, sent_at_us: int) -> None:
        """Record that a call is about to leave; its bytes may leave once this is committed.

        Args:
            call: number of the call.
            row: (work id, turn, attempt).
            call_id: our id of the call, as the provider gets it.
            lane: how it is sent.
            sent_at_us: UTC wall time in microseconds.
        """
        work_id, turn, attempt = row
        self._queue.put((("sent", (call, work_id, turn, attempt, call_id, lane, sent_at_us), 80),))

    def accepted(self, call: int, task_id: str, base_url: str) -> None:
        """Record the task id that the provider gave; the task may be polled once this is committed.

        Args:
            call: number of the call.
            task_id: the id.
            base_url: the address where the task can be polled.
        """
        self._queue.put((("accepted", (call, task_id, base_url), 80),))

    def goes_to(self, call: int, place: str) -> None:
        """Record to which of several addresses a call leaves; committed before its bytes go, as `sent` is."""
        self._queue.put((("place", (call, place), 80),))

    def step(self, work_id: int, turn: int, idx: int, value: bytes, *beside: Written) -> None:
        """Record a step of a conversation.

        Args:
            work_id: number of the row.
            turn: number of the turn, from 0.
            idx: -1 for the reply of the turn, 0 and up for the results of its tool calls.
            value: the reply or result, encoded.
            beside: what becomes durable in the same commit.
        """
        self._queue.put((("step", (work_id, turn, idx, value), len(value)), *beside))

    def record(self, *records: Written) -> None:
        """Record what another module of this wing put into the form of a record."""
        self._queue.put(records)

    def closed(
        self,
        call: int,
        record: Call | None,
        *,
        reply: tuple[int, int, bytes] | None = None,
        outcome: tuple[int, Outcome] | None = None,
        hold: bool = False,
    ) -> None:
        """Record the final state of a call, and what follows from it in the same commit.

        With two commits, a kill between them would leave a paid answer without its row.

        Args:
            call: number of the call.
            record: the call as it becomes a row of `calls`. None gives up one that was booked before and brought
                nothing now; the call stays, for the feeder takes a row without calls for one that was not begun.
            reply: (work id, turn, value): the reply from which a later turn goes on.
            outcome: (work id, outcome): the outcome with which the row settles.
            hold: keep the task id beyond the row's outcome, to poll it first when the row comes again.
        """
        if record is None:
            records: list[Written] = [("dropped", (call,), 10), ("unlined", (call,), 10)]
        else:
            blob = encode(record)
            records = [("closed", (call, blob), size := len(blob))]
            self.recent.add_call(call, record, size)
        if reply is not None:
            records.append(("step", (reply[0], reply[1], -1, reply[2]), len(reply[2])))
        if hold:
            records.append(("held", (call,), 40))
        if outcome is not None:
            records.append(settled := outcome_record(*outcome))
            self.recent.add_outcome(*outcome, settled[2])
        self._queue.put(records)

    def settled(self, work_id: int, outcome: Outcome) -> None:
        """Record the outcome of a row that has no call of its own."""
        record = outcome_record(work_id, outcome)
        self.recent.add_outcome(work_id, outcome, record[2])
        self._queue.put((record,))

    def note(self, key: str, value: str) -> None:
        """Record a value that is kept beside the runs; `LedgerReader.meta` reads it."""
        self._queue.put((("noted", (key, value), len(value)),))

    def count_overtime(self, row_id: str, variant: str, fingerprint: bytes, times: int) -> None:
        """Record how often a row, asking what this fingerprint stands for, has outlasted somebody; 0 when answered."""
        self._queue.put((("overtime", (row_id, variant, fingerprint, times), 80),))

    async def committed(self) -> None:
        """Wait until everything that is queued now is durable.

        Raises:
            StorageError: a commit failed; the run must end.
        """
        if (waiter := self.uncommitted()) is not None:
            await waiter
        if self.broken is not None:
            raise self.broken

    def uncommitted(self) -> asyncio.Future[None] | None:
        """What `committed` awaits before it looks at `broken`; None when everything is durable."""
        group = self._queue.latest
        if group is None or group.done:
            return None
        waiter = self._loop.create_future()  # one for each who waits: a cancel of one must not reach the others
        group.waiters.append(waiter)
        return waiter

    # -- cold path ----------------------------------------------------------------------------------------------

    async def execute(self, change: Callable[[apsw.Connection], T], *, after: str | None = None) -> T:
        """Run a function in the writer thread, inside a transaction of its own, and return what it returns.

        Args:
            change: what to run, with the writing connection.
            after: a failpoint to pass when the transaction is durable.

        Raises:
            StorageError: the commit failed; the run must end.
            Exception: whatever `change` raised; its transaction was undone.
        """
        result: list[T] = []

        def job(db: apsw.Connection) -> None:
            # `change` may have published or admitted something, or may say itself that nothing is left.
            self._pruning = self._moving = True
            result.append(change(db))

        group = self._queue.new()
        group.jobs.append(job)
        group.records = GROUP_RECORDS  # nothing joins a transaction that is not its own
        await group.waiter(self._loop)
        if self.broken is not None:
            raise self.broken
        if group.error is not None:
            raise group.error
        if after is not None:
            failpoints.hit(after)
        return result[0]

    def execute_from_thread(self, change: Callable[[apsw.Connection], T]) -> T:
        """`execute`, for a thread that the event loop has started and waits for.

        Args:
            change: what to do, inside one transaction.
        """
        return anyio.from_thread.run(self.execute, change)

    async def tidied(self) -> None:
        """Wait until all published records are pruned, and the index is in one level; for the end of a run."""
        while self._pruning:
            await self.execute(self._prune)
        while await self.execute(partial(levels.move, everything=levels.ENTRIES)):
            pass

    # -- life ---------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._queue.start()
        self._thread = threading.Thread(target=self._write_groups, name="ledger", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await self._queue.close()
            await anyio.to_thread.run_sync(self._thread.join)
        self._db.set_wal_hook(None)
        self._db.set_busy_timeout(0)
        if self.broken is None:
            with suppress(apsw.Error):  # no room, or somebody reads: the next opening takes the log as it is
                mark_closed(self._db)
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        with suppress(apsw.Error):  # closing tries to fold it in again
            self._db.close()

    def on_broken(self, call: Callable[[], None]) -> None:
        """Let `call` be called in the event loop when a commit fails."""
        self._on_broken = call

    # -- inside -------------------------------------------------------------------------------------------------

    def _write_groups(self) -> None:
        while True:
            untidy = (self._pruning or self._moving or self._wal_pages > CHECKPOINT_PAGES) and self.broken is None
            group = self._queue.take(wait=not untidy)
            if group is None:
                if self._queue.closed:
                    return
                self._tidy()
                continue
            if self.broken is None:
                self._commit(group)
            self._loop.call_soon_threadsafe(self._queue.written)
            self._put_off += untidy
            if self.broken is None and (self._wal_pages > 4 * CHECKPOINT_PAGES or self._put_off > PUT_OFF):
                self._tidy()  # also when it is never idle: the log and the small levels must not grow for ever

    def _commit(self, group: Group) -> None:
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            group.write(db)
            db.execute("COMMIT")
            self.commits += 1
        except Exception as exc:  # noqa: BLE001 - whatever it is, this thread must live to wake those who wait
            self._undo(group, exc)
            return
        group.pass_failpoints()

    def _undo(self, group: Group, exc: Exception) -> None:
        """Undo a group that failed: an error of the disk breaks the ledger, one of a job goes to its caller alone."""
        if isinstance(exc, apsw.Error) or not group.jobs:
            self._break(exc)
            return
        try:
            self._db.execute("ROLLBACK")
            group.error = exc
        except apsw.Error as refused:
            self._break(refused)

    def _prune(self, db: apsw.Connection) -> None:
        self._pruning = prune_slice(db)

    def _tidy(self) -> None:
        """Do one slice of housekeeping between two commits."""
        self._put_off = 0
        try:
            if self._wal_pages > CHECKPOINT_PAGES:
                self._wal_pages = 0
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            elif self._pruning:
                self._pruning = self._unsynced(prune_slice)
            elif self._moving:
                self._moving = self._unsynced(levels.move)
        except apsw.Error as exc:
            self._break(exc)

    def _unsynced(self, change: Callable[[apsw.Connection], bool]) -> bool:
        """Make a change that a power cut may undo, for it says nothing new; the next group's commit syncs it along."""
        synced = self._db.pragma("synchronous")
        self._db.pragma("synchronous", "normal")
        self._db.execute("BEGIN IMMEDIATE")  # not `with self._db`: its roll-back would hide the reason
        more = change(self._db)
        self._db.execute("COMMIT")
        self._db.pragma("synchronous", synced)
        return more

    def _break(self, exc: Exception) -> None:
        self.broken = (
            damaged(self._path, exc)
            if tells_damage(exc)
            else StorageError(
                f"{self._path}: the ledger could not be written: {reason(exc)}. What was acknowledged before is safe. "
                f"{way_out('Free space or mend the disk')}, then run the same command again: it goes on from here."
            )
        )
        self.broken.__cause__ = exc
        if self._on_broken is not None:
            self._loop.call_soon_threadsafe(self._on_broken)

    def _note_wal(self, _: apsw.Connection, __: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK
