"""The simulator's own price list: what a token costs here, exact, in integers.

A whole call has the price of the band that its lengths fall into. Sources: BigModel price pages (yuan per million
tokens; GLM-4 and GLM-3-Turbo as of June 2024, the GLM-4-Plus family as of December 2025, newer ones of mid 2026) and
the OpenAI price page (US dollars per million tokens, flex, priority and batch as of October 2026).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

_UNITS = 12  # costs are whole numbers of 10^-12 of a currency unit: a price in millionths, per million tokens
STANDARD = "default"


@dataclass(frozen=True, slots=True)
class Band:
    """What a million tokens cost, in millionths of a currency unit, for calls that are shorter than these lengths."""

    prompt: int
    completion: int
    cached: int
    prompt_below: int | None = None
    completion_below: int | None = None

    def fits(self, prompt_tokens: int, completion_tokens: int) -> bool:
        """Whether a call is short enough."""
        return (self.prompt_below is None or prompt_tokens < self.prompt_below) and (
            self.completion_below is None or completion_tokens < self.completion_below
        )


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs: by tier its bands, the first that a call fits into counts."""

    currency: str
    tiers: dict[str, tuple[Band, ...]]


def _millionths(text: str) -> int:
    return int(Decimal(text) * 1_000_000)


def _band(figures: str, prompt_below: int | None = None, completion_below: int | None = None) -> Band:
    """A band from its figures: `IN OUT` or `IN OUT CACHED`."""
    prompt, completion, *others = map(_millionths, figures.split())
    return Band(prompt, completion, others[0] if others else prompt, prompt_below, completion_below)


def _yuan(*bands: Band) -> Price:
    return Price("CNY", {STANDARD: bands})


def _three(short: str, wordy: str, long: str) -> Price:
    """BigModel's usual bands: up to 32,000 tokens in, with less or more than 200 out, and all that is longer."""
    return _yuan(_band(short, 32_000, 200), _band(wordy, 32_000), _band(long))


def _dollars(standard: str, **tiers: str) -> Price:
    return Price("USD", {STANDARD: (_band(standard),), **{tier: (_band(text),) for tier, text in tiers.items()}})


def _long(tiers: dict[str, tuple[str, str]]) -> Price:
    """OpenAI's long context: above 272,000 prompt tokens the whole call costs more."""
    return Price("USD", {tier: (_band(short, 272_001), _band(long)) for tier, (short, long) in tiers.items()})


PRICES = {
    "glm-4": _yuan(_band("100 100")),
    "glm-3-turbo": _yuan(_band("1 1")),
    "glm-4-plus": _yuan(_band("5 5")),
    "glm-4-air": _yuan(_band("0.5 0.5")),
    "glm-4-airx": _yuan(_band("10 10")),
    "glm-4-flashx": _yuan(_band("0.1 0.1")),
    "glm-4-flash": _yuan(_band("0 0")),
    "glm-4v-plus": _yuan(_band("4 4")),
    "glm-4.5": _three("2 8 0.4", "3 14 0.6", "4 16 0.8"),
    "glm-4.6": _three("2 8 0.4", "3 14 0.6", "4 16 0.8"),
    "glm-4.7": _three("2 8 0.4", "3 14 0.6", "4 16 0.8"),
    "glm-4.5-air": _three("0.8 2 0.16", "0.8 6 0.16", "1.2 8 0.24"),
    "glm-4.5-flash": _yuan(_band("0 0")),
    "glm-4.7-flash": _yuan(_band("0 0")),
    "glm-5": _yuan(_band("4 18 1", 32_000), _band("6 22 1.5")),
    "glm-5.1": _yuan(_band("6 24 1.3", 32_000), _band("8 28 2")),
    "glm-5.2": _yuan(_band("8 28 2")),
    "glm-5.3": _yuan(_band("8 28 2")),
    "gpt-4.1": _dollars("2 8 0.5", priority="3.5 14 0.875", batch="1 4 0.5"),
    "gpt-4o": _dollars("2.5 10 1.25", priority="4.25 17 2.125", batch="1.25 5 1.25"),
    "gpt-4o-mini": _dollars("0.15 0.6 0.075", priority="0.25 1 0.125", batch="0.075 0.3 0.075"),
    "gpt-5": _dollars("1.25 10 0.125", flex="0.625 5 0.0625", priority="2.5 20 0.25", batch="0.625 5 0.0625"),
    "gpt-5-mini": _dollars("0.25 2 0.025", flex="0.125 1 0.0125", priority="0.45 3.6 0.045", batch="0.125 1 0.0125"),
    "gpt-5-nano": _dollars("0.05 0.4 0.005", flex="0.025 0.2 0.0025", batch="0.025 0.2 0.0025"),
    "gpt-5.5": _long(
        {
            STANDARD: ("5 30 0.5", "10 45 1"),
            "flex": ("2.5 15 0.25", "5 22.5 0.5"),
            "batch": ("2.5 15 0.25", "5 22.5 0.5"),
        }
    ),
}

_DATED = re.compile(r"-(\d{4}|\d{6}|\d{4}-\d{2}-\d{2})$")  # glm-4v-plus-0111, glm-4-air-250414, gpt-5-mini-2025-08-07


@lru_cache(maxsize=1024)
def find(model: str) -> Price | None:
    """The price of a model by its name in any case, dated variants included; None for a model not on the list."""
    return PRICES.get(_DATED.sub("", model.lower()))


def tier_served(model: str, asked: str) -> str:
    """The tier in which a request is served: the one it asks for if the model has it, else the standard one."""
    price = find(model)
    asked = "priority" if asked == "fast" else asked
    return asked if price is not None and asked in price.tiers and asked != "batch" else STANDARD


def cost(price: Price, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0, *, tier: str = "") -> str:
    """The exact cost as a plain decimal text.

    Args:
        price: of the model.
        prompt_tokens: cached ones included.
        completion_tokens: reasoning included.
        cached_tokens: a part of the prompt tokens.
        tier: in which it was served; empty for the standard one.
    """
    # What goes by batch files costs half of the standard price where nothing else is published.
    half = tier == "batch" and "batch" not in price.tiers
    bands = price.tiers[STANDARD if half else tier or STANDARD]
    band = next(band for band in bands if band.fits(prompt_tokens, completion_tokens))
    units = (
        (prompt_tokens - cached_tokens) * band.prompt
        + cached_tokens * band.cached
        + completion_tokens * band.completion
    )
    if half:
        units = units * 10 // 2
        whole, rest = divmod(units, 10 ** (_UNITS + 1))
        return f"{whole}.{rest:0{_UNITS + 1}d}".rstrip("0").rstrip(".")
    whole, rest = divmod(units, 10**_UNITS)
    return f"{whole}.{rest:0{_UNITS}d}".rstrip("0").rstrip(".")
