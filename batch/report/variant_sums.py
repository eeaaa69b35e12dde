"""What the results of each variant come to, and how often two variants agree.

Owns these sums, row by row. What two results have to say to be the same is `compare`'s matter.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from batch.labels.quality import Estimate, proportion

LABEL: Final = "\0label"
TRUTH: Final = "\0truth"
"""Where a row has both as texts, beside its columns."""
TOKENS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
MEANS: Final = {"agreement": "voted", "confidence": "sure"}


class VariantSums(msgspec.Struct, kw_only=True):
    """The sums of one variant over the whole table; tokens, cost and latency are of the results that stand in it."""

    variant: str | None
    asked: bool
    """Whether the last run asked it; if not, its results are left from an earlier run."""
    rows: int = 0
    ok: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    unknown_tokens: int = 0
    """Rows whose tokens are not known."""
    cost: dict[str, Decimal] = {}
    """By currency."""
    unknown_cost: int = 0
    """Rows whose cost is not known."""
    latency_ms: float | None = None
    """The mean over `timed` rows, None when there is none."""
    timed: int = 0
    measured: int = 0
    """Rows with a valid label and a known truth."""
    right: int = 0
    """Those whose label is the truth."""
    agreement: float | None = None
    """The mean over the `voted` rows that were asked several times, None when there is none."""
    voted: int = 0
    confidence: float | None = None
    """The mean over the `sure` rows whose label has a known probability, None when there is none."""
    sure: int = 0

    @property
    def accuracy(self) -> Estimate:
        """The share of valid labels that are the truth; without a value when none is measured."""
        return proportion(self.right, self.measured)

    def add(self, row: dict[str, Any]) -> None:
        """Count one result."""
        self.rows += 1
        self.ok += row["status"] == "ok"
        self.failed += row["status"] != "ok"
        for name in TOKENS:
            setattr(self, name, getattr(self, name) + (row[name] or 0))
        self.unknown_tokens += row["total_tokens"] is None and bool(row["calls"])
        if row["cost"] is not None and row["currency"]:
            self.cost[row["currency"]] = self.cost.get(row["currency"], Decimal(0)) + row["cost"]
        self.unknown_cost += row["cost"] is None and bool(row["calls"])
        if row["latency_ms"] is not None and row["status"] == "ok":
            self.timed += 1
            self.latency_ms = (self.latency_ms or 0.0) + (row["latency_ms"] - (self.latency_ms or 0.0)) / self.timed
        for name, rows in MEANS.items():
            if (share := row.get(name)) is not None:
                seen, mean = getattr(self, rows) + 1, getattr(self, name) or 0.0
                setattr(self, rows, seen)
                setattr(self, name, mean + (share - mean) / seen)
        if row.get(LABEL) is not None and row.get(TRUTH) is not None:
            self.measured += 1
            self.right += row[LABEL] == row[TRUTH]


class Pair(msgspec.Struct):
    """How often two variants agree, of the rows that both answered."""

    first: str | None
    second: str | None
    answered: int = 0
    agree: int = 0

    @property
    def share(self) -> float | None:
        """The share of rows on which they agree, from 0 to 1; None while there is no row that both answered."""
        return self.agree / self.answered if self.answered else None
