"""How a price reads: bands, tiers, hours and figures in words, for check, prices and the end of a run.

Owns these words. Which price counts, and what is to be said against it, is the matter of `batch.money`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING

from batch.cli import labelling
from batch.cli.text import decimal, wrapped
from batch.core.clock import Clock
from batch.core.plain import clean
from batch.core.records import COST_UNIT, cost_decimal
from batch.money import advice
from batch.money.rates import tier_of

if TYPE_CHECKING:
    from batch.money.rates import Rates
    from batch.plan.preflight import CheckedJob

PER_MILLION = 1_000_000


def per_million(units: int) -> str:
    """The price of a million tokens, from that of one in 10⁻¹² of the currency unit."""
    return decimal(cost_decimal(units * PER_MILLION))


def figures(line: Rates) -> str:
    """What a line charges: `2.00 in, 0.40 cached, 8.00 out`."""
    parts = [f"{per_million(line.input)} in"]
    if line.cached_input != line.input:
        parts.append(f"{per_million(line.cached_input)} cached")
    if line.cache_write != line.input:
        parts.append(f"{per_million(line.cache_write)} written")
    parts.append(f"{per_million(line.output)} out")
    if line.per_request:
        parts.append(f"{decimal(cost_decimal(line.per_request))} a call")
    return ", ".join(parts)


def condition(line: Rates) -> list[str]:
    """For which calls a line is, tier and lengths first, then a line for each window of hours; empty for any."""
    parts: list[str] = [line.tier] if line.tier != "standard" else []
    parts += [_band(word, low, below) for word, low, below in _ends(line) if low or below is not None]
    first = [", ".join(parts)] if parts else []
    zones = {window.zone for window in line.hours}
    if len(zones) == 1:
        return [*first, *(str(window).rpartition(" ")[0] for window in line.hours), f"in {zones.pop()}"]
    return [*first, *map(str, line.hours)]


def _ends(line: Rates) -> list[tuple[str, int | None, int | None]]:
    return [("in", line.in_from, line.in_below), ("out", line.out_from, line.out_below)]


def _band(word: str, low: int | None, below: int | None) -> str:
    if not low:
        return f"{word} < {below:,}"
    return f"{word} >= {low:,}" if below is None else f"{word} {low:,} to {below - 1:,}"


def terms(lines: Sequence[Rates], *, ids: bool = True) -> list[str]:
    """What some lines of one price charge, one in each line of text or in several.

    Args:
        lines: of one model, currency and time.
        ids: name the line of the list, where there is one.
    """
    unit = f"{clean(lines[0].currency, most=12)} per million tokens"
    if len(lines) == 1 and not condition(lines[0]):
        return [f"{figures(lines[0])} {unit}{f' ({clean(lines[0].id, most=120)})' if ids else ''}"]
    width = max(len(figures(line)) for line in lines)
    other = "at all other hours" if any(line.hours for line in lines) else ""
    texts = [f"{unit} ({clean(lines[0].list, most=60)}):"]
    for line in lines:
        first, *rest = condition(line) or [other]
        texts.append(f"  {figures(line):<{width}}  {first}".rstrip())
        texts += [f"{' ' * (width + 4)}{more}" for more in rest]
    return texts


def amount(units: int, per: int = PER_MILLION) -> str:
    """A price as a plain decimal text, for programs."""
    whole, rest = divmod(units * per, COST_UNIT)
    text = f"{whole}.{rest:012}".rstrip("0")
    return text.rstrip(".")


def of_job(checked: CheckedJob) -> str:
    """What each model costs, and what is to be said against it."""
    models = labelling.models_asked(checked)
    lines = []
    for model, lane in product(models, lanes := checked.job.model.lanes):
        first, *rest = _terms_of(checked, model, lane)
        named = clean(model) if len(lanes) == 1 else f"{clean(model)}, lane {lane}"
        lines += [f"{f'{named}: ' if len(models) + len(lanes) > 2 else ''}{first}", *rest]
    return "\n".join(lines)


def _terms_of(checked: CheckedJob, model: str, lane: str) -> Iterator[str]:
    job, now_us = checked.job, Clock().now_us()
    asked = job.model.parameters.get("service_tier")
    tier = asked if isinstance(asked, str) else advice.tier_key(lane)
    lines = checked.prices.current(job.model.provider, model, now_us, tier=tier, lane=lane)
    if not lines:
        name = f"{job.model.provider}/{clean(model)}{f' at service_tier {clean(tier, most=40)}' if tier else ''}"
        yield f"no price for {name}: cost will be null; tokens are counted all the same"
        word = tier_of(tier, lane) if tier else None
        yield from advice.how_to_add(checked.prices, job.model.provider, model, tier=word)
        return
    yield from terms(lines)
    yield from (line for text in advice.doubts(lines, advice.day_of(now_us)) for line in wrapped(text, less=14))
