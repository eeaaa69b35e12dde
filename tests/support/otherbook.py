"""The prices of the genai-prices project, asked as ours are: a second opinion, and the source of drafts of new lines.

It counts in US dollars alone and turned yuan into them at 7.25, so nothing of a list in yuan may be taken from it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import genai_prices
from genai_prices.data import providers

from batch.core.records import Usage
from batch.money.rates import Tier

PROVIDERS = {"openai": "openai", "zai": "zai", "deepseek": "deepseek", "moonshot": "moonshotai"}
"""By the names of our providers, theirs."""
_CONTEXT: dict[Tier, dict[str, str]] = {
    "standard": {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}


def models(provider: str) -> list[str]:
    """The models it knows of one of our providers."""
    return next([model.id for model in known.models] for known in providers if known.id == PROVIDERS[provider])


def cost(provider: str, model: str, at_us: int, usage: Usage, tier: Tier) -> Decimal | None:
    """What a call costs there, in dollars; None when it does not know the model."""
    asked = genai_prices.Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=usage.cached_tokens or 0,
        cache_write_tokens=usage.cache_write_tokens or 0,
    )
    try:
        found = genai_prices.calc_price(
            asked,
            model,
            provider_id=PROVIDERS[provider],
            genai_request_timestamp=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us),
            price_context=_CONTEXT[tier],
        )
    except LookupError:
        return None
    return Decimal(found.total_price)
