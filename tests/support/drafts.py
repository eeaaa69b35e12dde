"""Drafts of lines for the price book, from the data of the genai-prices project.

A person reads them against the provider's page before they go into the book: days, sources and names are theirs to set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from genai_prices import types
from genai_prices.data import providers

from tests.support.otherbook import PROVIDERS

KEYS = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "output": "output_mtok",
}
_TIERS = ("flex", "priority", "batch")


def draft(provider: str, model: str) -> str:
    """One `[[price]]` for a model, as text.

    Args:
        provider: as we call it.
        model: the id of the model there.

    Raises:
        LookupError: it is not there.
    """
    known = next(known for known in providers if known.id == PROVIDERS[provider])
    info = next((info for info in known.models if info.id == model), None)
    if info is None:
        raise LookupError(model)
    lines = ["[[price]]", f'providers = ["{provider}"]', f"models = {_list(_names(info.match))}", 'currency = "USD"']
    lines += [f"# {text}" for text in [info.price_comments] if text]
    return "\n".join([*lines, "rates = [", *(f"  {{ {text} }}," for text in _rates(info)), "]", ""])


def _list(names: list[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _names(match: Any) -> list[str]:
    """The names and patterns that a rule of theirs stands for."""
    if isinstance(match, types.ClauseOr):
        return list(dict.fromkeys(name for clause in match.or_ for name in _names(clause)))
    if isinstance(match, types.ClauseEquals):
        return [match.equals.lower()]
    if isinstance(match, types.ClauseStartsWith):
        return [f"{match.starts_with.lower()}*"]
    if isinstance(match, types.ClauseRegex):
        digits = re.sub(r"\\d\{(\d)\}", lambda found: "#" * int(found[1]), match.regex)
        return [digits.strip("^$").replace("\\", "")]
    raise LookupError(f"a rule of an unknown kind: {match}")


def _rates(info: Any) -> Iterator[str]:
    periods: list[Any] = info.prices if isinstance(info.prices, list) else [types.ConditionalPrice(prices=info.prices)]
    if any(isinstance(period.constraint, types.TimeOfDateConstraint) for period in periods):
        raise LookupError(f"{info.id} has hours: write them by hand, with their days of the week")
    if not {"input", "output"} <= set(_figures(periods[-1].prices)):
        raise LookupError(f"{info.id} is not billed by the tokens of a chat")
    begins = [period.constraint.start_date if period.constraint else None for period in periods]
    for period, begin, after in zip(periods, begins, [*begins[1:], None], strict=True):
        yield from _bands("standard", begin, after and after - timedelta(days=1), _figures(period.prices))
    usual = _figures(periods[-1].prices)
    for variant in info.price_variants or ():
        tier = variant.when.get("service_tier") or variant.when.get("processing")
        if tier in _TIERS:
            begin = variant.constraint.start_date if variant.constraint else None
            yield from _bands(tier, begin, None, {**usual, **_figures(variant.prices)})


def _figures(prices: Any) -> dict[str, Any]:
    return {key: value for key, name in KEYS.items() if (value := getattr(prices, name)) is not None}


def _bands(tier: str, begin: date | None, end: date | None, figures: dict[str, Any]) -> Iterator[str]:
    starts = {step.start for value in figures.values() if isinstance(value, types.TieredPrices) for step in value.tiers}
    if len(starts) > 1:
        raise LookupError(f"several borders: {starts}; write the bands by hand")
    head = [f'tier = "{tier}"'] if tier != "standard" else []
    head += [f"valid_from = {begin}"] if begin else []
    head += [f"valid_to = {end}"] if end else []
    for above in (False, True) if starts else (False,):
        border = [f"in_{'from' if above else 'below'} = {start + 1}" for start in starts]  # theirs begins above it
        yield ", ".join([*head, *border, *(f"{key} = {_figure(value, above=above)}" for key, value in figures.items())])


def _figure(value: Any, *, above: bool) -> str:
    if isinstance(value, types.TieredPrices):
        value = value.tiers[0].price if above else value.base
    return f"{Decimal(value).normalize():f}"
