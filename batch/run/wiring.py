"""Makes the stages of one run and hands each what it needs. The only module that knows all of them.

Data goes one way: source → plan → ledger (admission) → feed → workers → ledger (calls, outcomes) → publish. Owns how
the stages are made from the job; it starts none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack, closing
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec

from batch.core.clock import Clock
from batch.core.records import RowRequest
from batch.job.options import RunOptions
from batch.labels.samples import NO_SAMPLES
from batch.ledger.bounds import BoundsReader
from batch.ledger.copies import CopiesReader
from batch.ledger.effects import EffectsReader
from batch.ledger.index import IndexReader
from batch.ledger.paid import PaidReader
from batch.ledger.reader import LedgerReader, PendingRow
from batch.ledger.saved import SavedReader
from batch.ledger.writer import Ledger
from batch.limits.hours import Hours
from batch.limits.limiter import Limiter
from batch.limits.sharing import Sharing
from batch.limits.tokens import TokenEstimator
from batch.output.publish import Publisher
from batch.plan.continuation import RunStart
from batch.plan.preflight import CheckedJob
from batch.run.addresses import shared_budgets, targets_of
from batch.run.adoption import Adoption
from batch.run.batching import Between, bulk_of
from batch.run.bulk import Bulk
from batch.run.calling import context_of
from batch.run.copies import Copies
from batch.run.early import EarlyParts
from batch.run.effects import Effects
from batch.run.feeder import Feeder, earlier_samples
from batch.run.intake import Intake
from batch.run.later_turns import LaterTurns
from batch.run.learning import Learning
from batch.run.publishing import Publishing
from batch.run.resume import Beside, Resumer
from batch.run.schedule import Schedule
from batch.run.settings import settings_of
from batch.run.spending import purse_of
from batch.run.state import RunState
from batch.run.tool_turns import ToolTurns
from batch.run.worker import Worker
from batch.submit import evidence, polls
from batch.submit.attempt import CallContext
from batch.submit.books import Books
from batch.submit.call_ids import CallIds
from batch.submit.evidence import Evidence
from batch.submit.overtime import Overtime
from batch.submit.polls import Polls
from batch.submit.rows import Row
from batch.tokens.learner import Learner
from batch.tools.execute import Executor

if TYPE_CHECKING:
    from batch.run.fleet.crew import Crew
    from batch.run.fleet.transport import Begin

OPEN_BYTES: Final = 36 << 20
"""Of what open rows ask, all models together; on its way a request takes as much again, until its answer is there."""


class Stages(msgspec.Struct, frozen=True):
    """The stages of one run, ready to be started."""

    reader: LedgerReader
    limiter: Limiter
    schedule: Schedule[Row]
    state: RunState
    context: CallContext
    adoption: Adoption
    intake: Intake
    worker: Worker
    publishing: Publishing
    bulk: Bulk | None
    """None where no batch file is made, and none is on its way."""
    copies: Copies | None
    """None where rows share no answers."""
    learning: Learning
    crew: Crew | None
    """The workers; None where this process makes the exchanges itself."""
    sharing: Sharing
    """What it has of the budgets that other jobs use, too."""


def wire(
    checked: CheckedJob,
    start: RunStart,
    options: RunOptions,
    *,
    ledger: Ledger,
    clock: Clock,
    stack: ExitStack,
    begin: Begin | None = None,
) -> Stages:
    """Make the stages of one run.

    Args:
        checked: the job.
        start: which run it is.
        options: what this command adds to the job.
        ledger: the one writer.
        clock: for every stage.
        stack: closes what is opened here, when the run is over.
        begin: starts a worker elsewhere; None for this machine.
    """
    reader = stack.enter_context(EffectsReader(checked.folder.ledger))
    feeders, limiter, early = _feeders(checked, stack), _limiter(checked, clock), _early(checked)
    publisher, schedule = _publisher(checked, start, ledger, stack), _schedule(checked, feeders, limiter, clock)
    state, collecting = RunState(limiter, schedule, purse_of(checked, start.run, clock)), start.mode == "collect"
    settings, learning = settings_of(checked, collecting=collecting), Learning(checked, clock)
    books = _books(checked, state, reader, ledger, learner=learning.learner)
    ids = CallIds(reader.runs()[0].run, reader.next_number("call"))
    context, crew = context_of(checked, start, options, books=books, limiter=limiter, clock=clock, ids=ids, begin=begin)
    context.spread(targets_of(checked, context.evidence))
    request_of = partial(_old_request, checked) if collecting else next(iter(feeders.values())).request
    tools, beside, in_doubt = _executor(checked, stack), _beside(checked, stack), Effects(reader, ledger).in_doubt
    turns = _tool_turns(checked, tools, reader, ledger)
    resumer = Resumer(reader, context, settings.rules, request_of, beside=beside, tools=tools, in_doubt=in_doubt)
    resumer.requests_of = None if collecting else next(iter(feeders.values())).requests
    adoption = Adoption(_saved(checked, stack), resumer, context, schedule=schedule, state=state)
    intake = Intake(
        checked, start, options, context=context, schedule=schedule, feeders=feeders, adoption=adoption, state=state
    )
    waiting = partial(Copies, ledger, state=state, schedule=schedule, clock=clock, request_of=request_of)
    if (copies := _copies(checked, stack, waiting, beside)) is not None:
        intake.share(copies)
    polls, later = _polls(reader, ledger, clock), LaterTurns(_later(checked), context, schedule)
    bulk = bulk_of(checked, start, options, stack, beside=Between(ledger, resumer, context, schedule, state))
    return Stages(
        reader=reader,
        limiter=limiter,
        schedule=schedule,
        state=state,
        context=context,
        adoption=adoption,
        intake=intake,
        worker=Worker(context, schedule, settings, tools=turns, state=state, polls=polls, bulk=bulk, later=later),
        bulk=bulk,
        publishing=Publishing(publisher, ledger, reader, state=state, early=early, clock=clock),
        copies=copies,
        learning=learning,
        crew=crew,
        sharing=shared_budgets(checked, limiter, stack),
    )


def _saved(checked: CheckedJob, stack: ExitStack) -> SavedReader:
    return stack.enter_context(SavedReader(checked.folder.ledger))


def _early(checked: CheckedJob) -> EarlyParts:
    return EarlyParts(checked.job.output.publish_every_s)


def _later(checked: CheckedJob) -> set[tuple[str, str]]:
    with PaidReader(checked.folder.ledger) as reader:
        return reader.with_later_turns()


def _beside(checked: CheckedJob, stack: ExitStack) -> Beside:
    """What is known of a row beside what it asks, for the event loop's own thread."""
    model = partial(_model_of_variant, checked)
    with BoundsReader(checked.folder.ledger) as kept:
        bounds = {} if checked.budget is None else kept.open_bounds()
    if (samples := checked.samples) is None:
        return Beside(model, bounds=bounds)
    reader = stack.enter_context(IndexReader(checked.folder.ledger))
    return Beside(
        model, lambda row: earlier_samples(reader, [row], samples=samples).get(row.work_id, NO_SAMPLES), bounds
    )


def _copies(checked: CheckedJob, stack: ExitStack, waiting: Callable[..., Copies], beside: Beside) -> Copies | None:
    """What keeps rows waiting for each other's answers; None where they share none."""
    if not checked.job.prompt.dedupe:
        return None
    reader = stack.enter_context(CopiesReader(checked.folder.ledger))
    return waiting(reader, model_of=beside.model_of_variant, samples_of=beside.samples)


def _limiter(checked: CheckedJob, clock: Clock) -> Limiter:
    limits, counts, carried = checked.job.limits, checked.endpoint.dialect.counts, checked.carried
    limiter = Limiter(
        clock,
        concurrency=checked.most_calls,
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        models=limits.model,
        estimator=lambda: TokenEstimator(counts, carried=carried),
        adapt=limits.adapt,
        hours=Hours(clock, limits.hours) if limits.hours else None,
    )
    limiter.endpoints = checked.job.model.endpoints
    return limiter


def _schedule(checked: CheckedJob, feeders: Collection[str], limiter: Limiter, clock: Clock) -> Schedule[Row]:
    beside = _asked_beside(checked, feeders)
    schedule: Schedule[Row] = Schedule(
        clock,
        open_limits={model: 2 * limiter.model(model).concurrency for model in dict.fromkeys([*feeders, *beside])},
        open_bytes=OPEN_BYTES / len(feeders),
        size_of=attrgetter("request.bytes"),
        model_of=attrgetter("request.model"),
        sent_to=lambda row: row.model,
        needs_slot=lambda row: row.call is None and row.replied is None,
    )
    for model in beside:
        schedule.end(model)  # no row begins there
    return schedule


def _old_request(checked: CheckedJob, pending: PendingRow) -> RowRequest:
    # A changed job's template says nothing about the rows of the old one, and nothing more is sent for them.
    return RowRequest([], checked.old_models.get(pending.variant, checked.job.model.name))


def _asked_beside(checked: CheckedJob, feeders: Collection[str]) -> list[str]:
    """The model that is asked for labels in the end, unless it has rows of its own."""
    labels = checked.job.labels
    escalate = labels.escalate if labels is not None else None
    return [escalate] if escalate is not None and escalate not in feeders else []


def _publisher(checked: CheckedJob, start: RunStart, ledger: Ledger, stack: ExitStack) -> Publisher:
    publisher = Publisher(
        checked.folder,
        start.run,
        job=checked.job.name,
        schema=checked.schema,
        tags=checked.job.tags,
        variants=checked.variants.names,
        announce=ledger.execute_from_thread,
        recent=ledger.recent,
    )
    return stack.enter_context(closing(publisher))


def _model_of_variant(checked: CheckedJob, name: str) -> str:
    """The model that the rows of a variant ask, also when nothing else is known of what they ask."""
    variant = checked.variants.named(name)
    return checked.job.model.name if variant is None else variant.model


def _executor(checked: CheckedJob, stack: ExitStack) -> Executor | None:
    if not len(checked.tools) or checked.job.tools is None:
        return None
    tools = Executor(checked.tools, checked.confinement, coerce=checked.job.tools.coerce)
    stack.callback(tools.close)
    return tools


def _tool_turns(
    checked: CheckedJob, executor: Executor | None, reader: EffectsReader, ledger: Ledger
) -> ToolTurns | None:
    spec = checked.job.tools
    if executor is None or spec is None:
        return None
    return ToolTurns(
        executor, checked.tools, ledger, reader=reader, calls_per_row=spec.calls_per_row, policy=spec.policy
    )


def _feeders(checked: CheckedJob, stack: ExitStack) -> dict[str, Feeder]:
    """One feeder a model, so that a slow one does not stand in the way of the others' rows."""
    variants: dict[str, list[str]] = {}
    for variant in checked.variants:
        variants.setdefault(variant.model, []).append(variant.name)
    several, keys, samples = len(variants) > 1, checked.source.keys, checked.samples
    return {
        model: stack.enter_context(
            closing(
                Feeder(checked.folder, checked.variants, only=names if several else None, keys=keys, samples=samples)
            )
        )
        for model, names in variants.items()
    }


def _books(
    checked: CheckedJob, state: RunState, reader: LedgerReader, ledger: Ledger, *, learner: Learner | None
) -> Books:
    seen = _evidence(checked, reader, ledger)
    return Books(ledger, checked.prices, state.totals, seen, Overtime(reader, ledger), learner, state.purse)


def _evidence(checked: CheckedJob, reader: LedgerReader, ledger: Ledger) -> Evidence:
    endpoint = checked.endpoint
    kept = reader.meta(evidence.KEY)
    return Evidence(endpoint.base_url, endpoint.key_digest, kept=kept, keep=partial(ledger.note, evidence.KEY))


def _polls(reader: LedgerReader, ledger: Ledger, clock: Clock) -> Polls:
    return Polls(clock, kept=reader.meta(polls.KEY), keep=partial(ledger.note, polls.KEY))
