"""Calls whose worker is lost: the slot that each keeps, and what is made of what comes of them after all.

Owns that a provider which may still work on a call has its slot, and that what comes late is kept: an answer is booked
as a further record of its call, which changes no row; the id of a task is saved, so that it is polled first should its
row come again, and polled beside everything else until its answer can be booked, too. The row was asked again as soon
as its worker was lost; nothing here sends anything that is paid for.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio
import msgspec

from batch.core.errors import StorageError
from batch.core.logs import logger
from batch.core.records import Accepted, Call, Failure, Processing, Reply
from batch.ledger.late import LATE, Task, dropped_task, kept_task, late_call
from batch.limits.lease import Lease
from batch.run.fleet.answers import answer_of
from batch.run.fleet.crew import LOOK_S, Crew
from batch.run.fleet.messages import Done, Found
from batch.submit import task
from batch.submit.attempt import CallContext
from batch.submit.results import masked_result, read_answer, record_of
from batch.submit.rows import OpenCall, Row

UNKNOWN_S: Final = 30.0
"""How long an exchange is believed to take at most while none was answered."""
FIRST_POLL_S: Final = 1.0
LONGEST_POLL_S: Final = 30.0
"""Between two polls of a task whose id came late: nobody waits for it."""


class _Lost(msgspec.Struct, eq=False):
    """A call whose worker is lost."""

    row: Row
    call: OpenCall
    slot: Lease
    """Of the provider, which may still work on it."""


class LostCalls:
    """The calls of one run whose workers are lost.

    Args:
        context: books what comes of them, and polls.
        crew: lost the workers.
        counted: called with each further record that is in the book.
    """

    def __init__(self, context: CallContext, crew: Crew, *, counted: Callable[[Row, Call], None]) -> None:
        self._context = context
        self._counted = counted
        self._crew = crew
        self._lost: dict[int, _Lost] = {}
        """By ticket."""

    def add(self, ticket: int, row: Row, call: OpenCall) -> None:
        """A call is lost; to be said before it is booked, so that its slot is never free in between."""
        slot = _slot(self._context, call)
        self._lost[ticket] = _Lost(row, call, slot)
        self._crew.start(self._free_later, slot, call.started)

    async def _free_later(self, slot: Lease, left_at: float) -> None:
        """Keep a slot for as long as exchanges of this run take at most, as far as is known by then."""
        clock = self._context.clock
        while slot.open:
            most_s = min(self._crew.longest_s or UNKNOWN_S, self._context.policy.call_timeout_s)
            left_s = left_at + most_s - clock.monotonic()
            if left_s <= 0:
                slot.release()
            else:
                await clock.sleep(min(left_s, LOOK_S))

    def came(self, found: Found) -> None:
        """A worker whose epoch is over reports what came of one of its calls."""
        lost = self._lost.pop(found.ticket, None)
        if lost is None:
            return
        result = self._read(lost.call, found)
        if isinstance(result, Reply):
            self._crew.start(self._book, lost.row, _further(self._context, lost.call), result)
        elif isinstance(result, Accepted):
            self._crew.start(self._collect, lost.row, self._taken(lost.call, result))
        lost.slot.release()

    def _read(self, call: OpenCall, found: Found) -> Reply | Accepted | Failure | None:
        dialect = (call.target or self._context.target).dialect
        if isinstance(found, Done):
            if found.stream is not None:
                return None if found.stream.reply is None else masked_result(found.stream.reply)
            if found.incoming is None:
                return None
        incoming = answer_of(found)
        if call.lane == "task":
            return read_answer(incoming, dialect.read_submit)
        return read_answer(incoming, dialect.read_chat)

    async def _book(self, row: Row, call: OpenCall, reply: Reply, held: Task | None = None) -> None:
        """Book an answer as a further record of its call.

        Args:
            row: that was asked.
            call: the further one.
            reply: what came.
            held: the task that it is the answer of, which is not kept any more.
        """
        context, target = self._context, call.target or self._context.target
        record = record_of(
            call,
            reply,
            provider=context.policy.provider,
            prices=target.prices,
            now_us=context.clock.now_us(),
            now=context.clock.monotonic(),
            asked_tier=row.request.parameters.get("service_tier"),
        )
        record = msgspec.structs.replace(record, counted=False, endpoint=target.name)
        with anyio.CancelScope(shield=True), suppress(StorageError):  # the ledger itself ends the run
            await context.ledger.execute(late_call(row.pending, call.number, record, held))
        self._counted(row, record)
        logger().warning("answer_came_late", row_id=call.row_id, call_id=call.call_id.removesuffix(LATE))

    # -- tasks --------------------------------------------------------------------------------------------------------

    def _taken(self, call: OpenCall, accepted: Accepted) -> OpenCall:
        """The further call of a task whose id came late; it holds a slot, for the provider works on it."""
        further = _further(self._context, call)
        further.task_id, further.request_id = accepted.task_id, accepted.request_id
        further.base_url = (call.target or self._context.target).base_url
        further.lease = _slot(self._context, call)
        return further

    async def _collect(self, row: Row, call: OpenCall) -> None:
        """Save the id of a task, then poll until it is done; cancelled with the run, which leaves it saved."""
        assert call.task_id is not None
        context, wait_s = self._context, FIRST_POLL_S
        first = call.call_id.removesuffix(LATE)
        stored = (call.target or context.target).stored
        held = Task(call.task_id, stored, first, call.attempt, call.sent_at_us)
        try:
            if call.turn == row.conversation.began:  # else it would come back as what it is not
                with anyio.CancelScope(shield=True):
                    await context.ledger.execute(kept_task(row.pending, held))
            logger().warning("task_came_late", row_id=call.row_id, task_id=call.task_id, call_id=first)
            while isinstance(result := await task.poll(context, call), Processing):
                await context.clock.sleep(max(wait_s, result.wait_s))
                wait_s = min(1.5 * wait_s, LONGEST_POLL_S)
            if isinstance(result, Reply):
                await self._book(row, call, result, held)
            elif task.about_the_task(result):
                await context.ledger.execute(dropped_task(row.pending, held))
        except StorageError:
            pass  # the ledger itself ends the run
        finally:
            call.lease.release()


def _further(context: CallContext, call: OpenCall) -> OpenCall:
    """A further call beside one that was booked already, for its late answer."""
    number, _ = context.ids.new()
    return msgspec.structs.replace(call, number=number, call_id=f"{call.call_id}{LATE}", late=True)


def _slot(context: CallContext, call: OpenCall) -> Lease:
    """A slot for what the provider may still do for a call, where that went."""
    slot = context.limiter.adopt(call.model)
    if call.lease.place is not None:
        slot.put(call.lease.place)
    return slot
