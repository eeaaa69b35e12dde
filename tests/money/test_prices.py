"""Prices: the table that ships, look-ups by day and name, exact arithmetic."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.errors import RefusedToStart
from batch.core.records import COST_UNIT, Usage, cost_decimal
from batch.money.prices import Prices

TABLE = Prices.load()
TODAY = date(2026, 11, 21)


@pytest.mark.parametrize(
    ("provider", "model", "price_id", "currency", "million_in", "million_out"),
    [
        ("glm", "glm-4", "glm/glm-4@2024-01-16", "CNY", "100", "100"),
        ("simulator", "GLM-4", "glm/glm-4@2024-01-16", "CNY", "100", "100"),
        ("glm", "glm-3-turbo", "glm/glm-3-turbo@2024-06-01", "CNY", "1", "1"),
        ("glm", "glm-4-plus", "glm/glm-4-plus@2025-12-29", "CNY", "5", "5"),
        ("glm", "glm-4-air-250414", "glm/glm-4-air@2025-12-29", "CNY", "0.5", "0.5"),
        ("glm", "glm-4-airx", "glm/glm-4-airx@2025-12-29", "CNY", "10", "10"),
        ("glm", "glm-4-flashx-250414", "glm/glm-4-flashx@2025-12-29", "CNY", "0.1", "0.1"),
        ("glm", "glm-4-flash-250414", "glm/glm-4-flash@2025-12-29", "CNY", "0", "0"),
        ("glm", "glm-4v-plus-0111", "glm/glm-4v-plus@2025-12-29", "CNY", "4", "4"),
        ("zai", "glm-4.7", "zai/glm-4.7@2025-12-22", "USD", "0.60", "2.20"),
        ("openai", "gpt-5-mini", "openai/gpt-5-mini@2025-08-07", "USD", "0.25", "2.00"),
        ("openai", "gpt-5-mini-2025-08-07", "openai/gpt-5-mini@2025-08-07", "USD", "0.25", "2.00"),
    ],
)
def test_the_published_prices_are_found_by_name_in_any_case(
    provider: str, model: str, price_id: str, currency: str, million_in: str, million_out: str
) -> None:
    """A million tokens cost exactly what the price page says."""
    price = TABLE.find(provider, model, TODAY)
    assert price is not None
    assert (price.id, price.currency) == (price_id, currency)
    assert cost_decimal(price.cost(Usage(10**6, 0, 10**6))) == Decimal(million_in)
    assert cost_decimal(price.cost(Usage(0, 10**6, 10**6))) == Decimal(million_out)


@pytest.mark.parametrize(
    ("provider", "model", "day"),
    [
        ("glm", "glm-99", TODAY),
        ("zai", "glm-4", TODAY),
        ("vllm", "glm-4", TODAY),
        ("glm", "glm-4-airy", TODAY),
        ("glm", "glm-4-plus", date(2024, 1, 1)),
        ("glm", "glm-[0-9]", TODAY),
    ],
)
def test_what_the_table_does_not_know_has_no_price(provider: str, model: str, day: date) -> None:
    """Unknown is None, not zero; a mainland price is not an international one."""
    assert TABLE.find(provider, model, day) is None


def test_the_day_decides_which_price_counts() -> None:
    """GLM-3-Turbo cost five times as much before June 2024."""
    before, after = (TABLE.find("glm", "glm-3-turbo", date(2024, *day)) for day in ((5, 31), (6, 1)))
    assert before is not None
    assert after is not None
    assert before.input == 5 * after.input


def test_a_cached_token_costs_its_own_price_and_never_more_than_there_are() -> None:
    """0.025 of 0.25 dollars; a count above the prompt is cut to it."""
    price = TABLE.find("openai", "gpt-5-mini", TODAY)
    assert price is not None
    assert cost_decimal(price.cost(Usage(1000, 0, 1000, 400))) == Decimal("0.00016")
    assert price.cost(Usage(1000, 0, 1000, 5000)) == price.cost(Usage(1000, 0, 1000, 1000))
    assert price.cost(Usage(1000, 10, 1010), bulk=True) * 2 == price.cost(Usage(1000, 10, 1010))


TOKENS = st.integers(0, 2**40)


@given(prompt=TOKENS, share=st.floats(0, 1), completion=TOKENS)
def test_every_cost_is_the_exact_decimal_sum(prompt: int, share: float, completion: int) -> None:
    """Integer arithmetic equals decimal arithmetic, to the last digit."""
    cached = int(prompt * share)
    price = TABLE.find("openai", "gpt-5-mini", TODAY)
    assert price is not None
    expected = (
        (prompt - cached) * Decimal("0.25") + cached * Decimal("0.025") + completion * Decimal("2.00")
    ) / Decimal(10**6)
    assert price.cost(Usage(prompt, completion, prompt + completion, cached)) == expected * COST_UNIT


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=30))
def test_the_sum_of_costs_is_the_cost_of_the_sum(calls: list[tuple[int, int]]) -> None:
    """No rounding anywhere, so nothing can add up."""
    price = TABLE.find("glm", "glm-4-flashx", TODAY)
    assert price is not None
    total = Usage(sum(call[0] for call in calls), sum(call[1] for call in calls), 0)
    assert sum(price.cost(Usage(*call, sum(call))) for call in calls) == price.cost(total)


ENTRY = """[[price]]
providers = ["p"]
models = ["m"]
currency = "USD"
input = "{input}"
output = "1"
valid_from = 2026-01-01
source = "s"
checked_on = 2026-01-01
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not toml [", "price table"),
        (ENTRY.format(input="0.1234567"), "entry 1.*at most 6 decimals"),
        (ENTRY.format(input="-1"), "entry 1"),
        (ENTRY.format(input="NaN"), "entry 1"),
        (ENTRY.format(input="cheap"), "no decimal number"),
        (ENTRY.format(input="1") + "suprise = 1\n", "suprise"),
        (ENTRY.format(input="1").replace('"m"', '"M"'), "lower case"),
        (ENTRY.format(input="1") + "valid_to = 2025-01-01\n", "before valid_from"),
        (ENTRY.format(input="1").replace('["m"]', "[]"), "must not be empty"),
    ],
)
def test_a_wrong_table_refuses_to_load_and_says_where(text: str, says: str, tmp_path: Path) -> None:
    """Better no run than a wrong bill."""
    path = tmp_path / "prices.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RefusedToStart, match=says):
        Prices.load(path)
    with pytest.raises(RefusedToStart, match="missing"):
        Prices.load(tmp_path / "missing.toml")


def test_an_exact_name_wins_over_a_pattern_and_the_later_entry_over_the_earlier(tmp_path: Path) -> None:
    """Whatever their order in the file."""
    path = tmp_path / "prices.toml"
    later = ENTRY.format(input="3").replace("valid_from = 2026-01-01", "valid_from = 2026-06-01")
    pattern = (
        ENTRY.format(input="9").replace('"m"', '"m*"').replace("valid_from = 2026-01-01", "valid_from = 2026-07-01")
    )
    path.write_text(pattern + later + ENTRY.format(input="1"), encoding="utf-8")
    table = Prices.load(path)
    found = [table.find("p", model, day) for model, day in (("m", TODAY), ("m2", TODAY), ("m", date(2026, 5, 31)))]
    assert [price and price.input for price in found] == [3_000_000, 9_000_000, 1_000_000]
    assert table.find("p", "m", date(2026, 1, 1) - timedelta(days=1)) is None
