"""Lane `sync`: one request, one reply."""

from __future__ import annotations

from batch.core import failpoints
from batch.core.records import Failure, Reply
from batch.submit.attempt import CallContext
from batch.submit.results import located, read_answer
from batch.submit.rows import OpenCall, Row


async def send(context: CallContext, row: Row) -> tuple[OpenCall, Reply | Failure]:
    """Ask the next turn of `row`; the call is still open, to be closed with what follows from the result.

    Raises:
        LimiterClosed: the run takes no new sends; nothing was sent.
        StorageError: the ledger cannot be written.
    """
    call = await context.start_call(row, "sync")
    target = call.target or context.target
    outgoing = target.dialect.chat(context.sending(row), call.call_id)
    incoming = await context.exchange(row, call, outgoing)
    failpoints.hit("answered.received")
    if isinstance(incoming, Failure):
        return call, incoming
    result = located(read_answer(incoming, target.dialect.read_chat), target.base_url, outgoing.path)
    return call, context.own(call, result, incoming.headers)
