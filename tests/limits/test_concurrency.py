"""`batch.limits.concurrency`: the cap that nobody tells is found from refusals and followed (`test_limiter_adapt`: at work)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batch.limits.concurrency import PROBE_AFTER, PROBE_AFTER_S, WIDEN_S, ConcurrencyLimit


def opened(most: int) -> ConcurrencyLimit:
    """A limit that has reached the concurrency of the job."""
    slots = ConcurrencyLimit(most)
    slots.widens_in(-100.0)
    slots.widens_in(-90.0)
    assert (slots.limit, slots.starting) == (most, False)
    return slots


events = st.lists(
    st.tuples(st.sampled_from(["refused", "answered", "overloaded", "restore"]), st.integers(0, 120), st.floats(0, 3)),
    max_size=300,
)


@given(st.integers(1, 100), events)
def test_the_limit_stays_between_one_call_and_what_the_job_says(
    most: int, happened: list[tuple[str, int, float]]
) -> None:
    """Whatever is heard in whatever order."""
    slots = ConcurrencyLimit(most)
    now = 0.0
    for what, number, after in happened:
        now += after
        if what == "refused":
            slots.refused(now - number / 10, now, min(number, most) - 1)
        elif what == "answered":
            slots.answered(min(number, most), now)
        elif what == "overloaded":
            slots.overloaded(now)
        else:
            slots.restore()
        assert 1 <= slots.limit <= most


@given(events)
def test_a_job_that_does_not_adapt_keeps_its_concurrency(happened: list[tuple[str, int, float]]) -> None:
    """`adapt = false`."""
    slots = ConcurrencyLimit(20, adapt=False)
    for what, number, after in happened:
        if what == "refused":
            slots.refused(0.0, after, number)
        elif what == "overloaded":
            slots.overloaded(after)
        else:
            slots.answered(number, after)
    assert slots.limit == 20


def test_a_wave_of_refusals_finds_the_cap_exactly() -> None:
    """A hundred sent at once, thirty taken: seventy refusals, each with one call less beside it."""
    slots = opened(100)
    for others in range(99, 29, -1):
        slots.refused(0.0, 0.01, others)
    assert slots.limit == 30


def test_at_the_refused_level_one_more_is_tried_and_then_twice_as_many() -> None:
    """Rarely at first; each round that goes well doubles the step, so a cap four times higher is found in six rounds."""
    slots = opened(100)
    slots.refused(0.0, 0.0, 20)
    grown = []
    for n in range(PROBE_AFTER + 6 * 100):
        before = slots.limit
        slots.answered(slots.limit, 0.001 * n)
        if slots.limit > before:
            grown.append((n, slots.limit))
    assert grown[0] == (PROBE_AFTER - 1, 21)
    assert [limit for _, limit in grown[:5]] == [21, 23, 27, 35, 51]
    assert slots.limit == 100


def test_few_and_slow_calls_do_not_wait_for_hundreds_of_answers() -> None:
    """One call more after `PROBE_AFTER_S`."""
    slots = opened(100)
    slots.refused(0.0, 0.0, 2)
    slots.answered(2, PROBE_AFTER_S - 1)
    assert slots.limit == 2
    slots.answered(2, PROBE_AFTER_S + 1)
    assert slots.limit == 3


def test_answers_while_slots_were_free_say_nothing_about_a_higher_cap() -> None:
    """The limit held nobody back."""
    slots = opened(100)
    slots.refused(0.0, 0.0, 20)
    for n in range(10 * PROBE_AFTER):
        slots.answered(5, 0.001 * n)
    assert slots.limit == 20


def test_a_run_opens_by_time_and_by_answers_until_it_is_refused() -> None:
    """A slow service is at full width within a second, a fast one at once; a low cap refuses few."""
    slow = ConcurrencyLimit(80)
    widths = []
    for tick in range(9):
        slow.widens_in(tick * WIDEN_S)
        widths.append(slow.limit)
    assert widths == [10, 20, 30, 40, 50, 60, 70, 80, 80]
    fast = ConcurrencyLimit(80)
    for _ in range(70):
        fast.answered(fast.limit, 0.01)
    assert fast.limit == 80
    capped = ConcurrencyLimit(80)
    capped.widens_in(0.0)
    capped.refused(0.0, 0.1, 7)
    assert (capped.limit, capped.widens_in(10.0)) == (7, None)
    assert ConcurrencyLimit(8).limit == 8
    assert ConcurrencyLimit(80, adapt=False).limit == 80
