"""Money in whole runs: each call costs what the provider's own books say, by band and tier, and no price buys twice."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.system.runs.conftest import Make, Mill


def booked(mill: Mill) -> dict[str, tuple[Any, ...]]:
    rows = mill.calls("client_call_id, prompt_tokens, completion_tokens, cached_tokens, cost, currency, service_tier")
    return {
        call: (prompt, out, cached or 0, cost, currency, tier)
        for call, prompt, out, cached, cost, currency, tier in rows
    }


def billed(mill: Mill) -> dict[str, tuple[Any, ...]]:
    assert mill.sim is not None
    return {
        record["client_call_id"]: (
            record["prompt_tokens"],
            record["completion_tokens"],
            record["cached_tokens"],
            Decimal(record["cost"]),
            record["currency"],
            record["service_tier"],
        )
        for record in mill.sim.books()
        if record["billed"]
    }


@pytest.mark.parametrize(
    ("provider", "model", "tier", "lane", "prices"),
    [
        ("glm", "glm-4.7", None, "sync", 2),
        ("glm", "glm-4.7", None, "task", 2),
        ("openai", "gpt-5-mini", "flex", "sync", 1),
        ("openai", "gpt-5-mini", "flex", "stream", 1),
        ("openai", "gpt-5-mini", "fast", "sync", 1),
        ("openai", "gpt-4o", "flex", "sync", 1),
    ],
)
def test_every_call_costs_what_the_provider_books(
    provider: str, model: str, tier: str | None, lane: str, prices: int, make: Make
) -> None:
    """Its list was typed from the same pages by another hand; gpt-4o has no flex, so it is served and billed as usual."""
    mill = make("cached_prefix = true", provider=provider, lane=lane)
    mill.model = model
    mill.more = f'[model.parameters]\nservice_tier = "{tier}"' if tier else ""
    rows = mill.questions(8)
    rows[3]["question"] = "long " * 33_000
    mill.write(rows)
    assert mill.run().exit_code == 0
    assert booked(mill) == billed(mill)
    assert len(booked(mill)) == 8
    assert len({row[0] for row in mill.calls("price_id")}) >= prices


def test_a_price_that_is_added_later_asks_no_row_again(make: Make) -> None:
    """Promise 3. Without it the cost is null, with it the next calls are priced; what stands in the book stays."""
    mill = make("")
    mill.model = "nobodys"
    mill.questions(3)
    assert mill.run().totals.unpriced == 3
    file = mill.folder / "mine.toml"
    file.write_text(
        '[[price]]\nproviders = ["glm"]\nmodels = ["nobodys"]\ncurrency = "CNY"\ninput = 1\noutput = 2\n',
        encoding="utf-8",
    )
    assert mill.run(prices=file).state == "nothing_to_do"
    mill.questions(5)
    again = mill.run(prices=str(file))
    assert (again.planned.new, again.totals.calls, again.totals.unpriced) == (2, 2, 0)
    known = mill.calls("prompt_tokens + 2 * completion_tokens, cost * 1000000, price_id", "cost IS NOT NULL")
    assert len(known) == 2
    assert all(cost == expected and name.startswith("mine.toml:glm/nobodys#") for expected, cost, name in known)
