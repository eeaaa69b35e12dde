"""What to do after a failure: wait and try again, fail the row, park everybody, or stop the run.

A pure function from (failure, history of this turn) to a decision. Nothing here waits or sends. The classes of failure
come from `wire` (`Failure.verdict`); this module adds how often and how long.
"""

from __future__ import annotations

import random
from typing import Final, Literal

import msgspec

from batch.errors import FailureKind
from batch.records import Failure

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 20.0
MAX_PARK_S: Final = 15 * 60.0
MAX_RETRY_AFTER_S: Final = 120.0  # what a single row waits for on a server's word before it counts as parked

SLOWS_EVERYBODY: Final[frozenset[FailureKind]] = frozenset({"rate_limit", "quota"})


class History(msgspec.Struct, frozen=True):
    """What one turn of one row has gone through; replaced, never changed."""

    attempts: int = 0
    """Finished attempts, those ended by our own death not counted."""
    once: tuple[FailureKind, ...] = ()
    """Kinds with verdict `once` that were retried already."""

    def after(self, failure: Failure) -> History:
        """The history with one more failed attempt."""
        once = (*self.once, failure.kind) if failure.verdict == "once" else self.once
        return History(self.attempts + 1, once)


class Decision(msgspec.Struct, frozen=True):
    """`again` after `wait_s`, `fail` the row (retryably or not), `stop` the run. `pause_s` holds everybody back."""

    action: Literal["again", "fail", "stop"]
    wait_s: float = 0.0
    pause_s: float = 0.0
    retryable: bool = False


def backoff(attempt: int, chance: random.Random) -> float:
    """Seconds before try `attempt` + 1 (0 for the first failure): min(0.5·2ⁿ, 20)·U(0.75, 1)."""
    return min(FIRST_WAIT_S * 2.0 ** min(attempt, 10), LONGEST_WAIT_S) * chance.uniform(0.75, 1.0)


def decide(failure: Failure, history: History, *, max_attempts: int, chance: random.Random) -> Decision:
    """The decision after `failure`, with `history` as it was before it."""
    if failure.verdict == "stop":
        return Decision("stop")
    if failure.verdict == "fail":
        return Decision("fail", retryable=False)
    asked = failure.retry_after_s or 0.0
    parked = failure.verdict == "park" or asked > MAX_RETRY_AFTER_S
    if parked and not 0 < asked <= MAX_PARK_S:
        return Decision("stop")
    pause = asked if parked or failure.kind in SLOWS_EVERYBODY else 0.0
    spent = history.attempts + 1 >= max_attempts or (failure.verdict == "once" and failure.kind in history.once)
    if spent:
        # The others are held back all the same, or each of them would run into it and fail as well.
        return Decision("fail", pause_s=pause, retryable=True)
    wait = asked if parked else max(backoff(history.attempts, chance), asked)
    return Decision("again", wait_s=wait, pause_s=pause)
