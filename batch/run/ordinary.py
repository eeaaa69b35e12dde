"""What happens to an ordinary row: it is asked one question, once, and a whole text answers it.

Nearly every row of a large job is like that, so this is the way on which each step costs something: it makes no value
that is not kept, and looks at no limit that is not in force. In order:

1. a slot of the provider is free, and no other limit is in force;
2. the call is put into the ledger, and its bytes leave once that is durable;
3. the answer is read, and the keys of this process are masked in it;
4. it ends the row: the call's record and the row's outcome are booked in one commit.

What is out of the ordinary is handed over where it shows, and nothing of it is decided here: a row that is not ordinary
before anything is sent to `worker`, what came of a call to `worker` as well, with the call still open. Each step is the
one that all rows take (`submit.attempt`, `prompts.conversation`); the rules are theirs.
"""

from __future__ import annotations

import anyio
import msgspec

from batch.core import failpoints
from batch.core.records import Failure, Outcome, Reply
from batch.prompts import steps
from batch.prompts.conversation import plain_end
from batch.run.outcomes import outcome_of
from batch.submit.attempt import CallContext
from batch.submit.results import NEVER_LEFT, located, read_answer
from batch.submit.rows import OpenCall, Row


def is_ordinary(row: Row) -> bool:
    """Whether a row is asked its first question for the first time, as far as can be known before."""
    conversation = row.conversation
    return row.next_attempt == 0 == conversation.turn == conversation.sampling.ended and row.fault is None


async def ask(context: CallContext, row: Row, rules: steps.Rules) -> Outcome | tuple[OpenCall, Reply | Failure] | None:
    """Ask an ordinary row.

    Args:
        context: of a run of lane `sync` without a budget.
        row: one that `is_ordinary`.
        rules: of the job.

    Returns:
        The outcome that was booked; or the call, still open, and what came of it, where that is out of the ordinary; or
        None where a limit holds the row back, and nothing was done.

    Raises:
        StorageError: the ledger cannot be written.
    """
    limiter, ledger, dialect = context.limiter, context.ledger, context.dialect
    asked = row.request.model
    lease = limiter.at_once(limiter.models.get(asked) or limiter.model(asked), row.work_id)
    if lease is None:
        return None
    call = context.open_call(row, "sync", lease)
    try:
        if (commit := ledger.uncommitted()) is not None:
            await commit
        if ledger.broken is not None:
            raise ledger.broken
        if not lease.may_depart():
            await lease.depart()
    except anyio.get_cancelled_exc_class():
        context.book(row, call, NEVER_LEFT)
        raise
    context.leaves(row, call)
    outgoing = dialect.chat(context.sending(row), call.call_id)
    incoming = await context.exchange(row, call, outgoing)
    if failpoints.armed:
        failpoints.hit("answered.received")
    # From here to the booking nothing awaits, so no cancel can fall between an answer and its record.
    if isinstance(incoming, Failure):
        return call, incoming
    result = context.own(call, read_answer(incoming, dialect.read_chat), incoming.headers)
    if isinstance(result, Failure):
        return call, located(result, context.base_url, outgoing.path)
    settle = plain_end(row.conversation, result, rules, model_asked=call.model)
    if settle is None:
        return call, result
    messages = (*row.conversation.messages, result.message)
    row.conversation = msgspec.structs.replace(row.conversation, messages=messages)
    ended = context.clock.now_us(), context.clock.monotonic()
    outcome = outcome_of(row, settle, keep=rules.keep, provider=context.policy.provider, lane="sync", ended=ended)
    context.book(row, call, result, outcome=outcome)
    return outcome
