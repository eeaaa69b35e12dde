"""`batch.submit.polls`: tasks are polled a few times each, nearly as well as anybody could who knew how long they take."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from batch.core.clock import HandClock
from batch.submit.polls import OTHERS_FIRST_S, Polls
from tests.support.pollfield import Field, least_extra, usual, usual_by


def polls_of(clock: HandClock, **more: Any) -> Polls:
    return Polls(clock, chance=random.Random(3), **more)


def test_tasks_of_10_to_30_s_take_at_most_4_polls_and_8_percent_more_time() -> None:
    """Once some tasks have ended: within 5 % of the optimum for the distribution that nobody told."""
    clock = HandClock()
    seen = Field(polls_of(clock), clock, usual).run(4_000, skip=500)
    assert seen.each <= 4.0
    assert seen.extra <= 0.08
    assert seen.extra <= 1.05 * least_extra(usual_by, polls=seen.each, longest_s=60.0)


def test_the_first_tasks_of_all_do_not_spoil_it() -> None:
    """Nothing is known of the first fifty; over 3,000 tasks that costs little."""
    clock = HandClock()
    seen = Field(polls_of(clock), clock, usual).run(3_000)
    assert seen.each <= 4.1
    assert seen.extra <= 1.15 * least_extra(usual_by, polls=seen.each, longest_s=60.0)


@pytest.mark.parametrize("seed", range(3))
def test_a_run_takes_at_most_4_polls_and_8_percent_more_time_though_it_begins_with_200_tasks(seed: int) -> None:
    """The first to end are the shortest, and nothing is known before: neither spoils 2,000 tasks of 10 to 30 s."""
    clock = HandClock()

    def length(chance: random.Random) -> float:
        return min(max(chance.lognormvariate(math.log(17.3), 0.28), 10.0), 30.0)

    seen = Field(Polls(clock, chance=random.Random(seed)), clock, length, slots=200).run(2_000)
    assert seen.each <= 4.0
    assert seen.extra <= 0.08


def test_those_polled_seldom_while_nothing_is_known_are_not_left_alone_once_it_is() -> None:
    """Of 50 short tasks begun at once a few are asked often; when these have ended the others are asked, too."""
    clock = HandClock()
    begun = clock.monotonic()
    seen = Field(polls_of(clock), clock, lambda chance: chance.uniform(0.4, 0.5)).run(50)
    assert seen.at is not None
    assert max(seen.at) - begun < OTHERS_FIRST_S, "nobody waited for the time that was set when nothing was known"
    assert seen.each <= 4.0


def believed(*, without_result: int, earlier_s: float) -> tuple[float, int]:
    """When a task is polled first, after eight of 60 s have ended, and how many are taken for unfinished then.

    Args:
        without_result: tasks that were begun with these, were found unfinished after 50 s, and failed.
        earlier_s: how old these were when this process began.
    """
    clock = HandClock()
    polls = Polls(clock, chance=cast("Any", SimpleNamespace(random=lambda: 0.5)))

    def begun(earlier_s: float = 0.0) -> Any:
        return SimpleNamespace(
            model="m", started=clock.monotonic(), earlier_s=earlier_s, exchange_began=clock.monotonic(), watch=None
        )

    ending, failing = [begun() for _ in range(8)], [begun(earlier_s) for _ in range(without_result)]
    for one in (*ending, *(failing if not earlier_s else ())):
        polls.first(one, [], most_s=86_400.0)
    clock.advance(50.0)
    for one in (*ending, *failing):
        one.exchange_began = clock.monotonic()
        polls.next(one, least_s=0.0, most_s=86_400.0)
    for one in failing:
        polls.forget(one)
    clock.advance(10.0)
    for one in ending:
        one.exchange_began = clock.monotonic()
        polls.finished(one)
    clock.advance(60.0)
    last = begun()
    wait_s = polls.first(last, [], most_s=86_400.0)
    return wait_s, len(last.watch.kind.open) - 1


@pytest.mark.parametrize("earlier_s", [0.0, 600.0], ids=["of this process", "of an earlier one"])
def test_tasks_that_brought_no_result_are_not_remembered_as_ones_that_take_long(earlier_s: float) -> None:
    assert believed(without_result=50, earlier_s=earlier_s) == believed(without_result=0, earlier_s=0.0)


def test_what_was_learned_is_there_for_the_next_process() -> None:
    """A run that goes on begins with the distribution, not with many polls."""
    clock = HandClock()
    kept: list[str] = []
    polls = polls_of(clock, keep=kept.append)
    Field(polls, clock, usual).run(1_000)
    assert kept, "kept while it goes on, not only at the end"
    again = HandClock()
    seen = Field(polls_of(again, kept=kept[-1]), again, usual).run(200)
    assert seen.each <= 4.2
    assert seen.extra <= 0.09
    assert len(kept[-1]) < 4_000


def test_what_was_kept_and_cannot_be_read_is_as_if_nothing_was() -> None:
    """A value of a later version ends no run."""
    clock = HandClock()
    for kept in ("no json", '{"m": {"all": [1]}}', '{"m": {"x": [900, 3, 1.0]}}'):
        assert Field(polls_of(clock, kept=kept), clock, usual).run(50).tasks == 50


def test_large_and_small_questions_are_learned_apart() -> None:
    """A model that needs 2 s for one and 60 s for the other is not polled at the mean of both."""
    clock = HandClock()
    polls = polls_of(clock)
    small = Field(polls, clock, lambda chance: chance.uniform(1.5, 2.5))
    large = Field(polls, clock, lambda chance: chance.uniform(50.0, 70.0), text="word " * 2_000)
    for _ in range(4):
        small.run(150)
        large.run(150)
    for field in (small, large):
        seen = field.run(200)
        assert seen.each <= 4.2
        assert seen.extra <= 0.08


def test_a_service_that_becomes_slower_is_followed() -> None:
    """Old tasks fade: a few hundred later the times fit again."""
    clock = HandClock()
    polls = polls_of(clock)
    Field(polls, clock, usual).run(1_000)
    slow = Field(polls, clock, lambda chance: 3 * usual(chance))
    slow.run(800)
    seen = slow.run(500)
    assert seen.each <= 4.3
    assert seen.extra <= 0.1


def test_polls_of_tasks_submitted_together_do_not_bunch() -> None:
    """400 tasks of one moment: no tenth of a second sees more than a few of their polls."""
    clock = HandClock()
    polls = polls_of(clock)
    Field(polls, clock, usual).run(500)
    at = Field(polls, clock, usual, slots=400, answer_s=0.0).run(400).at
    assert at is not None
    busiest = max(sum(begin <= other < begin + 0.1 for other in at) for begin in at[::7])
    assert busiest <= 100


def test_a_task_that_never_ends_is_polled_every_few_seconds() -> None:
    """A task that an earlier process left may be old and ready at any moment; a day of waiting has an end."""
    clock = HandClock()
    polls = polls_of(clock)
    Field(polls, clock, usual).run(300)
    call: Any = SimpleNamespace(model="glm-4", started=clock.monotonic(), earlier_s=0.0, exchange_began=0.0, watch=None)
    waits = [polls.first(cast("Any", call), [], most_s=86_400.0)]
    while clock.monotonic() - call.started < 86_400:
        clock.advance(waits[-1])
        call.exchange_began = clock.monotonic()
        waits.append(polls.next(cast("Any", call), least_s=0.0, most_s=86_400.0))
    assert len(waits) < 18_000
    assert max(waits) <= 31


def test_what_the_provider_asks_is_waited_and_the_end_of_the_time_is_not_missed() -> None:
    """Retry-After of a poll counts; the last poll comes when the time of the task is over."""
    clock = HandClock()
    polls = polls_of(clock)
    call: Any = SimpleNamespace(
        model="glm-4", started=clock.monotonic(), earlier_s=0.0, exchange_began=clock.monotonic(), watch=None
    )
    assert 30.0 <= polls.next(cast("Any", call), least_s=30.0, most_s=86_400.0) <= 30.2
    assert 0.4 <= polls.next(cast("Any", call), least_s=30.0, most_s=0.4) <= 0.6
