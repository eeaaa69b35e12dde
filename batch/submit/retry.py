"""What to do after a failure: wait and try again, fail the row, ask the model no more, or stop the run.

A pure function from (failure, history of this turn, the moment) to a decision. Nothing here waits or sends. The classes
of failure come from `batch.providers` (`Failure.verdict`); this module adds how often and how long. What a retry costs
the provider is bounded elsewhere (`outage`).

An attempt counts against `max_attempts` only if it says something about the row: one refused for rate or load does not,
nor one that never reached the provider, nor one that failed while nobody was answered and other rows still wait. A row
that is refused while others are answered fails all the same, after `MAX_PARK_S`. One that our own workers did not take
in time stands in line again nearly at once: the provider knows nothing of it, so there is nobody to be spared.
"""

from __future__ import annotations

import random
from typing import Final, Literal

import msgspec

from batch.core.errors import FailureKind
from batch.core.records import Failure
from batch.limits.outage import MAX_PARK_S
from batch.submit.evidence import ROWS_TO_STOP

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 20.0
MAX_RETRY_AFTER_S: Final = 120.0  # what a single row waits for on a server's word before it counts as parked

NOT_TAKEN: Final = "not_taken"
"""Code of calls that never left, because no worker process was there in time. Nobody turned them away."""
AGAIN_S: Final = 0.05
LONGEST_AGAIN_S: Final = 1.0

SLOWS_EVERYBODY: Final[frozenset[FailureKind]] = frozenset({"rate_limit", "quota", "overloaded", "server"})
SAYS_NOTHING: Final[frozenset[FailureKind]] = frozenset({"rate_limit", "quota", "overloaded"})
"""Refused for what others do: no attempt at the row."""


class History(msgspec.Struct, frozen=True, gc=False):
    """What one turn of one row has gone through; replaced, never changed."""

    attempts: int = 0
    """Finished attempts that count against `max_attempts`."""
    once: tuple[FailureKind, ...] = ()
    """Kinds with verdict `once` that were retried already."""
    turned_away: int = 0
    """Attempts since the last one that counted."""
    since_s: float = 0.0
    """The monotonic moment of the first of them."""

    @property
    def tried(self) -> bool:
        """Whether an attempt of this turn failed already."""
        return self.attempts + self.turned_away > 0

    def after(self, decision: Decision, now: float) -> History:
        """The history with one more failed attempt."""
        once = self.once if decision.once is None else (*self.once, decision.once)
        if decision.counted:
            return History(self.attempts + 1, once)
        return History(self.attempts, once, self.turned_away + 1, self.since_s if self.turned_away else now)


class Decision(msgspec.Struct, frozen=True, gc=False):
    """`again` after `wait_s`, `fail` the row (retryably or not), `park` its model until another run, `stop` this one.

    `pause_s` holds back all calls of the model.
    """

    action: Literal["again", "fail", "park", "stop"]
    wait_s: float = 0.0
    pause_s: float = 0.0
    retryable: bool = False
    counted: bool = True
    """Whether the attempt was one of `max_attempts`."""
    once: FailureKind | None = None
    """The kind of a failure that is tried again only once."""


class Standing(msgspec.Struct, frozen=True, gc=False):
    """What is known of the key, the model and the address of an attempt."""

    address_answered: bool
    """Something was answered at this address, in this run or an earlier one of the folder."""
    model_answered: bool
    """The same, by this model under this key."""
    rows_refused: int = 0
    """Rows that were refused so far with a verdict `row_or_key`, this one included."""
    overtime: int = 0
    """Earlier attempts of this row, in this run or before, that outlasted a gateway as this one did. They are the row's
    own, also while nobody else is answered."""


UNKNOWN: Final = Standing(address_answered=False, model_answered=False)


def backoff(attempt: int, chance: random.Random) -> float:
    """Seconds before try `attempt` + 1 (0 for the first failure): min(0.5·2ⁿ, 20)·U(0.75, 1)."""
    return min(FIRST_WAIT_S * 2.0 ** min(attempt, 10), LONGEST_WAIT_S) * chance.uniform(0.75, 1.0)


def decide(
    failure: Failure,
    history: History,
    *,
    max_attempts: int,
    chance: random.Random,
    now: float = 0.0,
    silent_s: float = 0.0,
    last_ones: bool = False,
    standing: Standing = UNKNOWN,
) -> Decision:
    """The decision after `failure`.

    Args:
        failure: what came of the attempt.
        history: as it was before it.
        max_attempts: attempts that count, per turn.
        chance: for the jitter.
        now: monotonic seconds.
        silent_s: for how long the provider has answered nobody; 0 when it does.
        standing: what is known of the key, the model, the address, and of this row in earlier runs.
        last_ones: no row is left that did not fail: whether the provider is away or these rows make it fail, nobody
            can tell, so the attempt counts.
    """
    if failure.wrong_address and not standing.address_answered:
        return Decision("stop")
    if failure.verdict == "row_or_key":
        return _row_or_key(failure, history, standing, chance=chance, last_ones=last_ones)
    if failure.verdict == "fail":
        return Decision("fail", retryable=False)
    if failure.verdict == "stop":
        return Decision("stop")
    if silent_s > MAX_PARK_S:
        return Decision("park")
    asked = failure.retry_after_s or 0.0
    parked = failure.verdict == "park" or asked > MAX_RETRY_AFTER_S
    if parked and not 0 < asked <= MAX_PARK_S:
        return Decision("park")
    pause = asked if parked or failure.kind in SLOWS_EVERYBODY else 0.0
    once = failure.kind if failure.verdict == "once" else None
    repeated = once in history.once
    if repeated and failure.kind == "auth":
        return Decision("stop")  # a fresh token is refused as well: so is the key
    silence_speaks = silent_s > 0 and not last_ones and not standing.overtime
    counted = not (failure.kind in SAYS_NOTHING or not failure.sent or silence_speaks)
    turned_away = not counted and silent_s <= 0 and history.turned_away > 0 and now - history.since_s > MAX_PARK_S
    if standing.overtime and counted and standing.overtime + 1 >= max_attempts:
        return Decision("fail", pause_s=pause, retryable=False)
    if repeated or turned_away or (counted and history.attempts + 1 >= max_attempts):
        # The others are held back all the same, or each of them would run into it and fail as well.
        return Decision("fail", pause_s=pause, retryable=True, counted=counted, once=once)
    tried = history.attempts + history.turned_away if silent_s <= 0 else 0
    wait = asked if parked else max(backoff(tried, chance), asked)
    if failure.code == NOT_TAKEN:
        wait = min(AGAIN_S * 2.0 ** min(tried, 10), LONGEST_AGAIN_S)
    return Decision("again", wait_s=wait, pause_s=pause, counted=counted, once=once)


def _row_or_key(
    failure: Failure, history: History, standing: Standing, *, chance: random.Random, last_ones: bool
) -> Decision:
    """Where others are answered the refusal is the row's; where nobody was, three rows mean the key or the model."""
    if standing.model_answered:
        return Decision("fail", retryable=False)
    if standing.rows_refused >= ROWS_TO_STOP:
        return Decision("stop")
    if last_ones and history.turned_away >= ROWS_TO_STOP - 1:
        return Decision("fail", retryable=True, counted=False)  # too few rows to tell
    wait_s = max(backoff(history.turned_away, chance), failure.retry_after_s or 0.0)
    if wait_s > MAX_PARK_S:
        return Decision("park")
    return Decision("again", wait_s=wait_s, counted=False)
