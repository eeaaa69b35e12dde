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
    votes = count_votes(result.label for result in results)
    shares = [*(r.agreement for r in results), *(r.confidence for r in results), votes.agreement]
    found: dict[Reason, bool] = {
        "failed": any(result.failed for result in results),
        "tie": any(result.tie for result in results),
        "variants": len(votes.votes) > 1,
        "agreement": any(r.agreement is not None and r.agreement < below for r in results),
        "confidence": any(r.confidence is not None and r.confidence < below for r in results),
    }
    reasons = tuple(reason for reason in REASONS if found[reason])
    if not reasons:
        return None
    if found["failed"] or found["tie"]:
        return Doubt(0.0, reasons)
    return Doubt(min(share for share in shares if share is not None), reasons)
