"""A range of rows that was planned, and the transaction that makes it durable.

Owns what stands in the ledger of an admitted row: its place, its fingerprint, the pass over the source that met it, and
the old task id that comes with it. Reads no source; which rows need work is the planner's matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Self

import apsw
import msgspec
from msgspec.structs import astuple

from batch.core.records import Outcome
from batch.input.batches import Position
from batch.labels.samples import NO_SAMPLES, Sampling
from batch.ledger import copies, index, paid
from batch.ledger.late import LATE
from batch.ledger.totals import Planned
from batch.plan.row_ids import Seen
from batch.prompts.variants import Packed

_encode = msgspec.msgpack.Encoder().encode


TO_ASK: Final = 0
SETTLED: Final = 1
"""It is not asked, and has its outcome: why it cannot be, or the answer that it takes over."""
TO_REFRESH: Final = 3
"""It is not asked, and only its output columns are to be written."""


class Admitted(msgspec.Struct, frozen=True):
    """One row of a range: its identity, its place, and its outcome if it is not asked.

    The first fields stand in the order in which the ledger is given them.
    """

    row_id: str
    variant: str
    variant_no: int
    idx: int
    """Its place in the spill; variants of a row share it."""
    row_number: int
    part: int
    fingerprint: bytes
    content: bytes = b""
    """The hash of its output columns."""
    state: int = TO_ASK
    """What it is admitted for: the ledger's `pending.state`."""
    outcome: Outcome | None = None
    had: Sampling = NO_SAMPLES
    """The samples that earlier runs asked for."""


_GIVEN: Final = Admitted.__struct_fields__.index("state") + 1
"""So many of its fields the ledger is given as they are."""


class RangePlan(msgspec.Struct, frozen=True):
    """What one pass of `next_range` found; durable after `admit`."""

    range: int
    first_work: int
    part: int
    rows: list[Admitted]
    seen: Seen
    """What it met, as far as the ledger must be told."""
    known: list[tuple[str, str, bytes]]
    """(row_id, variant, content) of rows that an older version published, of which the index does not know it."""
    position: Position
    planned: Planned
    next_row_number: int
    next_part: int
    spill: tuple[int, bytes] | None = None
    """Size and digest of the spill, None when no row was admitted."""
    goes_on: bool = False
    """Whether the next range goes on with the same part, as far as this process plans it."""
    requests: list[Packed | None] = []
    """For each row what it asks, where that was kept for who hands it out; of each model the first rows have it."""

    def pending(self, place: int) -> tuple[Any, ...]:
        """One of its rows as the ledger will have it: the values of a `PendingRow`."""
        row = self.rows[place]
        where = row.row_number, row.part, row.fingerprint, row.variant_no
        return self.first_work + place, self.range, row.idx, row.row_id, row.variant, *where, None


class Counts(NamedTuple):
    """What the rows of a range are, counted in the thread that planned it: the event loop has better to do."""

    asked: Counter[str]
    """By variant, rows that are to be asked."""
    unsettled: Counter[int]
    """By part, the same."""
    ended: list[tuple[int, Outcome]]
    """Of each row that is admitted with its outcome, its part and that."""
    refreshed: Counter[int]
    """By part, rows that are not asked and whose output columns are to be written."""

    @classmethod
    def of(cls, plan: RangePlan) -> Self:
        """Those of a plan."""
        to_ask = [row for row in plan.rows if row.state == TO_ASK]
        return cls(
            Counter([row.variant for row in to_ask]),
            Counter([row.part for row in to_ask]),
            [(row.part, row.outcome) for row in plan.rows if row.outcome is not None],
            Counter([row.part for row in plan.rows if row.state == TO_REFRESH]),
        )


class InLedger(NamedTuple):
    """What became of the rows of a range that was made durable, by their work numbers."""

    adopted: frozenset[int]
    """Those that come with the id of an earlier task, to be polled before they are sent."""
    copies: frozenset[int] = frozenset()
    """Those that wait for the answer to another row, which asks the same."""


def spilled_rows(rows: list[Admitted]) -> int:
    """How many rows of the source these are: the variants of a row lie in the spill once."""
    return rows[-1].idx + 1 if rows else 0


Admit = Callable[[apsw.Connection], InLedger]
"""A transaction that admits a range."""


def admit(plan: RangePlan, run: str, *, shared: bool = False) -> Admit:
    """The transaction that makes a range durable: places, pending rows, the pass and its position, all or nothing.

    Args:
        plan: the range.
        run: the run that admits it.
        shared: whether rows that ask the same share an answer.
    """
    rows = [
        (*astuple(row)[:_GIVEN], None if row.outcome is None else _encode(row.outcome), work_id, plan.range)
        for work_id, row in enumerate(plan.rows, plan.first_work)
    ]
    met = [(row_id, *plan.seen[row_id]) for row_id in sorted(plan.seen)]

    def change(db: apsw.Connection) -> InLedger:
        adopted: list[int] = []
        waiting: frozenset[int] = frozenset()
        if plan.rows:
            db.execute(
                "INSERT INTO ranges(range, rows, size, digest) VALUES(?,?,?,?)",
                (plan.range, spilled_rows(plan.rows), *(plan.spill or (None, None))),
            )
            db.executemany(
                "INSERT INTO pending(row_id, variant, variant_no, idx, row_number, part, fingerprint, content, state, "
                "outcome, work, range) "
                "VALUES(?,?,?,?,?,?,?,?,?,?,?,?)",
                rows,
            )
            adopted = _adopt_held(db, plan)
            adopted += paid.adopt_tasks(db, plan.first_work, plan.first_work + len(plan.rows) - 1)
            if shared:
                waiting = copies.share(db, _keys(plan))
        index.meet(db, met)
        index.learn_contents(db, plan.known)
        _go_on_from(db, plan, run)
        return InLedger(frozenset(adopted), waiting)

    return change


def _keys(plan: RangePlan) -> list[tuple[int, bytes]]:
    """Work number and key of the rows that are to be asked."""
    numbered = enumerate(plan.rows, plan.first_work)
    return [(work, copies.key_of(row.fingerprint, row.had)) for work, row in numbered if row.state == TO_ASK]


def _go_on_from(db: apsw.Connection, plan: RangePlan, run: str) -> None:
    """The numbers and the place in the source from which the next range goes on."""
    db.executemany(
        "INSERT OR REPLACE INTO meta(key, value) VALUES(?,?)",
        [("next_row_number", plan.next_row_number), ("next_part", plan.next_part)],
    )
    db.execute(
        "UPDATE runs SET position=?, planned=?, complete=? WHERE run=?",
        (
            msgspec.json.encode(plan.position).decode(),
            msgspec.json.encode(plan.planned).decode(),
            int(plan.planned.complete),
            run,
        ),
    )


def _adopt_held(db: apsw.Connection, plan: RangePlan) -> list[int]:
    """Task ids kept from overdue calls come back as open calls, so that they are polled before anything is bought.

    Their numbers are negative: the event loop, which numbers the calls it makes, must never meet them.
    """
    number = int(db.execute("SELECT coalesce(min(min(call), 0), 0) FROM calls").get)
    held: list[Any] = db.execute(
        "SELECT p.work, h.attempt, h.call_id, h.sent_at, h.task, h.base_url, h.row_id, h.variant FROM held h "
        "JOIN pending p ON p.row_id=h.row_id AND p.variant=h.variant AND p.fingerprint=h.fingerprint "
        "WHERE p.work >= ? AND p.work < ? AND p.state = 0",
        (plan.first_work, plan.first_work + len(plan.rows)),
    ).fetchall()
    for work_id, attempt, call_id, sent_at, task, base_url, row_id, variant in held:
        number -= 1
        db.execute(
            "INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at, task, base_url, late) "
            "VALUES(?,?,0,?,?,'task',?,?,?,1)",
            (number, work_id, attempt + 1, f"{call_id}{LATE}", sent_at, task, base_url),
        )
        db.execute("DELETE FROM held WHERE row_id=? AND variant=?", (row_id, variant))
    return [row[0] for row in held]
