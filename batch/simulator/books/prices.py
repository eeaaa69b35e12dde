"""The simulator's own price list: what a token costs here, exact, in integers.

Sources: BigModel price pages (yuan per million tokens; GLM-4 and GLM-3-Turbo as of June 2024, the GLM-4-Plus family as
of December 2025) and the OpenAI price page (US dollars per million tokens).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

_UNITS = 12  # costs are whole numbers of 10^-12 of a currency unit: a price in millionths, per million tokens


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in millionths of a currency unit."""

    currency: str
    prompt: int
    completion: int
    cached: int


def _price(currency: str, prompt: str, completion: str | None = None, cached: str | None = None) -> Price:
    def millionths(text: str) -> int:
        return int(Decimal(text) * 1_000_000)

    return Price(currency, millionths(prompt), millionths(completion or prompt), millionths(cached or prompt))


PRICES = {
    "glm-4": _price("CNY", "100"),
    "glm-3-turbo": _price("CNY", "1"),
    "glm-4-plus": _price("CNY", "5"),
    "glm-4-air": _price("CNY", "0.5"),
    "glm-4-airx": _price("CNY", "10"),
    "glm-4-flashx": _price("CNY", "0.1"),
    "glm-4-flash": _price("CNY", "0"),
    "glm-4v-plus": _price("CNY", "4"),
    "gpt-5-mini": _price("USD", "0.25", "2.00", "0.025"),
}

_DATED = re.compile(r"-(\d{4}|\d{6}|\d{4}-\d{2}-\d{2})$")  # glm-4v-plus-0111, glm-4-air-250414, gpt-5-mini-2025-08-07


@lru_cache(maxsize=1024)
def find(model: str) -> Price | None:
    """The price of a model by its name in any case, dated variants included; None for a model not on the list."""
    return PRICES.get(_DATED.sub("", model.lower()))


def cost(price: Price, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> str:
    """The exact cost as a plain decimal text.

    Args:
        price: of the model.
        prompt_tokens: cached ones included.
        completion_tokens: reasoning included.
        cached_tokens: a part of the prompt tokens.
    """
    units = (
        (prompt_tokens - cached_tokens) * price.prompt
        + cached_tokens * price.cached
        + completion_tokens * price.completion
    )
    whole, rest = divmod(units, 10**_UNITS)
    return f"{whole}.{rest:0{_UNITS}d}".rstrip("0").rstrip(".")
