"""What a refusal of one of several addresses comes to: it is left alone, and the rows go to the others.

Owns that step between the decision after a failed call and what follows from it. What would stop a run, or a model of
it, stops an address only, as long as there is another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from batch.core.logs import logger
from batch.core.records import Failure
from batch.limits.endpoints import EndpointLimits
from batch.submit.retry import Decision


def leave(members: Sequence[EndpointLimits], place: EndpointLimits, failure: Failure, decision: Decision) -> Decision:
    """What to do with a row after a failure at one of several addresses.

    Args:
        members: all addresses of the model.
        place: where the call went.
        failure: what came of it.
        decision: what would be done if there were no other address.
    """
    if decision.action not in ("stop", "park"):
        return decision
    asked_s = failure.retry_after_s if decision.action == "park" else None
    if place.parked_until is None:
        logger().warning("endpoint_left_out", endpoint=place.endpoint, kind=failure.kind, error=failure.message[:160])
        place.leave_out(asked_s)
    if all(one.parked_until is not None for one in members):
        return decision
    return msgspec.structs.replace(decision, action="again", wait_s=0.0, pause_s=0.0, counted=False, once=None)
