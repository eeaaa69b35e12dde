"""The time of the core as a worker elsewhere knows it: never earlier than it is, and unknown when it was not heard lately."""

from __future__ import annotations

import math
import random

from batch.run.ray.coretime import DRIFT_S, REMEMBERED, SPAN_S, CoreTime


class Clocks:
    """Two machines that count from different moments, at somewhat different speeds."""

    def __init__(self, *, ahead: float = 1_000.0, speed: float = 1.0) -> None:
        self.here = 50.0
        self._ahead = ahead
        self._speed = speed

    @property
    def core(self) -> float:
        return self._ahead + self.here * self._speed

    def pass_(self, seconds: float) -> None:
        self.here += seconds


def test_before_anything_is_heard_the_time_is_infinite_so_nothing_is_young_enough() -> None:
    assert CoreTime(lambda: 3.0).most() == math.inf


def test_the_bound_errs_by_the_way_of_one_message_and_only_to_the_safe_side() -> None:
    clocks = Clocks()
    time = CoreTime(lambda: clocks.here)
    time.said(1)
    clocks.pass_(0.030)  # the way there
    came_at = clocks.core
    clocks.pass_(0.200)  # the way back does not count
    time.came(1, came_at)
    assert 0.030 <= time.most() - clocks.core <= 0.030 + 2 * DRIFT_S


def test_the_fastest_of_the_last_messages_counts() -> None:
    clocks = Clocks()
    time = CoreTime(lambda: clocks.here)
    for number, way_s in enumerate((0.3, 0.001, 0.5)):
        time.said(number)
        clocks.pass_(way_s)
        time.came(number, clocks.core)
    assert time.most() - clocks.core <= 0.001 + 2 * DRIFT_S


def test_a_bound_that_is_old_is_none() -> None:
    clocks = Clocks()
    time = CoreTime(lambda: clocks.here)
    time.said(1)
    time.came(1, clocks.core)
    clocks.pass_(SPAN_S)
    assert time.most() < math.inf
    clocks.pass_(SPAN_S)
    assert time.most() == math.inf


def test_a_machine_that_was_suspended_knows_that_time_went_on() -> None:
    """Its clock counts those seconds; after them nothing is known."""
    clocks = Clocks()
    time = CoreTime(lambda: clocks.here)
    time.said(1)
    time.came(1, clocks.core)
    clocks.pass_(3_600.0)
    assert time.most() == math.inf


def test_what_is_not_known_tells_nothing() -> None:
    clocks = Clocks()
    time = CoreTime(lambda: clocks.here)
    time.came(0, clocks.core)  # the first call of all has heard nothing
    for number in range(1, REMEMBERED + 2):
        time.said(number)
    time.came(1, 0.0)  # so long ago that it was forgotten
    assert time.most() == math.inf


def test_whatever_the_ways_and_the_clocks_do_the_core_is_never_taken_to_be_earlier() -> None:
    chance = random.Random(5)
    for _ in range(50):
        clocks = Clocks(ahead=chance.uniform(-1e5, 1e5), speed=1 + chance.uniform(-1e-4, 1e-4))
        time = CoreTime(lambda clocks=clocks: clocks.here)  # type: ignore[misc]  # a default binds it
        for number in range(40):
            time.said(number)
            clocks.pass_(chance.expovariate(20))
            came_at = clocks.core
            clocks.pass_(chance.expovariate(20))
            time.came(number, came_at)
            clocks.pass_(chance.choice((0.01, 1.0, 4.0)))
            assert time.most() >= clocks.core
