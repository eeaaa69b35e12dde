"""Admit rows of the source, range after range, and hand admitted rows to the schedule.

Owns the tasks at the head of a run and the accounting between them: a range is admitted only while few admitted rows
are unsent, and rows are read back from the spill only a little ahead of the workers. Planning and reading run in
threads.

Unsent rows are counted by model, and one model with few of them is reason enough to admit more, so that a slow model
does not stop a fast one. The rows that then pile up for the slow one lie on the disk; once they take all that
`limits.max_spill` gives them, the fast one waits.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any, Final

import anyio
from anyio import to_thread

from batch.core.errors import BatchError, StorageError
from batch.core.logs import logger
from batch.input.batches import Position
from batch.job.options import RunOptions
from batch.ledger.index import IndexReader
from batch.ledger.totals import Planned
from batch.plan.admission import TO_ASK, Admit, Counts, InLedger, RangePlan, admit
from batch.plan.continuation import RunStart
from batch.plan.lookups import Lookups
from batch.plan.numbers import Least
from batch.plan.planner import Planner
from batch.plan.preflight import CheckedJob
from batch.run.adoption import Adoption
from batch.run.copies import Copies
from batch.run.drawing import draw, keep_sample
from batch.run.feeder import Feeder, Stretch
from batch.run.schedule import Schedule
from batch.run.state import RunState
from batch.submit.attempt import CallContext
from batch.submit.rows import Row

LOW_WATER: Final = 1_000  # unsent rows of a model below which the next range is admitted, or twice its concurrency
LOOK_AGAIN_S: Final = 1.0
ENOUGH_OF_A_PART: Final = 4
"""A part is written again for the columns of rows that are not asked once they are a fourth of its rows, or the source
is read: so an input in another order than the table has each part written a few times, not once a range."""
PARTS_BEHIND: Final = 8  # parts that wait to be written; beyond that nothing more is admitted
AHEAD_BYTES: Final = 4 << 20
"""Of rows that wait for a worker, all models together: of large ones a few are enough."""
KEPT_BYTES: Final = 16 << 20
"""Of rows that planning has made the messages of and that are not read back from the spill, all models together."""


def _bytes_of(rows: deque[Any]) -> int:
    """What the packed requests among these rows take."""
    return sum(packed[0] for _, packed in rows)


class Intake:
    """The head of one run.

    Args:
        checked: the job.
        start: where the pass over the source begins.
        options: how many rows of which kinds are admitted.
        context: for its ledger and its clock.
        schedule: takes the rows.
        feeders: for each model, what reads its admitted rows back from the spill.
        adoption: takes up rows that come with the id of an overdue task.
        state: is told what was admitted, and of a fault of the source or the disk.

    Attributes:
        planned: what planning found so far.
        position: how far the source was read.
        waits_for: why nothing more is admitted although rows are wanted, for people; None when it is.
    """

    def __init__(
        self,
        checked: CheckedJob,
        start: RunStart,
        options: RunOptions,
        *,
        context: CallContext,
        schedule: Schedule[Row],
        feeders: Mapping[str, Feeder],
        adoption: Adoption,
        state: RunState,
    ) -> None:
        self._copies: Copies | None = None
        self._checked = checked
        self._start = start
        self._options = options
        self._context = context
        self._schedule = schedule
        self._feeders = feeders
        self._adoption = adoption
        self._state = state
        self._max_spill = checked.job.limits.max_spill
        self.waits_for: str | None = None
        self._least = Least()
        self._model_of = {variant.name: variant.model for variant in checked.variants}
        self._to_begin: Counter[str] = Counter()
        """By model, the rows admitted that no call was made for when this process took them up."""
        self._growing = set(feeders)
        """The models that the last range with rows had rows for: another one would probably have some, too."""
        self._more = {model: anyio.Event() for model in feeders}
        # Nothing new is planned while an old job's tasks are collected, or an old input's rows brought to their end.
        self._all_planned = start.mode in ("collect", "finish")
        self.planned = start.planned
        self.position = start.position

    @property
    def models(self) -> list[str]:
        """The models that rows are begun with."""
        return list(self._feeders)

    def share(self, copies: Copies) -> None:
        """Let rows that ask what another one asks wait for its answer, among these."""
        self._copies = copies

    def restore(self, unsent: Mapping[str, int], least: Least) -> None:
        """Begin with so many rows, by variant, that an earlier process admitted and never sent.

        Args:
            unsent: by variant, how many.
            least: the numbers that are free before anything is published.
        """
        self._least = least
        for variant, rows in unsent.items():
            self._to_begin[self._model(variant)] += rows
        self._context.limiter.expect(self._to_begin)

    def _model(self, variant: str) -> str:
        return self._model_of.get(variant, self._checked.variants.first.model)

    async def plan(self) -> None:
        """Admit range after range, as long as few admitted rows wait to be sent."""
        try:
            if not self._all_planned:
                with ExitStack() as stack:
                    await self._plan(stack)
        except BatchError as exc:
            self._state.stop("storage" if isinstance(exc, StorageError) else "input", exc)
        finally:
            self._all_planned = True
            self.waits_for = None
            self._tell_feeders()
            self._state.hold(None)
            self._state.all_refreshed()

    async def _plan(self, stack: ExitStack) -> None:
        reader = stack.enter_context(IndexReader(self._checked.folder.ledger))
        sample = await to_thread.run_sync(self._sample, reader)
        if self._state.stopping:
            return  # before all rows were drawn from, perhaps
        if sample is not None:
            # Durable before the first range: drawn again after a kill, it would be another sample.
            await self._context.ledger.execute(keep_sample(self._start.run, sample))
        planner = await to_thread.run_sync(self._planner, reader, sample)
        while not self._enough and await self._wanted():
            await self._admit_range(planner)

    async def _admit_range(self, planner: Planner) -> None:
        """Plan a range and make it durable; nothing of it but its rows is kept until the next one is planned."""
        admission, stretches, counts, change = await to_thread.run_sync(self._next_range, planner)
        kept = await self._context.ledger.execute(change, after="admitted.committed")
        self.planned, self.position = admission.planned, admission.position
        if admission.goes_on:
            self._state.hold(admission.part)
        self._admitted(admission, counts, kept)
        if not admission.goes_on:
            self._state.hold(None)
        for model, stretch in stretches.items():
            self._feeders[model].keep(stretch, but=kept.adopted | kept.copies)
        self._tell_feeders()
        if counts.refreshed and await to_thread.run_sync(self._spilled) >= self._max_spill:
            self._state.all_refreshed()  # they wait for company in their parts, but not for ever

    def _next_range(self, planner: Planner) -> tuple[RangePlan, dict[str, Stretch], Counts, Admit]:
        """Plan a range: what is admitted, the rows of each model that need not be read back, and the transaction."""
        plan, stretches = self._planned(planner)
        return plan, stretches, Counts.of(plan), admit(plan, self._start.run, shared=self._copies is not None)

    def _planned(self, planner: Planner) -> tuple[RangePlan, dict[str, Stretch]]:
        """The next range; of each model the rows that need not be read back, as far as there is memory for them."""
        if self._checked.samples is not None:  # what a row had before is looked up when it is read back
            return planner.next_range(), {}
        share = KEPT_BYTES // len(self._feeders)
        plan = planner.next_range({model: share - feeder.kept_bytes for model, feeder in self._feeders.items()})
        first, last = plan.first_work, plan.first_work + len(plan.rows) - 1
        rows: dict[str, deque[Any]] = {model: deque() for model in self._feeders}
        ends = dict.fromkeys(self._feeders, last)
        for place, (row, request) in enumerate(zip(plan.rows, plan.requests, strict=True)):
            model = self._model(row.variant)
            if request is not None:
                rows[model].append((plan.pending(place), request))
            elif row.state == TO_ASK:
                ends[model] = min(ends[model], first + place - 1)
        return plan, {model: Stretch(first, ends[model], kept, _bytes_of(kept)) for model, kept in rows.items() if kept}

    async def _wanted(self) -> bool:
        """Wait until another range is wanted; False when none is any more."""
        while await self._until_hungry():
            if self._state.parts_behind >= PARTS_BEHIND:
                await self._context.clock.sleep(LOOK_AGAIN_S)
                continue
            if await self._room():
                self.waits_for = None
                return True
            if any(self._schedule.of(model).parked for model in self._feeders):
                return False  # its rows stay on the disk in this run; the others finish what is admitted
            self.waits_for = self._short_of_disk()
            await self._context.clock.sleep(LOOK_AGAIN_S)
        return False

    async def _room(self) -> bool:
        """Whether the disk has room for another range; there always is while no model has many rows that wait."""
        # Rows that wait for another's answer are not to be sent; there may be any number of them, on the disk.
        bounded = self._copies is None or not self._copies.waiting
        if bounded and all(map(self._hungry, self._growing)):
            return True
        return await to_thread.run_sync(self._spilled) < self._max_spill

    async def _until_hungry(self) -> bool:
        """Wait until a model wants rows; False when none are handed out any more."""
        if not self._any_hungry():
            self.waits_for = None
        return await self._schedule.until(self._any_hungry)

    def _short_of_disk(self) -> str:
        """What is said while nothing more is admitted because too much lies on the disk."""
        slow = [model for model in self._feeders if not self._hungry(model)]
        whose = f"rows of {', '.join(slow)} that wait" if slow else "rows that wait"
        return f"room in pending/: {whose} take all of limits.max_spill ({self._max_spill:,} bytes)"

    def _any_hungry(self) -> bool:
        """Whether a model wants rows: one that the last range had rows for, unless all of those are parked."""
        parked = {model for model in self._feeders if self._schedule.of(model).parked}
        return any(map(self._hungry, self._growing - parked or set(self._feeders)))

    def _hungry(self, model: str) -> bool:
        """Whether few admitted rows of a model are unsent."""
        rows = self._schedule.of(model)
        asked_next = 0 if self._copies is None else self._copies.asked[model]
        return not rows.parked and self._to_begin[model] + asked_next - rows.begun < max(LOW_WATER, rows.open_limit)

    def _spilled(self) -> int:
        sizes = 0
        with os.scandir(self._checked.folder.pending) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # published meanwhile
                    sizes += entry.stat().st_size
        return sizes

    def _tell_feeders(self) -> None:
        for more in self._more.values():
            more.set()

    def _admitted(self, admission: RangePlan, counts: Counts, kept: InLedger) -> None:
        """Count a range that is durable, and take up rows that come with the id of an overdue task."""
        variant_of = {work: admission.rows[work - admission.first_work].variant for work in kept.adopted | kept.copies}
        asked = counts.asked - Counter(variant_of.values())
        to_send: Counter[str] = Counter()
        for variant, rows in asked.items():
            to_send[self._model(variant)] += rows
        self._to_begin += to_send
        self._growing = set(to_send) or self._growing
        self._context.limiter.expect(self._growing)
        if kept.adopted:
            self._adoption.take_up((work, self._model(variant_of[work])) for work in sorted(kept.adopted))
        self._state.rows_admitted(counts.unsettled, counts.ended)
        if self._copies is not None:  # after the state knows that their parts wait for them
            self._copies.admitted(Counter(variant_of[work] for work in kept.copies))
        enough = max(1, self._checked.job.output.rows_per_part // ENOUGH_OF_A_PART)
        self._state.rows_refreshed(counts.refreshed, enough=enough)
        if admission.rows:
            told = {"rows": len(admission.rows), "read": self.planned.read, "new": self.planned.new}
            logger().info("range_admitted", range=admission.range, **told)

    async def feed(self, model: str) -> None:
        """Hand admitted rows of a model to the schedule, a few ahead of the workers."""
        ahead, size = max(64, self._checked.job.limits.concurrency), AHEAD_BYTES // len(self._feeders)
        feeder = self._feeders[model]
        while await self._schedule.has_room(model, ahead, size):
            last_look = self._all_planned
            self._more[model] = anyio.Event()
            ready = feeder.ready(2 * ahead, size)
            if not ready:
                found = await to_thread.run_sync(feeder.next, 2 * ahead, size)
                ready = found or feeder.ready(2 * ahead, size)  # behind what was on the disk
            if ready:
                self._schedule.add(model, [Row(item.row, item.request, item.fault, item.sampling) for item in ready])
            elif last_look and self._none_waits(model):
                self._schedule.end(model)
                break
            elif last_look:
                await self._schedule.until(lambda: self._none_waits(model))
            elif not self._all_planned:
                await self._more[model].wait()
        self._growing.discard(model)
        self._context.limiter.expect(self._growing)

    def _none_waits(self, model: str) -> bool:
        """Whether no row of a model may still be asked in place of one that fails."""
        return self._copies is None or self._schedule.of(model).parked or self._copies.over(model)

    @property
    def _enough(self) -> bool:
        """Whether nothing more is to be planned."""
        limit = self._options.limit
        return self.planned.complete or (limit is not None and self.planned.source_rows >= limit)

    def _sample(self, reader: IndexReader) -> list[str] | None:
        """The row ids this run is confined to: those drawn before a kill, or drawn now; None for all."""
        kept = reader.sample(self._start.run)
        seed, limit = self._options.sample_seed, self._options.limit
        if kept is not None or seed is None or limit is None:
            return kept
        scout = self._new_planner(Lookups(reader))
        scout.restrict(kinds=self._options.kinds)
        scout.start(Position(), Planned())
        return draw(scout.candidates(), count=limit, seed=seed)

    def _planner(self, reader: IndexReader, sample: list[str] | None) -> Planner:
        """The planner of this pass."""
        by_content = self._checked.job.input.key is None
        planner = self._new_planner(Lookups.of_pass(reader, self._start, by_content=by_content))
        planner.restrict(limit=self._options.limit, sample=sample, kinds=self._options.kinds)
        planner.start(self._start.position, self._start.planned, self._least)
        return planner

    def _new_planner(self, lookups: Lookups) -> Planner:
        checked = self._checked
        planner = Planner(
            checked.job,
            checked.source,
            checked.variants,
            checked.folder,
            spilled=checked.spilled,
            outputs=checked.inputs.names,
            lookups=lookups,
            clock=self._context.clock,
        )
        planner.stop_when(lambda: self._state.begins_no_more)
        return planner
