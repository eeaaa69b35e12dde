"""Whether the provider is there at all, and how fast failed calls may be tried again.

Owns two things that keep a fault of theirs from becoming a storm of ours; `limiter` asks before it grants, `worker`
before it schedules a retry.

**Outage.** When calls of several rows fail with no answer in between, the fault is not the rows': the provider is
*silent*. From then on one probe at a time goes out, every `FIRST_PROBE_S` growing to `LONGEST_PROBE_S`; the first
answer of any call ends it, and everybody goes on. What fails in an outage says nothing about a row and does not count
against its `max_attempts`. How long it lasts is told, so that a run can stop after `max_park`.

**Retry budget.** A retry takes one from a bucket of `max(20, concurrency)`, each answer gives half a one back, and a
tenth of the concurrency comes back each second. With it empty, retries are spread out in time; none is refused, so no
row ever fails by it. While most calls are answered it is never empty.

Pure arithmetic over times handed in; it never waits.
"""

from __future__ import annotations

from typing import Final, Literal

Observation = Literal["answered", "in_flight", "rate", "overloaded", "failed", "unreached", "nothing"]
"""What a call told about the provider: it works; too many calls at once; too many a minute; the model is busy; it
failed or was cut; it was never reached; nothing, because we ended the call ourselves."""

ROWS_IN_A_ROW: Final = 8
OVERLOADED_IN_A_ROW: Final = 100  # a busy model refuses most calls and answers some: that is no silence
UNREACHED_IN_A_ROW: Final = 3
FIRST_PROBE_S: Final = 0.5
LONGEST_PROBE_S: Final = 5.0
LEAST_BUDGET: Final = 20
GIVEN_BACK: Final = 0.5


class OutageDetector:
    """The health of one provider, key and model, as its calls tell it.

    Args:
        concurrency: calls at the same time; with a few, a few rows failing are all there are.
    """

    def __init__(self, concurrency: int) -> None:
        self._rows_needed = min(ROWS_IN_A_ROW, max(3, concurrency))
        self._failed: set[int] = set()
        self._count = 0
        self._unreached = 0
        self._since: float | None = None
        self._began = 0.0
        self._next_probe = 0.0
        self._interval = FIRST_PROBE_S
        self._capacity = float(max(LEAST_BUDGET, concurrency))
        self._refill = max(1.0, concurrency / 10)
        self._budget = self._capacity
        self._budget_at = 0.0
        self.open = False
        self.probing = False
        """A probe is on its way."""

    def answered(self, sent: float) -> bool:
        """A call that left at `sent` was answered, with a refusal of what it asks as good as with a reply.

        True: an outage ended by it. What left before an outage began tells nothing about now.
        """
        if self.open and sent < self._began:
            return False
        ended, self.open = self.open, False
        if self._failed:
            self._failed.clear()
            self._count = 0
        self._unreached = 0
        self._since = None
        self._interval = FIRST_PROBE_S
        self._budget = min(self._capacity, self._budget + GIVEN_BACK)
        return ended

    def failed(self, row: int, now: float, *, how: Observation) -> bool:
        """A call of `row` brought nothing at `now`. True: with it an outage began."""
        if self._since is None:
            self._since = now
        if len(self._failed) < ROWS_IN_A_ROW:
            self._failed.add(row)
        self._count += 1
        self._unreached = self._unreached + 1 if how == "unreached" else 0
        if self.open:
            self._interval = min(self._interval * 1.5, LONGEST_PROBE_S)
            self._next_probe = now + self._interval
            return False
        enough = OVERLOADED_IN_A_ROW if how == "overloaded" else self._rows_needed
        several = len(self._failed) >= self._rows_needed and self._count >= enough
        self.open = several or self._unreached >= UNREACHED_IN_A_ROW
        if self.open:
            self._began = now
            self._interval = FIRST_PROBE_S
            self._next_probe = now + self._interval
        return self.open

    def silent_for(self, now: float) -> float:
        """Seconds since the first failure after the last answer; 0 without an outage."""
        return now - self._since if self.open and self._since is not None else 0.0

    def probe_in(self, now: float) -> float | None:
        """Seconds until a call may go: 0 in good health, None while a probe is out and nothing else may."""
        if not self.open:
            return 0.0
        return None if self.probing else max(0.0, self._next_probe - now)

    def retry_wait(self, now: float) -> float:
        """Take one retry from the budget; the seconds it must wait for its turn."""
        self._budget = min(self._capacity, self._budget + max(0.0, now - self._budget_at) * self._refill)
        self._budget_at = now
        self._budget -= 1.0
        return max(0.0, -self._budget / self._refill)
