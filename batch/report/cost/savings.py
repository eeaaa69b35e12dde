"""What the cache, slower tiers and quiet hours have saved, by the price lists that the calls were reckoned by.

Owns what a saving is held against: tokens from the cache against the price of any other; a batch or flex price against
the standard one of the same list; an hour against the dearest hour of the same line. It knows no calls.
"""

from __future__ import annotations

import msgspec

from batch.money.prices import Prices
from batch.money.rates import Rates
from batch.report.cost.repricing import amount
from batch.report.cost.sums import Line, Sums


class Saved(msgspec.Struct):
    """What was saved, in 10⁻¹² of the currency unit; None where no call was of that kind."""

    cache: int | None = None
    tiers: dict[str, int] = {}
    """By the tier that is cheaper than the standard one."""
    off_peak: int | None = None
    lost_calls: int = 0
    """Calls whose line no price file that was read has any more, so that nothing can be said of them."""


class Savings:
    """Tells what sums of calls saved.

    Args:
        prices: where the lines are looked up that the calls were reckoned by.
    """

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._beside: dict[str, tuple[Rates, ...]] = {}

    def of(self, sums: Sums) -> Saved:
        """What these calls saved."""
        saved = Saved()
        for (price_id, _, _), line in sums.lines.items():
            rates = self._prices.by_id(price_id)
            if rates is None:
                saved.lost_calls += line.calls
                continue
            if line.cached:
                saved.cache = (saved.cache or 0) + line.cached * (rates.input - rates.cached_input)
            if rates.tier != "standard":
                usual = self._same(rates, tier="standard")
                if usual is not None:
                    saved.tiers[rates.tier] = saved.tiers.get(rates.tier, 0) + amount(usual, line) - amount(rates, line)
            elif (dearest := self._dearest_hour(rates, line)) is not None:
                saved.off_peak = (saved.off_peak or 0) + dearest - amount(rates, line)
        return saved

    def _near(self, rates: Rates) -> tuple[Rates, ...]:
        """The lines of the same models on the same list, for the same lengths and days."""
        if rates.id not in self._beside:
            self._beside[rates.id] = tuple(
                other
                for other in self._prices.lines(rates.provider)
                if (other.models, other.list, other.hosts, other.currency, other.origin.partition(",")[0])
                == (rates.models, rates.list, rates.hosts, rates.currency, rates.origin.partition(",")[0])
                and (other.from_us, other.to_us) == (rates.from_us, rates.to_us)
                and (other.in_from or 0, other.in_below, other.out_from or 0, other.out_below)
                == (rates.in_from or 0, rates.in_below, rates.out_from or 0, rates.out_below)
            )
        return self._beside[rates.id]

    def _same(self, rates: Rates, *, tier: str) -> Rates | None:
        found = [other for other in self._near(rates) if other.tier == tier]
        return next((other for other in found if other.hours == rates.hours), found[0] if found else None)

    def _dearest_hour(self, rates: Rates, line: Line) -> int | None:
        """What the same calls had cost in the dearest hours; None where the list knows no hours."""
        hours = [other for other in self._near(rates) if other.tier == rates.tier]
        return max(amount(other, line) for other in hours) if any(other.hours for other in hours) else None
