"""Source → agenda: admits range after range, and hands admitted rows to the workers.

Owns the two tasks at the head of a run and the accounting between them: a range is admitted only while few admitted
rows are unsent, and rows are read back from the spill only a little ahead of the workers. Planning and reading run in
threads.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Final, Protocol

import anyio
import apsw
import msgspec
from anyio import to_thread

from batch.core.clock import Clock
from batch.core.errors import BatchError
from batch.input.batches import Position
from batch.job.options import ORDINARY, Kind
from batch.ledger.reader import LedgerReader
from batch.ledger.totals import Planned
from batch.ledger.writer import Ledger
from batch.plan.continuation import RunStart
from batch.plan.planner import Planner, RangePlan, admit
from batch.plan.preflight import CheckedJob
from batch.prompts import conversation
from batch.run.feeder import Feeder, ReadyRow
from batch.run.schedule import Schedule
from batch.submit.attempt import Row

LOW_WATER: Final = 1_000  # admitted and unsent rows below which the next range is admitted, or twice the concurrency
PICTURED_AHEAD: Final = 8  # rows with pictures that wait, rendered, for a worker


class IntakeEvents(Protocol):
    """Who is told what was admitted."""

    def range_admitted(self, found: RangePlan, adopted: frozenset[int]) -> None:
        """A range is durable; rows of `adopted` bring the id of an overdue task, to be polled before they are sent."""

    def intake_failed(self, fault: BatchError) -> None:
        """The source or the disk does not go on."""


class Intake:
    """The head of one run.

    Attributes:
        planned: what planning found so far.
        position: how far the source was read.
        unsent: rows admitted and not yet taken by a worker.
    """

    def __init__(
        self,
        checked: CheckedJob,
        start: RunStart,
        ledger: Ledger,
        schedule: Schedule[Row],
        *,
        feeder: Feeder,
        events: IntakeEvents,
        clock: Clock,
    ) -> None:
        self._checked = checked
        self._start = start
        self._ledger = ledger
        self._schedule = schedule
        self._feeder = feeder
        self._events = events
        self._clock = clock
        self._limit: int | None = None
        self._seed: int | None = None
        self._kinds = ORDINARY
        self._sample: list[str] | None = None
        self._low = max(LOW_WATER, 2 * checked.job.limits.concurrency)
        self._room = anyio.Event()
        self._more = anyio.Event()
        self._stopped = False
        # Nothing new is planned while an old job's tasks are collected, or an old input's rows brought to their end.
        self._all_planned = start.mode in ("collect", "finish")
        self.planned = start.planned
        self.position = start.position
        self.unsent = 0
        schedule.on_begin = self._begun

    def restrict(self, *, limit: int | None, seed: int | None, kinds: frozenset[Kind] = ORDINARY) -> None:
        """Admit at most `limit` rows, drawn by `seed` when there is one, and only those that need work of `kinds`."""
        self._limit = limit
        self._seed = seed
        self._kinds = kinds

    def stop(self) -> None:
        """Admit and hand out nothing more."""
        self._stopped = True
        for waited_for in (self._room, self._more, self._schedule.taken):
            waited_for.set()

    async def plan(self) -> None:
        """Admit range after range, as long as few admitted rows wait to be sent."""
        try:
            if not self._all_planned:
                with ExitStack() as stack:
                    await self._plan(stack)
        except BatchError as exc:
            self._events.intake_failed(exc)
        finally:
            self._all_planned = True
            self._more.set()

    async def _plan(self, stack: ExitStack) -> None:
        reader = stack.enter_context(LedgerReader(self._checked.folder.ledger))
        planner = await to_thread.run_sync(self._make_planner, reader)
        if self._sample is not None:
            # Durable before the first range: drawn again after a kill, it would be another sample.
            await self._ledger.execute(keep_sample(self._start.run, self._sample))
        while not (self._stopped or self.planned.complete or self._enough):
            if self.unsent >= self._low:
                self._room = anyio.Event()
                await self._room.wait()
                continue
            found = await to_thread.run_sync(planner.next_range)
            adopted = await self._ledger.execute(admit(found, self._start.run), after="admitted.committed")
            self.planned, self.position = found.planned, found.position
            self.unsent += found.to_send - len(adopted)
            self._events.range_admitted(found, frozenset(adopted))
            self._more.set()

    async def feed(self) -> None:
        """Hand admitted rows to the agenda, a few ahead of the workers."""
        # Pictures are megabytes that lie in memory from here on; texts are not worth counting.
        pictured = self._checked.variants.pictured
        ahead = PICTURED_AHEAD if pictured else max(64, self._checked.job.limits.concurrency)
        while not self._stopped:
            if self._schedule.unstarted >= ahead:
                self._schedule.taken = anyio.Event()
                await self._schedule.taken.wait()
                continue
            last_look = self._all_planned
            self._more = anyio.Event()
            fed = await to_thread.run_sync(self._feeder.next, 2 * ahead)
            if fed:
                self._schedule.add([_row(item) for item in fed])
            elif last_look:
                self._schedule.end()
                return
            elif not self._all_planned:
                await self._more.wait()

    @property
    def _enough(self) -> bool:
        return self._limit is not None and self.planned.source_rows >= self._limit

    def _begun(self) -> None:
        self.unsent -= 1
        if self.unsent < self._low:
            self._room.set()

    def _make_planner(self, reader: LedgerReader) -> Planner:
        """The planner of this pass; a sample is drawn first, by a planner of its own."""
        ready = self._checked
        made = partial(
            Planner,
            ready.job,
            ready.source,
            ready.variants,
            ready.folder,
            spilled=ready.spilled,
            reader=reader,
            clock=self._clock,
        )
        self._sample = reader.sample(self._start.run)
        if self._sample is None and self._seed is not None and self._limit is not None:
            scout = made()
            scout.restrict(kinds=self._kinds)
            scout.start(Position(), Planned())
            self._sample = draw(scout.candidates(), count=self._limit, seed=self._seed)
        planner = made()
        planner.restrict(limit=self._limit, sample=self._sample, kinds=self._kinds)
        planner.start(self._start.position, self._start.planned)
        return planner


def draw(ids: Iterator[str], *, count: int, seed: int) -> list[str]:
    """`count` of the row ids, drawn by `seed`: one pass, memory for `count` ids (a reservoir)."""
    chance = random.Random(seed)
    chosen: list[str] = []
    for number, row_id in enumerate(ids):
        if number < count:
            chosen.append(row_id)
        elif (place := chance.randrange(number + 1)) < count:
            chosen[place] = row_id
    return chosen


def keep_sample(run: str, sample: list[str]) -> Callable[[apsw.Connection], None]:
    """The transaction that makes a drawn sample durable."""

    def change(db: apsw.Connection) -> None:
        db.execute("UPDATE runs SET sample=? WHERE run=?", (msgspec.json.encode(sample).decode(), run))

    return change


def _row(fed: ReadyRow) -> Row:
    pending = fed.row
    row = Row(pending.work_id, pending.row_id, pending.variant, row_number=pending.row_number, part=pending.part)
    row.request = fed.asked
    row.conversation = conversation.start(fed.asked.messages, fed.asked.follow_ups)
    row.fault = fed.fault
    return row
