"""Says of one row whether a person should look at its label, why, and how urgently.

Owns what doubt is. A row whose label failed for good, or whose votes are tied, has a certainty of 0. Any other has the
least of these: its agreement, its confidence, and the share of its variants that gave its most frequent label. It knows
no table and no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from batch.labels.votes import count_votes

BELOW: Final = 0.8
"""An agreement or confidence below this is little: two votes of three are, four of five are not."""

Reason = Literal["failed", "tie", "variants", "agreement", "confidence"]
REASONS: Final[tuple[Reason, ...]] = ("failed", "tie", "variants", "agreement", "confidence")


class Doubt(NamedTuple):
    """Why a row is doubtful, and how far one can rely on its label, from 0 to 1."""

    certainty: float
    reasons: tuple[Reason, ...]


class Judged(NamedTuple):
    """What the doubt of one result is seen by."""

    label: str | None
    failed: bool
    """For good, and not because its input cannot be read."""
    tie: bool
    agreement: float | None
    confidence: float | None


def doubt(results: Sequence[Judged], below: float) -> Doubt | None:
    """Whether a person should look at a row, and why; None when not.

    Args:
        results: the row in each of its variants.
        below: an agreement or confidence below this is little.
    """
    failed = tie = differ = False
    shares: dict[Reason, float] = {"agreement": 1.0, "confidence": 1.0, "variants": 1.0}
    for result in results:
        failed = failed or result.failed
        tie = tie or result.tie
        if result.agreement is not None:
            shares["agreement"] = min(shares["agreement"], result.agreement)
        if result.confidence is not None:
            shares["confidence"] = min(shares["confidence"], result.confidence)
    if len(results) > 1:  # counting takes longer than all the rest, and most tables have no variants
        votes = count_votes(result.label for result in results)
        differ = len(votes.votes) > 1
        shares["variants"] = 1.0 if votes.agreement is None else votes.agreement
    found: dict[Reason, bool] = {
        "failed": failed,
        "tie": tie,
        "variants": differ,
        "agreement": shares["agreement"] < below,
        "confidence": shares["confidence"] < below,
    }
    reasons = tuple(reason for reason, holds in found.items() if holds)
    if not reasons:
        return None
    return Doubt(0.0 if failed or tie else min(shares.values()), reasons)
