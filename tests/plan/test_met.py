"""`batch.plan.met`: what was met is never denied, what was not is nearly always, and memory has an end."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from batch.plan.met import IDS_A_WORD, SIZES, Met

WORDS = 5_000
"""Of a filter that is as full as a real one when it has six ids for each of them."""


@given(st.lists(st.lists(st.text())), st.lists(st.text()))
def test_whatever_was_met_may_have_been_met_also_in_filters_that_are_more_than_full(
    ranges: list[list[str]], others: list[str]
) -> None:
    """Ours: an id that is forgotten is a row that is bought twice."""
    met = Met([1, 2])
    for ids in ranges:
        met.add(ids)
    known = [row_id for ids in ranges for row_id in ids]
    assert set(known) <= set(met.perhaps([*others, *known]))
    assert set(met.perhaps(others)) <= set(others)


def test_nothing_was_met_at_the_beginning() -> None:
    assert Met().perhaps(["a", "b"]) == []


def test_of_ids_that_were_not_met_a_full_filter_lets_two_in_a_hundred_pass_at_most() -> None:
    """Ours: each that passes costs a look-up."""
    met = Met([WORDS, 3 * WORDS])
    ids = [f"row-{number}" for number in range(4 * WORDS * IDS_A_WORD)]
    strange = [f"strange-{number}" for number in range(20_000)]
    for full in (WORDS * IDS_A_WORD, len(ids)):
        for start in range(0 if full < len(ids) else WORDS * IDS_A_WORD, full, 1_000):
            met.add(ids[start : start + 1_000])
        passed = len(set(met.perhaps(strange))) / len(strange)
        assert 0 < passed <= (0.02 if full < len(ids) else 0.04), "of one filter, of both"
    assert set(met.perhaps(ids)) == set(ids)


def test_more_ids_than_there_is_room_for_take_no_more_memory() -> None:
    """Ours: ten million ids have 16 MB and no more."""
    assert 8 * sum(SIZES) <= 16_000_000
    assert sum(SIZES) * IDS_A_WORD >= 10_000_000
    met = Met([100, 200])
    for start in range(0, 3_000, 100):
        met.add([str(number) for number in range(start, start + 100)])
    tracemalloc.start()
    try:
        for start in range(3_000, 30_000, 100):
            met.add([str(number) for number in range(start, start + 100)])
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < 100_000
    assert len(set(met.perhaps([str(number) for number in range(30_000)]))) == 30_000
