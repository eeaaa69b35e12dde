"""What the calls of one model will cost: now, by the cheapest hour, and by batch files.

Owns how calls spread over the bands of a price list: the whole of a call is billed in the band that its lengths fall
into, so the price of many calls is not that of their mean. Amounts are in 10⁻¹² of the currency's unit, and nothing is
converted. Where some of the calls have no price, all of them have none: unknown is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from batch.core.clock import MICROSECONDS
from batch.core.records import Lane, Usage
from batch.limits.hours import Hours
from batch.money.prices import Prices
from batch.plan.preflight import CheckedJob
from batch.plan.spending import Spending
from batch.plan.survey import Load
from batch.tokens.model import Range

_WEEK_H: Final = 7 * 24
_HOUR_US: Final = 3_600 * MICROSECONDS
_LENGTHS: Final = 40
"""Lengths of answers by which calls are put into the bands of a price list."""


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """What something costs, in 10⁻¹² of the currency's unit."""

    currency: str
    amount: Range
    at_us: int | None = None
    """From when on it costs that, in microseconds of UTC; None for now."""


class Priced(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls of one model cost."""

    now: Money | None = None
    """None where some of them have no price."""
    price_ids: tuple[str, ...] = ()
    off_peak: Money | None = None
    """By the cheapest hour of the coming week; None where no hour is cheaper than this one."""
    batch: Money | None = None
    """By batch files; None where no such price is published."""


class _Sum(NamedTuple):
    cost: float
    currency: str
    ids: frozenset[str]


def borders(prices: Prices, provider: str, model: str) -> list[int]:
    """The prompt tokens at which the price of a model changes, ascending."""
    lines = prices.lines(provider, model)
    return sorted({border for line in lines for border in (line.in_from, line.in_below) if border})


def price(
    checked: CheckedJob, spending: Spending, loads: Mapping[int, Load], now_us: int, hours: Hours | None = None
) -> Priced:
    """What the calls of one model cost.

    Args:
        checked: the job, with its prices.
        spending: what the rows take of the model.
        loads: the rows that begin with it, by band of its prices.
        now_us: the moment whose prices count, in microseconds of UTC.
        hours: when calls may leave, that moment among them; None for always.
    """
    calls = _Calls(checked, spending, loads)
    lane = checked.job.model.lanes[-1]
    found = calls.money(now_us, lane=lane)
    if found is None:
        return Priced(batch=_batch(calls, now_us))
    now, ids = found
    cheapest = _cheapest_hour(checked, spending, now_us, hours)
    later = calls.money(cheapest, lane=lane, told=True) if cheapest is not None else None
    return Priced(
        now=now,
        price_ids=tuple(sorted(ids)),
        off_peak=later[0] if later is not None and later[0].amount.likely < now.amount.likely else None,
        batch=_batch(calls, now_us),
    )


def price_in_lane(
    checked: CheckedJob, spending: Spending, loads: Mapping[int, Load], now_us: int, lane: Lane
) -> Money | None:
    """What calls of one model cost that the provider took by another lane than the job has now, perhaps.

    Args:
        checked: the job, with its prices.
        spending: what the calls take of the model.
        loads: their rows, by band of its prices.
        now_us: the moment whose prices count, in microseconds of UTC.
        lane: the lane.
    """
    found = _Calls(checked, spending, loads).money(now_us, lane=lane)
    return None if found is None else found[0]


def _batch(calls: _Calls, now_us: int) -> Money | None:
    found = calls.money(now_us, lane="bulk")
    return found[0] if found is not None else None


class _Calls:
    """The calls of one model, spread over the bands of its prices."""

    def __init__(self, checked: CheckedJob, spending: Spending, loads: Mapping[int, Load]) -> None:
        self._prices = checked.prices
        self._provider = checked.job.model.provider
        self._tier = _tier(checked)
        self._spending = spending
        sizes = [load.likely for load in loads.values()]
        asked = [load.calls for load in loads.values()]
        self._bands = [
            (size / max(1.0, sum(sizes)), number / max(1, sum(asked)))
            for size, number in zip(sizes, asked, strict=True)
        ] or [(1.0, 1.0)]
        """For each band: its share of the prompt tokens, and of the calls."""
        lines = self._prices.lines(self._provider, spending.model)
        self._lengths = _lengths(spending) if any(line.out_from or line.out_below for line in lines) else [1.0]
        """Lengths of answers, each of as many calls as the others, as parts of their mean."""

    def money(self, at_us: int, *, lane: str = "sync", told: bool = False) -> tuple[Money, frozenset[str]] | None:
        """What they cost at a moment, with the ids of the prices; None where some of them have no price."""
        prompt, answer, cached = self._spending.prompt, self._spending.completion, self._spending.cached
        likely, *ends = (
            self._cost(one, other, part, at_us, lane)
            for one, other, part in (
                (prompt.likely, answer.likely, cached),
                (prompt.least, answer.likely, cached),
                (prompt.likely, answer.least, cached),
                (prompt.most, answer.likely, 0.0),
                (prompt.likely, answer.most, cached),
            )
        )
        if likely is None:
            return None
        # Prompts and answers are wrong independently of each other, so their errors add up as squares do. An end that
        # has no price lies in a band that is not published: it costs what is likely, at least.
        costs = [likely.cost if end is None else end.cost for end in ends]
        below = math.hypot(*(likely.cost - cost for cost in costs[:2]))
        above = math.hypot(*(cost - likely.cost for cost in costs[2:]))
        amount = Range(likely.cost, max(0.0, likely.cost - below), likely.cost + above)
        return Money(currency=likely.currency, amount=amount, at_us=at_us if told else None), likely.ids

    def _cost(self, prompt: float, answer: float, cached: float, at_us: int, lane: str) -> _Sum | None:
        """What so many tokens cost in all calls together."""
        calls = max(1.0, self._spending.calls.likely)
        cost, currencies, ids = 0.0, set(), set()
        for prompt_share, call_share in self._bands:
            number = calls * call_share / len(self._lengths)
            asked = prompt * prompt_share / len(self._lengths)
            for length in self._lengths:
                said = answer * call_share * length / len(self._lengths)
                line = self._prices.rates(
                    self._provider,
                    self._spending.model,
                    at_us,
                    prompt_tokens=round(asked / number),
                    completion_tokens=round(said / number),
                    tier=self._tier,
                    lane=lane,
                )
                if line is None:
                    return None
                cost += line.cost(Usage(round(asked), round(said), round(asked + said), round(asked * cached)))
                cost += (number - 1) * line.per_request
                currencies.add(line.currency)
                ids.add(line.id)
        return _Sum(max(0.0, cost), currencies.pop(), frozenset(ids)) if len(currencies) == 1 else None


def _lengths(spending: Spending) -> list[float]:
    """Some lengths of answers that stand for all that are known, as parts of their mean; or the mean alone."""
    known = sorted(spending.completions)
    step = max(1, len(known) // _LENGTHS)
    chosen = known[step // 2 :: step]
    whole = sum(chosen)
    return [length * len(chosen) / whole for length in chosen] if whole else [1.0]


def _cheapest_hour(checked: CheckedJob, spending: Spending, now_us: int, hours: Hours | None) -> int | None:
    """The first hour of the coming week in which a usual call is cheapest; None where all hours cost the same.

    Only hours in which calls may leave are looked at.
    """
    provider, model = checked.job.model.provider, spending.model
    if not any(line.hours for line in checked.prices.lines(provider, model)):
        return None
    calls = max(1.0, spending.calls.likely)
    prompt, answer = round(spending.prompt.likely / calls), round(spending.completion.likely / calls)
    usage = Usage(prompt, answer, prompt + answer)
    best: tuple[int, int] | None = None
    for hour in range(_WEEK_H + 1):
        at_us = now_us if hour == 0 else (now_us // _HOUR_US + hour) * _HOUR_US
        at_us = at_us if hours is None else hours.first_us(at_us)
        charge = checked.prices.charge(
            provider, model, at_us, usage, tier=_tier(checked), lane=checked.job.model.lanes[-1]
        )
        if charge is not None and (best is None or charge.cost < best[0]):
            best = charge.cost, at_us
    return None if best is None or best[1] == now_us else best[1]


def _tier(checked: CheckedJob) -> str | None:
    """The tier that the job asks for."""
    tier = checked.job.model.parameters.get("service_tier")
    return tier if isinstance(tier, str) else None
