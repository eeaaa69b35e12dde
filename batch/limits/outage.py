"""Whether the provider is there at all, and how fast failed calls may be tried again.

Owns two things that keep a fault of the provider from becoming a storm of requests: the outage, which is asked about
before a call is granted, and the retry budget, which is asked before a retry is scheduled.

**Outage.** When calls of several rows fail with no answer in between, the fault is not the rows': the provider is
*silent*. From then on one probe at a time goes out, every `FIRST_PROBE_S` growing to `LONGEST_PROBE_S`; the first
answer of any call ends it, and everybody goes on. What fails in an outage says nothing about a row and does not count
against its `max_attempts`. `silent_for` tells how long it lasts, so that a run can stop after `MAX_PARK_S`.

**Retry budget.** A retry takes one from a bucket of `max(20, concurrency)`, each answer gives half a one back, and a
tenth of the concurrency comes back each second. With it empty, retries are spread out in time; none is refused, so no
row ever fails by it. While most calls are answered it is never empty.

Pure arithmetic over times handed in; it never waits.
"""

from __future__ import annotations

from typing import Final, Literal

Observation = Literal["answered", "in_flight", "rate", "overloaded", "failed", "unreached", "nothing"]
"""What a call tells about the provider: it works; too many calls at once; too many per minute; the model is busy; it
failed or was cut; it was never reached; nothing, because we ended the call ourselves."""

ROWS_IN_A_ROW: Final = 8  # with a bad row or two among them, fewer would take a fault of rows for one of the provider
OVERLOADED_IN_A_ROW: Final = 100  # a busy model refuses most calls and answers some: that is no silence
UNREACHED_IN_A_ROW: Final = 3  # whatever their rows: a refused connection has nothing to do with what is asked
MAX_PARK_S: Final = 15 * 60.0
"""Nobody waits longer than that for a model, be it silent or have it said when it answers again."""
FIRST_PROBE_S: Final = 0.5
LONGEST_PROBE_S: Final = 5.0
LEAST_BUDGET: Final = 20
LONGEST_WHY: Final = 160
GIVEN_BACK: Final = 0.5  # of a retry, for each answer


class OutageDetector:
    """Tells from the calls of one run whether the provider has stopped answering.

    Args:
        concurrency: the most calls in flight. With few, fewer failing rows make an outage: there are no more of them.
    """

    def __init__(self, concurrency: int) -> None:
        self._rows_needed = min(ROWS_IN_A_ROW, max(3, concurrency))
        self._failed_rows: set[int] = set()
        self._failures = 0
        self._unreached = 0
        self._silent_since: float | None = None
        self._began_at = 0.0
        self._next_probe_at = 0.0
        self._interval_s = FIRST_PROBE_S
        self._capacity = float(max(LEAST_BUDGET, concurrency))
        self._refill = max(1.0, concurrency / 10)
        self._budget = self._capacity
        self._budget_at = 0.0
        self.calm = True
        """The last call was answered, and the budget for retries is full: another answer changes nothing."""
        self.last_error = ""
        """Of the last call that failed, as far as it fits into a line."""
        self.ongoing = False
        """The provider is taken to be away."""
        self.probing = False
        """A probe is on its way."""

    def answered(self, sent: float) -> bool:
        """Count an answer; a refusal of what the call asks is as good as a reply.

        Args:
            sent: when the call left, in monotonic seconds.

        Returns:
            Whether an outage ended by it.
        """
        if self.ongoing and sent < self._began_at:
            return False  # it tells how things were before the outage, not how they are now
        ended, self.ongoing = self.ongoing, False
        if self._failed_rows:
            self._failed_rows.clear()
            self._failures = 0
        self._unreached = 0
        self._silent_since = None
        self._interval_s = FIRST_PROBE_S
        self._budget = min(self._capacity, self._budget + GIVEN_BACK)
        self.calm = self._budget == self._capacity
        return ended

    def failed(self, row: int, now: float, *, how: Observation, why: str = "") -> bool:
        """Count a call that failed.

        Args:
            row: which row it was for.
            now: monotonic seconds.
            how: what the call told about the provider.
            why: the same in words.

        Returns:
            Whether an outage began with it.
        """
        self.calm = False
        self.last_error = why[:LONGEST_WHY]
        if self._silent_since is None:
            self._silent_since = now
        if len(self._failed_rows) < ROWS_IN_A_ROW:  # more are never asked for, and a night of failures has many
            self._failed_rows.add(row)
        self._failures += 1
        self._unreached = self._unreached + 1 if how == "unreached" else 0
        if self.ongoing:
            self._interval_s = min(self._interval_s * 1.5, LONGEST_PROBE_S)
            self._next_probe_at = now + self._interval_s
            return False
        failures_needed = OVERLOADED_IN_A_ROW if how == "overloaded" else self._rows_needed
        several = len(self._failed_rows) >= self._rows_needed and self._failures >= failures_needed
        self.ongoing = several or self._unreached >= UNREACHED_IN_A_ROW
        if self.ongoing:
            self._began_at = now
            self._interval_s = FIRST_PROBE_S
            self._next_probe_at = now + self._interval_s
        return self.ongoing

    @property
    def failing(self) -> bool:
        """Whether calls have failed since the last answer."""
        return self._failures > 0

    def pass_over(self, seconds: float) -> None:
        """Leave out a time in which nobody was asked."""
        if self._silent_since is not None:
            self._silent_since += seconds

    def silent_for(self, now: float) -> float:
        """The seconds since the first failure after the last answer; 0 without an outage."""
        return now - self._silent_since if self.ongoing and self._silent_since is not None else 0.0

    def probe_in(self, now: float) -> float | None:
        """The seconds until a call may go: 0 without an outage, None while a probe is on its way."""
        if not self.ongoing:
            return 0.0
        return None if self.probing else max(0.0, self._next_probe_at - now)

    def retry_wait(self, now: float) -> float:
        """Take one retry from the budget, and tell how many seconds it must wait for its turn."""
        self._budget = min(self._capacity, self._budget + max(0.0, now - self._budget_at) * self._refill)
        self._budget_at = now
        self.calm = False
        # Below zero it is a debt, and each retry waits until the refill has paid for it: so they leave one by one.
        self._budget -= 1.0
        return max(0.0, -self._budget / self._refill)
