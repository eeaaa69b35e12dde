"""`batch.limits.limiter` against a provider that refuses: what it may use is found, used, and not crossed. Time is by hand."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import anyio
import pytest

from batch.core.clock import HandClock
from batch.core.records import Usage
from batch.limits.limiter import Limiter
from batch.limits.tokens import WINDOW_S, TokenEstimator
from tests.support.hand import by_hand


@dataclass
class Service:
    """A provider with a cap of calls in flight and limits a minute, which counts what it sees."""

    clock: HandClock
    cap: float = float("inf")
    down: bool = False
    busy: float = 0.0
    latency_s: float = 0.04
    now_in_flight: int = 0
    taken: list[tuple[float, int]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    used_s: float = 0.0
    since: float = 0.0

    async def call(self, tokens: int, chance: random.Random) -> str:
        now = self.clock.monotonic()
        if self.down:
            self.refused.append(now)
            await self.clock.sleep(0.005)
            return "in_flight"
        if self.busy and chance.random() < self.busy:
            self.refused.append(now)
            await self.clock.sleep(0.01)
            return "overloaded"
        if self.now_in_flight >= self.cap:
            self.refused.append(now)
            await self.clock.sleep(0.002)
            return "in_flight"
        self.now_in_flight += 1
        self.taken.append((now, tokens))
        start = now
        await self.clock.sleep(self.latency_s * chance.uniform(0.7, 1.3))
        self.now_in_flight -= 1
        self.used_s += self.clock.monotonic() - max(start, self.since)
        return "answered"

    def measure(self) -> None:
        """Start counting use from now."""
        self.since, self.used_s = self.clock.monotonic(), 0.0


def run_workers(
    limits: Limiter,
    service: Service,
    script: Callable[[], object],
    *,
    workers: int = 200,
    prompt: Callable[[random.Random], int] | None = None,
) -> None:
    """Workers that send for as long as `script` runs, as a run with more rows than it can send does."""

    async def worker(number: int) -> None:
        chance = random.Random(number)
        own = limits.model("")
        retry = 0
        while True:
            text = "lorem ips " * (prompt(chance) * 4 // 10) if prompt else "hello"
            weight = own.weight([{"role": "user", "content": text}], {})
            lease = await limits.acquire("", number, weight)
            tokens = round(len(text) / 4 * chance.uniform(0.95, 1.05)) + 5
            observed = await service.call(tokens, chance)
            usage = Usage(tokens, 3, tokens + 3) if observed == "answered" else None
            lease.release(observed, usage)  # type: ignore[arg-type]  # one of the observations
            if observed == "answered":
                retry = 0
                continue
            retry += 1
            wait = min(0.5 * 2**retry, 20.0) * chance.uniform(0.75, 1.0)
            if own.outage.ongoing:
                wait = 0.5
            await service.clock.sleep(max(wait, own.outage.retry_wait(service.clock.monotonic())))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(workers):
                group.start_soon(worker, number)
            await script()  # type: ignore[misc]  # any awaitable
            group.cancel_scope.cancel()

    by_hand(lambda _: main(), service.clock)


@pytest.mark.parametrize("latency_s", [0.04, 0.4, 1.0])
def test_a_cap_that_changes_without_a_word_is_found_and_used(latency_s: float) -> None:
    """50, then 20, then 80 in flight: ≥ 95 % used 30 s after each change, ≤ 1 % refused."""
    clock = HandClock()
    service = Service(clock, cap=50, latency_s=latency_s)
    limits = Limiter(clock, concurrency=100)
    used: list[float] = []
    span_s = 10 if latency_s < 0.5 else 30  # what is under way at its end is not counted

    async def script() -> None:
        for cap in (50, 20, 80):
            service.cap = cap
            await clock.sleep(30)
            service.measure()
            await clock.sleep(span_s)
            used.append(service.used_s / span_s / cap)

    run_workers(limits, service, script)
    assert all(share >= 0.94 for share in used), used
    calls = len(service.taken) + len(service.refused)
    print(latency_s, used, len(service.refused) / calls)
    assert len(service.refused) <= 0.01 * calls + 50  # what was sent at once before anything was known


def test_a_minute_of_nothing_but_refusals_costs_few_requests() -> None:
    """Requests ≤ slots + retry budget, and ≥ 95 % of the old rate within 10 s of its end."""
    clock = HandClock()
    service = Service(clock, cap=50)
    limits = Limiter(clock, concurrency=50)
    seen: dict[str, float] = {}

    async def script() -> None:
        await clock.sleep(10)
        before = len(service.taken)
        service.down = True
        refused = len(service.refused)
        await clock.sleep(60)
        seen["requests"] = len(service.refused) - refused
        service.down = False
        await clock.sleep(10)
        after = len(service.taken)
        await clock.sleep(10)
        seen["back"] = (len(service.taken) - after) / before

    run_workers(limits, service, script)
    print(seen)
    assert seen["requests"] <= 50 + 50
    assert seen["back"] >= 0.95


def test_a_busy_model_is_asked_less_and_still_gets_its_answers() -> None:
    """1305 for 85 % of the calls."""
    clock = HandClock()
    service = Service(clock, busy=0.85)
    limits = Limiter(clock, concurrency=50)

    async def script() -> None:
        await clock.sleep(60)

    run_workers(limits, service, script)
    print(len(service.taken), len(service.refused))
    assert len(service.taken) > 60
    assert len(service.refused) < 60 * 12 + 200


@pytest.mark.parametrize("tpm", [100_000, 400_000, 2_000_000])
@pytest.mark.parametrize("spread", [(50, 500), (50, 5_000), (2_000, 5_000)])
def test_a_token_limit_is_used_and_never_crossed(tpm: int, spread: tuple[int, int]) -> None:
    """Prompts of 50 to 5,000 tokens: over any 60 s at most the limit, the first included; ≥ 95 % of it used."""
    clock = HandClock()
    service = Service(clock)
    limits = Limiter(clock, concurrency=100, tokens_per_minute=tpm, estimator=lambda: TokenEstimator("asked"))

    async def script() -> None:
        await clock.sleep(180)

    run_workers(limits, service, script, prompt=lambda chance: chance.randint(*spread))
    times, tokens = zip(*service.taken, strict=True)
    assert most_tokens(list(times), list(tokens)) <= tpm
    first = times[0]
    used = sum(amount for at, amount in service.taken if first + 60 <= at < first + 180)
    print(tpm, spread, used / 2 / tpm)
    assert used >= 0.95 * 2 * tpm
    large = [at for at, amount in service.taken if amount > spread[1] * 0.8]
    assert max(b - a for a, b in pairwise(large)) < 60


def most_tokens(times: list[float], tokens: Sequence[float], window: float = 60.0) -> float:
    """The most tokens in any window; exactly a window later is not in it."""
    most: float = 0
    total: float = 0
    first = 0
    for last, at in enumerate(times):
        total += tokens[last]
        while at - times[first] >= window - 1e-6:
            total -= tokens[first]
            first += 1
        most = max(most, total)
    return most


def test_the_window_is_longer_than_a_grant_can_be_late() -> None:
    """What was granted 60 s ago may have arrived only now."""
    assert WINDOW_S > 60.0
