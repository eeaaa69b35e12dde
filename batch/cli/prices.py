"""`promptmill prices`: what is known of the prices of models, whence, and since when.

Owns how the price lists look on a terminal and as JSON. The lists and the search in them are `batch.money`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from batch.cli import jobs
from batch.cli.text import pairs, say, say_json, wrapped
from batch.core.errors import EXIT_OK, RefusedToStart
from batch.core.plain import clean

if TYPE_CHECKING:
    from batch.money.prices import Prices
    from batch.money.rates import Rates

_NAME: Final = 26
"""Characters of a model's name in the list of all."""


def prices(
    model: Annotated[str | None, Parameter(negative=())] = None,
    /,
    *,
    provider: Annotated[str | None, Parameter(negative=())] = None,
    prices: jobs.PricesPath = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """What models cost: by band, tier and hour, whence that is known and since when.

    Without a model it lists all that have a price today. What it does not list is booked as unknown, never as nothing.

    Args:
        model: a model, as glm-4.7 or zai/glm-4.7; of it all prices are told, old ones too.
        provider: only those of this provider.
        prices: a price file that wins over the price book; relative to where you are.
        json: as JSON, one object for each line of a price list, with prices of a million tokens as texts.
    """
    from batch.core.clock import Clock
    from batch.money.prices import Prices

    known = Prices.load(*([prices] if prices is not None else []))
    now_us = Clock().now_us()
    if model is not None and "/" in model and provider is None:
        first, _, rest = model.partition("/")
        if known.lines(first):
            provider, model = first, rest
    lines = known.lines(provider, model)
    if not lines:
        raise RefusedToStart(_unknown(known, provider, model))
    if json:
        _say_json(lines)
    elif model is None:
        say(_all([line for line in lines if line.valid_at(now_us)]))
    else:
        say(_one(lines, now_us))
    return EXIT_OK


def _unknown(known: Prices, provider: str | None, model: str | None) -> str:
    from batch.core.nearest import did_you_mean, nearest, suggestion
    from batch.money import advice

    providers = sorted({name for line in known.lines() for name in line.providers})
    if provider is not None and provider.lower() not in providers and model is None:
        return f"provider {provider!r}: nothing is known of its prices. {suggestion(provider, providers)}".rstrip()
    assert model is not None
    names = sorted({name for line in known.lines(provider) for name in line.models if not set("*#?") & set(name)})
    near = nearest(model, names, most=3)
    hint = f" {did_you_mean(near)}" if near else ""
    other = [name for name in providers if provider is not None and known.lines(name, model)]
    there = f" {', '.join(other)} have it at prices of their own." if other else ""
    of = f"{provider}/" if provider is not None else ""
    added = "\n".join(advice.how_to_add(known, provider or "your-provider", model))
    return f"{of}{clean(model)}: no price is known, its calls are booked as unknown.{hint}{there}\nTo add one, {added}"


def _all(lines: Sequence[Rates]) -> Iterator[str]:
    """A line for each model: what it costs at the standard tier and in the first band, and what more there is."""
    from batch.cli.pricing import per_million

    yield "Prices of a million tokens today. promptmill prices MODEL tells all of one."
    for (provider, currency), some in groupby(lines, key=lambda line: (line.provider, line.currency)):
        group = list(some)
        yield ""
        yield f"{clean(provider)}, {clean(currency, most=12)}"
        yield f"  {'':<{_NAME}} {'in':>9} {'cached':>9} {'out':>9}"
        for names, own in groupby(group, key=lambda line: line.models):
            rates = list(own)
            first = next((line for line in rates if line.tier == "standard" and not line.hours), rates[0])
            name = clean(names[0], most=_NAME)
            cached = per_million(first.cached_input) if first.cached_input != first.input else ""
            more = _more(rates, len(names) - 1)
            yield (
                f"  {name:<{_NAME}} {per_million(first.input):>9} {cached:>9} {per_million(first.output):>9}  {more}"
            ).rstrip()
    yield ""
    yield from wrapped("+1: one more name has this price. ~: not confirmed by the provider's own page.")


def _more(rates: Sequence[Rates], names: int) -> str:
    marks = [f"+{names}"] if names else []
    marks += ["bands"] if any(line.in_from or line.out_from for line in rates) else []
    marks += ["hours"] if any(line.hours for line in rates) else []
    marks += ["tiers"] if any(line.tier != "standard" for line in rates) else []
    return " ".join([*(["~"] if any(line.unconfirmed for line in rates) else []), *marks])


def _one(lines: Sequence[Rates], now_us: int) -> Iterator[str]:
    """All that is known of what a name stands for, the price of today first."""
    from batch.money.advice import day_of

    today = day_of(now_us)
    separate = False
    for _, some in groupby(lines, key=_price):
        if separate:
            yield ""
        separate = True
        yield from _told(list(some), today)


def _price(line: Rates) -> tuple[Any, ...]:
    """What one paragraph is about."""
    return line.providers, line.list, line.models, line.from_us, line.to_us


def _told(lines: Sequence[Rates], today: date) -> Iterator[str]:
    from batch.cli.pricing import terms
    from batch.money import advice

    first = lines[0]
    yield f"{clean(', '.join(first.models), most=300)}"
    yield from pairs(
        [
            ("provider", clean(", ".join(first.providers))),
            ("only at", clean(", ".join(first.hosts))),
            ("price", "\n".join(terms(lines, ids=False))),
            ("id", clean(first.id) if len(lines) == 1 else ""),
            ("valid", _validity(first)),
            ("source", "\n".join(dict.fromkeys(line for one in lines for line in _source(one)))),
            ("stands in", clean(first.origin)),
            ("doubts", "\n".join(_wrapped(advice.doubts(lines, today)))),
        ]
    )


def _validity(line: Rates) -> str:
    zone = f" ({line.zone})" if line.zone != "UTC" else " (UTC)"
    since = f"since {line.valid_from}{zone}" if line.valid_from is not None else "since ever, as far as the source says"
    return (
        since if line.valid_to is None else f"{since}, until {line.valid_to}{zone if line.valid_from is None else ''}"
    )


def _source(line: Rates) -> Iterable[str]:
    if not line.source:
        return []
    read = f" ({line.checked_on})" if line.checked_on is not None else ""
    return wrapped(f"{clean(line.source)}{read}", less=14)


def _wrapped(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in wrapped(text, less=14)]


def _say_json(lines: Sequence[Rates]) -> None:
    import msgspec

    say_json(msgspec.json.format(msgspec.json.encode([_object(line) for line in lines]), indent=2).decode())


def _object(line: Rates) -> dict[str, Any]:
    from batch.cli.pricing import amount

    def said(day: date | None) -> str | None:
        return None if day is None else day.isoformat()

    return {
        "id": line.id,
        "providers": line.providers,
        "hosts": line.hosts,
        "list": line.list,
        "models": line.models,
        "currency": line.currency,
        "input": amount(line.input),
        "cached_input": amount(line.cached_input),
        "cache_write": amount(line.cache_write),
        "output": amount(line.output),
        "per_request": amount(line.per_request, 1) if line.per_request else "0",
        "in_from": line.in_from,
        "in_below": line.in_below,
        "out_from": line.out_from,
        "out_below": line.out_below,
        "tier": line.tier,
        "hours": [str(window) for window in line.hours],
        "valid_from": said(line.valid_from),
        "valid_to": said(line.valid_to),
        "zone": line.zone,
        "source": line.source,
        "checked_on": said(line.checked_on),
        "unconfirmed": line.unconfirmed,
        "origin": line.origin,
    }
