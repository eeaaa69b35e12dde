"""`batch.report.cost.repricing`, `savings` and `exchange`: other prices for the same tokens, exact to the last digit."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from batch.core.errors import RefusedToStart
from batch.core.records import COST_UNIT, Usage
from batch.money.prices import Prices
from batch.report.cost.exchange import Exchange
from batch.report.cost.report import CostReport, Query
from batch.report.cost.repricing import Repricing
from batch.report.cost.savings import Savings
from tests.support.books import OCTOBER_US, BookCall, BookRow, book
from tests.support.values import call, refused, unknown

PRICES = """
[[price]]
providers = ["glm"]
models = ["banded"]
currency = "CNY"
source = "a test"
rates = [
    { in_below = 32000, out_below = 200, input = 2, output = 8, cached_input = "0.4", cache_write = 3 },
    { in_below = 32000, out_from = 200, input = 3, output = 14, cached_input = "0.6" },
    { in_from = 32000, input = 4, output = 16, cached_input = "0.8", per_request = "0.01" },
]

[[price]]
providers = ["glm", "openai"]
models = ["hourly"]
currency = "USD"
source = "a test"
rates = [
    { input = 1, output = 2 },
    { input = 2, output = 4, hours = ["mon-fri 09:07-12:00 Asia/Shanghai"] },
    { input = "0.5", output = 1, tier = "batch" },
    { input = 1, output = 2, tier = "batch", hours = ["mon-fri 09:07-12:00 Asia/Shanghai"] },
]

[[price]]
providers = ["openai"]
models = ["dated", "dated-*"]
currency = "USD"
input = 1
output = 10
valid_from = 2026-01-01
valid_to = 2026-10-01
source = "a test"

[[price]]
providers = ["openai"]
models = ["dated"]
currency = "USD"
input = "0.7"
output = 9
valid_from = 2026-10-02
zone = "Asia/Shanghai"
source = "a test"
"""


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    """Prices of bands, hours, tiers and dates."""
    (tmp_path / "prices.toml").write_text(PRICES)
    return Prices.load(tmp_path / "prices.toml")


def some_call(rng: random.Random, n: int) -> BookCall:
    """A call near the borders of the bands, the hours and the dates."""
    fields: dict[str, Any] = {
        "sent_at_us": OCTOBER_US + rng.randrange(-4 * 86_400, 4 * 86_400) * 1_000_000,
        "provider": rng.choice(["glm", "openai"]),
        "model_asked": rng.choice(["banded", "hourly", "dated", "nobody"]),
        "model_served": rng.choice([None, None, "dated-5", "HOURLY"]),
        "service_tier": rng.choice([None, "default", "batch", "unheard"]),
        "lane": rng.choice(["sync", "bulk"]),
    }
    if n % 7 == 0:
        return BookCall(rng.choice([refused, unknown])(n, **fields), n)
    prompt = rng.choice([0, 31_999, 32_000, rng.randrange(10**6)])
    completion = rng.choice([0, 199, 200, rng.randrange(10**6)])
    parts = [rng.choice([None, 0, 10, prompt, prompt + 5]) for _ in range(2)]
    usage = Usage(prompt, completion, prompt + completion, parts[0], None, parts[1])
    return BookCall(call(n, usage=None if n % 11 == 0 else usage, **fields), n)


@pytest.mark.parametrize("model", [None, "banded", "openai/hourly"])
def test_reckoning_anew_gives_what_each_call_alone_would_cost(
    tmp_path: Path, prices: Prices, model: str | None
) -> None:
    """In every band, hour, tier and price of a date; calls without a price are counted and named."""
    rng = random.Random(7)
    calls = [some_call(rng, n) for n in range(400)]
    folder = book(tmp_path / "out", calls)
    report = CostReport([folder.root], Query(by=("provider",)), Repricing(prices, model))
    expected: dict[str, int] = {}
    missing = 0
    provider, _, name = (model or "").rpartition("/")
    for made in calls:
        record = made.call
        if record.state != "answered" or record.usage is None:
            continue
        charge = None
        for asked in [name] if model else [record.model_served, record.model_asked]:
            whose = provider or (record.provider if not model else "glm")
            if asked and charge is None:
                tier, lane = record.service_tier, record.lane
                charge = prices.charge(whose, asked, record.sent_at_us, record.usage, tier=tier, lane=lane)
        if charge is None:
            missing += 1
        else:
            expected[charge.currency] = expected.get(charge.currency, 0) + charge.cost
    found = {currency: sums.cost for currency, sums in report.new_totals.items() if currency and sums.cost}
    assert found == expected
    assert len(expected) == (2 if model is None else 1)
    assert sum(report.unpriced.values()) == missing > 0
    assert sum(sums.cost or 0 for sums in report.totals.values()) == sum(made.call.cost or 0 for made in calls)
    by_group: dict[str, int] = {}
    for group in report.groups:
        for currency, sums in group.new:
            if currency:
                by_group[currency] = by_group.get(currency, 0) + (sums.cost or 0)
    assert {currency: cost for currency, cost in by_group.items() if cost} == expected


def test_a_model_that_no_list_or_several_have_is_refused_with_the_way_out(tmp_path: Path, prices: Prices) -> None:
    """The nearest is named, or how to choose."""
    with pytest.raises(RefusedToStart, match="--as-model houlry: no price list has this model. Did you mean hourly"):
        Repricing(prices, "houlry")
    folder = book(tmp_path / "out", [BookCall(call(0, provider="mycorp"))])
    with pytest.raises(RefusedToStart, match="Choose one: --as-model glm/hourly or --as-model openai/hourly"):
        CostReport([folder.root], Query(), Repricing(prices, "hourly"))


def test_savings_are_held_against_the_full_price_the_standard_tier_and_the_dearest_hour(
    tmp_path: Path, prices: Prices
) -> None:
    """By the line that each call was reckoned by; a line that no file has any more is said to be lost."""
    peak = int(datetime(2026, 10, 1, 2, 0, tzinfo=UTC).timestamp()) * 1_000_000
    night = peak + 10 * 3_600_000_000
    calls = []
    for n, (provider, model, tier, at_us) in enumerate(
        [
            ("glm", "banded", None, night),
            ("openai", "hourly", "batch", night),
            ("openai", "hourly", None, night),
            ("openai", "hourly", None, peak),
        ]
    ):
        usage = Usage(1_000, 100, 1_100, 400 if model == "banded" else None)
        charge = prices.charge(provider, model, at_us, usage, tier=tier)
        assert charge is not None
        money = {"cost": charge.cost, "currency": charge.currency, "price_id": charge.price_id}
        fields = {"provider": provider, "model_asked": model, "service_tier": tier, "sent_at_us": at_us}
        calls.append(BookCall(call(n, usage=usage, **fields, **money), n))
    calls.append(BookCall(call(9, price_id="glm/gone@2020-01-01", sent_at_us=night), 9))
    report = CostReport([book(tmp_path / "out", calls).root], Query())
    million = COST_UNIT // 1_000_000
    yuan, dollars = (Savings(prices).of(report.totals[currency]) for currency in ("CNY", "USD"))
    assert (yuan.cache, yuan.tiers, yuan.off_peak, yuan.lost_calls) == (400 * million * 16 // 10, {}, None, 1)
    assert (dollars.cache, dollars.lost_calls) == (None, 0)
    assert dollars.tiers == {"batch": (1_000 * 5 // 10 + 100) * million}
    assert dollars.off_peak == (1_000 + 200) * million


def test_a_total_is_converted_by_the_dated_rates_of_a_file_alone(tmp_path: Path) -> None:
    """Exactly, rounded once at the end; a currency without a rate is missing, not left out."""
    path = tmp_path / "rates.toml"
    path.write_text('[[rate]]\nfrom = "USD"\nto = "CNY"\nrate = "7.123456789"\ndate = 2026-10-31\nsource = "a bank"\n')
    exchange = Exchange(path)
    assert exchange.converted({"USD": 3, "CNY": 10**30}) == 10**30 + 21
    assert exchange.converted({"USD": COST_UNIT}) == 7_123_456_789_000
    assert exchange.converted({"EUR": 1}) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "required field `rate`"),
        ("[[rate]", "It is a file like this"),
        ('[[rate]]\nfrom = "USD"\nto = "CNY"\nrate = 7.1\ndate = 2026-10-31\nsource = "x"', "Expected `str`"),
        ('[[rate]]\nfrom = "USD"\nto = "CNY"\nrate = "-7"\ndate = 2026-10-31\nsource = "x"', "is no amount"),
        ('[[rate]]\nfrom = "USD"\nto = "CNY"\nrate = "7"\nsource = "x"', "required field `date`"),
        ('[[rate]]\nfrom = "CNY"\nto = "CNY"\nrate = "7"\ndate = 2026-10-31\nsource = "x"', "two rates from CNY"),
        ("rate = []", "its rates are into nothing"),
    ],
)
def test_rates_without_a_date_a_source_or_an_amount_are_refused(tmp_path: Path, text: str, message: str) -> None:
    """With an example of what to write."""
    path = tmp_path / "rates.toml"
    path.write_text(text)
    with pytest.raises(RefusedToStart, match=message):
        Exchange(path)
    with pytest.raises(RefusedToStart, match="cannot be read"):
        Exchange(tmp_path / "nothing.toml")


def test_a_call_without_a_known_cost_has_the_bound_that_was_stated(tmp_path: Path) -> None:
    """Never answered, or answered without its tokens; of the others nothing can be said."""
    calls = [
        BookCall(unknown(0, currency="CNY"), 0),
        BookCall(unknown(1), 1),
        BookCall(call(2, usage=None, cost=None), 2),
        BookCall(call(3), 3),
    ]
    folder = book(tmp_path / "out", calls, [BookRow(3, first_us=1_003)], bounds={"pm-0": 10**18, "pm-2": 7})
    found = CostReport([folder.root], Query()).totals["CNY"]
    assert (found.calls, found.cost, found.bound) == (4, 1_000_000, 10**18 + 7)
    assert (found.unknown, found.unmeasured, found.unbounded) == (2, 1, 1)
