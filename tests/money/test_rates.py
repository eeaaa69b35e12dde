"""Rates: what a call costs by one line of a price list, to the last digit."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.records import COST_UNIT, Usage, cost_decimal
from batch.money.rates import Rates, tier_of

TOKENS = st.integers(0, 2**40)
UNITS = st.integers(0, 10**12)


def rates(**keys: object) -> Rates:
    """A line of a list, with the figures of gpt-5-mini where a test names no others."""
    figures: dict[str, object] = {
        "id": "p/m",
        "providers": ["p"],
        "list": "p",
        "models": ["m"],
        "currency": "USD",
        "input": 250_000,
        "output": 2_000_000,
        "cached_input": 25_000,
        "cache_write": 250_000,
    }
    return msgspec.convert({**figures, **keys}, Rates)


@given(prompt=TOKENS, share=st.floats(0, 1), completion=TOKENS)
def test_every_cost_is_the_exact_decimal_sum(prompt: int, share: float, completion: int) -> None:
    """Integer arithmetic equals decimal arithmetic, to the last digit."""
    cached = int(prompt * share)
    expected = (
        (prompt - cached) * Decimal("0.25") + cached * Decimal("0.025") + completion * Decimal("2.00")
    ) / Decimal(10**6)
    assert rates().cost(Usage(prompt, completion, prompt + completion, cached)) == expected * COST_UNIT


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=30))
def test_the_sum_of_costs_is_the_cost_of_the_sum(calls: list[tuple[int, int]]) -> None:
    """No rounding anywhere, so nothing can add up."""
    total = Usage(sum(call[0] for call in calls), sum(call[1] for call in calls), 0)
    assert sum(rates().cost(Usage(*call, sum(call))) for call in calls) == rates().cost(total)


def test_a_cached_token_costs_its_own_price_and_never_more_than_there_are() -> None:
    """0.025 of 0.25 dollars; a count above the prompt is cut to it."""
    price = rates()
    assert cost_decimal(price.cost(Usage(1000, 0, 1000, 400))) == Decimal("0.00016")
    assert price.cost(Usage(1000, 0, 1000, 5000)) == price.cost(Usage(1000, 0, 1000, 1000))


def test_a_token_written_to_the_cache_costs_its_own_price_and_is_not_counted_twice() -> None:
    """Written and cached tokens are parts of the prompt, and never more than it."""
    price = rates(input=100, cached_input=10, cache_write=125, output=0)
    assert price.cost(Usage(1000, 0, 1000, 300, None, 200)) == 500 * 100 + 300 * 10 + 200 * 125
    assert price.cost(Usage(1000, 0, 1000, 900, None, 900)) == 900 * 10 + 100 * 125
    assert price.cost(Usage(1000, 0, 1000, None, None, None)) == 1000 * 100


def test_a_fee_for_each_request_comes_beside_the_tokens() -> None:
    assert rates(per_request=7).cost(Usage(0, 0, 0)) == 7


@pytest.mark.parametrize(
    ("word", "lane", "tier"),
    [
        (None, "sync", "standard"),
        ("default", "sync", "standard"),
        ("Standard", "stream", "standard"),
        ("auto", "task", "standard"),
        ("on_demand", "sync", "standard"),
        (None, "bulk", "batch"),
        ("default", "bulk", "batch"),
        ("flex", "bulk", "flex"),
        ("FLEX", "sync", "flex"),
        ("priority", "sync", "priority"),
        ("fast", "sync", "priority"),
        ("scale", "sync", None),
        ("turbo", "bulk", None),
    ],
)
def test_words_of_services_stand_for_the_tiers_of_price_lists(word: str | None, lane: str, tier: str | None) -> None:
    """A word that no list has is no tier: its price is not known, and the standard one would be a guess."""
    assert tier_of(word, lane) == tier


@given(prompt=st.integers(0, 500), completion=st.integers(0, 500), cached=st.integers(0, 500), data=st.data())
def test_no_call_within_the_lengths_costs_more_than_the_most(
    prompt: int, completion: int, cached: int, data: st.DataObject
) -> None:
    price = rates(
        input=data.draw(UNITS),
        cached_input=data.draw(UNITS),
        cache_write=data.draw(UNITS),
        output=data.draw(UNITS),
        per_request=data.draw(UNITS),
        in_from=data.draw(st.none() | st.integers(0, 300)),
        in_below=data.draw(st.none() | st.integers(301, 600)),
        out_from=data.draw(st.none() | st.integers(0, 300)),
        out_below=data.draw(st.none() | st.integers(301, 600)),
    )
    written = data.draw(st.integers(0, 500))
    most = price.most(prompt + data.draw(st.integers(0, 100)), completion + data.draw(st.integers(0, 100)))
    if price.holds(prompt, completion):
        assert most is not None
        assert price.cost(Usage(prompt, completion, 0, cached, None, written)) <= most
