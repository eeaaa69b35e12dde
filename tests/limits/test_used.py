"""`batch.limits.used`: how much of each limit is in use, the job's and those of models."""

from __future__ import annotations

from batch.core.clock import HandClock
from batch.job.endpointspec import ModelLimitSpec
from batch.limits.limiter import Limiter
from batch.limits.tokens import TokenEstimator
from batch.limits.used import LimitUses
from tests.support.hand import by_hand


def test_each_limit_in_force_is_told_with_what_is_in_use() -> None:
    """Slots now, requests and tokens of the last minute; a limit that nobody set is none."""

    async def main(clock: HandClock) -> None:
        limiter = Limiter(
            clock,
            concurrency=4,
            requests_per_minute=60,
            tokens_per_minute=1_000,
            models={"a": ModelLimitSpec(concurrency=2, requests_per_minute=30)},
            estimator=lambda: TokenEstimator("asked"),
        )
        uses = LimitUses()
        limits = limiter.model("a")
        found = {(use.name, use.model): (use.limit, use.used) for use in uses.used(limiter, {}, clock.monotonic())}
        assert found == {
            ("concurrency", None): (4, 0),
            ("requests_per_minute", None): (60, 0),
            ("tokens_per_minute", None): (1_000, 0),
            ("concurrency", "a"): (2, 0),
            ("requests_per_minute", "a"): (30, 0),
        }
        weight = limits.weight([{"role": "user", "content": "x"}], {"max_tokens": 100})
        lease = await limiter.acquire("a", 1, weight)
        now = clock.monotonic()
        taken = {(use.name, use.model): use.used for use in uses.used(limiter, {}, now)}
        assert taken["concurrency", "a"] == taken["requests_per_minute", "a"] == 1
        assert taken["tokens_per_minute", None] >= 100
        lease.release("answered", None, "")
        clock.advance(61)
        uses.used(limiter, {"a": 1}, clock.monotonic())
        clock.advance(61)
        taken = {(use.name, use.model): use.used for use in uses.used(limiter, {"a": 1}, clock.monotonic())}
        assert set(taken.values()) == {0}

    by_hand(main)
