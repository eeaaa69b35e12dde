"""What was used of the limits in a stretch of time, as `/_sim/judge` tells it. Owns that page's figures of use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batch.simulator.provider import Provider


def used(provider: Provider, begin: float, end: float) -> dict[str, Any]:
    """What was used of the limits, see `Judge.use`, and how many tokens were billed.

    Args:
        provider: whose limits.
        begin: seconds since the first request.
        end: likewise.
    """
    now = provider.clock.monotonic()
    uses = provider.judge.use(begin, end, now)
    began = provider.limits.began
    unix = 0.0 if began is None else provider.clock.wall() - now + began
    tokens = provider.books.billed(unix + begin, unix + end, now)
    for use in uses:
        use["billed_tokens"] = tokens.get((use["key_id"], use["model"]), 0)
    return {"from": begin, "to": min(end, now - began) if began is not None else begin, "use": uses}
