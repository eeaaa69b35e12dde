"""Lane `task`: leave a task with the provider, keep its id, ask for the result later.

A task id, once committed, is collected and never bought again: it takes its slot back after a crash, is polled at the
base URL it was given at, whatever the lane is by then, and outlives even the deadline of its row. Between two polls
nobody waits: the row lies in the schedule of `schedule`. When it is polled is `polls`' matter.
"""

from __future__ import annotations

from typing import Final

from batch.core import failpoints
from batch.core.errors import WireError
from batch.core.records import Accepted, Failure, Processing, Reply
from batch.submit.attempt import CallContext
from batch.submit.results import failure_of, located, read_answer
from batch.submit.retry import SAYS_NOTHING
from batch.submit.rows import OpenCall, Row

FOREIGN_POLLS: Final = 3  # answered for another call, one after the other
LONGEST_WAIT_S: Final = 120.0  # of what a refused poll is told to wait


async def submit(context: CallContext, row: Row) -> tuple[OpenCall, Accepted | Failure]:
    """Leave the next turn of `row` with the provider. When it returns `Accepted`, the id is durable.

    Raises:
        LimiterClosed: the run takes no new sends; nothing was sent.
        StorageError: the ledger cannot be written.
    """
    call = await context.start_call(row, "task")
    target = call.target or context.target
    outgoing = target.dialect.submit(context.sending(row), call.call_id)
    incoming = await context.exchange(row, call, outgoing)
    if isinstance(incoming, Failure):
        return call, incoming
    result = located(read_answer(incoming, target.dialect.read_submit), target.base_url, outgoing.path)
    result = context.own(call, result, incoming.headers)
    if isinstance(result, Accepted):
        failpoints.hit("accepted.received")
        target.evidence.record_answer(call.model)
        call.task_id = result.task_id
        context.tasks += 1
        call.request_id = result.request_id
        call.base_url = target.base_url
        context.ledger.accepted(call.number, result.task_id, target.stored)
        row.call = call
        call.lease.taken()
        await context.ledger.committed()
    return call, result


async def poll(context: CallContext, call: OpenCall) -> Reply | Failure | Processing:
    """Ask once for the result of a task; a poll that itself failed counts as `Processing`, but a stop stops.

    A cancel leaves the task as it is: its id is in the ledger.
    """
    assert call.task_id is not None
    call.polls += 1
    client, dialect = context.client_for(call.base_url), (call.target or context.target).dialect
    outgoing = dialect.poll(call.task_id)
    call.exchange_began = context.clock.monotonic()
    try:
        incoming = await client.exchange(outgoing)
    except WireError as exc:
        failure = failure_of(exc)
        context.limiter.model(call.model).polled(failure.message)
        _tell(context, call, failure.kind)
        if context.wire_log is not None:
            context.wire_log(call, outgoing, failure, b"")
        return Processing("unreachable", told=False)
    context.limiter.model(call.model).polled(None)
    if context.wire_log is not None:
        context.wire_log(call, outgoing, incoming, b"")
    result = read_answer(incoming, dialect.read_poll)
    _tell(context, call, result.kind if isinstance(result, Failure) and not about_the_task(result) else None)
    if not isinstance(result, Processing):
        own = context.own(call, result, incoming.headers)
        if own is not result:
            return _foreign(call, own)
    if isinstance(result, Failure) and not about_the_task(result) and not _stops(context, call, result):
        wait_s = min(result.retry_after_s or 0.0, LONGEST_WAIT_S)
        return Processing(result.code or result.kind, wait_s, too_many=result.kind in SAYS_NOTHING, told=False)
    if not isinstance(result, Processing):
        failpoints.hit("answered.received")
    return result


def _tell(context: CallContext, call: OpenCall, error: str | None) -> None:
    if context.observer is not None:
        context.observer.polled(call, context.clock.monotonic() - (call.exchange_began or 0.0), error)


def _foreign(call: OpenCall, failure: Reply | Failure) -> Failure | Processing:
    """A poll answered for another call: asked again, in case two answers were swapped on the way.

    When it stays so, the provider gave one task id to two calls. Ours may have been made and billed all the same.
    """
    call.foreign += 1
    if call.foreign < FOREIGN_POLLS:
        return Processing("foreign", told=False)
    return Failure(
        kind="task",
        verdict="retry",
        code="foreign_task",
        answered=False,
        request_id=failure.request_id,
        message=f"task {call.task_id} answers for call {failure.request_id}, not for ours: it was given out twice",
    )


def _stops(context: CallContext, call: OpenCall, failure: Failure) -> bool:
    """Whether a refused poll is about the key or the address, so that no other would fare better."""
    if failure.verdict == "row_or_key":
        return not (call.target or context.target).evidence.model_answered(call.model)
    return failure.verdict == "stop"


def about_the_task(failure: Failure) -> bool:
    """Whether a failed poll says that the task itself is over; see `providers.base.Dialect`."""
    return failure.kind == "task" or failure.verdict == "fail"
