"""How far a run is: one frozen snapshot a second, for the live line, `status.json` and JSON progress.

Owns the arithmetic of rate and time left. It is handed counts and never looks at live objects itself; who shows it
is the command's business.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import Any, Final, TypedDict

import msgspec

from batch.ledger.totals import Planned, Totals
from batch.limits.used import LimitUse

WINDOW_S: Final = 30.0


class BudgetState(TypedDict):
    """One limit of a budget."""

    limit: str
    left: str


class OldRow(msgspec.Struct, frozen=True):
    """One row that is open: its first call was sent, and it has no outcome."""

    row_id: str
    variant: str | None
    age_s: float
    """Seconds since its first call."""
    waits_for: str


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a run at one moment; times in seconds, `left_s` None while it cannot be said."""

    run: str
    state: str
    elapsed_s: float
    planned: Planned
    totals: Totals
    expected: int | None
    """Rows this run will have settled, as far as the source was read; exact once planning is complete."""
    done: int
    """Rows settled by this run."""
    rate: float
    in_flight: int
    """Calls that hold a slot, tasks of the provider's included."""
    waiting_tasks: int
    """Tasks that the provider works on; after a stop they stay with it."""
    waiting_rows: int = 0
    """Rows that wait for another try."""
    held_back: int
    """Requests held back by a limit now."""
    left_s: float | None
    waits_for: str | None
    projected: dict[str, Decimal] = {}
    """By currency, what all rows will have cost if the others cost as much as those that are settled; empty while that
    cannot be said."""
    oldest: tuple[OldRow, ...] = ()
    """The rows that have been open for longest."""
    budget: dict[str, BudgetState] = {}
    """By key of `[budget]`, its limit and what is left of it, both for people."""
    shared_with: int | None = None
    """How many other jobs keep to the same limits now; None where they are this job's alone."""
    limits: tuple[LimitUse, ...] = ()
    """How much of each limit is in use."""
    auto: str | None = None
    """What lane `auto` has decided and why; None in another lane."""

    def public(self) -> dict[str, Any]:
        """As written to `status.json` and printed by `--progress json`."""
        return {
            "run": self.run,
            "state": self.state,
            "elapsed_s": round(self.elapsed_s, 3),
            "rows": {"done": self.done, "expected": self.expected, **msgspec.structs.asdict(self.planned)},
            "rows_per_second": round(self.rate, 3),
            "in_flight": self.in_flight,
            "waiting_tasks": self.waiting_tasks,
            "waiting_rows": self.waiting_rows,
            "held_back": self.held_back,
            "left_s": None if self.left_s is None else round(self.left_s, 1),
            "waits_for": self.waits_for,
            "auto": self.auto,
            "oldest": [msgspec.structs.asdict(row) for row in self.oldest],
            "projected_cost": {currency: f"{cost:f}" for currency, cost in self.projected.items()},
            "budget": self.budget,
            "shared_with": self.shared_with,
            "limits": [msgspec.structs.asdict(limit) for limit in self.limits],
            "totals": self.totals.public(),
        }


PROGRESS: Final[dict[str, str]] = {
    "run": "The name of the run; empty while the command waits for another run.",
    "state": "How the run stands: promptmill explain states tells what each word means.",
    "elapsed_s": "Seconds since this command began with the run.",
    "rows": "done: rows settled. expected: how many there will be, as far as that is known. The others are as in "
    "planned.",
    "rows_per_second": "Of the last half minute.",
    "in_flight": "Calls that were sent and not answered yet, accepted tasks included.",
    "waiting_tasks": "Tasks that the provider works on; after a stop they stay with it.",
    "waiting_rows": "Rows that wait for another try.",
    "held_back": "Requests that a limit holds back now.",
    "left_s": "Seconds that are left at this pace; null while that cannot be said.",
    "waits_for": "What all the run waits for now; null when it is at work.",
    "auto": "In lane auto: what it has decided so far, and why; null in another lane.",
    "oldest": "The rows that have been open for longest: row_id, variant (null for the only one), age_s (seconds since "
    "the first call) and waits_for, what the row waits for now.",
    "projected_cost": "By currency, what all rows will have cost if the others cost as much as those that are settled; "
    "empty while that cannot be said.",
    "budget": "By key of [budget]: its limit, and what is left of it for calls that are not sent yet.",
    "shared_with": "How many other jobs of yours keep to the same limits at the moment, and share them "
    "(limits.share); null where nothing is shared.",
    "limits": "How much of each limit is in use: name, model (null for a limit of all the job), limit, and used: calls "
    "in flight, or the requests or tokens of the last minute.",
    "totals": "Counts and sums of the run so far.",
}
"""What each key of `Progress.public` means, for people."""


def waiting(holder: str) -> Progress:
    """The state of a command that has no run yet, because another process is at work in its output folder."""
    return Progress(
        run="",
        state="waiting",
        elapsed_s=0.0,
        planned=Planned(),
        totals=Totals(),
        expected=None,
        done=0,
        rate=0.0,
        in_flight=0,
        waiting_tasks=0,
        held_back=0,
        left_s=None,
        waits_for=f"another run ({holder})" if holder else "another run",
    )


class Meter:
    """Turns counts into a rate over the last half minute and a time left."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def rate(self, now: float, done: int) -> float:
        """Rows a second over the window that ends now."""
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        first_at, first_done = self._seen[0]
        return (done - first_done) / (now - first_at) if now - first_at > 0.05 else 0.0


def expected(planned: Planned, fraction: float | None, *, limit: int | None = None, variants: int = 1) -> int | None:
    """Rows that will need work, from those found in the part of the source that was read; None if unknown.

    Args:
        planned: what planning found so far.
        fraction: the share of the source that was read, 0 to 1; None where its format does not say.
        limit: rows of the source that are admitted at most; None for all.
        variants: results a row of the source makes.
    """
    if planned.complete or (limit is not None and planned.source_rows >= limit):
        return planned.admitted
    if not fraction or fraction <= 0:
        return None
    total = max(planned.admitted, round(planned.admitted / min(1.0, fraction)))
    return total if limit is None else min(total, limit * variants)


def projected(totals: Totals, done: int, total: int | None) -> dict[str, Decimal]:
    """By currency, what all rows will have cost at the price of those that are settled; empty while that is not known.

    Args:
        totals: sums so far.
        done: rows settled.
        total: rows that will be; None when that is not known.
    """
    if total is None or done <= 0:
        return {}
    rows = max(total, done)
    return {currency: round(cost * rows / done, 4) for currency, cost in totals.cost.items()}


def time_left(rate: float, done: int, total: int | None) -> float | None:
    """The seconds that are left, None while they cannot be said.

    Args:
        rate: rows a second.
        done: rows settled.
        total: rows that will be; None when that is not known.
    """
    if total is None or rate <= 0:
        return None
    return max(0.0, (total - done) / rate)
