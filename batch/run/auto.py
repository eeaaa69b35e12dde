"""Lane `auto`: which rows still have time for a batch, and which batches are taken back so that all is done in time.

Batches are half the price and come when they come; lane `sync` is dear and its pace is known. So rows go into batches,
and full price is paid only for what would be late otherwise. What is left takes lane `sync` so many seconds; with the
time that a cancellation takes, and a margin, that says at which moment waiting has to end. From then on `sync` is kept
busy and no more than that: one batch is cancelled, the one that has done least, and the next when what it left behind
is nearly bought, for every batch that may go on may still answer at half the price. Where the rows are more than `sync`
could do by then, it begins at once and batches take the rest.

Owns these decisions and how they are told. It cancels nothing (`overdue`) and sends nothing (`worker`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from batch.core.clock import MICROSECONDS, Clock, describe
from batch.core.logs import logger
from batch.core.moments import Moment
from batch.ledger.totals import Totals
from batch.ledger.waves import CREATED, WaveRow
from batch.limits.hours import Hours
from batch.providers.batch_files import FINAL
from batch.run.experience import Experience
from batch.run.pace import Pace
from batch.run.schedule import Schedule
from batch.run.wave_work import WaveWork
from batch.submit.rows import Row

MARGIN_S: Final = 120.0
MARGIN_PART: Final = 0.25
"""What is kept free at the end: so many seconds, and this part of what lane `sync` needs."""
AHEAD_S: Final = 60.0
"""For how long `sync` is kept supplied, beside the time that it takes to cancel the next batch."""
BEGUN: Final = 1.5
"""Rows in the hands of `sync`, in slots, below which it takes new ones."""
SURE_ROWS: Final = 20
"""Settled rows from which on is known how many calls a row takes."""


class Due(msgspec.Struct, frozen=True):
    """When all is to be done, in microseconds of UTC."""

    moment: Moment
    at_us: int
    passed_us: int | None = None
    """The moment that the run had begun with, where that has passed."""

    @classmethod
    def of(cls, moment: Moment, started_us: int, now_us: int) -> Due:
        """The moment of a run: the next one after it was begun, also when it goes on; one later once that has passed.

        Args:
            moment: as the job has it.
            started_us: when the run was begun.
            now_us: now, which is earlier than that where the clock was set back.
        """
        first = moment.next_us(min(started_us, now_us))
        if first is None:  # it comes once, and had passed when the run was begun
            assert moment.at_us is not None
            return cls(moment, moment.at_us)
        if first > now_us:
            return cls(moment, first)
        later = moment.next_us(now_us)
        return cls(moment, first) if later is None else cls(moment, later, first)

    def __str__(self) -> str:
        """As people are told of it."""
        passed = "" if self.passed_us is None else f" ({self.moment.local(self.passed_us)} has passed)"
        return f"by {self.moment.local(self.at_us)}{passed}"


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands with the rows of one model; times in seconds."""

    rows: int
    """That are not done, in batches or not."""
    backlog: int
    """How many of them are `sync`'s already."""
    calls_per_s: float
    need_s: float
    """What `sync` would take for all of them."""
    left_s: float
    """For how long it may send until all is to be done."""
    spare_s: float
    """How long batches may still be waited for."""
    unseen_s: float
    """For how long nobody looks, once a command that does not wait has ended."""
    hungry: bool
    """`sync` has nearly nothing to do."""
    straight: bool
    """Rows that begin now go by `sync`."""
    shut_out: bool
    """And that is because no batch would bring anything in the time it has."""

    @property
    def behind(self) -> bool:
        """Whether waiting has to end."""
        return self.rows > 0 and self.spare_s <= self.unseen_s


class Auto:
    """What lane `auto` decides in one run.

    Args:
        due: when all is to be done.
        clock: the wall counts, for that is a moment of people.
        schedule: knows the rows.
        works: the waves that are not collected, by number.
        pace: how fast `sync` is.
        experience: how long batches and cancellations take.
        totals: of the run.
        calls_per_row: how many calls a row takes as long as no rows have shown it.
        hours: when requests may leave; None for always.
        no_wait: the command does not wait, so another one has to come in time.
    """

    def __init__(  # noqa: PLR0913 - it weighs all that is known of a run
        self,
        due: Due,
        clock: Clock,
        *,
        schedule: Schedule[Row],
        works: Mapping[int, WaveWork],
        pace: Pace,
        experience: Experience,
        totals: Totals,
        calls_per_row: float = 1.0,
        hours: Hours | None = None,
        no_wait: bool = False,
    ) -> None:
        self.due = due
        self.experience = experience
        self._clock = clock
        self._schedule = schedule
        self._works = works
        self._pace = pace
        self._totals = totals
        self._calls_per_row = calls_per_row
        self._hours = hours
        self._no_wait = no_wait
        self._taken: set[int] = set()
        self._outlooks: dict[str, Outlook] = {}
        if no_wait:
            experience.visit(due.at_us, clock.now_us())

    # -- deciding -----------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Weigh everything anew, and take batches back whose time is over."""
        models = dict.fromkeys((*self._schedule.models, *(work.wave.model for work in self._works.values())))
        asked = [model for model in models if self._rows(model)]
        for model in models:
            outlook = self._weighed(model, max(1, len(asked)))
            while outlook.behind and outlook.hungry and (wave := self._least_done(model)) is not None:
                self._taken.add(wave.wave)
                logger().info("batch_taken_back", wave=wave.wave, batch=wave.batch_id, lines=wave.lines)
                outlook = self._weighed(model, max(1, len(asked)))
            self._outlooks[model] = outlook

    def straight(self, model: str) -> bool:
        """Whether a row of a model that begins its turn now goes by lane `sync`."""
        return self._outlook(model).straight

    def left_s(self, wave: WaveRow) -> float:
        """Seconds until a wave is looked at again, as things stand; none when it is taken back."""
        if wave.wave in self._taken:
            return 0.0
        outlook = self._outlook(wave.model)
        if outlook.behind:  # it may go on for as long as `sync` has enough to do
            return max(1.0, outlook.backlog / outlook.calls_per_s - self.experience.cancel_s - AHEAD_S)
        return max(1.0, outlook.spare_s - outlook.unseen_s)

    @property
    def may_leave(self) -> bool:
        """Whether a command that does not wait may end now, for another one comes in time."""
        self.look()
        return not any(outlook.behind for outlook in self._outlooks.values())

    def _outlook(self, model: str) -> Outlook:
        if model not in self._outlooks:
            self.look()
        return self._outlooks.get(model) or self._weighed(model, 1)

    def _weighed(self, model: str, beside: int) -> Outlook:
        rows, waves, seen = self._open(model), self._waves(model), self.experience
        taken = [wave for wave in waves if self._is_taken(wave)]
        # Of what was taken back and has ended, some is in the hands of `sync` already.
        ended = sum(_undone(wave) for wave in taken if _ended(wave))
        backlog = rows + sum(map(_undone, taken)) - min(ended, rows)
        left = self._rows(model)
        pace = self._pace.calls_per_s(model, beside)
        need_s, left_s = left * self._calls / pace, self._left_s()
        window_s = left_s - seen.cancel_s - MARGIN_S
        spare_s = window_s - (1 + MARGIN_PART) * need_s
        unseen_s = seen.gap_s if self._no_wait else 0.0
        shut_out = window_s < max(seen.batch_s(model), unseen_s)
        free = rows < BEGUN * self._pace.slots(model, beside)
        return Outlook(
            rows=left,
            backlog=backlog,
            calls_per_s=pace,
            need_s=need_s,
            left_s=left_s,
            spare_s=spare_s,
            unseen_s=unseen_s,
            hungry=backlog * self._calls / pace <= seen.cancel_s + AHEAD_S,
            straight=shut_out or (left > 0 and spare_s <= unseen_s and free),
            shut_out=shut_out,
        )

    def _rows(self, model: str) -> int:
        """The rows of a model that are not done, those left out that a batch has answered."""
        waves, begun = self._waves(model), self._open(model)
        ended = sum(_undone(wave) for wave in waves if _ended(wave))
        found = begun + sum(map(_undone, waves)) - min(ended, begun)
        if model in self._schedule.models:
            rows = self._schedule.of(model)
            found += len(rows.unstarted) + max(0, rows.away - sum(wave.lines for wave in waves))
        return found

    def _open(self, model: str) -> int:
        """Its rows in memory; a job that asks it no more has none."""
        return self._schedule.of(model).open if model in self._schedule.models else 0

    def _waves(self, model: str) -> list[WaveRow]:
        return [work.wave for work in self._works.values() if work.wave.model == model]

    def _is_taken(self, wave: WaveRow) -> bool:
        status = None if wave.told is None or wave.state != CREATED else wave.told.status
        return wave.wave in self._taken or status == "cancelling" or status in FINAL

    def _least_done(self, model: str) -> WaveRow | None:
        """The batch from which least is to be hoped for: that which has done least, the youngest of several."""
        waves = [wave for wave in self._waves(model) if not self._is_taken(wave)]
        return min(waves, key=lambda wave: (1 - _undone(wave) / wave.lines, -wave.made_at_us), default=None)

    @property
    def _calls(self) -> float:
        totals = self._totals
        if totals.rows_asked >= SURE_ROWS:
            return max(1.0, totals.answered / totals.rows_asked)
        return self._calls_per_row

    def _left_s(self) -> float:
        """For how long `sync` may send until all is to be done."""
        now_us = self._clock.now_us()
        if self._hours is not None:
            return self._hours.open_s(now_us, self.due.at_us)
        return (self.due.at_us - now_us) / MICROSECONDS

    # -- telling ------------------------------------------------------------------------------------------------------

    def text(self) -> str:
        """What was decided and why, in one line."""
        self.look()
        left = sum(outlook.rows for outlook in self._outlooks.values())
        if not left and not self._totals.calls:
            return f"{self.due}: batches first, lane sync for what they would bring too late"
        if not left:
            return f"{self.due}: {self._sums()}{self._margin()}"
        worst = min((one for one in self._outlooks.values() if one.rows), key=lambda one: one.spare_s)
        pace = f"{left:,} {'row' if left == 1 else 'rows'} at {worst.calls_per_s:,.1f} calls/s"
        if worst.left_s <= 0:
            return f"{self.due}: late, {pace} are left; lane sync takes what batches do not bring"
        if worst.shut_out and not any(map(self._waves, self._outlooks)):
            return f"{self.due}: lane sync at once, {self._no_time(worst)}"
        if worst.behind:
            back = f"{len(self._taken)} {'batch' if len(self._taken) == 1 else 'batches'} taken back, "
            need, left_s = describe(worst.need_s), describe(worst.left_s)
            return f"{self.due}: {back if self._taken else ''}lane sync is at work: {pace} need {need} of {left_s}"
        turn = self.due.moment.local(self._clock.now_us() + round(worst.spare_s * MICROSECONDS))
        again = "; the same command has to come again before that" if self._no_wait else ""
        cancel, margin = describe(self.experience.cancel_s), describe(MARGIN_S + MARGIN_PART * worst.need_s)
        learned = "" if all(map(self.experience.knows_calls, self._asked())) else ", a guess as long as none was made"
        return (
            f"{self.due}: batches first, lane sync takes what they leave from {turn} on ({pace}{learned}; {cancel} to "
            f"cancel, {margin} to spare){again}"
        )

    def _asked(self) -> list[str]:
        return [model for model, outlook in self._outlooks.items() if outlook.rows]

    def _no_time(self, outlook: Outlook) -> str:
        """Why no batch is made."""
        seen = self.experience
        gap = f", and no command is expected for {describe(seen.gap_s)}" if self._no_wait and seen.gap_s else ""
        batch_s = max((seen.batch_s(model) for model in self._asked()), default=0.0)
        how = "has taken" if all(map(seen.knows_batches, self._asked())) else "is taken to need"
        return (
            f"for {describe(outlook.left_s)} are left{gap}, and a batch {how} {describe(batch_s)} at least, "
            f"{describe(seen.cancel_s)} more to be cancelled"
        )

    def _sums(self) -> str:
        lanes = {"bulk": 0, "sync": 0}
        for by_lane in self._totals.models.values():
            for lane, sums in by_lane.items():
                lanes["bulk" if lane == "bulk" else "sync"] += sums.calls.get("answered", 0)
        count = len(self._taken)
        taken = f" ({count} {'batch' if count == 1 else 'batches'} taken back for time)" if count else ""
        return f"{lanes['bulk']:,} answers from batches, {lanes['sync']:,} bought in lane sync{taken}"

    def _margin(self) -> str:
        left_s = (self.due.at_us - self._clock.now_us()) / MICROSECONDS
        if not self._totals.rows:
            return ""
        return f"; done {describe(left_s)} before" if left_s > 0 else f"; {describe(-left_s)} late"


def _undone(wave: WaveRow) -> int:
    """The lines of a wave that have no answer, as far as the provider has told."""
    done = wave.told.completed if wave.told is not None and wave.state == CREATED else None
    return max(0, wave.lines - (done or 0))


def _ended(wave: WaveRow) -> bool:
    return wave.told is not None and wave.state == CREATED and wave.told.status in FINAL


def calls_of(samples: int, *, tools: bool) -> float:
    """How many calls a row is taken to need as long as no rows have shown it: a turn more where it has tools.

    Args:
        samples: how often it is asked for its label.
        tools: whether the model may call some.
    """
    return float(samples * (2 if tools else 1))
