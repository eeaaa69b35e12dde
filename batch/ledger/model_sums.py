"""Sums over the calls that asked one model through one lane.

Owns what is summed for each of them, and how a model without a price is named. What all calls of a run come to is the
matter of `totals`, which adds to these, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from batch.core.records import Call, cost_decimal
from batch.money.rates import tier_of


class ModelSums(msgspec.Struct):
    """What the calls came to that asked one model through one lane."""

    calls: dict[str, int] = {}
    """By their final state."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    """None as long as no reply said it; the same holds for `cached_tokens`."""
    units: dict[str, int] = msgspec.field(default_factory=dict, name="cost")
    """By currency, in 10⁻¹² of its unit. `cost` has them as decimals."""

    @property
    def cost(self) -> dict[str, Decimal]:
        """What is known of the cost, by currency."""
        return {currency: cost_decimal(units) for currency, units in sorted(self.units.items())}

    def add(self, other: ModelSums) -> None:
        """Add the sums over other calls of the same kind."""
        for mine, theirs in ((self.calls, other.calls), (self.units, other.units)):
            for name, number in theirs.items():
                mine[name] = mine.get(name, 0) + number
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        if other.cached_tokens is not None:
            self.cached_tokens = (self.cached_tokens or 0) + other.cached_tokens
        if other.reasoning_tokens is not None:
            self.reasoning_tokens = (self.reasoning_tokens or 0) + other.reasoning_tokens

    def take_away(self, other: ModelSums) -> None:
        """Take the calls, tokens and costs of some of the calls away again."""
        for mine, theirs in ((self.calls, other.calls), (self.units, other.units)):
            for name, number in theirs.items():
                mine[name] = mine.get(name, 0) - number
        self.prompt_tokens -= other.prompt_tokens
        self.completion_tokens -= other.completion_tokens

    def public(self) -> dict[str, Any]:
        """As written to files for people and monitors: costs as decimal strings."""
        shown = msgspec.structs.asdict(self)
        del shown["units"]
        return {**shown, "calls": dict(self.calls), "cost": {name: f"{cost:f}" for name, cost in self.cost.items()}}


def add_models(mine: dict[str, dict[str, ModelSums]], theirs: Mapping[str, Mapping[str, ModelSums]]) -> None:
    """Add sums by model and lane to others, which alone are changed."""
    for model, lanes in theirs.items():
        for lane, sums in lanes.items():
            mine.setdefault(model, {}).setdefault(lane, ModelSums()).add(sums)


def calls_of(models: Mapping[str, Mapping[str, ModelSums]]) -> dict[str, int]:
    """How many calls have ended, by the model that was asked."""
    return {model: sum(sum(sums.calls.values()) for sums in lanes.values()) for model, lanes in models.items()}


def public_models(models: Mapping[str, Mapping[str, ModelSums]]) -> dict[str, dict[str, Any]]:
    """Sums by model and lane as written to files for people and monitors."""
    return {model: {lane: sums.public() for lane, sums in lanes.items()} for model, lanes in models.items()}


def priced_as(call: Call) -> str:
    """What a call would be priced as: provider and model, and a tier that is not the usual one."""
    name = f"{call.provider}/{call.model_served or call.model_asked}"
    usual = tier_of(call.service_tier, call.lane) == "standard"
    return name if usual else f"{name} at service_tier {call.service_tier or 'batch'}"
