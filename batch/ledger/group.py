"""The records of one commit: which kinds there are, how large a group may become, and in which order it is written.

Owns the promise that every commit holds a state that really was: inside a group the kinds are written in the order of a
row's life. It knows no queue and no thread (`writer`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from batch.core import failpoints
from batch.core.records import Outcome
from batch.ledger import bounds_table, effect_statements, orphan_table, statements, wave_tables

GROUP_RECORDS: Final = 1_024
GROUP_BYTES: Final = 8 << 20

_STATEMENTS: Final = {
    "sent": statements.INSERT_CALL,
    "bounded": bounds_table.KEEP,
    "place": statements.SET_PLACE,
    "booked": statements.MARK_CALL,
    "lined": wave_tables.INSERT_LINE,
    "claimed": orphan_table.CLAIM,
    "accepted": statements.SET_TASK,
    "closed": statements.SET_RECORD,
    "unbounded": bounds_table.FORGET,
    "intended": effect_statements.INTEND,
    "acted": effect_statements.ACTED,
    "doubted": effect_statements.DOUBT,
    "shared": effect_statements.SHARE,
    "step": statements.INSERT_STEP,
    "held": statements.HOLD_TASK,
    "settled": statements.SET_OUTCOME,
    "dropped": statements.SET_GIVEN_UP,
    "unlined": wave_tables.DELETE_LINE,
    "noted": statements.SET_META,
    "overtime": statements.SET_OVERTIME,
}
"""By kind, in the order in which the kinds are written."""
_AFTER: Final = {
    "sent": "sent.committed",
    "accepted": "accepted.committed",
    "settled": "settled.committed",
    "intended": "tool.intended",
}

encode = msgspec.msgpack.Encoder().encode


class Record(NamedTuple):
    """One change on the hot path: its kind, the values of its statement, and about how many bytes they take."""

    kind: str
    row: tuple[Any, ...]
    size: int


Written = tuple[str, tuple[Any, ...], int]
"""A record, or the same values in its order."""


def outcome_record(work_id: int, outcome: Outcome) -> Written:
    """The record that gives a row its outcome."""
    blob = encode(outcome)
    return "settled", (work_id, blob), len(blob)


class Group:
    """The records of one commit, by kind, and those who wait for it.

    Attributes:
        rows: the values of its records, by kind.
        jobs: changes that make a transaction of their own.
        records: how many records it has.
        bytes: about how large they are.
        error: what a job raised; its transaction was undone, and its caller gets the error.
        done: whether it is written, or will never be.
        waiters: what those await who wait for it.
    """

    __slots__ = ("bytes", "done", "error", "jobs", "records", "rows", "waiters")

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[Any, ...]]] = {kind: [] for kind in _STATEMENTS}
        self.jobs: list[Callable[[apsw.Connection], None]] = []
        self.records = 0
        self.bytes = 0
        self.error: Exception | None = None
        self.done = False
        self.waiters: list[asyncio.Future[None]] = []

    def waiter(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """What to await until `finish`, for a group that is not done."""
        waiter = loop.create_future()  # one for each who waits: a cancel of one must not reach the others
        self.waiters.append(waiter)
        return waiter

    def finish(self) -> None:
        """Wake all who wait; for the event loop."""
        self.done = True
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def write(self, db: apsw.Connection) -> None:
        """Write everything, inside a transaction of the caller's."""
        for kind, rows in self.rows.items():
            if rows:
                db.executemany(_STATEMENTS[kind], rows)
        for job in self.jobs:
            job(db)

    def pass_failpoints(self) -> None:
        """Pass the failpoints of all kinds in it, now that they are durable."""
        for kind, name in _AFTER.items():
            if self.rows[kind]:
                failpoints.hit(name)
        steps = self.rows["step"]
        if any(row[2] < 0 for row in steps):
            failpoints.hit("answered.committed")
        if any(row[2] >= 0 for row in steps):
            failpoints.hit("tool.committed")
