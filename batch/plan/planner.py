"""Find the rows that still need work: read the source forwards, compare each row with the ledger, and admit it.

`Planner.next_range` runs in a thread of its own. It reads up to one range of rows, compares each with the index,
writes the spill of those that need work, and gives back a `RangePlan`; `admit` makes it durable in one transaction.
Killed before that transaction, the range is planned again from the same position and the spill is written over.

What needs work: no outcome yet (new), another fingerprint (changed), failed but retryable (retried), asked less often
than the job wants it now (short of samples). An outcome for the same question is never bought again, and a row that
failed for good waits for a new fingerprint, or for a command that asks for all failed rows. A command may do some of
these kinds of work only; the other rows are counted and stay. A row that is not asked and whose other columns changed
is admitted to be written anew: the table follows the input. A row whose question stands answered under the name of a
former variant is admitted with that answer.

A row that cannot be asked (unreadable line, duplicate key, template fault) is admitted with its outcome, as failed. A
shard meets the rows of others, because repeats are told apart over the whole source, and passes over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import pyarrow as pa

from batch.core import failpoints
from batch.core.clock import Clock
from batch.core.records import Failure, Outcome
from batch.input.batches import Position, SourceBatch
from batch.input.content import contents
from batch.input.source import Source
from batch.input.spill import SpillWriter
from batch.job.job import Job
from batch.job.options import ORDINARY, Kind, listed
from batch.job.shard import shard_of
from batch.labels.samples import NO_SAMPLES, Sampling
from batch.ledger.reader import Entry
from batch.ledger.totals import Planned
from batch.output.folder import OutputFolder
from batch.plan.admission import SETTLED, TO_ASK, TO_REFRESH, Admitted, RangePlan, spilled_rows
from batch.plan.former import Former, Taken
from batch.plan.found import Found
from batch.plan.kinds import Needs, kind_of, samples_had
from batch.plan.lookups import Lookups
from batch.plan.numbers import Least, Numbers
from batch.plan.question import Question, question, unaskable
from batch.plan.row_ids import Seen, identify
from batch.prompts.variants import Variant, Variants

RANGE_BYTES: Final = 256 << 20
ANSWER_BYTES: Final = 32 << 20
"""A range takes over no more answers than these: until it is durable they lie in memory."""
SCAN_ROWS: Final = 100_000  # rows read without finding work before the position is made durable all the same
FIRST_ROWS: Final = 500
"""Rows of the first range of a process, or one for each call in flight: others are planned while these are sent."""
READ_ROWS: Final = 1_000
READ_BYTES: Final = 2 << 20
"""Of the source, read at once: in memory they lie several times, as text, as values and as columns."""


class Planner:
    """Plans one run's pass over the source. Not thread-safe: one call at a time."""

    def __init__(
        self,
        job: Job,
        source: Source,
        variants: Variants,
        folder: OutputFolder,
        *,
        spilled: Sequence[str],
        outputs: Sequence[str],
        lookups: Lookups,
        clock: Clock,
    ) -> None:
        self._job = job
        self._source = source
        self._variants = variants
        self._folder = folder
        self._lookups = lookups
        self._ledger = lookups.reader
        self._spilled = list(spilled)
        self._outputs = frozenset(outputs)
        self._spill_schema = pa.schema([source.schema.field(name) for name in spilled])
        self._clock = clock
        self._carried = self._ledger.carried()
        self._shard = shard_of(job)
        self._limit: int | None = None
        self._sample: frozenset[str] | None = None
        self._kinds = ORDINARY
        self._stopped: Callable[[], bool] = lambda: False
        # Rows of a batch are sent together, and a small part is planned at once.
        self._begins_small = job.output.rows_per_part > 2 * FIRST_ROWS and "bulk" not in job.model.lanes
        self._first_rows = max(FIRST_ROWS, min(job.limits.concurrency, job.output.rows_per_part // 2))
        self._in_part = 0
        """Rows of the source that the part of the next range has from the one before."""

    def stop_when(self, stopped: Callable[[], bool]) -> None:
        """Ask this between batches of rows, from the thread that reads, and read no further once it is true."""
        self._stopped = stopped

    def restrict(
        self, *, limit: int | None = None, sample: list[str] | None = None, kinds: frozenset[Kind] = ORDINARY
    ) -> None:
        """Admit only some of the rows that need work.

        Args:
            limit: rows of the source at most; None for all.
            sample: the row ids that were drawn; None when all rows take part.
            kinds: reasons to ask a row; other rows are counted and stay as they are.
        """
        self._limit = limit
        self._sample = frozenset(sample) if sample is not None else None
        self._kinds = kinds

    def start(self, position: Position, planned: Planned, least: Least = Least()) -> None:  # noqa: B008 - it is frozen
        """Go on where the last durable range of this run ended, or from the beginning.

        Args:
            position: where that is in the source.
            planned: what was found before it.
            least: the numbers that were free when the run began.
        """
        self._numbers = Numbers.of(self._ledger, least)
        self._reader = self._source.reader(position)
        self._position = position
        self._planned = planned

    def next_range(self, rooms: Mapping[str, int] | None = None) -> RangePlan:
        """Read on until a range is full, `SCAN_ROWS` were read, or the source or the limit ends.

        Args:
            rooms: by model, how many bytes of what its rows ask are kept in the plan; None for none.

        Raises:
            InputError: the source cannot be read on.
            StorageError: the spill cannot be written.
        """
        numbers = self._numbers
        planned = msgspec.structs.replace(self._planned, kinds=listed(self._kinds), empty=self._job.prompt.empty)
        found = Found(msgspec.structs.replace(numbers), planned, rooms=dict(rooms or {}))
        path, own = self._folder.spill(numbers.range), self._source.rest_is_input
        spill = SpillWriter(path, self._spill_schema, rest_is_input=own)
        rows = found.rows
        most = self._first_rows if self._begins_small else self._job.output.rows_per_part - self._in_part
        scanned = size = 0
        try:
            while (taken_in := spilled_rows(rows)) < most and size < RANGE_BYTES and scanned < SCAN_ROWS:
                if self._enough(planned) or self._stopped() or found.answers >= ANSWER_BYTES:
                    break
                batch = self._reader.read(min(READ_ROWS, most - taken_in), READ_BYTES)
                if batch is None:
                    planned.complete = True
                    break
                chosen, used = self._choose(batch, found)
                if chosen:
                    columns = batch.columns.select(self._spilled)
                    spill.add(columns if len(chosen) == len(batch.lines) else columns.take(pa.array(chosen)))
                    size += batch.bytes * len(chosen) // max(1, len(batch.lines))
                scanned += len(batch.lines)
                self._position = batch.position if used == len(batch.lines) else self._within(used)
        except BaseException:
            spill.abort()
            raise
        if rows:
            spill.close()
            failpoints.hit("spill.written")
        else:
            spill.abort()
        return self._plan(found, spill.footprint if rows else None)

    def _plan(self, found: Found, spill: tuple[int, bytes] | None) -> RangePlan:
        """The plan of what was found; the next one goes on behind it."""
        numbers, rows = self._numbers, found.rows
        new_part = self._in_part > 0 or any(row.part == numbers.part for row in rows)
        goes_on = self._begins_small and new_part and not (found.planned.complete or self._enough(found.planned))
        plan = RangePlan(
            range=numbers.range,
            first_work=numbers.work_id,
            part=numbers.part,
            rows=rows,
            seen=self._lookups.met(found.seen, numbers.range, (row.row_id for row in rows)),
            known=found.known,
            position=self._position,
            planned=found.planned,
            next_row_number=found.numbers.row_number,
            next_part=numbers.part + new_part,
            goes_on=goes_on,
            spill=spill,
            requests=found.requests,
        )
        self._planned = found.planned
        part = plan.part if goes_on else plan.next_part
        self._numbers = Numbers(found.numbers.row_number, part, numbers.range + bool(rows), numbers.work_id + len(rows))
        self._in_part = spilled_rows(rows) if goes_on else 0
        self._begins_small = self._begins_small and not rows
        return plan

    def candidates(self) -> Iterator[str]:
        """The row ids that would be admitted, in source order; admits nothing. For drawing a sample."""
        seen: Seen = {}
        while not self._stopped() and (batch := self._reader.read(READ_ROWS, READ_BYTES)) is not None:
            known = identify(batch, self._job.input, seen, self._ledger)
            entries = self._ledger.entries([row.row_id for row in known])
            former = Former(entries.values(), self._variants.by_name, self._job.labels)
            for index, row in enumerate(known):
                row.note(seen)
                if self._takes(row.row_id) and any(
                    self._candidate(one, row.row_id, entries, former, (batch, index, row.fault))
                    for one in self._variants
                ):
                    yield row.row_id

    def _candidate(
        self,
        variant: Variant,
        row_id: str,
        entries: Mapping[tuple[str, str], Entry],
        former: Former,
        row: tuple[SourceBatch, int, Failure | None],
    ) -> bool:
        """Whether a row would be admitted for a variant; only one with an outcome has to be rendered for that."""
        if (row_id, variant.name) in self._carried:
            return False
        entry = entries.get((row_id, variant.name))
        if not former and (entry is None or entry.status is None):
            return "new" in self._kinds
        asked = _asked(variant, entry, *row)
        kind = kind_of(entry, asked.fingerprint, self._job.labels)
        return kind in self._kinds and former.entry(row_id, kind, asked) is None

    def _choose(self, batch: SourceBatch, found: Found) -> tuple[list[int], int]:
        """Take up the rows of `batch` that are to be asked or written; their indexes, and how many were looked at."""
        known = identify(batch, self._job.input, found.seen, self._lookups)
        entries = self._lookups.entries([row.row_id for row in known])
        places = {entry.row_id: (entry.row_number, entry.part) for entry in entries.values()}
        hashes = contents(batch, self._outputs, [row.form for row in known])
        former = Former(entries.values(), self._variants.by_name, self._job.labels)
        planned, carried, numbers, idx = found.planned, self._carried, found.numbers, spilled_rows(found.rows)
        chosen: list[int] = []
        for index, row in enumerate(known):
            if self._enough(planned):
                # Exactly here, as if the rest of the batch had not been read: killed, the run may be continued under
                # another limit or none.
                return chosen, index
            row.note(found.seen)
            planned.read += 1
            row_id, content = row.row_id, hashes[index]
            if not self._takes(row_id):
                continue
            row_number, part = places.get(row_id) or (numbers.row_number, self._numbers.part)
            added = asks = False
            for variant in self._variants:
                name = variant.name
                if carried and (row_id, name) in carried:
                    continue
                entry = entries.get((row_id, name))
                asked = _asked(variant, entry, batch, index, row.fault)
                taken = self._take_over(former, row_id, entry, asked) if former else None
                if taken is None:
                    needs = self._needs(entry, asked.fingerprint, content, planned)
                    state, outcome, had = self._admission(needs, variant, entry, asked)
                else:
                    planned.taken_over += 1
                    needs, state, had = "taken", SETTLED, NO_SAMPLES
                    asked, outcome = taken
                if needs == "learned":
                    found.known.append((row_id, name, content))
                if needs in ("learned", "nothing"):
                    continue
                added, asks = True, asks or needs == "asked"
                who, where = (row_id, name, variant.number, idx), (row_number, part)
                admitted = Admitted(*who, *where, asked.fingerprint, content, state, outcome, had)
                found.add(admitted, variant, asked.request if state == TO_ASK else None)
            if added:
                idx += 1
                chosen.append(index)
                planned.source_rows += asks
                numbers.row_number += row_id not in places
        return chosen, len(known)

    def _take_over(self, former: Former, row_id: str, entry: Entry | None, asked: Question) -> Taken | None:
        """The answer that a row gets that stands under the name of a former variant; None where it gets none."""
        kind = kind_of(entry, asked.fingerprint, self._job.labels)
        answer = former.entry(row_id, kind, asked) if kind in self._kinds else None
        return None if answer is None else former.take(answer, asked, self._folder, self._clock.now_us())

    def _admission(
        self, needs: Needs, variant: Variant, entry: Entry | None, asked: Question
    ) -> tuple[int, Outcome | None, Sampling]:
        """What a row is admitted for, with the outcome it has if it cannot be asked, and the samples it had."""
        if needs != "asked":
            return TO_REFRESH, None, NO_SAMPLES
        had = NO_SAMPLES if entry is None else samples_had(entry, asked.fingerprint, self._job.labels)
        if asked.fault is None:
            return TO_ASK, None, had
        return SETTLED, self._unaskable(variant.model, asked, asked.fault), had

    def _takes(self, row_id: str) -> bool:
        """Whether a row takes part: it is of this shard, and drawn where rows were."""
        return (self._shard is None or self._shard.has(row_id)) and (self._sample is None or row_id in self._sample)

    def _enough(self, planned: Planned) -> bool:
        return self._limit is not None and planned.source_rows >= self._limit

    def _within(self, rows: int) -> Position:
        """The position so many rows after the present one."""
        reader = self._source.reader(self._position)
        position = self._position
        while rows > 0 and (batch := reader.read(rows, READ_BYTES)) is not None:
            rows -= len(batch.lines)
            position = batch.position
        reader.close()
        return position

    def _needs(self, entry: Entry | None, fingerprint: bytes, content: bytes, planned: Planned) -> Needs:
        """What is to be done about a row; either way it is counted as what it is.

        Args:
            entry: what the index has of it.
            fingerprint: of what it asks now.
            content: the hash of its output columns now.
            planned: where it is counted.
        """
        kind = "new" if entry is None else kind_of(entry, fingerprint, self._job.labels)
        if kind in self._kinds:
            if kind == "new":  # nearly all rows of nearly all runs
                planned.new += 1
                return "asked"
            planned.changed += kind == "changed"
            planned.retried += kind in ("failed", "permanent")
            planned.short += kind == "short"
            return "asked"
        planned.standing += kind == "permanent"
        planned.left_out += kind not in (None, "permanent")
        if entry is None or entry.status is None or entry.fingerprint != fingerprint:
            return "nothing"  # beside an answer to another question belongs what that one was asked of
        refreshed = entry.content is not None and entry.content != content
        planned.refreshed += refreshed
        planned.unchanged += kind is None and not refreshed
        return "refreshed" if refreshed else "learned" if entry.content is None else "nothing"

    def _unaskable(self, model: str, asked: Question, fault: Failure) -> Outcome:
        return unaskable(asked, fault, model=model, spec=self._job.model, now_us=self._clock.now_us())


def _asked(variant: Variant, entry: Entry | None, batch: SourceBatch, index: int, fault: Failure | None) -> Question:
    """What a row asks, held against its outcome in the table."""
    asked = question(variant, batch, index, fault)
    return asked if entry is None else asked.beside(entry.fingerprint, entry.status)
