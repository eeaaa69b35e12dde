"""What to say of a price: how far it is to be trusted, and what to write where there is none.

Owns when a line counts as old, and the lines of TOML that add a missing price. It looks up no price of a call.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Final

from batch.core.clock import MICROSECONDS
from batch.money.prices import Prices
from batch.money.rates import Rates

OLD_DAYS: Final = 90
"""A line that was compared with its source before that is old: providers change their lists several times a year."""


def day_of(at_us: int) -> date:
    """The day of a moment, in UTC."""
    return datetime.fromtimestamp(at_us / MICROSECONDS, tz=UTC).date()


def doubts(lines: Iterable[Rates], today: date) -> list[str]:
    """What is to be said against some lines, each thing once.

    Args:
        lines: those a model is billed by.
        today: the day of the reader, in UTC.
    """
    found = []
    for line in lines:
        if line.unconfirmed:
            found.append(f"unconfirmed, from {line.source or line.origin}: compare it with a bill")
        days = 0 if line.checked_on is None else (today - line.checked_on).days
        if days > OLD_DAYS:
            found.append(
                f"last compared with its source on {line.checked_on}, {days} days ago: look whether it changed"
            )
    return list(dict.fromkeys(found))


def unpriced(prices: Prices, provider: str, models: Sequence[str], at_us: int, *, lane: str = "sync") -> list[str]:
    """Those of some models that have no price at a moment, the standard one or that of batch files.

    Args:
        prices: the price lists.
        provider: its name.
        models: their names.
        at_us: the moment, in microseconds of UTC.
        lane: how calls travel; `bulk` asks for the price of batch files.
    """
    return [model for model in models if not prices.current(provider, model, at_us, lane=lane)]


def tier_key(lane: str) -> str | None:
    """The tier that a price of this lane has in a price file; None for the standard one."""
    return "batch" if lane == "bulk" else None


def snippet(prices: Prices, provider: str, model: str, *, tier: str | None = None) -> list[str]:
    """Lines of a price file that add a price; its figures are to be replaced.

    Args:
        prices: tell in which currency the provider bills its other models.
        provider: its name.
        model: its name.
        tier: as a price file has it; None for the standard one.
    """
    currencies = Counter(line.currency for line in prices.lines(provider))
    currency = currencies.most_common(1)[0][0] if currencies else "USD"
    return [
        "[[price]]",
        f"providers = [{_quoted(provider.lower())}]",
        f"models = [{_quoted(model.lower())}]",
        f"currency = {_quoted(currency)}",
        *([f"tier = {_quoted(tier)}"] if tier is not None else []),
        "input = 1.00     # your price of a million prompt tokens",
        "output = 1.00    # and of a million completion tokens",
    ]


def how_to_add(prices: Prices, provider: str, model: str, *, tier: str | None = None) -> Iterator[str]:
    """What to do where a price is missing, with the lines to paste."""
    yield 'put its price into a file, and name that by prices = "my-prices.toml" in the job, or by --prices:'
    yield from (f"  {line}" for line in snippet(prices, provider, model, tier=tier))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # TOML reads it as JSON does
