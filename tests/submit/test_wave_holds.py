"""`batch.submit.wave_holds`: what lines of batches hold of a budget, summed up by wave and given back line by line."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.clock import MICROSECONDS, HandClock
from batch.core.records import Request, RowRequest
from batch.job.budgetspec import Amount
from batch.ledger.reader import PendingRow
from batch.submit.rows import Row
from batch.submit.wave_holds import WaveHolds
from tests.submit.test_purse import purse, record
from tests.support.hand import by_hand


def row(number: int, text: str = "Hi", *, most: int = 10) -> Row:
    pending = PendingRow(number, 0, number, str(number), "", number, 0, b"", 0)
    return Row(pending, RowRequest([{"role": "user", "content": text}], "glm-4-plus", {"max_tokens": most}))


def holds_of(clock: HandClock, **spec: object) -> Any:
    """The holds of a run with this budget, and its purse."""
    box = purse(clock, **spec)
    context = SimpleNamespace(purse=box, policy=SimpleNamespace(never_sent=()), request=_request)
    return WaveHolds(context), box  # type: ignore[arg-type]  # what of it is asked for


def _request(one: Row) -> Request:
    return Request(model="glm-4-plus", messages=one.request.messages, parameters=one.request.parameters, tools=())


def call(sent_at_us: int) -> Any:
    return SimpleNamespace(model="glm-4-plus", sent_at_us=sent_at_us, size=None, held=None)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.text("ab", max_size=40), st.integers(1, 90)), min_size=1, max_size=30))
def test_lines_that_come_back_hold_together_what_they_held_when_they_went(asked: Sequence[tuple[str, int]]) -> None:
    """In this process or the next one, in any order; in the end nothing is held."""

    async def main(clock: HandClock) -> None:
        rows = [row(number, text, most=most) for number, (text, most) in enumerate(asked)]
        holds, box = holds_of(clock, max_cost=Amount(10**18, "CNY"), max_tokens=10**9)
        times = {}
        for one in rows:
            held = await holds.reserve(one)
            times[one.work_id] = held.at_us
            holds.add(3, held)
            await clock.sleep(1)
        whole = (box.cost, box.tokens)
        assert box.under_way == 1, "a wave is one thing under way"
        later, again = holds_of(clock, max_cost=Amount(10**18, "CNY"), max_tokens=10**9)
        for one in rows:
            later.adopt(3, one, times[one.work_id])
        assert (again.cost, again.tokens) == whole
        for one in reversed(rows):
            back = call(times[one.work_id])
            holds.hand_over(3, one, back)
            assert (box.cost, box.tokens, box.under_way) == (*whole, 2)
            box.booked(record("refused", None), back.held)
            whole = (box.cost, box.tokens)
        assert whole == (0, 0)
        holds.end(3)
        assert box.under_way == 0

    by_hand(main)


def test_a_wave_that_was_never_sent_gives_everything_back() -> None:
    """And a line that found no file gives back its own."""

    async def main(clock: HandClock) -> None:
        holds, box = holds_of(clock, max_tokens=10_000)
        holds.add(0, await holds.reserve(row(1)))
        holds.release(await holds.reserve(row(2)))
        holds.end(0)
        assert (box.tokens, box.under_way) == (0, 0)

    by_hand(main)


def test_a_row_whose_request_is_not_known_any_more_takes_no_more_than_its_wave_has() -> None:
    """Its file was changed meanwhile: what it held stays held until the wave is over."""

    async def main(clock: HandClock) -> None:
        holds, box = holds_of(clock, max_tokens=10_000)
        one = row(1)
        holds.add(0, await holds.reserve(one))
        before = box.tokens
        one.fault = "gone"
        back = call(clock.now_us())
        holds.hand_over(0, one, back)
        assert (back.held.tokens, box.tokens) == (0, before)
        box.booked(record("refused", None), back.held)
        assert box.tokens == before
        holds.end(0)
        assert box.tokens == 0

    by_hand(main)


def test_lines_of_two_days_do_not_go_into_one_wave() -> None:
    """Each is paid out of the pot of its day, and a wave that comes back must know which."""

    async def main(clock: HandClock) -> None:
        holds, box = holds_of(clock, per_day=Amount(10**18, "CNY"))
        now = clock.now_us()
        holds.adopt(0, row(1), now)
        (same,) = [box.adopt(0, 0, sent_at_us=now)]
        other = box.adopt(0, 0, sent_at_us=now + 86_400 * MICROSECONDS)
        assert holds.goes_with(0, same)
        assert not holds.goes_with(0, other)
        assert holds.goes_with(1, other), "of a wave without lines"

    by_hand(main)


def test_a_run_that_counts_rows_alone_holds_nothing() -> None:
    """Nothing is measured for it."""

    async def main(clock: HandClock) -> None:
        holds, box = holds_of(clock, max_rows=5)
        assert await holds.reserve(row(1)) is None
        holds.add(0, None)
        holds.hand_over(0, row(1), call(0))
        holds.end(0)
        assert (holds.counts, holds.short, box.under_way) == (False, False, 0)

    by_hand(main)
