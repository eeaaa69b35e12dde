"""What a call can come to, as the lanes need it: before it is sent, and when its answer never says.

Owns the way from a row to the size of its next call, and from there to what it holds of the budget and to its bound in
the book. What is sent, and when, is `attempt`'s; what there is left to spend is `purse`'s. A job without a budget looks
at the size of a call only when that ends without its tokens being known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.core.records import Lane
from batch.limits.lease import Lease
from batch.money import bounds
from batch.money.bounds import CallSize
from batch.submit.purse import Purse, Reserved
from batch.submit.results import Bound
from batch.submit.rows import OpenCall, Row

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
        call.held = purse.adopt(
            call.size, model=call.model, lane=call.lane, tier=tier_of(row), sent_at_us=call.sent_at_us
        )


def bound(context: CallContext, row: Row, call: OpenCall) -> Bound | None:
    """The most that a call can have come to whose tokens are not known; None where nothing can be said."""
    measure(context, row, call)
    size = call.size
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
