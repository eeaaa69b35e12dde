"""Exact money: reckoned by hand, by another program, and a million times."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.core.records import COST_UNIT, Incoming, Usage, cost_decimal
from batch.money.prices import Prices
from batch.providers import completion

PRICES = Prices.load()


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000


NOW = us("2026-11-25T12:00Z")


def cost(
    provider: str, model: str, usage: Usage, at_us: int = NOW, *, tier: str | None = None, lane: str = "sync"
) -> str:
    charge = PRICES.charge(provider, model, at_us, usage, tier=tier, lane=lane)
    assert charge is not None
    return f"{cost_decimal(charge.cost).normalize():f} {charge.currency}"


@pytest.mark.parametrize(
    ("prompt", "completion_tokens", "paid"),
    [
        (40_000, 1_000, "0.176 CNY"),
        (31_999, 199, "0.06559 CNY"),
        (31_999, 200, "0.098797 CNY"),
        (32_000, 199, "0.131184 CNY"),
        (32_000, 200, "0.1312 CNY"),
        (0, 199, "0.001592 CNY"),
        (0, 200, "0.0028 CNY"),
    ],
)
@pytest.mark.parametrize("model", ["glm-4.7", "GLM-4.6", "glm-4.5"])
def test_glm_at_both_ends_of_each_band(model: str, prompt: int, completion_tokens: int, paid: str) -> None:
    """By hand: 40,000 x 4 + 1,000 x 16 millionths of a yuan; 31,999 x 2 + 199 x 8; 31,999 x 3 + 200 x 14."""
    assert cost("glm", model, Usage(prompt, completion_tokens, prompt + completion_tokens)) == paid


@pytest.mark.parametrize(
    ("prompt", "paid"), [(272_000, "1.66 USD"), (272_001, "3.17001 USD")]
)  # 272,000 x 5 + 10,000 x 30; 272,001 x 10 + 10,000 x 45
def test_a_long_call_is_billed_as_a_whole_at_the_higher_price(prompt: int, paid: str) -> None:
    assert cost("openai", "gpt-5.5-2026-04-23", Usage(prompt, 10_000, prompt + 10_000)) == paid


def answered(usage: dict[str, Any], model: str, **more: Any) -> tuple[Usage, str, str | None]:
    """The usage, the model and the tier of an answer, as our dialects read them."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "\n"}}
    body = {"id": "x", "model": model, "choices": [choice], "usage": usage, **more}
    reply = completion.read(Incoming(200, {}, json.dumps(body).encode()), replay_reasoning=False)
    assert reply is not None
    assert reply.usage is not None
    return reply.usage, reply.model or "", reply.service_tier


def test_the_recorded_usage_of_glm() -> None:
    """Protocol 1.8: 209 x 3 + 42 x 0.6 + 203 x 14 millionths of a yuan, in the band of 200 completion tokens and more."""
    recorded = {
        "prompt_tokens": 251, "completion_tokens": 203, "total_tokens": 454,
        "prompt_tokens_details": {"cached_tokens": 42},
    }  # fmt: skip
    usage, model, _ = answered(recorded, "glm-4.5")
    assert cost("glm", model, usage) == "0.0034942 CNY"


@pytest.mark.parametrize(
    ("tier", "lane", "paid"),
    [
        (None, "sync", "0.00047625 USD"),
        ("default", "stream", "0.00047625 USD"),
        ("flex", "sync", "0.000238125 USD"),
        ("priority", "sync", "0.00085725 USD"),
        ("fast", "sync", "0.00085725 USD"),
        (None, "bulk", "0.000238125 USD"),
    ],
)
def test_the_recorded_usage_of_gpt_5_mini_in_each_tier(tier: str | None, lane: str, paid: str) -> None:
    """Protocol 2.3: 201 x 0.25 + 213 x 2 millionths of a dollar; the 192 of reasoning are in the 213."""
    recorded = {
        "completion_tokens": 213, "prompt_tokens": 201, "total_tokens": 414,
        "completion_tokens_details": {"reasoning_tokens": 192, "audio_tokens": 0},
        "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
    }  # fmt: skip
    usage, model, served = answered(recorded, "gpt-5-mini-2025-08-07", **({"service_tier": tier} if tier else {}))
    assert cost("openai", model, usage, tier=served, lane=lane) == paid


def test_reasoning_that_is_counted_beside_the_completion_is_paid_for() -> None:
    """XAI and Gemini: a total of 120 tells that the 30 of reasoning are not in the 50."""
    beside, *_ = answered(
        {"prompt_tokens": 40, "completion_tokens": 50, "total_tokens": 120, "reasoning_tokens": 30}, "gpt-5-mini"
    )
    within, *_ = answered(
        {"prompt_tokens": 40, "completion_tokens": 50, "total_tokens": 90, "reasoning_tokens": 30}, "gpt-5-mini"
    )
    assert cost("openai", "gpt-5-mini", beside) == "0.00017 USD"
    assert cost("openai", "gpt-5-mini", within) == "0.00011 USD"


@pytest.mark.parametrize(
    ("sent", "paid"),
    [
        ("2026-11-23T02:00Z", "1.506 USD"),
        ("2026-11-23T12:00Z", "0.753 USD"),
        ("2026-11-22T02:00Z", "0.753 USD"),
        ("2026-11-22T12:00Z", "0.753 USD"),
        ("2026-11-23T00:59Z", "0.753 USD"),
        ("2026-11-23T01:00Z", "1.506 USD"),
        ("2026-11-23T03:59Z", "1.506 USD"),
        ("2026-11-23T04:00Z", "0.753 USD"),
        ("2026-11-23T06:00Z", "1.506 USD"),
        ("2026-11-23T10:00Z", "0.753 USD"),
    ],
)
def test_deepseek_costs_double_at_peak_from_monday_to_friday(sent: str, paid: str) -> None:
    """A million fresh and a million cached tokens in, a million out: 0.15 + 0.003 + 0.6 dollars off-peak."""
    assert cost("deepseek", "deepseek-flash", Usage(2 * 10**6, 10**6, 3 * 10**6, 10**6), us(sent)) == paid


def test_a_price_changes_at_the_midnight_of_its_zone() -> None:
    """The promotion of GLM-5.3-Flash ended at 16:00 UTC, the price of GPT-5.6 Luna fell at midnight of UTC."""
    million = Usage(10**6, 0, 10**6)
    assert cost("zai", "glm-5.3-flash", million, us("2026-09-09T15:59Z")) == "0.075 USD"
    assert cost("zai", "glm-5.3-flash", million, us("2026-09-09T16:00Z")) == "0.15 USD"
    thousand = Usage(1_000, 0, 1_000)
    assert cost("openai", "gpt-5.6-luna", thousand, us("2026-07-29T23:59Z")) == "0.001 USD"
    assert cost("openai", "gpt-5.6-luna", thousand, us("2026-07-30T00:00Z")) == "0.0002 USD"


AMOUNTS = st.decimals(0, 1000, places=6, allow_nan=False, allow_infinity=False)
ZONES = ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]


@st.composite
def lists(draw: st.DrawFn) -> dict[str, Any]:
    """A price list of its own making: borders of bands, tiers, peak hours, days, with a price for each of them."""
    shape: dict[str, Any] = {
        "ins": sorted(draw(st.sets(st.integers(1, 300), max_size=2))),
        "outs": sorted(draw(st.sets(st.integers(1, 300), max_size=2))),
        "tiers": draw(st.sampled_from([["standard"], ["standard", "flex"]])),
        "peak": draw(st.booleans()),
        "days": draw(st.sampled_from([[None], ["2026-03-29"], [None, "2026-10-25"]])),
        "zone": draw(st.sampled_from(ZONES)),
        "currency": draw(st.sampled_from(["USD", "CNY"])),
    }
    cells = [
        (day, tier, peak, i, o)
        for day in shape["days"]
        for tier in shape["tiers"]
        for peak in ([False, True] if shape["peak"] else [False])
        for i in range(len(shape["ins"]) + 1)
        for o in range(len(shape["outs"]) + 1)
    ]
    figures = st.tuples(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)
    shape["cells"] = {cell: draw(figures) for cell in cells}
    return shape


def as_file(shape: dict[str, Any]) -> str:
    lines = [
        f'[[price]]\nproviders = ["p"]\nmodels = ["m"]\ncurrency = "{shape["currency"]}"\nzone = "{shape["zone"]}"\nrates = ['
    ]
    for (day, tier, peak, i, o), (fresh, cached, written, out) in shape["cells"].items():
        keys = [
            f'tier = "{tier}"',
            f"input = {fresh:f}",
            f"cached_input = {cached:f}",
            f"cache_write = {written:f}",
            f"output = {out:f}",
        ]
        keys += [f"valid_from = {day}"] if day else []
        keys += ['hours = ["mon-sat 01:30-03:00", "sun 23:00-02:30"]'] if peak else []
        for name, borders, at in (("in", shape["ins"], i), ("out", shape["outs"], o)):
            keys += [f"{name}_from = {borders[at - 1]}"] if at else []
            keys += [f"{name}_below = {borders[at]}"] if at < len(borders) else []
        lines.append(f"  {{ {', '.join(keys)} }},")
    return "\n".join([*lines, "]\n"])


def reckoned(shape: dict[str, Any], moment: datetime, tier: str, usage: Usage) -> Decimal | None:
    """The same by another way: local time of the standard library, decimals, and a search through borders."""
    local = moment.astimezone(ZoneInfo(shape["zone"]))
    days = [day for day in shape["days"] if day is None or local.date().isoformat() >= day]
    if not days or tier not in shape["tiers"]:
        return None
    clock, weekday = local.hour * 60 + local.minute, local.weekday()
    peak = shape["peak"] and (
        (weekday != 6 and 90 <= clock < 180) or (weekday == 6 and clock >= 1380) or (weekday == 0 and clock < 150)
    )
    i = sum(usage.prompt_tokens >= border for border in shape["ins"])
    o = sum(usage.completion_tokens >= border for border in shape["outs"])
    fresh, cached, written, out = shape["cells"][days[-1], tier, bool(peak), i, o]
    rest = usage.prompt_tokens - (usage.cached_tokens or 0) - (usage.cache_write_tokens or 0)
    total = rest * fresh + (usage.cached_tokens or 0) * cached + (usage.cache_write_tokens or 0) * written
    return Decimal((total + usage.completion_tokens * out) / 1_000_000)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(shape=lists(), data=st.data())
def test_any_list_is_reckoned_as_another_program_does(
    shape: dict[str, Any], data: st.DataObject, tmp_path: Path
) -> None:
    """Bands, tiers, currencies, hours, days, and zones when their clocks are changed."""
    path = tmp_path / "mine.toml"
    path.write_text(as_file(shape), encoding="utf-8")
    prices = Prices.load(path)
    changes = [datetime(2026, *day, tzinfo=UTC) for day in ((3, 28), (4, 4), (10, 3), (10, 24), (11, 1))]
    for _ in range(12):
        moment = data.draw(st.sampled_from(changes)) + timedelta(minutes=data.draw(st.integers(0, 3 * 24 * 60)))
        prompt, out = data.draw(st.integers(0, 400)), data.draw(st.integers(0, 400))
        cached = data.draw(st.integers(0, prompt))
        usage = Usage(prompt, out, prompt + out, cached, None, data.draw(st.integers(0, prompt - cached)))
        tier = data.draw(st.sampled_from(["standard", "flex", "batch"]))
        at_us = int(moment.timestamp()) * 1_000_000
        charge = prices.charge("p", "m", at_us, usage, tier=tier)
        expected = reckoned(shape, moment, tier, usage)
        assert (charge and cost_decimal(charge.cost)) == expected
        assert charge is None or charge.currency == shape["currency"]
        bound = prices.bound("p", "m", at_us, prompt_tokens=prompt, completion_tokens=out, tier=tier)
        assert bound is None or charge is None or charge.cost <= bound.cost


@pytest.mark.slow
def test_a_million_calls_cost_what_the_sums_of_their_tokens_cost() -> None:
    """Difference 0: the calls one by one by the book, against sums of tokens by figures typed here a second time."""
    count = 1_000_000
    draw = np.random.default_rng(12)
    kinds = draw.integers(0, 4, count)
    prompt = draw.integers(0, 300_000, count)
    out = draw.integers(0, 5_000, count) * draw.integers(0, 2, count)
    cached = (prompt * draw.random(count)).astype(np.int64)
    minutes = draw.integers(0, 14 * 24 * 60, count)
    begin = us("2026-11-02T00:00Z")  # a Monday
    asked = [
        ("glm", "glm-4.7", None),
        ("openai", "gpt-5-mini", "flex"),
        ("deepseek", "deepseek-flash", None),
        ("openai", "gpt-5.5", None),
    ]
    totals = {"CNY": 0, "USD": 0}
    calls = zip(kinds.tolist(), prompt.tolist(), out.tolist(), cached.tolist(), minutes.tolist(), strict=True)
    for kind, tokens, said, hit, minute in calls:
        provider, model, tier = asked[kind]
        charge = PRICES.charge(
            provider, model, begin + minute * 60_000_000, Usage(tokens, said, tokens + said, hit), tier=tier
        )
        assert charge is not None
        totals[charge.currency] += charge.cost

    day, clock = minutes // 1440 % 7, minutes % 1440
    peak = (day < 5) & (((clock >= 60) & (clock < 240)) | ((clock >= 360) & (clock < 600)))
    short, few, long = prompt < 32_000, out < 200, prompt > 272_000
    cells = {  # who, and millionths of the currency for a million fresh, cached and completion tokens
        "CNY": [
            ((kinds == 0) & short & few, (2_000_000, 400_000, 8_000_000)),
            ((kinds == 0) & short & ~few, (3_000_000, 600_000, 14_000_000)),
            ((kinds == 0) & ~short, (4_000_000, 800_000, 16_000_000)),
        ],
        "USD": [
            (kinds == 1, (125_000, 12_500, 1_000_000)),
            ((kinds == 2) & peak, (300_000, 6_000, 1_200_000)),
            ((kinds == 2) & ~peak, (150_000, 3_000, 600_000)),
            ((kinds == 3) & ~long, (5_000_000, 500_000, 30_000_000)),
            ((kinds == 3) & long, (10_000_000, 1_000_000, 45_000_000)),
        ],
    }
    for currency, parts in cells.items():
        expected = 0
        for who, figures in parts:
            sums = [int((prompt - cached)[who].sum()), int(cached[who].sum()), int(out[who].sum())]
            assert all(sums)
            expected += sum(tokens * figure for tokens, figure in zip(sums, figures, strict=True))
        assert totals[currency] - expected == 0
    assert COST_UNIT == 10**12
