"""What one run has set aside in pots that others spend from as well, and what of it its calls hold.

Owns the sums of one process, the names of pots, and how what a run has used is told from its calls; `batch.money.pots`
owns the file behind them. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from batch.money.days import day_of, end_us, zone_of
from batch.money.pots import Held

DAY: Final = "day"
PACK: Final = "pack"
TOKENS: Final = "tokens"
"""Stands for all packs together, where it is told what a call held: only the budget knows which of them it was."""
LOOK_AGAIN_S: Final = 1.0
"""How long it is believed that a pot has no more, while calls are under way."""


class Slice(msgspec.Struct):
    """A run's share of one pot. Amounts in 10⁻¹² of a currency's unit, or in tokens."""

    name: str
    """Of the pot. Names of packs sort as they are used up."""
    limit: int
    """How much there may be in the pot altogether."""
    unit: str = ""
    """The currency; empty for tokens."""
    ends_us: int | None = None
    """The first moment at which nothing more may be taken out, in microseconds of UTC; None for never."""
    amount: int = 0
    """How much is set aside, what was used of it included."""
    used: int = 0
    """What the run used since it first set something aside; of calls without an answer, the most they can have."""
    reserved: int = 0
    """What calls under way can come to."""
    base: int = 0
    """What the run had used before."""
    others: int = 0
    """What others had or spent when the file was last looked at."""
    looked_at: float = float("-inf")
    """When that was, in monotonic seconds."""

    def good_at(self, at_us: int) -> bool:
        """Whether something may be taken out at a moment."""
        return self.ends_us is None or at_us < self.ends_us

    def lacks(self, need: int) -> int:
        """How much more must be set aside before a call that can come to `need` is sent; 0 for nothing."""
        return max(0, self.used + self.reserved + need - self.amount)

    @property
    def left(self) -> int:
        """What is left in the pot, as far as this run knows, for whoever takes it."""
        return max(0, self.limit - self.others - self.used - self.reserved)


class Use(msgspec.Struct):
    """What the calls of one run have used; of those without an answer, the most they can have."""

    days: dict[str, int] = {}
    """By pot of a day."""
    tokens: int = 0

    def add(self, sent_at_us: int, currency: str, cost: int, tokens: int) -> None:
        """Count one call.

        Args:
            sent_at_us: when it was sent.
            currency: of the cost.
            cost: in 10⁻¹² of its unit.
            tokens: of prompt and answer.
        """
        self.tokens += tokens
        if cost:
            name = day_pot(currency, sent_at_us)
            self.days[name] = self.days.get(name, 0) + cost

    def add_held(self, held: Mapping[str, int]) -> None:
        """Count what calls held of which nothing can be said: by pot of a day, and tokens."""
        for name, amount in held.items():
            if name == TOKENS:
                self.tokens += amount
            else:
                self.days[name] = self.days.get(name, 0) + amount

    def of(self, held: Mapping[str, Held]) -> dict[str, int]:
        """By pot, what was used of what the run has set aside; packs are used up in the order of their names.

        Args:
            held: by pot, what is set aside.
        """
        found = {name: self.days.get(name, 0) - one.base for name, one in held.items() if name.startswith(DAY)}
        packs = sorted(name for name in held if name.startswith(PACK))
        rest = self.tokens - (held[packs[0]].base if packs else 0)
        for name in packs:
            found[name] = rest if name == packs[-1] else min(rest, held[name].amount)
            rest -= found[name]
        return {name: max(0, amount) for name, amount in found.items()}


def day_pot(currency: str, at_us: int) -> str:
    """The pot of the day, in the zone of the currency, that a moment belongs to."""
    return f"{DAY} {currency} {day_of(at_us, zone_of(currency))}"


def unit_of(pot: str) -> str:
    """The currency of a pot of a day; empty for a pack."""
    kind, unit, *_ = pot.split()
    return unit if kind == DAY else ""


def day_slice(currency: str, limit: int, at_us: int) -> Slice:
    """A share of the pot of that day, with nothing set aside yet.

    Args:
        currency: in which the day is counted.
        limit: 10⁻¹² of its unit.
        at_us: a moment of the day.
    """
    zone = zone_of(currency)
    return Slice(day_pot(currency, at_us), limit, currency, end_us(day_of(at_us, zone), zone))
