"""`batch.submit.durations`: lengths are learned from polls, which only say between which two moments a task ended."""

from __future__ import annotations

import random
import sys

import pytest

from batch.submit.durations import BINS, Durations, bin_of, edge, parts_of, shape_of


def middle(durations: Durations) -> float:
    """The length that half of the tasks are believed to exceed, in seconds."""
    shape = shape_of(durations, durations, leaning=0.0)
    assert shape is not None
    done = 0.0
    for at, mass in zip(shape.edges[1:], shape.masses, strict=True):
        done += mass
        if done >= 0.5:
            return at
    raise AssertionError("the masses are no whole")


def test_polls_at_odd_times_tell_the_lengths() -> None:
    """Each task is seen in an interval of 2 s somewhere about its end; the middle comes out within 3 %."""
    chance, durations = random.Random(1), Durations()
    for _ in range(1_000):
        shape = shape_of(durations, durations, leaning=0.0)
        took = chance.uniform(15.0, 25.0)
        begin = took - chance.uniform(0.0, 2.0)
        durations.add(*parts_of(begin, begin + 2.0, shape))
    assert middle(durations) == pytest.approx(20.0, rel=0.03)


def test_an_hour_and_a_hundredth_of_a_second_are_told_alike() -> None:
    """The scale is one of parts."""
    for took in (0.01, 3_600.0):
        durations = Durations()
        for _ in range(20):
            durations.add(*parts_of(0.97 * took, took, None))
        assert middle(durations) == pytest.approx(took, rel=0.06)


def test_old_tasks_fade() -> None:
    """After as many new ones as are remembered, most of the weight is theirs."""
    durations = Durations()
    for took in [1.0] * 2_000 + [10.0] * 1_000:
        durations.add(*parts_of(0.97 * took, took, None))
    assert middle(durations) == pytest.approx(10.0, rel=0.06)
    assert durations.counts_for < 600


def test_what_is_kept_is_what_was_known() -> None:
    """In a few hundred bytes."""
    durations = Durations()
    for _ in range(50):
        durations.add(*parts_of(9.0, 11.0, None))
    again = Durations.of(durations.kept())
    assert (again.seen, middle(again)) == (50, middle(durations))
    assert Durations.of([]).kept() == []


def test_a_size_that_was_hardly_seen_leans_on_the_model() -> None:
    """One task of a kind moves what twenty others say only a little."""
    everything, own = Durations(), Durations()
    for _ in range(100):
        everything.add(*parts_of(9.7, 10.0, None))
    own.add(*parts_of(97.0, 100.0, None))
    shape = shape_of(own, everything, leaning=20.0)
    assert shape is not None
    near = sum(mass for at, mass in zip(shape.edges, shape.masses, strict=False) if at < 50.0)
    assert 0.9 < near < 1.0
    assert edge(0) > 0


def test_tasks_that_are_not_done_count_as_longer_than_they_have_lasted() -> None:
    """One ended after 10 s, one after 20 s, and eight are known to take longer than 12 s: nine of ten take longer."""
    known = Durations()
    for took in (10.0, 20.0):
        known.add(bin_of(took), [1.0])
    mid = edge(bin_of(15.0))

    def shorter(unfinished: dict[int, int]) -> float:
        shape = shape_of(known, known, leaning=0.0, unfinished=unfinished)
        assert shape is not None
        assert sum(shape.masses) == pytest.approx(1.0)
        return sum(mass for at, mass in zip(shape.edges, shape.masses, strict=False) if at < mid)

    assert shorter({}) == pytest.approx(0.5, abs=0.02)
    assert shorter({bin_of(12.0): 8}) == pytest.approx(0.1, abs=0.01)
    assert shorter({bin_of(5.0): 8}) == pytest.approx(0.5, abs=0.02), "that they take 5 s tells nothing of these two"


def test_tasks_that_take_longer_than_all_known_ones_are_believed_to_take_up_to_twice_as_long() -> None:
    """Nothing is known of what lies behind them."""
    known = Durations()
    known.add(bin_of(1.0), [1.0])
    shape = shape_of(known, known, leaning=0.0, unfinished={bin_of(30.0): 9})
    assert shape is not None
    behind = {at: mass for at, mass in zip(shape.edges, shape.masses, strict=False) if at > 29.0}
    assert 0.7 < sum(behind.values()) <= 0.9, "nine of ten, but for what smoothing takes"
    assert max(behind) < 180.0
    # Likewise where the scale itself ends.
    assert shape_of(known, known, leaning=0.0, unfinished={BINS - 1: 3}) is not None


def test_a_wide_interval_costs_no_call_for_each_of_its_bins() -> None:
    """A task that was done at its first poll, which a hundred thousand may be: within a dozen calls, whatever is known."""
    calls = 0

    def count(_frame: object, event: str, _what: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    known = Durations()
    known.add(*parts_of(0.9, 1.0, None))
    shape = shape_of(known, known, leaning=0.0)
    for believed in (None, shape):
        calls = 0
        sys.setprofile(count)
        try:
            first, parts = parts_of(0.0, 60.0, believed)
        finally:
            sys.setprofile(None)
        assert calls <= 15
        assert sum(parts) == pytest.approx(1.0)
        assert first + len(parts) <= bin_of(60.0) + 1
