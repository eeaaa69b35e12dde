"""Makes the stages of lane `bulk`: files, what carries them, what reads their answers, and what lane `auto` decides.

Owns how they are made from the job; it starts none of them. The other stages of a run are `wiring`'s.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import msgspec

from batch.core.logs import logger
from batch.job.options import ORDINARY, RunOptions
from batch.ledger.orphans import OrphansReader
from batch.ledger.waves import WavesReader
from batch.ledger.writer import Ledger
from batch.plan.continuation import RunStart
from batch.plan.preflight import CheckedJob
from batch.run import auto, experience
from batch.run.auto import Auto, Due
from batch.run.bulk import Bulk
from batch.run.bulk_lines import Lines
from batch.run.carrying import Carrier
from batch.run.experience import Experience
from batch.run.gathering import Gathering
from batch.run.lost_batches import LostBatches
from batch.run.overdue import BatchDeadline
from batch.run.pace import Pace
from batch.run.resume import Resumer
from batch.run.schedule import Schedule
from batch.run.state import RunState
from batch.run.wave_work import WaveWork
from batch.submit.attempt import CallContext
from batch.submit.bulk import BatchExchange
from batch.submit.rows import Row


class Between(msgspec.Struct, frozen=True):
    """The stages of a run that those of its batches stand between."""

    ledger: Ledger
    resumer: Resumer
    context: CallContext
    schedule: Schedule[Row]
    state: RunState


def bulk_of(
    checked: CheckedJob, start: RunStart, options: RunOptions, stack: ExitStack, *, beside: Between
) -> Bulk | None:
    """The batches of a run; None where its lane is another, and none are on their way or lost.

    Args:
        checked: the job.
        start: which run it is.
        options: what the command adds to the job.
        stack: closes what is opened here, when the run is over.
        beside: the other stages.
    """
    readers = [stack.enter_context(WavesReader(checked.folder.ledger)) for _ in range(2)]
    orphans = stack.enter_context(OrphansReader(checked.folder.ledger))
    seeks = orphans.lost and "bulk" in checked.endpoint.dialect.lanes
    if "bulk" not in checked.lanes and not readers[0].waves() and not seeks:
        return None
    context, schedule, state = beside.context, beside.schedule, beside.state
    exchange, folder, works = BatchExchange(context), checked.folder.bulk, dict[int, WaveWork]()
    decides = _auto(checked, start, options, readers[0], works, beside=beside)
    deadline = BatchDeadline(exchange, context.clock, checked.job.bulk.deadline, decides)
    lost = LostBatches(orphans, context, exchange, checked.folder)
    lost.partial = start.closes_as is not None or options.limit is not None or options.kinds != ORDINARY
    common: Any = {"state": state, "folder": folder}
    lines = Lines(readers[1], beside.resumer, context, exchange, deadline=deadline, schedule=schedule, **common)
    gathering = Gathering(context, exchange, lines.holds, schedule=schedule, spec=checked.job.bulk, **common)
    sends = checked.lanes[0] == "bulk"
    carried: Any = {"lost": lost, "deadline": deadline, "works": works, "sends": sends, **common}
    carrier = Carrier(context, lines, gathering, exchange, **carried)
    return Bulk(
        readers[0],
        beside.resumer,
        context,
        gathering,
        carrier,
        lost=lost,
        works=works,
        schedule=schedule,
        run=start.run,
        no_wait=options.no_wait,
        auto=decides,
        **common,
    )


def _auto(
    checked: CheckedJob,
    start: RunStart,
    options: RunOptions,
    reader: WavesReader,
    works: dict[int, WaveWork],
    *,
    beside: Between,
) -> Auto | None:
    """What lane `auto` decides; None where the lane is another."""
    job, clock, limiter = checked.job, beside.context.clock, beside.context.limiter
    if job.bulk.by is None or not job.model.decides or "bulk" not in checked.lanes:
        return None
    started_us = next((run.started_at_us for run in reader.runs() if run.run == start.run), clock.now_us())
    due = Due.of(job.bulk.by, started_us, clock.now_us())
    logger().info("due_set", due=str(due))
    learned = Experience(reader.meta(experience.KEY), partial(beside.ledger.note, experience.KEY))
    return Auto(
        due,
        clock,
        schedule=beside.schedule,
        works=works,
        pace=Pace(limiter, learned),
        experience=learned,
        totals=beside.state.totals,
        calls_per_row=auto.calls_of(checked.samples or 1, tools=len(checked.tools) > 0),
        hours=limiter.hours,
        no_wait=options.no_wait,
    )
