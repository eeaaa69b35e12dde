"""`batch.run.schedule`: what is begun is finished first, what waits is not forgotten, and the two crews do not block each other."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.clock import Clock, HandClock
from batch.run.schedule import Schedule
from tests.support.hand import by_hand


@dataclass
class Item:
    """A row with so many steps: each `send`, `tend` or a wait in seconds before the next one."""

    name: int
    steps: list[str | float] = field(default_factory=list)
    model: str = ""
    size: int = 0

    @property
    def needs_slot(self) -> bool:
        return not self.steps or self.steps[0] == "send"


def agenda(clock: Clock, open_limit: int = 10) -> Schedule[Item]:
    return Schedule(
        clock,
        open_limits={"": open_limit},
        model_of=lambda item: item.model,
        needs_slot=lambda item: item.needs_slot,
    )


def begun(*steps: str | float, name: int = 0) -> Item:
    return Item(name, list(steps))


async def test_rows_begun_go_before_new_ones_in_the_order_they_became_ready() -> None:
    """Conversations finish before others start, so what is open stays bounded."""
    plan = agenda(Clock())
    plan.add("", [Item(10), Item(11)])
    plan.resume(begun("send", name=1))
    plan.resume(begun("send", name=2))
    names = [row.name for _ in range(4) if (row := await plan.next_to_send("")) is not None]
    assert names == [1, 2, 10, 11]
    assert (plan.open, len(plan.of("").unstarted)) == (4, 0)


async def test_no_more_than_the_limit_are_begun_until_one_is_done() -> None:
    """Open rows ≤ 2 × concurrency, whatever waits behind them."""
    plan = agenda(Clock(), open_limit=2)
    plan.add("", [Item(n) for n in range(4)])
    assert await plan.next_to_send("") == Item(0)
    assert await plan.next_to_send("") == Item(1)
    with anyio.move_on_after(0.01) as scope:
        await plan.next_to_send("")
    assert scope.cancelled_caught
    plan.done(Item(0))
    with anyio.fail_after(60):
        assert await plan.next_to_send("") == Item(2)
    assert (plan.of("").begun, plan.open) == (3, 2)


def sized(open_bytes: float) -> Schedule[Item]:
    return Schedule(
        Clock(),
        open_limits={"": 10},
        open_bytes=open_bytes,
        size_of=lambda item: item.size,
        model_of=lambda item: item.model,
        needs_slot=lambda item: item.needs_slot,
    )


async def test_open_rows_are_bounded_by_what_they_say_and_one_goes_however_large_it_is() -> None:
    """Ten rows may be open, but not ten of a megabyte each; a row larger than the bound goes alone."""
    plan = sized(100)
    large, small = Item(0, size=1_000), [Item(n, size=40) for n in range(1, 5)]
    plan.add("", [large, *small])
    assert await plan.next_to_send("") is large
    assert not plan.of("").has_unstarted
    with anyio.move_on_after(0.01) as scope:
        await plan.next_to_send("")
    assert scope.cancelled_caught
    plan.done(large)
    assert [await plan.next_to_send("") for _ in range(2)] == small[:2]
    assert (plan.of("").open_bytes, plan.of("").unstarted_bytes, plan.of("").has_unstarted) == (80, 80, False)
    for row in small[:2]:
        plan.done(row)
    assert plan.of("").open_bytes == 0
    plan.begin_no_more()
    assert plan.of("").unstarted_bytes == 0


async def test_a_large_row_that_ends_makes_room_for_all_the_small_ones_that_fit() -> None:
    """Every sender that waits gets one, although only one row has ended."""
    plan = sized(100)
    large = Item(0, size=100)
    plan.add("", [large])
    assert await plan.next_to_send("") is large
    got: list[int] = []

    async def sender() -> None:
        if (row := await plan.next_to_send("")) is not None:
            got.append(row.name)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(sender)
            await anyio.wait_all_tasks_blocked()
            plan.add("", [Item(n, size=30) for n in range(1, 4)])
            await anyio.wait_all_tasks_blocked()
            assert got == []
            plan.done(large)
    assert sorted(got) == [1, 2, 3]


async def test_it_is_told_that_senders_wait_because_of_what_is_open() -> None:
    """Else somebody would look in vain for the limit that keeps fewer calls in flight than were asked for."""
    plan = sized(100)
    plan.add("", [Item(0, size=80), Item(1, size=80)])
    first = await plan.next_to_send("")
    assert first is not None
    told = [plan.held_by_size]  # nobody asks for more yet
    async with anyio.create_task_group() as group:
        group.start_soon(plan.next_to_send, "")
        await anyio.wait_all_tasks_blocked()
        told.append(plan.held_by_size)
        plan.done(first)
        await anyio.wait_all_tasks_blocked()
        told.append(plan.held_by_size)
    assert told == [False, True, False]


async def test_rows_brought_back_count_with_what_they_say() -> None:
    """After a kill no new row joins them before there is room."""
    plan = sized(100)
    back = [Item(n, ["send"], size=80) for n in range(2)]
    for row in back:
        plan.resume(row)
    plan.add("", [Item(9, size=10)])
    assert [await plan.next_to_send("") for _ in back] == back
    assert not plan.of("").has_unstarted
    plan.done(back[0])
    assert plan.of("").has_unstarted


async def test_there_is_room_while_few_bytes_wait() -> None:
    """What is read ahead is bounded by what it says, too."""
    plan = sized(math.inf)
    plan.add("", [Item(n, size=50) for n in range(2)])
    with anyio.fail_after(60):
        assert await plan.has_room("", 10, 101)
    with anyio.move_on_after(0.01) as scope:
        await plan.has_room("", 10, 100)
    assert scope.cancelled_caught
    async with anyio.create_task_group() as group:
        group.start_soon(plan.has_room, "", 10, 100)
        await anyio.wait_all_tasks_blocked()
        await plan.next_to_send("")


async def test_rows_brought_back_count_as_open_even_above_the_limit() -> None:
    """They were paid for; no new one joins them before they are fewer."""
    plan = agenda(Clock(), open_limit=1)
    plan.add("", [Item(9)])
    for name in range(3):
        plan.resume(begun("send", name=name))
    assert [await plan.next_to_send("") for _ in range(3)] == [begun("send", name=n) for n in range(3)]
    for _ in range(3):
        assert len(plan.of("").unstarted) == 1
        plan.done(Item(0))
    with anyio.fail_after(60):
        assert await plan.next_to_send("") == Item(9)


async def test_each_crew_gets_only_its_own_rows() -> None:
    """A sender that waits for a slot must never hold the poll that would free it."""
    plan = agenda(Clock())
    plan.resume(begun("tend", name=1))
    plan.resume(begun("send", name=2))
    with anyio.fail_after(60):
        sending, tending = await plan.next_to_send(""), await plan.next_follow_up()
    assert sending is not None
    assert tending is not None
    assert (sending.name, tending.name) == (2, 1)


async def test_whoever_waits_is_woken_by_what_comes() -> None:
    """New rows wake senders, ready ones the crew they are for; one wake a row."""
    plan = agenda(Clock())
    got: Counter[str] = Counter()

    async def sender() -> None:
        if await plan.next_to_send("") is not None:
            got["sent"] += 1

    async def tender() -> None:
        if await plan.next_follow_up() is not None:
            got["tended"] += 1

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(sender)
                group.start_soon(tender)
            await anyio.wait_all_tasks_blocked()
            plan.add("", [Item(0), Item(1)])
            plan.resume(begun("send"))
            for _ in range(3):
                plan.resume(begun("tend"))
    assert got == {"sent": 3, "tended": 3}


@pytest.mark.parametrize("how", ["end", "close"])
async def test_the_end_is_told_to_everybody_who_waits(how: str) -> None:
    """At once when nothing is open, and to whoever asks later."""
    plan = agenda(Clock())
    told: list[Item | None] = []

    async def crew(send: bool) -> None:
        told.append(await (plan.next_to_send("") if send else plan.next_follow_up()))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for n in range(6):
                group.start_soon(crew, n % 2 == 0)
            await anyio.wait_all_tasks_blocked()
            plan.end("") if how == "end" else plan.close()
        assert told == [None] * 6
        assert await plan.next_to_send("") is None
        assert await plan.next_follow_up() is None


async def test_the_end_waits_for_open_rows_and_a_close_does_not() -> None:
    """`end`: nothing new will come. `close`: what is left stays in the ledger."""
    for how in ("end", "close"):
        plan = agenda(Clock())
        plan.add("", [Item(0), Item(1)])
        assert await plan.next_to_send("") == Item(0)
        plan.end("") if how == "end" else plan.close()
        with anyio.fail_after(60):
            if how == "close":
                assert await plan.next_to_send("") is None
                plan.requeue(begun("tend"))
                assert await plan.next_follow_up() is None
                continue
            assert await plan.next_to_send("") == Item(1)
            told: list[object] = []

            async def crew(plan: Schedule[Item] = plan, told: list[object] = told) -> None:
                told.append(await plan.next_follow_up())

            async with anyio.create_task_group() as group:
                group.start_soon(crew)
                plan.done(Item(0))
                await anyio.wait_all_tasks_blocked()
                assert told == []
                plan.done(Item(0))
            assert told == [None]


def test_rows_that_wait_come_back_when_their_time_has_come_and_in_its_order() -> None:
    """Never early; two of one moment in the order they were put aside."""

    async def main(clock: HandClock) -> list[tuple[int, float]]:
        plan = agenda(clock)
        start = clock.monotonic()
        seen: list[tuple[int, float]] = []
        async with anyio.create_task_group() as group:
            group.start_soon(plan.keep_time)
            for name, wait in enumerate([30.0, 0.0, 10.0, 10.0, 3_600.0]):
                plan.of("").open += 1
                plan.schedule(begun("send", name=name), wait)
            assert plan.waiting == 5
            await clock.sleep(1)
            plan.of("").open += 1
            plan.schedule(begun("send", name=5), 4.0)  # sooner than all that wait
            for _ in range(6):
                row = await plan.next_to_send("")
                assert row is not None
                seen.append((row.name, clock.monotonic() - start))
            assert plan.waiting == 0
            group.cancel_scope.cancel()
        return seen

    seen = by_hand(main)
    assert [name for name, _ in seen] == [1, 5, 2, 3, 0, 4]
    assert [at for _, at in seen] == pytest.approx([1, 5, 10, 10, 30, 3_600], abs=0.01)


steps = st.lists(st.sampled_from(["send", "tend"]) | st.sampled_from([0.0, 0.1, 5.0, 600.0]), max_size=8)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(steps, max_size=25),
    st.lists(steps, max_size=5),
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(),
)
def test_every_row_is_brought_to_its_end_by_the_smallest_of_crews(
    new: list[list[str | float]],
    old: list[list[str | float]],
    open_limit: int,
    senders: int,
    tenders: int,
    seed: int,
) -> None:
    """No wake is lost, no row is handed out twice, and nobody waits for ever, however the steps mix."""
    finished: Counter[int] = Counter()
    held: set[int] = set()

    async def main(clock: HandClock) -> None:
        plan = agenda(clock, open_limit)
        chance = random.Random(seed)

        async def work_id(item: Item, step: str) -> None:
            assert item.name not in held
            held.add(item.name)
            if item.steps:
                assert item.steps.pop(0) == step
            await clock.sleep(chance.choice([0, 0, 0.01, 1]))
            wait = item.steps.pop(0) if item.steps and isinstance(item.steps[0], float) else None
            while item.steps and isinstance(item.steps[0], float):
                item.steps.pop(0)
            held.discard(item.name)
            if not item.steps:
                finished[item.name] += 1
                plan.done(Item(0))
            elif isinstance(wait, float):
                plan.schedule(item, wait)
            else:
                plan.requeue(item)

        async def send() -> None:
            while (item := await plan.next_to_send("")) is not None:
                assert plan.open <= max(open_limit, len(old))
                await work_id(item, "send")

        async def follow_up() -> None:
            while (item := await plan.next_follow_up()) is not None:
                await work_id(item, "tend")

        async def feed() -> None:
            # A new row begins with a send, whatever follows.
            for name, items in enumerate(new):
                plan.add("", [Item(name, ["send", *items])])
                await clock.sleep(chance.choice([0, 0, 3]))
            plan.end("")

        for name, items in enumerate(old):
            first = [step for step in items if isinstance(step, str)][:1] or ["send"]
            plan.resume(Item(1_000 + name, [*first, *items]))
        with anyio.fail_after(1e7):
            async with anyio.create_task_group() as outer:
                outer.start_soon(plan.keep_time)
                async with anyio.create_task_group() as crew:
                    for _ in range(senders):
                        crew.start_soon(send)
                    for _ in range(tenders):
                        crew.start_soon(follow_up)
                    crew.start_soon(feed)
                outer.cancel_scope.cancel()
        assert (plan.open, len(plan.of("").unstarted), plan.waiting) == (0, 0, 0)

    by_hand(main)
    assert finished == Counter([*range(len(new)), *range(1_000, 1_000 + len(old))])


async def test_rows_that_wait_go_on_sooner_when_something_new_is_known() -> None:
    """Only those that it is known of; the others keep their times."""
    clock = HandClock()
    plan = agenda(clock)
    for name in range(4):
        plan.resume(begun("tend", name=name))
        row = await plan.next_follow_up()
        assert row is not None
        plan.schedule(row, 10.0 - name)
    plan.hasten(lambda row: row.name in (1, 2))
    names = [row.name for _ in range(2) if (row := await plan.next_follow_up()) is not None]
    assert sorted(names) == [1, 2]
    assert sorted(plan.due(plan.first_begun(4)).values()) == [clock.monotonic() + 7.0, clock.monotonic() + 10.0]


@pytest.mark.parametrize("closed", [False, True])
async def test_two_wait_for_the_same_hand_out_and_both_are_told(closed: bool) -> None:
    """One waits for room, one for rows begun: rows are rendered a few ahead and planned a little further."""
    plan = agenda(Clock())
    plan.add("", [Item(0)])
    told: dict[str, bool] = {}

    async def wait_for_room() -> None:
        told["room"] = await plan.has_room("", 1)

    async def wait_for_beginning() -> None:
        told["begun"] = await plan.until(lambda: plan.of("").begun >= 1)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(wait_for_room)
            group.start_soon(wait_for_beginning)
            await anyio.wait_all_tasks_blocked()
            assert told == {}
            if closed:
                plan.close()
            else:
                await plan.next_to_send("")
    assert told == {"room": not closed, "begun": not closed}
    assert await plan.has_room("", 1) is not closed


async def test_a_model_that_is_held_back_takes_no_room_from_another() -> None:
    """FIELD 21: rows open, rows ahead and senders are counted by model; the end comes when all models are done."""
    plan: Schedule[Item] = Schedule(
        Clock(),
        open_limits={"a": 1, "b": 2},
        model_of=lambda item: item.model,
        needs_slot=lambda item: item.needs_slot,
    )
    plan.add("a", [Item(n, model="a") for n in range(5)])
    plan.add("b", [Item(n, model="b") for n in range(3)])
    assert plan.models == ["a", "b"]
    with anyio.fail_after(60):
        assert await plan.next_to_send("a") == Item(0, model="a")
        for number in range(3):
            assert await plan.next_to_send("b") == Item(number, model="b")
            plan.done(Item(number, model="b"))
        assert await plan.has_room("b", 1)
    assert (plan.of("a").begun, plan.of("b").begun, plan.open) == (1, 3, 1)
    assert (plan.of("a").has_unstarted, plan.of("b").has_unstarted) == (False, False)
    plan.end("b")
    with anyio.move_on_after(0.01) as scope:
        await plan.next_to_send("b")
    assert scope.cancelled_caught
    plan.end("a")
    told: list[Item | None] = []

    async def sender(model: str) -> None:
        while (row := await plan.next_to_send(model)) is not None:
            told.append(row)
            plan.done(row)
        told.append(None)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(sender, "a")
            group.start_soon(sender, "b")
            await anyio.wait_all_tasks_blocked()
            assert told == []
            plan.done(Item(0, model="a"))
    assert told == [*(Item(n, model="a") for n in range(1, 5)), None, None]


async def test_a_row_for_a_model_that_is_asked_no_more_goes_with_the_first() -> None:
    """The rows of a job as it was before."""
    plan = agenda(Clock())
    plan.resume(Item(1, ["send"], model="gone"))
    assert await plan.next_to_send("") == Item(1, ["send"], model="gone")
    assert plan.open == 1


@dataclass
class Visitor:
    """A row of one model whose next turn asks another."""

    home: str
    model: str


def visited() -> Schedule[Visitor]:
    plan: Schedule[Visitor] = Schedule(
        Clock(),
        open_limits={"small": 2, "large": 2},
        model_of=lambda row: row.home,
        sent_to=lambda row: row.model,
        needs_slot=lambda _: True,
    )
    plan.end("large")
    return plan


async def test_a_row_that_another_model_is_to_label_is_sent_by_its_crew_and_open_at_home() -> None:
    """So a slow second model holds up the first instead of gathering rows without end."""
    plan = visited()
    plan.add("small", [Visitor("small", "small"), Visitor("small", "small"), Visitor("small", "small")])
    plan.end("small")
    first = await plan.next_to_send("small")
    second = await plan.next_to_send("small")
    assert first is not None
    assert second is not None
    first.model = "large"
    plan.requeue(first)
    assert await plan.next_to_send("large") is first
    assert (plan.of("small").open, plan.of("large").open) == (2, 0)
    with anyio.move_on_after(0.01) as scope:
        await plan.next_to_send("small")
    assert scope.cancelled_caught, "two are open, wherever they are"
    plan.done(first)
    assert await plan.next_to_send("small") is not None


async def test_a_row_waits_in_the_ledger_for_a_model_that_is_asked_no_more() -> None:
    """Parked while rows wait for it, or before they come: the run does not wait for them."""
    plan = visited()
    rows = [Visitor("small", "small"), Visitor("small", "small")]
    plan.add("small", list(rows))
    plan.end("small")
    taken = [row for _ in rows if (row := await plan.next_to_send("small")) is not None]
    taken[0].model = "large"
    plan.requeue(taken[0])
    assert plan.park("large")
    assert plan.open == 1
    taken[1].model = "large"
    plan.requeue(taken[1])
    assert plan.open == 0
    with anyio.fail_after(60):
        assert (await plan.next_to_send("small"), await plan.next_to_send("large")) == (None, None)
