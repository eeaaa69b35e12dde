"""What a call can come to, as the lanes need it: before it is sent, and when its answer never says.

Owns the way from a row to the size of its next call, and from there to what it holds of the budget and to its bound in
the book. What is sent, and when, is `attempt`'s; what there is left to spend is `purse`'s. A job without a budget looks
at the size of a call only when that ends without its tokens being known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.core.records import Call, Lane
from batch.ledger.bounds import CallBound
from batch.limits.lease import Lease
from batch.money import bounds
from batch.money.bounds import CallSize
from batch.money.prices import Charge
from batch.submit.purse import Purse, Reserved
from batch.submit.results import Bound, bounded
from batch.submit.rows import OpenCall, Row
from batch.submit.untold import with_held

if TYPE_CHECKING:
    from batch.submit.attempt import CallContext


async def afforded(
    context: CallContext, row: Row, lane: Lane, purse: Purse
) -> tuple[CallSize | None, Reserved | None, Lease]:
    """Hold the most that the next call of a row can come to, then take a slot; both anew when that took long.

    Args:
        context: with the limits.
        row: whose call it is.
        lane: how it will travel.
        purse: what the run may spend.

    Returns:
        What the call can come to, what it holds, and its slot; None and None where the budget counts rows alone.

    Raises:
        BudgetReached: it can come to more than is left.
        LimiterClosed: the run takes no new sends.
        PurseClosed: likewise.
        StorageError: what was spent today cannot be noted.
    """
    if not purse.spec.bounds_calls:
        return None, None, await context.limiter.acquire(row.model, row.work_id, row.weight)
    size = bounds.size_of(context.request(row), context.policy.never_sent)
    while True:
        held = await purse.reserve(size, model=row.model, lane=lane, tier=tier_of(row))
        try:
            lease = await context.limiter.acquire(row.model, row.work_id, row.weight)
        except BaseException:
            purse.release(held)
            raise
        if not purse.stale(held):
            return size, held, lease
        lease.settle(0.0)
        lease.release()
        purse.release(held)


def measure(context: CallContext, row: Row, call: OpenCall) -> None:
    """Note what an open call can come to, if that is known: before its conversation goes on, for then it is not."""
    if call.size is None and row.fault is None and row.request.messages:
        call.size = bounds.size_of(context.request(row), context.policy.never_sent)


def adopt(context: CallContext, row: Row, call: OpenCall) -> None:
    """Have a call that an earlier process sent hold what it can come to, unless it is booked: that is spent."""
    purse = context.purse
    if purse is not None and purse.spec.bounds_calls and not call.booked:
        measure(context, row, call)
        most = purse.most_of(call.size, model=call.model, lane=call.lane, tier=tier_of(row), at_us=call.sent_at_us)
        if call.size is None and call.bound is not None and call.bound.currency in ("", purse.currency):
            most = call.bound.cost, call.bound.tokens
        call.held = purse.adopt(*most, sent_at_us=call.sent_at_us)


def keep(context: CallContext, call: OpenCall) -> None:
    """Have the ledger keep what a call holds, until it is booked: the next process may not know what it asked."""
    if context.purse is None or call.held is None or call.size is None:
        return
    call.bound = CallBound(call.held.tokens, call.held.cost, context.purse.currency, call.size.known)
    context.ledger.record(("bounded", (call.number, call.call_id, *call.bound), 80))


def forget(context: CallContext, call: OpenCall) -> None:
    """The opposite, for a call of which something is kept; after it is booked, in the same commit or a later one."""
    context.ledger.record(("unbounded", (call.number,), 10))


def with_most(context: CallContext, row: Row, call: OpenCall, record: Call) -> Call:
    """The record of a call, with the most it can have come to where that is not told, and what a budget makes of it.

    Args:
        context: with the budget.
        row: whose call it is.
        call: still open.
        record: its final state.
    """
    if record.usage is None and (most := bound(context, row, call)) is not None:
        record = bounded(record, most)
    if context.purse is None or call.booked:
        return record
    held, currency = call.held or call.bound, context.purse.currency
    if held is None or (call.held is None and call.bound is not None and call.bound.currency != currency):
        return record  # it is nothing, or money that this budget does not count
    return with_held(record, currency, cost=held.cost, tokens=held.tokens)


def bound(context: CallContext, row: Row, call: OpenCall) -> Bound | None:
    """The most that a call can have come to whose tokens are not known; None where nothing can be said."""
    measure(context, row, call)
    size = call.size
    if size is None and call.bound is not None and call.bound.known:
        tokens, cost, currency, _ = call.bound
        return Bound(tokens, Charge(cost, currency, "") if currency else None)
    if size is None or not size.known:
        return None
    charge = bounds.most_of(
        (call.target or context.target).prices,
        context.policy.provider,
        call.model,
        size,
        at_us=call.sent_at_us,
        lane=call.lane,
        tier=tier_of(row),
    )
    return Bound(size.tokens, charge)


def tier_of(row: Row) -> str | None:
    """The tier of service that the requests of a row ask for."""
    asked = row.request.parameters.get("service_tier")
    return asked if isinstance(asked, str) else None
