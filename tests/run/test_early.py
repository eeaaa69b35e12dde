"""`batch.run.early`: a part that waits for rows can be read soon, and costs at most five times its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.run.early import MOST_WRITTEN, EarlyParts

EVERY_S = 60.0


class Part:
    """One part of a run, and what its publications have written."""

    def __init__(self, rows: int, *, in_table: int = 0, replaced: int = 0) -> None:
        self.early = EarlyParts(EVERY_S)
        self.settled, self.unsettled = {0: 0}, {0: rows}
        self.file, self.replaced = in_table, replaced
        self.writings: list[int] = []
        """Rows of the file at each."""
        self.now = 0.0

    def go_on(self, rows: int, seconds: float) -> bool:
        """So many rows settle, so much time goes by; whether the part was published early."""
        rows = min(rows, self.unsettled[0])
        self.settled[0] += rows
        self.unsettled[0] -= rows
        due = self.early.due(self.now, self.settled, self.unsettled)
        self.now += seconds
        due = due or self.early.due(self.now, self.settled, self.unsettled)
        if due:
            fresh = self.settled.pop(0)
            self.settled[0] = 0
            self.write(fresh)
            self.early.published(0, fresh, self.writings[-1])
        return bool(due)

    def write(self, fresh: int) -> None:
        known = min(fresh, self.replaced)
        self.replaced -= known
        self.file += fresh - known
        self.writings.append(self.file)


@given(
    st.integers(1, 20_000),
    st.integers(0, 20_000),
    st.integers(0, 20_000),
    st.lists(st.tuples(st.integers(0, 3_000), st.sampled_from([0.0, 1.0, 30.0, 61.0])), max_size=200),
)
def test_all_writings_of_a_part_are_at_most_five_times_its_rows(
    rows: int, in_table: int, replaced: int, steps: list[tuple[int, float]]
) -> None:
    """FIELD 32. A new part, one that grows, and one whose rows are asked again; however they settle."""
    part = Part(rows, in_table=in_table, replaced=min(replaced, in_table, rows))
    for settled, seconds in steps:
        part.go_on(settled, seconds)
    part.write(part.settled[0] + part.unsettled[0])
    assert sum(part.writings) <= MOST_WRITTEN * part.file


def test_a_part_is_published_first_after_a_minute_and_then_at_each_quarter_more() -> None:
    """FIELD 32. Ten rows a second: nothing for a minute, then at 600, 750, 938, … rows."""
    part = Part(10_000)
    seen = [(second, part.writings[-1]) for second in range(1, 1_000) if part.go_on(10, 1.0)]
    assert seen[0] == (60, 600)
    assert [rows for _, rows in seen[:4]] == [600, 750, 940, 1_180]
    assert all(second == rows // 10 for second, rows in seen)
    assert sum(part.writings) + 10_000 <= MOST_WRITTEN * 10_000


def test_a_part_that_is_full_within_a_minute_is_written_once() -> None:
    """FIELD 32. A fast run pays nothing for it."""
    part = Part(10_000)
    assert not any(part.go_on(200, 1.0) for _ in range(50))


def test_rows_before_a_straggler_do_not_wait_for_it() -> None:
    """FIELD 32. The last rows are no quarter more: a minute of waiting publishes them."""
    part = Part(10_000)
    for _ in range(61):
        part.go_on(120, 1.0)
    for _ in range(100):
        part.go_on(min(200, part.unsettled[0] - 1), 1.0)
    assert part.unsettled[0] == 1
    assert part.writings[-1] == 9_999
    before = len(part.writings)
    assert not any(part.go_on(0, 60.0) for _ in range(10)), "nothing new, nothing written"
    assert len(part.writings) == before


def test_a_part_that_is_complete_is_not_its_matter() -> None:
    """FIELD 32. It is published whole at once; and when rows of it come again, they count anew."""
    early = EarlyParts(EVERY_S)
    assert early.due(0.0, {7: 3}, {}) == []
    assert early.due(0.0, {7: 3}, {7: 1}) == []
    assert early.due(60.0, {7: 3}, {7: 1}) == [7]
    early.published(7, 3, 3)
    early.forget(7)
    assert early.due(61.0, {7: 1}, {7: 1}) == []


@pytest.mark.parametrize(("every_s", "look_s"), [(60.0, 1.0), (1.0, 0.5), (0.000_1, 0.02)])
def test_it_looks_once_a_second_and_never_all_the_time(every_s: float, look_s: float) -> None:
    """FIELD 32. A tiny `publish_every_s` must not become a busy loop."""
    assert EarlyParts(every_s).look_s == look_s
