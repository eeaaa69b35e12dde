"""`batch.run.elsewhere`: a refusal that would stop a run leaves out one of several addresses, until none is left."""

from __future__ import annotations

from typing import Literal

import pytest

from batch.core.clock import HandClock
from batch.core.records import Failure
from batch.run.elsewhere import leave
from batch.submit.retry import Decision
from tests.limits.test_endpoints import end, limiter_of

REFUSED = Failure(kind="auth", verdict="stop", message="the key is not known")
PARKED = Failure(kind="quota", verdict="park", message="used up", retry_after_s=7_200.0)


@pytest.mark.parametrize("action", ["again", "fail"])
def test_what_does_not_stop_a_run_is_no_matter_of_addresses(action: Literal["again", "fail"]) -> None:
    """The row is tried again, or ends, as with one address; the address stays."""
    _, limits = limiter_of(HandClock(), end("a"), end("b"))
    decision = Decision(action, wait_s=3.0)
    assert leave(limits.members, limits.members[0], REFUSED, decision) is decision
    assert not limits.members[0].out


def test_an_address_that_refuses_its_key_is_left_out_and_the_row_goes_on_at_once() -> None:
    """It is no attempt of the row, which did nothing wrong, and nobody else waits for it."""
    _, limits = limiter_of(HandClock(), end("a"), end("b"))
    found = leave(limits.members, limits.members[0], REFUSED, Decision("stop", wait_s=5.0, counted=True))
    assert (found.action, found.wait_s, found.pause_s, found.counted, found.once) == ("again", 0.0, 0.0, False, None)
    assert [one.out for one in limits.members] == [True, False]


def test_the_last_address_that_refuses_stops_the_run_as_the_only_one_does() -> None:
    """With the decision that was made for its failure."""
    _, limits = limiter_of(HandClock(), end("a"), end("b"))
    for one in limits.members[:-1]:
        leave(limits.members, one, REFUSED, Decision("stop"))
    decision = Decision("stop")
    assert leave(limits.members, limits.members[-1], REFUSED, decision) is decision


def test_an_address_whose_limit_is_used_up_is_left_out_for_as_long_as_it_says() -> None:
    """One without a time stays out for the rest of the run."""
    clock = HandClock()
    _, limits = limiter_of(clock, end("a"), end("b"), end("c"))
    assert leave(limits.members, limits.members[0], PARKED, Decision("park")).action == "again"
    assert leave(limits.members, limits.members[1], REFUSED, Decision("stop")).action == "again"
    assert limits.members[0].wait(None) == 7_200.0
    clock.advance(7_201.0)
    assert [one.wait(None) for one in limits.members] == [0.0, None, 0.0]
    assert [one.out for one in limits.members] == [False, True, False]
