"""`batch.limits.pool`: what one visit is given, and who comes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.limits.pool import AHEAD_S, Member, Pool, _parts
from tests.support.callers import most_in_a_window

names = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 30), min_size=1)


def pool(**members: Member) -> Pool:
    return Pool("boot", 0, 100.0, members=dict(members))


def hungry(**more: object) -> Member:
    return Member(seen=100.0, hungry=True, **more)  # type: ignore[arg-type]  # as a test says


@given(names, st.integers(0, 40), st.integers(0, 9))
def test_slots_are_divided_as_evenly_as_they_are_wanted(wants: dict[str, int], slots: int, turn: int) -> None:
    """Nobody has more than it wants; all are used while somebody wants more; nobody has two more than one that lacks."""
    parts = _parts(wants, slots, turn=turn)
    assert all(0 <= parts[name] <= wants[name] for name in wants)
    assert sum(parts.values()) == min(slots, sum(wants.values()))
    short = [parts[name] for name in wants if parts[name] < wants[name]]
    assert not short or max(parts.values()) <= min(short) + 1


def test_what_cannot_be_divided_goes_round() -> None:
    had = {next(name for name, part in _parts({"a": 1, "b": 1}, 1, turn=turn).items() if part) for turn in range(2)}
    assert had == {"a", "b"}


def test_no_moment_is_given_twice_or_far_ahead() -> None:
    shared = pool(a=hungry(requests=600.0), b=hungry(requests=600.0))
    given_out = [at for name in "abab" for at in shared.take_requests(name, 50, 0, 100.0).requests]
    assert len(given_out) == len(set(given_out))
    assert max(given_out) <= 100.0 + AHEAD_S
    gaps = [later - at for at, later in zip(sorted(given_out), sorted(given_out)[1:], strict=False)]
    assert gaps == pytest.approx([60 / 594] * len(gaps))


def test_a_moment_that_was_given_back_is_given_to_the_next_who_asks() -> None:
    shared = pool(a=hungry(requests=60.0), b=hungry(requests=60.0))
    first = shared.take_requests("a", 1, 0, 100.0).requests
    shared.give_back(first)
    assert shared.take_requests("b", 1, 0, 100.0).requests == first


def test_a_moment_that_is_over_is_lost() -> None:
    """A pace does not make up for a rest."""
    shared = pool(a=hungry(requests=60.0))
    shared.give_back([99.0])
    (at,) = shared.take_requests("a", 1, 0, 100.0).requests
    assert at > 99.5


@pytest.mark.parametrize("rpm", [1.0, 10.0, 59.0, 600.0])
def test_a_stream_that_was_lost_goes_on_an_interval_after_its_last_moment(rpm: float) -> None:
    """With the file went what was given last, as far ahead as any; one more in that minute would cross a low limit."""
    shared = pool(a=hungry(), b=hungry(requests=rpm))
    shared.use_up(100.0, 0.0)
    del shared.members["b"]
    assert shared.take_requests("a", 1, 0, 100.0).requests == []
    shared.members["b"] = hungry(requests=rpm)
    now, given_out = 100.0, [100.0 + AHEAD_S]
    while now < 161.0:
        for one in shared.members.values():
            one.seen = now
        given_out += shared.take_requests("b", 1, 0, now).requests
        now += 0.05
    assert given_out[1] - given_out[0] >= 60 / rpm
    assert most_in_a_window(given_out) <= rpm


def test_what_a_member_leaves_that_the_others_took_for_dead_is_counted() -> None:
    shared = pool(a=hungry(tokens=600.0), b=hungry(tokens=600.0))
    drawn = shared.take_tokens("a", 1, 100.0, 100.0)
    shared.keep(["b"])
    shared.correct("a", {1: 20.0 - drawn.tokens}, {1: 100.0})
    assert [one.amount for one in shared.spent] == [20.0]


def test_a_silent_member_holds_nobody_back() -> None:
    shared = pool(a=hungry(requests=600.0), b=Member(seen=90.0, hungry=True, requests=600.0))
    assert len(shared.take_requests("a", 50, 0, 100.0).requests) >= 9


def test_slots_in_flight_of_a_silent_member_stay_taken() -> None:
    """It may have been stopped, and its calls are with the provider all the same."""
    shared = pool(
        a=Member(seen=100.0, wants=10, concurrency=10),
        b=Member(seen=1.0, in_flight=4, held=4, wants=10, concurrency=10),
    )
    assert shared.share_slots("a", 100.0) == 6


def test_a_member_that_is_alone_has_all_slots_before_it_wants_them() -> None:
    """A run that begins asks for several calls in one moment, long before its next visit."""
    shared = pool(a=Member(seen=100.0, wants=1, concurrency=10))
    assert shared.share_slots("a", 100.0) == 10


def test_without_a_declared_limit_nothing_is_held_back() -> None:
    shared = pool(a=hungry())
    taken = shared.take_requests("a", 50, 0, 100.0)
    assert (taken.requests, taken.requests_in) == ([], 0.0)
    assert shared.take_tokens("a", 1, 500.0, 100.0).tokens_in == 0.0
    assert shared.share_slots("a", 100.0) is None


def test_a_request_larger_than_the_whole_limit_leaves_when_nothing_else_counts() -> None:
    shared = pool(a=hungry(tokens=1_000.0))
    assert shared.take_tokens("a", 1, 5_000.0, 100.0).tokens == pytest.approx(990.0)
    assert shared.take_tokens("a", 2, 5_000.0, 101.0).tokens_in > 59
