"""Lane `stream`: one request, the reply in pieces, folded into what lane `sync` would have given.

A stream is an answer only with a finish reason. What breaks off before that may have been billed, so its call is
`unknown` and the turn is asked again; what breaks off after it is an answer all the same.
"""

from __future__ import annotations

import msgspec

from batch.core import failpoints
from batch.core.records import Failure, Reply
from batch.providers.folding import TRUNCATED
from batch.submit.attempt import CallContext
from batch.submit.results import located, masked_result, read_answer
from batch.submit.rows import OpenCall, Row


async def send(context: CallContext, row: Row) -> tuple[OpenCall, Reply | Failure]:
    """Ask the next turn of `row`; the call is still open, to be closed with what follows from the result.

    Raises:
        LimiterClosed: the run takes no new sends; nothing was sent.
        StorageError: the ledger cannot be written.
    """
    call = await context.start_call(row, "stream")
    target = call.target or context.target
    outgoing = target.dialect.stream(context.sending(row), call.call_id)
    stream = context.streams(
        target.dialect.folding(),
        context.clock,
        first_s=context.policy.first_chunk_timeout_s,
        idle_s=context.policy.idle_timeout_s,
        keep_raw=context.wire_log is not None,
    )
    incoming = await context.exchange(row, call, outgoing, stream=stream)
    failpoints.hit("answered.received")
    if not stream.taken:
        if isinstance(incoming, Failure):
            return call, incoming
        whole = located(read_answer(incoming, target.dialect.read_chat), target.base_url, outgoing.path)
        return call, context.own(call, whole, incoming.headers)
    result = masked_result(stream.end(clean=not isinstance(incoming, Failure)))
    result = context.own(call, result, {} if isinstance(incoming, Failure) else incoming.headers)
    if isinstance(result, Failure) and isinstance(incoming, Failure) and result.code == TRUNCATED:
        # How the line broke says more than that the stream was not whole.
        result = msgspec.structs.replace(result, kind=incoming.kind, message=f"{result.message}: {incoming.message}")
    return call, result
