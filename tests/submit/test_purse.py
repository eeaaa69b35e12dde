"""`batch.submit.purse`: whatever comes of the calls, what they come to is never more than the budget."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.clock import HandClock
from batch.core.errors import BudgetReached
from batch.core.records import NO_USAGE, Call, Usage
from batch.job.budgetspec import Amount, BudgetSpec, GrantSpec
from batch.ledger.totals import Totals
from batch.money.bounds import CallSize
from batch.money.pots import Held, PotBook
from batch.money.prices import Prices
from batch.submit.purse import Purse, PurseClosed, Reserved
from batch.submit.slices import Slice, Use, day_pot
from batch.submit.untold import lost, with_held
from tests.support.hand import by_hand

PRICES = Prices.load()
UNIT = 10**8
"""Of a token of glm-4: 100 yuan a million."""


def purse(clock: HandClock, **spec: object) -> Purse:
    return Purse(
        BudgetSpec(**spec),  # type: ignore[arg-type]  # keys by name
        provider="glm",
        prices=PRICES,
        totals=Totals(),
        clock=clock,
    )


def record(state: str, tokens: int | None, size: CallSize | None = None) -> Call:
    known = None if tokens is None else Usage(tokens, 0, tokens)
    return Call(
        client_call_id="c",
        turn=0,
        attempt=0,
        provider="glm",
        lane="sync",
        state=state,  # type: ignore[arg-type]  # one of the states
        model_asked="glm-4",
        sent_at_us=1,
        usage=NO_USAGE if state == "refused" else known,
        cost=0 if state == "refused" else None if tokens is None else tokens * UNIT,
        currency="CNY",
        cost_bound=size.tokens * UNIT if size else None,
        token_bound=size.tokens if size else None,
    )


ENDS = st.sampled_from(["all", "some", "refused", "unknown", "lost"])


def settle(box: Purse, held: Reserved, size: CallSize, end: str) -> int:
    """Book a call that came to this; what it truly came to, in tokens."""
    true = {"all": size.tokens, "some": size.tokens // 3, "refused": 0, "unknown": size.tokens, "lost": size.tokens}[
        end
    ]
    call = {
        "all": record("answered", true),
        "some": record("answered", true),
        "refused": record("refused", None),
        "unknown": record("unknown", None, size),
        "lost": record("unknown", None),
    }[end]
    book(box, call, held)
    return true


def book(box: Purse, call: Call, held: Reserved) -> None:
    """Book a call as a run does."""
    call = with_held(call, box.currency, cost=held.cost, tokens=held.tokens)
    box.totals.add_call(call)
    box.booked(call, held)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 200), ENDS), max_size=60), st.integers(1, 9_000))
def test_no_course_of_calls_comes_to_more_than_the_budget(calls: list[tuple[int, int, str]], limit: int) -> None:
    """Eight callers at a time, calls of any size, answered, refused or never heard of again; money and tokens."""
    specs: list[dict[str, object]] = [{"max_cost": Amount(limit * UNIT, "CNY")}, {"max_tokens": limit}]
    for spec in specs:

        async def main(clock: HandClock, spec: dict[str, object] = spec) -> tuple[int, int]:
            box, true, sent, chance = purse(clock, **spec), 0, 0, random.Random(1)
            left = iter(calls)

            async def caller() -> None:
                nonlocal true, sent
                for prompt, completion, end in left:
                    size = CallSize(prompt, completion)
                    try:
                        held = await box.reserve(size, model="glm-4", lane="sync")
                    except BudgetReached:
                        return
                    sent += 1
                    await clock.sleep(chance.random())
                    true += settle(box, held, size, end)
                    assert true <= limit

            async with anyio.create_task_group() as group:
                for _ in range(8):
                    group.start_soon(caller)
            assert (box.under_way, box.cost, box.tokens) == (0, 0, 0)
            return true, sent

        true, sent = by_hand(main)
        assert true <= limit
        if all(prompt + completion <= limit for prompt, completion, _ in calls[:1]):
            assert sent >= min(1, len(calls)), "what fits is sent"


def test_what_does_not_fit_waits_while_calls_under_way_may_give_something_back() -> None:
    """In order: a small one that would fit does not pass a large one that waits."""

    async def main(clock: HandClock) -> list[str]:
        box = purse(clock, max_tokens=100)
        log: list[str] = []
        first = await box.reserve(CallSize(30, 30), model="glm-4", lane="sync")

        async def ask(name: str, tokens: int) -> None:
            held = await box.reserve(CallSize(tokens, 0), model="glm-4", lane="sync")
            log.append(name)
            box.release(held)

        async with anyio.create_task_group() as group:
            group.start_soon(ask, "large", 80)
            await clock.sleep(1)
            group.start_soon(ask, "small", 10)
            await clock.sleep(1)
            assert log == []
            assert box.waiting == 1
            settle(box, first, CallSize(30, 30), "refused")
        return log

    assert by_hand(main) == ["large", "small"]


def test_who_waits_for_money_is_told_when_the_run_stops() -> None:
    """And does not wait for calls that may be under way for hours."""

    async def main(clock: HandClock) -> None:
        box = purse(clock, max_tokens=100)
        await box.reserve(CallSize(90, 0), model="glm-4", lane="sync")
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                with pytest.raises(PurseClosed):
                    await box.reserve(CallSize(20, 0), model="glm-4", lane="sync")

            group.start_soon(ask)
            await clock.sleep(1)
            box.close()

    by_hand(main)


@pytest.mark.parametrize(
    ("spec", "tokens", "told"),
    [
        ({"max_tokens": 10}, 11, "budget.max_tokens = 10 tokens is reached before the first call: .* lower max_tokens"),
        ({"max_cost": Amount(10 * UNIT, "CNY")}, 11, "budget.max_cost = 0.001 CNY is reached before the first call"),
        ({"max_cost": Amount(10 * UNIT, "USD")}, 1, "glm/glm-4 has no price in USD"),
    ],
)
def test_a_budget_that_lets_nothing_go_says_so(spec: dict[str, object], tokens: int, told: str) -> None:
    """With what to do about it, for every night would end in the same way."""

    async def main(clock: HandClock) -> None:
        with pytest.raises(BudgetReached, match=told):
            await purse(clock, **spec).reserve(CallSize(tokens, 0), model="glm-4", lane="sync")

    by_hand(main)


def test_a_day_that_is_spent_ends_a_run_and_the_next_day_is_another(tmp_path: Path) -> None:
    """Money of a day of China; what runs did there before counts, and the next day begins at its midnight."""

    async def main(clock: HandClock) -> None:
        box = Purse(
            BudgetSpec(per_day=Amount(100 * UNIT, "CNY")),
            provider="glm",
            prices=PRICES,
            totals=Totals(),
            clock=clock,
            book=PotBook(tmp_path, Path("/a")),
            run="r",
        )
        await box.open(lambda _: Use())
        size = CallSize(60, 0)
        held = await box.reserve(size, model="glm-4", lane="sync")
        settle(box, held, size, "all")
        with pytest.raises(
            BudgetReached, match=r"budget.per_day = 0.01 CNY is reached: 0.006 CNY was spent by this run"
        ):
            await box.reserve(size, model="glm-4", lane="sync")
        held = await box.reserve(CallSize(40, 0), model="glm-4", lane="sync")
        assert not box.stale(held)
        clock.advance(86_400)
        assert box.stale(held), "it would be billed on another day than the one it was taken from"
        box.release(held)
        settle(box, await box.reserve(size, model="glm-4", lane="sync"), size, "all")
        await box.give_back()

    by_hand(main)
    book = PotBook(tmp_path, Path("/b"))
    clock = HandClock()
    days = [day_pot("CNY", clock.now_us() + day * 86_400_000_000) for day in range(2)]
    assert book.taken(days) == dict.fromkeys(days, 60 * UNIT)


def test_the_pack_that_ends_first_is_used_first_and_none_after_its_end(tmp_path: Path) -> None:
    """What is left in it then is lost; the other one goes on."""

    async def main(clock: HandClock) -> None:
        packs = [Slice("pack k 1", 100, "", clock.now_us() + 60_000_000), Slice("pack k 2", 100)]
        box = Purse(
            BudgetSpec(grants=(GrantSpec(tokens=100),)),
            provider="glm",
            prices=PRICES,
            totals=Totals(),
            clock=clock,
            book=PotBook(tmp_path, Path("/a")),
            run="r",
            packs=packs,
        )
        await box.open(lambda _: Use())
        held = await box.reserve(CallSize(30, 30), model="glm-4", lane="sync")
        assert [one.reserved for one in packs] == [60, 0]
        settle(box, held, CallSize(30, 30), "all")
        await clock.sleep(61)
        settle(box, await box.reserve(CallSize(40, 0), model="glm-4", lane="sync"), CallSize(40, 0), "all")
        assert [one.used for one in packs] == [60, 40]
        with pytest.raises(BudgetReached, match="the packs are used up but for 60 tokens"):
            await box.reserve(CallSize(61, 0), model="glm-4", lane="sync")

    by_hand(main)


def test_what_came_from_a_pack_after_another_had_ended_is_its_own_after_a_crash(tmp_path: Path) -> None:
    """The file has all that was set aside in both, and the book says only how many tokens there were."""

    async def main(clock: HandClock) -> None:
        first = Slice("pack a", 1_000, ends_us=clock.now_us() + 1_000_000)
        second = Slice("pack b", 1_000)

        async def opened(tokens: int, *packs: Slice) -> Purse:
            box = Purse(
                BudgetSpec(grants=(GrantSpec(tokens=1_000),)),
                provider="glm",
                prices=PRICES,
                totals=Totals(),
                clock=clock,
                book=PotBook(tmp_path, Path("/a")),
                run="r",
                packs=[msgspec.structs.replace(pack) for pack in packs],
            )
            await box.open(lambda _: Use(tokens=tokens))
            return box

        size, box = CallSize(60, 0), await opened(0, first, second)
        settle(box, await box.reserve(size, model="glm-4", lane="sync"), size, "some")
        clock.advance(2)
        settle(box, await box.reserve(size, model="glm-4", lane="sync"), size, "all")
        assert [one.used for one in box.packs] == [20, 60]
        for tokens in (80, 140):  # killed, and once more
            box = await opened(tokens, second)
            assert [one.used for one in box.packs] == [tokens - 20]
            settle(box, await box.reserve(size, model="glm-4", lane="sync"), size, "all")

    by_hand(main)


def test_what_is_given_back_while_the_other_packs_are_looked_at_is_found(tmp_path: Path) -> None:
    """It was the last call under way, so nothing else will be given back: the packs are looked at once more."""

    async def main(clock: HandClock) -> None:
        class Slow(PotBook):
            def extend(self, name: str, *args: Any, **how: Any) -> tuple[int, int]:
                if name == "pack k 2" and held.open:
                    anyio.from_thread.run_sync(box.release, held)
                return super().extend(name, *args, **how)

        box = Purse(
            BudgetSpec(grants=(GrantSpec(tokens=100),)),
            provider="glm",
            prices=PRICES,
            totals=Totals(),
            clock=clock,
            book=Slow(tmp_path, Path("/a")),
            run="r",
            packs=[Slice("pack k 1", 100), Slice("pack k 2", 10)],
        )
        await box.open(lambda _: Use())
        held = await box.reserve(CallSize(60, 0), model="glm-4", lane="sync")
        again = await box.reserve(CallSize(70, 0), model="glm-4", lane="sync")
        assert [one.reserved for one in box.packs] == [70, 0]
        box.release(again)

    by_hand(main)


def test_a_call_that_is_billed_in_another_currency_keeps_what_it_held() -> None:
    """Another model answered, whose price is in dollars: nothing is converted, and it was not free."""

    async def main(clock: HandClock) -> None:
        box = purse(clock, max_cost=Amount(100 * UNIT, "CNY"))
        size = CallSize(60, 0)
        held = await box.reserve(size, model="glm-4", lane="sync")
        call = msgspec.structs.replace(record("answered", 10), currency="USD")
        book(box, call, held)
        with pytest.raises(BudgetReached, match="max_cost = 0.01 CNY is reached"):
            await box.reserve(size, model="glm-4", lane="sync")
        refused = msgspec.structs.replace(record("refused", None), currency=None)
        held = await box.reserve(CallSize(40, 0), model="glm-4", lane="sync")
        book(box, refused, held)
        assert lost(box.totals, "CNY") == (60 * UNIT, 0)

    by_hand(main)


def test_what_a_run_used_of_its_packs_is_told_in_the_order_they_are_used_up() -> None:
    """By the tokens of its calls alone: the ledger does not know of packs."""
    held = {name: Held("/a", "r", amount, 10) for name, amount in (("pack b", 50), ("pack a", 100))}
    assert Use(tokens=10).of(held) == {"pack a": 0, "pack b": 0}
    assert Use(tokens=90).of(held) == {"pack a": 80, "pack b": 0}
    assert Use(tokens=130).of(held) == {"pack a": 100, "pack b": 20}


def test_rows_that_are_begun_may_go_on_whatever_the_budget_of_rows() -> None:
    """Only new ones are held up; those that settled count, and those that were never asked do not."""
    box = purse(HandClock(), max_rows=2)
    assert [box.begin_row(number) for number in (1, 2, 3, 1)] == [True, True, False, True]
    box.totals.rows_asked += 1
    box.end_row(1)
    assert [box.begin_row(number) for number in (2, 3)] == [True, False]
