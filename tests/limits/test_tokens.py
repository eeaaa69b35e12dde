"""`batch.limits.tokens`: never above the limit in any window, corrected when the usage is known, and learned from it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.records import Usage
from batch.limits.tokens import LIMIT_S, TRUSTED, WINDOW_S, TokenBudget, TokenEstimator, units
from tests.limits.test_limiter_adapt import most_tokens

amounts = st.lists(st.floats(1, 40_000), min_size=1, max_size=120)


@settings(max_examples=200, deadline=None)
@given(amounts, st.sampled_from([1_000, 10_000, 100_000, 2_000_000]), st.floats(0, 90))
def test_no_window_holds_more_than_the_limit(wanted: list[float], limit: int, gap_s: float) -> None:
    """Amounts of any size, some larger than the limit; the time a grant may reach the wire late among it."""
    budget = TokenBudget(limit)
    now = 0.0
    granted: list[tuple[float, float]] = []
    for number, amount in enumerate(wanted):
        if number == len(wanted) // 2:
            now += gap_s
        for _ in range(10_000):
            wait = budget.wait(amount, now)
            if wait <= 0:
                break
            now += wait + 1e-9
        else:
            pytest.fail("waits for ever")
        grant = budget.take(amount, now)
        assert grant.amount <= limit
        granted.append((now, grant.amount))
    late = [at + (0.39 if n % 2 else 0.0) for n, (at, _) in enumerate(granted)]
    pairs = sorted(zip(late, [amount for _, amount in granted], strict=True))
    assert most_tokens([at for at, _ in pairs], [amount for _, amount in pairs]) <= limit + 1e-6


def test_what_was_reserved_too_high_is_given_back_and_too_low_is_owed() -> None:
    """Settled by the usage: the window counts what was used."""
    budget = TokenBudget(60_000)
    grant = budget.take(50_000, 0.0)
    assert budget.wait(20_000, 1.0) > 50
    assert budget.settle(grant, 1_000, 1.0)
    assert budget.wait(20_000, 2.0) == 0
    other = budget.take(20_000, 2.0)
    assert not budget.settle(other, 58_000, 3.0)
    assert budget.wait(10_000, 4.0) > 50


def test_another_process_goes_on_in_the_window_of_the_last() -> None:
    """Its window is taken for full, and empties as it filled."""
    budget = TokenBudget(60_000)
    budget.sent_before(0.0, 100.0)
    assert budget.wait(500, 100.0) > 0.5
    assert 25 < budget.wait(30_000, 100.0) < 35
    assert budget.wait(50_000, 100.0 + WINDOW_S) == 0
    set_back = TokenBudget(60_000)
    set_back.sent_before(-300.0, 100.0)
    assert set_back.wait(500, 100.0) > 0.5, "the last request seems to come from the future: the clock was set back"
    fresh = TokenBudget(60_000)
    fresh.sent_before(LIMIT_S * 2, 100.0)
    assert fresh.wait(50_000, 100.0) == 0


@given(st.text(max_size=400))
def test_units_are_about_what_a_tokenizer_counts(text: str) -> None:
    """Between nothing and one for each byte, whatever the text."""
    assert 0 <= units(text) <= len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.6])
@pytest.mark.parametrize("rule", ["asked", "used"])
def test_the_estimate_is_learned_and_stays_on_the_safe_side(ratio: float, rule: str) -> None:
    """Before it is learned it is what no tokenizer exceeds; then it covers 98 of 100 and reserves little too much."""
    charges = TokenEstimator("asked" if rule == "asked" else "used")
    chance = random.Random(3)
    low, high, used = 0, 0.0, 0.0
    for n in range(2_000):
        text = "word " * chance.randint(50, 2_000)
        charge = charges.of([{"role": "user", "content": text}], {})
        amount = charges.amount(charge)
        prompt = int(len(text) / 4 * ratio * chance.uniform(0.95, 1.05)) + 8
        usage = Usage(prompt, 100, prompt + 100)
        real = charges.used(charge, usage)
        assert real == (prompt if rule == "asked" else prompt + 100)
        if n < TRUSTED:
            assert amount >= real
        elif n > 50:
            low += amount < real
            high += amount
            used += real
    assert low <= 0.02 * 2_000
    assert high <= 1.15 * used


def test_what_can_never_fit_is_known_only_when_it_is_sure() -> None:
    """`max_tokens` alone is sure; an unlearned estimate takes half for the least."""
    charges = TokenEstimator("asked")
    short = charges.of([{"role": "user", "content": "hi"}], {"max_tokens": 9_000})
    assert charges.surely(short) == 9_000
    long = charges.of([{"role": "user", "content": "word " * 8_000}], {})
    assert charges.surely(long) == pytest.approx(5_000)
    assert charges.amount(long) >= 40_000
