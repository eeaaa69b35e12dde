"""Lane `sync`: one request, one reply."""

from __future__ import annotations

from batch.core import failpoints
from batch.core.records import Failure, Reply
from batch.submit.attempt import Desk, OpenCall, Row


async def send(desk: Desk, row: Row) -> tuple[OpenCall, Reply | Failure]:
    """Ask the next turn of `row`; the call is still open, to be closed with what follows from the result.

    Raises:
        LimitsClosed: the run takes no new sends; nothing was sent.
        StorageError: the ledger cannot be written.
    """
    call = await desk.open(row, "sync")
    incoming = await desk.exchange(row, call, desk.dialect.chat(desk.request(row), call.call_id))
    failpoints.hit("answered.received")
    return call, incoming if isinstance(incoming, Failure) else desk.dialect.read_chat(incoming)
