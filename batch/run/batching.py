"""Makes the stages of lane `bulk`: files, what carries them, and what reads their answers.

Owns how they are made from the job; it starts none of them. The other stages of a run are `wiring`'s.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import msgspec

from batch.job.options import ORDINARY, RunOptions
from batch.ledger.orphans import OrphansReader
from batch.ledger.waves import WavesReader
from batch.ledger.writer import Ledger
from batch.plan.continuation import RunStart
from batch.plan.preflight import CheckedJob
from batch.run.bulk import Bulk
from batch.run.bulk_lines import Lines
from batch.run.carrying import Carrier
from batch.run.gathering import Gathering
from batch.run.lost_batches import LostBatches
from batch.run.overdue import BatchDeadline
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
    if "bulk" not in checked.job.model.lanes and not readers[0].waves() and not seeks:
        return None
    context, schedule, state = beside.context, beside.schedule, beside.state
    exchange, folder, works = BatchExchange(context), checked.folder.bulk, dict[int, WaveWork]()
    deadline = BatchDeadline(exchange, context.clock, checked.job.bulk.deadline)
    lost = LostBatches(orphans, context, exchange, checked.folder)
    lost.partial = start.closes_as is not None or options.limit is not None or options.kinds != ORDINARY
    common: Any = {"state": state, "folder": folder}
    lines = Lines(readers[1], beside.resumer, context, exchange, deadline=deadline, schedule=schedule, **common)
    gathering = Gathering(context, exchange, lines.holds, schedule=schedule, spec=checked.job.bulk, **common)
    sends = checked.job.model.first_lane == "bulk"
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
        **common,
    )
