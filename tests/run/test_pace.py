"""`batch.run.pace`: how many calls lane `sync` makes in a second."""

from __future__ import annotations

import pytest

from batch.core.clock import HandClock
from batch.job.endpointspec import ModelLimitSpec
from batch.limits.limiter import Limiter
from batch.run.experience import Experience
from batch.run.pace import USED, Pace


def pace(limiter: Limiter, call_s: float = 2.0, tokens: int = 600) -> Pace:
    """One that knows how long calls take and what they use."""
    seen = Experience(None, lambda _: None)
    seen.learn_call("m", call_s, tokens)
    return Pace(limiter, seen)


def test_without_a_limit_per_minute_slots_and_the_time_of_a_call_decide() -> None:
    """Of a model that nobody has asked yet all slots count; several models share those of the job."""
    limiter = Limiter(HandClock(), concurrency=50)
    assert pace(limiter).calls_per_s("m") == 25.0
    assert pace(limiter).calls_per_s("m", 2) == 12.5


@pytest.mark.parametrize(
    ("limits", "beside", "expected"),
    [
        ({"requests_per_minute": 120}, 1, 2 * USED),
        ({"requests_per_minute": 120}, 4, 0.5 * USED),
        ({"tokens_per_minute": 60_000}, 1, 100 / 60 * USED),
        ({"requests_per_minute": 6, "tokens_per_minute": 60_000}, 1, 0.1 * USED),
        ({"models": {"m": ModelLimitSpec(requests_per_minute=60)}}, 3, USED),
        ({"models": {"m": ModelLimitSpec(concurrency=4)}}, 1, 2.0),
    ],
)
def test_the_tightest_limit_decides(limits: dict[str, object], beside: int, expected: float) -> None:
    """One of the job is shared by the models that have rows left, one of the model is its own."""
    limiter = Limiter(HandClock(), concurrency=50, **limits)  # type: ignore[arg-type]  # as they stand in the table
    assert pace(limiter).calls_per_s("m", beside) == pytest.approx(expected)


def test_what_the_provider_has_taught_counts() -> None:
    """Refused for too many in flight, and told a limit per minute."""
    clock = HandClock()
    limiter = Limiter(clock, concurrency=50)
    model = limiter.model("m")
    model.slots.refused(clock.monotonic(), clock.monotonic(), 4)
    assert pace(limiter).calls_per_s("m") == 2.0
    model.rates.requests.set_limit(30, clock.monotonic())
    assert pace(limiter).calls_per_s("m") == pytest.approx(0.5 * USED)


def test_there_is_always_some_pace() -> None:
    """Whatever is said of calls: nothing divides by zero."""
    limiter = Limiter(HandClock(), concurrency=1)
    assert pace(limiter, call_s=0.0).calls_per_s("m") == 100.0
    assert pace(limiter, call_s=1e12).calls_per_s("m") > 0
