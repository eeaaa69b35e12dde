"""Bands: whether the lines of a price list leave a hole between them, or give one call two prices.

Owns the checks of lines that count at the same time: each call of a tier falls into exactly one of them. It does not
know how a line is written, and looks up no price.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from typing import Final

from batch.core.clock import MICROSECONDS
from batch.core.hours import Window, tz
from batch.money.rates import Rates

_WEEKS: Final = (datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 7, 6, tzinfo=UTC))
"""Mondays of a winter and of a summer: windows of different zones may overlap in one of them only."""


def faults(lines: Iterable[Rates]) -> list[str]:
    """What is wrong with lines of one file taken together, each with the models, the place and the way out."""
    together: dict[tuple[str, str, str, int | None, tuple[str, ...]], list[Rates]] = {}
    for line in lines:
        for provider in line.providers:
            for model in line.models:
                together.setdefault((provider, model, line.tier, line.from_us, line.hosts), []).append(line)
    found: list[str] = []
    for (provider, model, *_), group in together.items():
        place = f"{group[0].origin}: {provider}/{model}, tier {group[0].tier}"
        found += [f"{place}: {fault}" for fault in _group(group)]
    return list(dict.fromkeys(found))


def _group(group: Sequence[Rates]) -> list[str]:
    if len({(line.to_us, line.currency) for line in group}) > 1:
        return ["two prices from one day on: give one of them another valid_from, or both one valid_to and currency"]
    by_hours: dict[tuple[Window, ...], list[Rates]] = {}
    for line in group:
        by_hours.setdefault(line.hours, []).append(line)
    if () not in by_hours:
        return ["no price outside its hours: add one without `hours`, it counts at all others"]
    found = [fault for lines in by_hours.values() for fault in _cover(lines)]
    windows = [hours for hours in by_hours if hours]
    found += [
        f"{one} and {other} overlap: end one where the other begins"
        for first, second in combinations(windows, 2)
        for one in first
        for other in second
        if _overlap(one, other)
    ]
    return found


def _cover(lines: Sequence[Rates]) -> list[str]:
    """Whether the bands of lines that count in the same hours leave a hole or overlap."""
    ins = _cuts((line.in_from, line.in_below) for line in lines)
    outs = _cuts((line.out_from, line.out_below) for line in lines)
    found = []
    for in_from, in_to in ins:
        for out_from, out_to in outs:
            inside = sum(line.holds(in_from, out_from) for line in lines)
            if inside == 1:
                continue
            tokens = f"calls of {_span(in_from, in_to)} prompt and {_span(out_from, out_to)} completion tokens"
            if inside:
                found.append(f"{inside} prices for {tokens}: end a band (in_below, out_below) where the next begins")
            else:
                found.append(f"no price for {tokens}: let a band (in_from, out_from) begin where the one before ends")
    return found


def _cuts(ends: Iterable[tuple[int | None, int | None]]) -> list[tuple[int, int | None]]:
    """The stretches between all borders; one behind the last border only where some band has no end."""
    ends = list(ends)
    borders = sorted({0, *(low for low, _ in ends if low), *(high for _, high in ends if high)})
    stretches: list[tuple[int, int | None]] = list(pairwise(borders))
    return [*stretches, (borders[-1], None)] if any(high is None for _, high in ends) else stretches


def _span(low: int, below: int | None) -> str:
    return f"{low:,} or more" if below is None else f"{low:,} to {below - 1:,}"


def _overlap(one: Window, other: Window) -> bool:
    return any(start in second for first, second in ((one, other), (other, one)) for start in _starts(first))


def _starts(window: Window) -> Iterable[int]:
    """The first moments of a window in two weeks of a year, in microseconds of UTC."""
    for monday in _WEEKS:
        for day in window.days:
            local = (monday + timedelta(days=day, minutes=window.begin)).replace(tzinfo=tz(window.zone))
            yield int(local.timestamp()) * MICROSECONDS
