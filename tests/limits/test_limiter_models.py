"""`batch.limits.limiter` with several models: each has its own limits, and they share those of the job. Time is by hand."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.clock import HandClock
from batch.core.records import LimitHeaders, Usage
from batch.job.endpointspec import ModelLimitSpec
from batch.limits.holding import held_by
from batch.limits.limiter import Limiter, LimiterClosed
from batch.limits.tokens import TokenEstimator
from tests.support.callers import most_in_a_window
from tests.support.hand import by_hand

rpms = st.none() | st.sampled_from([6, 20, 60, 100, 600])
MODELS = ("a", "b", "c")


def limiter(clock: HandClock, concurrency: int = 50, rpm: float | None = None, **models: ModelLimitSpec) -> Limiter:
    estimator = partial(TokenEstimator, "asked")
    return Limiter(clock, concurrency=concurrency, requests_per_minute=rpm, models=models, estimator=estimator)


class Calls:
    """What was sent to each model, and when."""

    def __init__(self, clock: HandClock, limits: Limiter) -> None:
        self.clock = clock
        self.limits = limits
        self.departed: dict[str, list[float]] = defaultdict(list)
        self.asked: dict[str, list[int]] = defaultdict(list)
        self.served: dict[str, list[int]] = defaultdict(list)
        self.most: dict[str, int] = defaultdict(int)

    async def call(self, model: str, number: int, after_s: float = 0.0, service_s: float = 0.0) -> None:
        await self.clock.sleep(after_s)
        self.asked[model].append(number)
        lease = await self.limits.acquire(model, number)
        self.served[model].append(number)
        await lease.depart()
        self.departed[model].append(self.clock.monotonic())
        self.most[model] = max(self.most[model], self.limits.model(model).in_flight)
        self.most[""] = max(self.most[""], self.limits.in_flight)
        await self.clock.sleep(service_s)
        lease.release("answered")

    async def work(self, model: str, service_s: float) -> None:
        """One of a crew that sends without end."""
        while True:
            await self.call(model, 0, service_s=service_s)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(MODELS), st.sampled_from([0.0, 0.0, 1.0, 30.0]), st.sampled_from([0.0, 0.1, 5.0])),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 20),
    rpms,
    st.dictionaries(
        st.sampled_from(MODELS),
        st.builds(ModelLimitSpec, concurrency=st.none() | st.integers(1, 9), requests_per_minute=rpms),
    ),
)
def test_no_mixture_of_models_crosses_a_limit_or_waits_for_ever(
    callers: list[tuple[str, float, float]], concurrency: int, rpm: int | None, own: dict[str, ModelLimitSpec]
) -> None:
    """FIELD 21: the limits of the job and of each model hold, and the callers of one model are served in order."""
    seen: list[Calls] = []

    async def main(clock: HandClock) -> None:
        calls = Calls(clock, limiter(clock, concurrency, rpm, **own))
        seen.append(calls)
        with anyio.fail_after(1e6):
            async with anyio.create_task_group() as group:
                for number, (model, after_s, service_s) in enumerate(callers):
                    group.start_soon(calls.call, model, number, after_s, service_s)
        assert (calls.limits.in_flight, calls.limits.waiting) == (0, 0)

    by_hand(main)
    (calls,) = seen
    assert most_in_a_window([at for times in calls.departed.values() for at in times]) <= (rpm or len(callers))
    assert calls.most[""] <= concurrency
    for model, times in calls.departed.items():
        limits = own.get(model, ModelLimitSpec())
        assert most_in_a_window(times) <= (limits.requests_per_minute or len(callers))
        assert calls.most[model] <= (limits.concurrency or concurrency)
        assert sorted(calls.served[model]) == sorted(calls.asked[model])


@pytest.mark.parametrize("rpm", [None, 1_200])
def test_a_model_at_its_limit_stops_no_other(rpm: float | None) -> None:
    """FIELD 21: 60 and 1,000 a minute are both used to 98 %, alone and under a limit of the job."""

    async def main(clock: HandClock) -> dict[str, int]:
        models = {"a": ModelLimitSpec(requests_per_minute=60), "b": ModelLimitSpec(requests_per_minute=1_000)}
        calls = Calls(clock, limiter(clock, 20, rpm, **models))
        async with anyio.create_task_group() as group:
            for _ in range(20):
                for model in models:
                    group.start_soon(calls.work, model, 0.05)
            await clock.sleep(120)
            assert held_by(calls.limits) == "a: requests_per_minute; b: requests_per_minute"
            group.cancel_scope.cancel()
        return {model: len(times) for model, times in calls.departed.items()}

    sent = by_hand(main)
    assert sent["a"] >= 0.98 * 120
    assert sent["b"] >= 0.98 * 2_000


def test_models_share_the_limit_of_the_job_in_order_of_arrival() -> None:
    """FIELD 21: a hundred a minute for three models, of which one takes 6: the other two have 47 each."""

    async def main(clock: HandClock) -> dict[str, int]:
        calls = Calls(clock, limiter(clock, 30, 100, a=ModelLimitSpec(requests_per_minute=6)))
        async with anyio.create_task_group() as group:
            for _ in range(30):
                for model in MODELS:
                    group.start_soon(calls.work, model, 0.0)
            await clock.sleep(600)
            group.cancel_scope.cancel()
        return {model: len(times) for model, times in calls.departed.items()}

    sent = by_hand(main)
    assert 58 <= sent["a"] <= 60
    assert sent["b"] == pytest.approx(465, abs=15)
    assert sent["c"] == pytest.approx(465, abs=15)


def test_a_slot_of_the_job_goes_to_whoever_came_first_and_may_go() -> None:
    """FIELD 21: not to the model that is paused, however long it has waited."""

    async def main(clock: HandClock) -> None:
        calls = Calls(clock, limiter(clock, 1))
        lease = await calls.limits.acquire("a")
        calls.limits.pause("b", 100)
        async with anyio.create_task_group() as group:
            for number, model in enumerate(("b", "c", "a", "c")):
                group.start_soon(calls.call, model, number, number * 0.01)
            await clock.sleep(1)
            assert not calls.departed
            lease.release()
            await clock.sleep(1)
            assert {model: len(times) for model, times in calls.departed.items()} == {"c": 2, "a": 1}
            assert held_by(calls.limits) == "b: the provider's pause, 1 min 38 s"
        assert len(calls.departed["b"]) == 1

    by_hand(main)


def test_what_is_learned_of_one_model_is_not_believed_of_another() -> None:
    """FIELD 21: a cap that was found, a limit that headers told, an outage, and how many tokens a text has."""

    async def main(clock: HandClock) -> None:
        limits = limiter(clock, 50)
        a, b = limits.model("a"), limits.model("b")
        leases = [await limits.acquire("a", number) for number in range(5)]
        leases[0].release("in_flight")
        assert (a.slots.limit, b.slots.limit) == (4, 8)

        limits.observe_headers("a", LimitHeaders(60, 8_000, 59, 8_000, 1.0, 0.0))
        assert (a.rates.requests.per_minute, b.rates.requests.per_minute) == (60, None)
        assert (limits.counts_tokens("a"), limits.counts_tokens("b")) == (True, False)

        for lease in leases[1:]:
            lease.release()
        for number in range(20):
            (await limits.acquire("a", number)).release("failed")
            if a.outage.ongoing:
                break
        assert (a.outage.ongoing, b.outage.ongoing) == (True, False)
        (await limits.acquire("b")).release("answered")
        assert a.outage.ongoing

        text = [{"role": "user", "content": "word " * 400}]
        for _ in range(10):
            lease = await limits.acquire("a", 0, a.weight(text, {}))
            lease.release("answered", Usage(500, 10, 510))
        assert a.amount(a.weight(text, {})) == pytest.approx(500, abs=50)
        assert b.amount(b.weight(text, {})) == 2_016

    by_hand(main)


def test_saved_task_ids_take_slots_of_their_model() -> None:
    """FIELD 21: even above its limit, and new calls of that model wait until the count is below it again."""

    async def main(clock: HandClock) -> None:
        calls = Calls(clock, limiter(clock, 50, a=ModelLimitSpec(concurrency=2)))
        saved = [calls.limits.adopt("a") for _ in range(3)]
        async with anyio.create_task_group() as group:
            group.start_soon(calls.call, "a", 0)
            group.start_soon(calls.call, "b", 1)
            await clock.sleep(1)
            assert (len(calls.departed["a"]), len(calls.departed["b"])) == (0, 1)
            saved[0].release()
            await clock.sleep(1)
            assert not calls.departed["a"]
            saved[1].release()
        assert len(calls.departed["a"]) == 1
        assert calls.limits.in_flight == 1

    by_hand(main)


def test_only_a_limit_that_was_asked_for_condemns_a_request() -> None:
    """FIELD 22: of the job or of its model; one that headers told lets a larger request go when nothing else does."""

    async def main(clock: HandClock) -> None:
        limits = limiter(clock, 50, b=ModelLimitSpec(tokens_per_minute=9_000))
        large = [{"role": "user", "content": "word " * 40_000}]
        a, b = limits.model("a"), limits.model("b")
        weight = a.weight(large, {})
        limits.observe_headers("a", LimitHeaders(None, 8_000, None, 8_000, None, 0.0))
        assert a.rates.tokens is not None
        assert limits.exceeds_limit("a", weight) is None
        assert limits.exceeds_limit("b", b.weight(large, {})) == (9_000, 'limits.model."b".tokens_per_minute')

        (await limits.acquire("a", 0, weight)).release("answered")
        began = clock.monotonic()
        (await limits.acquire("a", 1, weight)).release("answered")
        assert 60 <= clock.monotonic() - began <= 61

        whole = Limiter(clock, concurrency=5, tokens_per_minute=7_000, estimator=lambda: TokenEstimator("asked"))
        assert whole.exceeds_limit("a", whole.model("a").weight(large, {})) == (7_000, "limits.tokens_per_minute")

    by_hand(main)


def test_a_parked_model_tells_whoever_waits_for_it_and_nobody_else() -> None:
    """FIELD 22: its callers are told, those of the other models are served."""

    async def main(clock: HandClock) -> None:
        calls = Calls(clock, limiter(clock, 1))
        lease = await calls.limits.acquire("a")
        told: list[str] = []

        async def ask(model: str) -> None:
            try:
                await calls.call(model, 0)
            except LimiterClosed:
                told.append(model)

        async with anyio.create_task_group() as group:
            for model in ("a", "b", "a", "b"):
                group.start_soon(ask, model)
            await clock.sleep(1)
            calls.limits.observe_headers("a", LimitHeaders(200, None, 0, None, 21_600.0, None))
            assert held_by(calls.limits) == "a: its limit, 6 h 00 min"
            assert told == []
            calls.limits.park("a")
            await clock.sleep(1)
            assert told == ["a", "a"]
            lease.release()
            await clock.sleep(30_000)
            assert held_by(calls.limits) == "a: another run", "its limit is reset, and nobody asks it any more"
        assert len(calls.departed["b"]) == 2
        with pytest.raises(LimiterClosed):
            await calls.limits.acquire("a")
        assert (calls.limits.in_flight, calls.limits.waiting) == (0, 0)

    by_hand(main)


def test_a_silence_is_told_with_its_length_only_once_it_has_one() -> None:
    """FIELD 49. "which has not answered for 0.0 s" was the first that was heard of it."""

    async def main(clock: HandClock) -> None:
        model = limiter(clock).model("a")
        for row in range(3):
            model.failed(row, clock.monotonic(), "unreached", "no connection")
        assert model.waits_for() == "the provider, which does not answer: no connection"
        await clock.sleep(12)
        assert model.waits_for() == "the provider, which has not answered for 12 s: no connection"

    by_hand(main)
