"""`batch.submit.retry`: how often and how long, for every class of failure."""

import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.errors import FailureKind
from batch.core.records import Failure, Verdict
from batch.limits.outage import MAX_PARK_S
from batch.submit.retry import (
    LONGEST_AGAIN_S,
    LONGEST_WAIT_S,
    MAX_RETRY_AFTER_S,
    NOT_TAKEN,
    Decision,
    History,
    backoff,
    decide,
)

KINDS = get_args(FailureKind)
VERDICTS = get_args(Verdict)
SEED = random.Random(7)


def failure(verdict: Verdict, kind: FailureKind = "server", retry_after_s: float | None = None) -> Failure:
    return Failure(kind=kind, verdict=verdict, message="no", retry_after_s=retry_after_s)


def after(failed: Failure, attempts: int = 0, *, once: tuple[FailureKind, ...] = (), max_attempts: int = 8) -> Decision:
    return decide(failed, History(attempts, once), max_attempts=max_attempts, chance=random.Random(1))


failures = st.builds(
    failure,
    st.sampled_from(VERDICTS),
    st.sampled_from(KINDS),
    st.none() | st.floats(0, 2 * MAX_PARK_S) | st.sampled_from([0.0, 120.0, 120.5, 900.0, 900.5]),
)


@pytest.mark.parametrize(
    ("failed", "attempts", "action", "retryable"),
    [
        (failure("stop", "auth"), 0, "stop", False),
        (failure("stop", "balance"), 7, "stop", False),
        (failure("fail", "bad_request"), 0, "fail", False),
        (failure("fail", "content_filter"), 7, "fail", False),
        (failure("retry", "server"), 0, "again", False),
        (failure("retry", "server"), 6, "again", False),
        (failure("retry", "server"), 7, "fail", True),
        (failure("once", "bad_payload"), 0, "again", False),
        (failure("once", "bad_payload"), 7, "fail", True),
        (failure("park", "quota", 900), 0, "again", False),
        (failure("park", "quota", 901), 0, "park", False),
        (failure("park", "quota"), 0, "park", False),
        (failure("retry", "rate_limit", 901), 0, "park", False),
    ],
)
def test_each_class_of_failure_has_its_consequence(
    failed: Failure, attempts: int, action: str, retryable: bool
) -> None:
    """The whole table at `max_attempts = 8`."""
    decision = after(failed, attempts)
    assert (decision.action, decision.retryable) == (action, retryable)


@given(st.integers(0, 10_000), st.integers())
def test_the_wait_follows_the_formula_of_the_design(attempt: int, seed: int) -> None:
    """min(0.5·2ⁿ, 20 s)·U(0.75, 1), whatever n; no overflow for a large one."""
    whole = min(0.5 * 2**attempt, 20) if attempt < 64 else 20
    assert 0.75 * whole <= backoff(attempt, random.Random(seed)) <= whole


def test_waits_are_spread_over_the_whole_quarter() -> None:
    """A thousand rows refused in one second must not come back in one second."""
    waits = [backoff(6, SEED) for _ in range(1_000)]
    assert max(waits) - min(waits) > 0.24 * LONGEST_WAIT_S


@given(
    failures, st.integers(0, 20), st.lists(st.sampled_from(KINDS), max_size=3), st.integers(1, 10), st.floats(0, 2_000)
)
def test_no_decision_waits_less_than_the_server_asked(
    failed: Failure, attempts: int, once: list[FailureKind], max_attempts: int, silent_s: float
) -> None:
    """Retry-After is a lower bound; beyond `MAX_PARK_S` the run ends rather than sleeps."""
    history = History(attempts, tuple(once))
    decision = decide(failed, history, max_attempts=max_attempts, chance=SEED, silent_s=silent_s)
    asked = failed.retry_after_s or 0.0
    if decision.action == "again":
        assert decision.wait_s >= asked
        assert decision.wait_s <= max(asked, LONGEST_WAIT_S)
        assert decision.wait_s > 0
        assert asked <= MAX_PARK_S
        assert not decision.counted or attempts + 1 < max_attempts
    else:
        assert decision.wait_s == 0
    assert decision.retryable <= (decision.action == "fail")


@given(st.lists(failures, min_size=40, max_size=40), st.integers(1, 10))
def test_whatever_a_server_answers_a_turn_ends(answers: list[Failure], max_attempts: int) -> None:
    """A hostile row is one failed row: no sequence of failures goes on for ever, parks and refusals among them."""
    history, now = History(), 0.0
    for tried, failed in enumerate(answers):
        decision = decide(failed, history, max_attempts=max_attempts, chance=SEED, now=now)
        if decision.action != "again":
            return
        before = history
        history = history.after(decision, now)
        assert history.attempts == before.attempts + decision.counted <= max_attempts
        assert history.attempts + history.turned_away <= tried + 1
        now += max(decision.wait_s, 60.0)
    assert history.turned_away == 0 or now - history.since_s <= MAX_PARK_S + 60


@given(failures, st.integers(0, 20), st.integers(1, 10))
def test_the_same_failure_with_the_same_chance_is_decided_the_same(
    failed: Failure, attempts: int, max_attempts: int
) -> None:
    """Pure: the history it was given stays as it was."""
    history = History(attempts, ("task",))
    first, second = (decide(failed, history, max_attempts=max_attempts, chance=random.Random(3)) for _ in range(2))
    assert first == second
    assert history == History(attempts, ("task",))


def test_a_kind_with_verdict_once_is_tried_again_once_each() -> None:
    """Two different odd answers are two different accidents; the same one twice is the rule."""
    odd, lost = failure("once", "bad_payload"), failure("once", "task")
    first = decide(odd, History(), max_attempts=8, chance=SEED)
    assert (first.action, first.once) == ("again", "bad_payload")
    history = History().after(first, 0.0)
    assert history == History(1, ("bad_payload",))
    assert decide(odd, history, max_attempts=8, chance=SEED) == Decision("fail", retryable=True, once="bad_payload")
    assert decide(lost, history, max_attempts=8, chance=SEED).action == "again"
    assert decide(failure("retry", "bad_payload"), history, max_attempts=8, chance=SEED).action == "again"
    plain = decide(failure("retry"), History(), max_attempts=8, chance=SEED)
    assert History().after(plain, 0.0).once == ()


def test_a_fresh_token_that_is_refused_as_well_stops_the_run() -> None:
    """An expired token is renewed once; after that it is the key."""
    expired = failure("once", "auth")
    first = after(expired)
    assert first.action == "again"
    assert after(expired, once=("auth",)).action == "stop"


@pytest.mark.parametrize("kind", ["rate_limit", "quota", "overloaded", "server"])
def test_a_limit_named_with_a_waiting_time_holds_everybody_back(kind: FailureKind) -> None:
    """The limit is the account's, and a service that names a time is away for all rows."""
    assert after(failure("retry", kind, 30)).pause_s == 30
    assert after(failure("retry", kind)).pause_s == 0


@pytest.mark.parametrize("kind", ["rate_limit", "overloaded", "quota"])
def test_being_turned_away_is_no_attempt_at_the_row(kind: FailureKind) -> None:
    """A thousand refusals for load fail no row, until it was refused for `MAX_PARK_S` while others were answered."""
    refused, history = failure("retry", kind), History()
    for tried in range(1_000):
        now = tried * 0.5
        decision = decide(refused, history, max_attempts=2, chance=SEED, now=now)
        assert (decision.action, decision.counted) == ("again", False)
        history = history.after(decision, now)
    assert history == History(0, (), 1_000, 0.0)
    late = decide(refused, history, max_attempts=2, chance=SEED, now=MAX_PARK_S + 1)
    assert late == Decision("fail", retryable=True, counted=False)
    counted = Decision("again")
    assert history.after(counted, 9.0) == History(1)


def test_what_fails_while_nobody_is_answered_says_nothing_about_the_row() -> None:
    """An outage costs no attempt; one longer than `MAX_PARK_S` stops the run."""
    down = failure("retry", "server")
    decision = decide(down, History(7), max_attempts=8, chance=SEED, silent_s=60.0)
    assert (decision.action, decision.counted) == ("again", False)
    assert decision.wait_s <= 0.5
    assert decide(down, History(), max_attempts=8, chance=SEED, silent_s=MAX_PARK_S + 1).action == "park"
    unsent = Failure(kind="transport", verdict="retry", message="refused", sent=False, answered=False)
    assert not decide(unsent, History(7), max_attempts=8, chance=SEED).counted


def test_what_no_worker_took_in_time_stands_in_line_again_nearly_at_once() -> None:
    """However often it was so: nobody turned it away, and the provider is not to be spared what it knows nothing of."""
    held_up = Failure(kind="transport", verdict="retry", message="late", sent=False, answered=False, code=NOT_TAKEN)
    history, now = History(), 0.0
    for _ in range(100):
        decision = decide(held_up, history, max_attempts=1, chance=SEED, now=now)
        assert (decision.action, decision.counted) == ("again", False)
        assert decision.wait_s <= LONGEST_AGAIN_S
        history, now = history.after(decision, now), now + decision.wait_s
    assert decide(held_up, History(), max_attempts=1, chance=SEED).wait_s < 0.1


def test_the_last_attempt_of_a_row_still_holds_the_others_back() -> None:
    """Else every row that runs into it would fail, one after the other."""
    decision = after(failure("retry", "server", 30), max_attempts=1)
    assert decision == Decision("fail", pause_s=30, retryable=True)


def test_a_long_retry_after_parks_everybody_whatever_the_kind() -> None:
    """A server that is away for ten minutes is away for all rows."""
    assert after(failure("retry", "transport", MAX_RETRY_AFTER_S)).pause_s == 0
    assert after(failure("retry", "transport", 600)) == Decision("again", wait_s=600, pause_s=600)
