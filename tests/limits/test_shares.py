"""`batch.limits.shares`: the models of a job share its slots, and a slow one keeps nobody waiting. Time is by hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable

import anyio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batch.core.clock import HandClock
from batch.job.endpointspec import ModelLimitSpec
from batch.limits.lease import Lease
from batch.limits.limiter import Limiter
from tests.support.hand import by_hand

MODELS = ("a", "b", "c")
FOR_EVER = 1e9


class Crews:
    """Callers without end, as many for each model as the job has slots; how many calls of each were answered."""

    def __init__(self, clock: HandClock, limits: Limiter) -> None:
        self.clock = clock
        self.limits = limits
        self.service_s: dict[str, float] = defaultdict(lambda: 1.0)
        self.done: dict[str, int] = defaultdict(int)

    async def call(self, model: str) -> None:
        lease = await ask(self.limits, model)
        await self.clock.sleep(self.service_s[model])
        lease.release("answered")
        self.done[model] += 1

    async def work(self, model: str) -> None:
        while True:
            await self.call(model)

    def held(self, *models: str) -> list[int]:
        return [self.limits.model(model).in_flight for model in models]


async def ask(limits: Limiter, model: str) -> Lease:
    """As rows are sent: at once if nothing is in the way, or in line."""
    return limits.at_once(limits.model(model), 0) or await limits.acquire(model)


def watched(
    story: Callable[[Crews, Callable[[str], None]], Awaitable[None]], *, slots: int, **own: ModelLimitSpec
) -> None:
    """Tell a story in which whole crews are started, by the name of their model, and cut off at its end."""

    async def main(clock: HandClock) -> None:
        limits = Limiter(clock, concurrency=slots, models=own, adapt=False)
        async with anyio.create_task_group() as group:
            crews = Crews(clock, limits)

            def start(model: str) -> None:
                for _ in range(slots):
                    group.start_soon(crews.work, model)

            await story(crews, start)
            group.cancel_scope.cancel()

    by_hand(main)


calls = st.lists(
    st.tuples(st.sampled_from(MODELS), st.sampled_from([0.0, 0.0, 0.5, 30.0]), st.sampled_from([0.0, 0.1, 5.0])),
    min_size=1,
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@example(
    [("a", 0.0, 0.0), *[("a", 0.5, 0.0)] * 3, ("b", 0.0, 0.0), ("b", 0.5, 0.0), ("c", 0.0, 0.0), ("c", 0.5, 0.0)],
    {"a", "c"},
    5,
    False,
)
@given(calls, st.sets(st.sampled_from(MODELS), min_size=1, max_size=2), st.integers(3, 20), st.booleans())
def test_models_that_never_answer_keep_no_call_of_another_waiting_for_ever(
    asked: list[tuple[str, float, float]], stalled: set[str], slots: int, adapt: bool
) -> None:
    """FIELD 21: whoever asks first, and however many; and no more than the slots are ever held."""
    answered: list[str] = []

    async def call(clock: HandClock, limits: Limiter, model: str, after_s: float, service_s: float) -> None:
        await clock.sleep(after_s)
        lease = await ask(limits, model)
        assert limits.in_flight <= slots
        await clock.sleep(FOR_EVER if model in stalled else service_s)
        lease.release("answered")
        answered.append(model)

    async def main(clock: HandClock) -> None:
        limits = Limiter(clock, concurrency=slots, adapt=adapt)
        limits.expect(MODELS)
        with anyio.move_on_after(10_000):
            async with anyio.create_task_group() as group:
                for one in asked:
                    group.start_soon(call, clock, limits, *one)

    by_hand(main)
    assert sorted(answered) == sorted(model for model, *_ in asked if model not in stalled)


@settings(max_examples=60, deadline=None)
@example({"a": 5.0, "b": 5.0, "c": 5.0}, {}, 8)
@given(
    st.dictionaries(st.sampled_from(MODELS), st.sampled_from([5.0, 7.0, 600.0]), min_size=1),
    st.dictionaries(st.sampled_from(MODELS), st.integers(1, 12)),
    st.integers(3, 20),
)
def test_busy_models_hold_even_parts_and_all_slots_are_used(
    service_s: dict[str, float], most: dict[str, int], slots: int
) -> None:
    """FIELD 21: however long their calls take: what a model of few slots leaves is divided evenly among the others."""
    busy = list(service_s)
    caps = {model: min(slots, most.get(model, slots)) for model in busy}

    async def story(crews: Crews, start: Callable[[str], None]) -> None:
        crews.limits.expect(busy)
        crews.service_s.update(service_s)
        for model in busy:
            start(model)
        for _ in range(5):
            await crews.clock.sleep(97.3)
            held = dict(zip(busy, crews.held(*busy), strict=True))
            assert sum(held.values()) == min(slots, sum(caps.values()))
            for model in busy:
                others = [held[other] for other in busy if other != model]
                assert held[model] == caps[model] or held[model] >= max(others, default=0) - len(busy) + 1

    watched(story, slots=slots, **{model: ModelLimitSpec(concurrency=own) for model, own in most.items()})


def test_a_model_alone_has_all_slots_and_one_that_is_awaited_is_kept_a_few() -> None:
    """All of them once nothing of the other is to come; until its first call it is kept its whole part."""

    async def story(crews: Crews, start: Callable[[str], None]) -> None:
        crews.limits.expect(["a", "b"])
        start("a")
        await crews.clock.sleep(3.5)
        assert crews.held("a", "b") == [10, 0]
        await crews.call("b")
        await crews.clock.sleep(3)
        assert crews.held("a", "b") == [18, 0]
        crews.limits.expect(["a"])
        await crews.clock.sleep(0.1)
        assert crews.held("a", "b") == [20, 0]

    watched(story, slots=20)


def test_what_a_model_borrowed_comes_back_call_by_call() -> None:
    """FIELD 21: stalled with 18 of 20 slots, it leaves the other two, and each that becomes free, until both have ten."""

    async def story(crews: Crews, start: Callable[[str], None]) -> None:
        crews.limits.expect(["a", "b"])
        start("a")
        await crews.call("b")
        await crews.clock.sleep(3)
        crews.service_s["a"] = 600.0
        await crews.clock.sleep(3)
        assert crews.held("a", "b") == [18, 0]
        start("b")
        await crews.clock.sleep(100)
        assert crews.held("a", "b") == [18, 2]
        assert crews.done["b"] == 1 + 2 * 99
        await crews.clock.sleep(600)
        assert crews.held("a", "b") == [10, 10]

    watched(story, slots=20)


def test_a_model_that_is_held_back_by_its_own_limits_is_kept_no_more_than_a_few() -> None:
    """Paused, it wants nothing; its callers wait, and the others have what it cannot use. Parked, it is kept nothing."""

    async def story(crews: Crews, start: Callable[[str], None]) -> None:
        crews.limits.expect(["a", "b"])
        start("b")
        start("a")
        await crews.clock.sleep(3.5)
        assert crews.held("a", "b") == [10, 10]
        crews.limits.pause("b", 50)
        await crews.clock.sleep(5)
        assert crews.held("a", "b") == [18, 0]
        await crews.clock.sleep(50)
        assert crews.held("a", "b") == [10, 10]
        crews.limits.model("b").park(None)
        await crews.clock.sleep(5)
        assert crews.held("a", "b") == [20, 0]

    watched(story, slots=20)


def test_a_model_that_no_rows_are_expected_for_has_its_part_as_soon_as_it_asks() -> None:
    """The one that is asked for a label in the end: rows come to it from others."""

    async def story(crews: Crews, start: Callable[[str], None]) -> None:
        crews.limits.expect(["a"])
        start("a")
        await crews.clock.sleep(2.5)
        assert crews.held("a", "last") == [8, 0]
        start("last")
        await crews.clock.sleep(2)
        assert crews.held("a", "last") == [4, 4]

    watched(story, slots=8)


def test_with_fewer_slots_than_models_each_has_its_turn() -> None:
    """In order of arrival: nobody has a part of one slot."""
    seen: list[dict[str, int]] = []

    async def story(crews: Crews, start: Callable[[str], None]) -> None:
        crews.limits.expect(MODELS)
        for model in MODELS:
            start(model)
        await crews.clock.sleep(99.5)
        seen.append(dict(crews.done))

    watched(story, slots=2)
    assert sum(seen[0].values()) == 198
    assert all(64 <= done <= 68 for done in seen[0].values())
