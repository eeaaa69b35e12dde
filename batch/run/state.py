"""What the stages of one run share: its sums, the parts that wait for rows, and how the run ends.

Handed down to every stage when a run is wired, so that none of them calls back to the run. Owns the two stops: the
first ends what sends and gives what is in flight its time, the second cuts it. Does not publish, plan or send.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import anyio

from batch.core.errors import BatchError
from batch.core.logs import logger
from batch.core.records import Outcome
from batch.ledger.totals import Totals
from batch.limits.limiter import Limiter
from batch.run.schedule import Schedule
from batch.submit.purse import Purse

DRAIN_S: Final = 30.0
"""Seconds that calls in flight are given after the first stop."""


class RunState:
    """The shared state of one run; one event loop owns it.

    Attributes:
        totals: sums over rows and calls, published or not.
        purse: what the run may spend; None for a job without a budget.
        reason: what the run closes with.
        fault: what stopped it, None as long as nothing has.
        stopping: whether the first stop was asked for.
        stop_asked: set with it, for whoever tells of it at once.
        carried: rows begun by an earlier run that this one settles.
        unsettled: by part, rows that it waits for.
        settled: by part, rows that have settled since the publisher took it last.
        sending: cancelled, or at its deadline, it ends planning and the workers.
        whole: cancelled, it ends publishing too.
    """

    def __init__(self, limiter: Limiter, schedule: Schedule[Any], purse: Purse | None = None) -> None:
        self.totals = Totals() if purse is None else purse.totals
        self.purse = purse
        self.reason = "finished"
        self.fault: BatchError | None = None
        self.stopping = False
        self.stop_asked = anyio.Event()
        self.carried = 0
        self.sending = anyio.CancelScope()
        self.whole = anyio.CancelScope()
        self._parked: BatchError | None = None
        self._enough: BatchError | None = None
        self._limiter = limiter
        self._schedule = schedule
        self.unsettled: Counter[int] = Counter()
        self.settled: Counter[int] = Counter()
        self._complete: set[int] = set()
        self._refreshed: Counter[int] = Counter()
        """By part, rows that are not asked and whose columns are to be written."""
        self._part_complete = anyio.Event()
        self._held: int | None = None
        """The part that more rows are about to be admitted to."""
        self.ends: list[int] | None = None
        """Work numbers of rows that have ended, perhaps asked for others too; None where rows share nothing."""
        self._an_end = anyio.Event()

    # -- rows and parts ---------------------------------------------------------------------------------------------

    def restore(self, unsettled: Mapping[int, int], settled: Mapping[int, int], *, planned: int) -> None:
        """Go on from what an earlier process left.

        Args:
            unsettled: rows that each part still waits for.
            settled: rows of each part that have an outcome and are not published.
            planned: rows that this run itself admitted so far.
        """
        self.unsettled.update(unsettled)
        self.carried = self.totals.rows + self.unsettled.total() - planned
        for part, rows in settled.items():
            self.settled[part] += rows
            self._look(part)

    def rows_admitted(self, unsettled: Mapping[int, int], ended: Sequence[tuple[int, Outcome]]) -> None:
        """Rows are durable.

        Args:
            unsettled: by part, those that are to be asked.
            ended: part and outcome of each that could not even be asked.
        """
        for part, rows in unsettled.items():
            self.unsettled[part] += rows
        for part, outcome in ended:
            self.totals.add_outcome(outcome)
            self.settled[part] += 1
        for part in {*unsettled, *(part for part, _ in ended)}:
            self._look(part)

    def rows_refreshed(self, parts: Mapping[int, int], *, enough: int) -> None:
        """Rows are durable that are not asked, and whose columns are to be written.

        Args:
            parts: by part, how many.
            enough: how many of a part are worth writing it again.
        """
        for part, rows in parts.items():
            self._refreshed[part] += rows
            if self._refreshed[part] >= enough:
                self._look(part)

    def all_refreshed(self) -> None:
        """No more of them will come: what there is can be written."""
        for part in list(self._refreshed):
            self._look(part)

    @property
    def parts_behind(self) -> int:
        """How many parts wait to be written."""
        return len(self._complete)

    def row_settled(self, part: int, outcome: Outcome) -> None:
        """A row has its outcome, queued in the ledger."""
        self.totals.add_outcome(outcome)
        self.settled[part] += 1
        self.unsettled[part] -= 1
        if self.unsettled[part] <= 0:
            self._look(part)

    def hold(self, part: int | None) -> None:
        """Let a part wait for rows that are about to be admitted; None when no part waits for any.

        Args:
            part: its number.
        """
        before, self._held = self._held, part
        if before is not None:
            self._look(before)

    def _look(self, part: int) -> None:
        """With the last row of a part it can be published whole."""
        if self.unsettled[part] <= 0 and part != self._held:
            del self.unsettled[part]
            self._complete.add(part)
            self._part_complete.set()

    async def part_complete(self) -> None:
        """Wait until there is a part in which every admitted row has settled."""
        if not self._complete:
            self._part_complete = anyio.Event()
            await self._part_complete.wait()

    def take_complete(self) -> list[int]:
        """The parts in which every admitted row has settled; each is given out once."""
        parts = sorted(self._complete)
        self._complete.clear()
        for part in parts:
            del self._refreshed[part]
        return parts

    # -- rows that are asked for others too -------------------------------------------------------------------------

    def watch_ends(self, ends: Iterable[int]) -> None:
        """Keep from now on which rows have ended, beginning with these."""
        self.ends = list(ends)
        self.look_at_ends()

    def row_ended(self, work_id: int) -> None:
        """A row has its outcome, queued in the ledger."""
        if self.ends is not None:
            self.ends.append(work_id)
            self._an_end.set()

    def look_at_ends(self) -> None:
        """Have whoever waits for an end look."""
        self._an_end.set()

    async def an_end(self) -> None:
        """Wait until there is something to look at since the last time."""
        await self._an_end.wait()
        self._an_end = anyio.Event()

    def take_ends(self, most: int) -> list[int]:
        """Some of the rows that have ended; each is given out once."""
        taken, self.ends = (self.ends or [])[:most], (self.ends or [])[most:]
        return taken

    # -- the end ----------------------------------------------------------------------------------------------------

    def stop(self, reason: str, fault: BatchError | None = None) -> None:
        """The first stop: nothing new is sent; calls in flight get `DRAIN_S`, tasks are left with their ids.

        Args:
            reason: what the run closes with; the first one counts.
            fault: what stopped it; the first one counts.
        """
        self.fault = self.fault or fault
        if self.stopping:
            return
        self.stopping = True
        self.stop_asked.set()
        self.reason = reason
        self._limiter.close()
        self._schedule.close()
        if self.purse is not None:
            self.purse.close()
        self.sending.deadline = asyncio.get_running_loop().time() + DRAIN_S  # also where no task runs, at a signal
        logger().info("stop_requested", reason=reason, in_flight=self._limiter.in_flight)

    def park(self, model: str, fault: BatchError) -> None:
        """Ask one model no more in this run; the others go on, and with the last of them the run stops.

        Args:
            model: which one.
            fault: what the run stops with, if nothing else stops it; the first one counts.
        """
        self._parked = self._parked or fault
        self._limiter.park(model)
        if not self._schedule.park(model):
            self.stop_if_parked()

    def begin_no_more(self, fault: BatchError) -> None:
        """Begin no new row in this run; those that are begun go on, and with the last of them the run stops.

        Args:
            fault: what the run stops with, if nothing else stops it.
        """
        self._enough = self._enough or fault
        self._schedule.begin_no_more()

    @property
    def begins_no_more(self) -> bool:
        """Whether no new row is begun any more."""
        return self.stopping or self._enough is not None

    @property
    def leaves_rows(self) -> bool:
        """Whether rows that need work are left to a later run."""
        return self.begins_no_more or self._parked is not None

    def stop_if_done(self) -> None:
        """Stop when all rows are done but those that the run may not begin, or whose model is asked no more."""
        self.stop_if_parked()
        if self._enough is not None and not self.stopping:
            self.stop("budget", self._enough)

    def stop_if_parked(self) -> None:
        """Stop when all rows are done but those of models that are asked no more."""
        if self._parked is not None and not self.stopping:
            self.stop("provider", self._parked)

    def cut(self) -> None:
        """The second stop: calls in flight are cancelled and become `unknown`."""
        self.sending.cancel()

    def break_off(self) -> None:
        """The ledger cannot be written any more: end everything at once."""
        self.stopping = True
        self.whole.cancel()
