"""Prices: what a token of a model costs on a day, and what a call costs exactly.

Owns the table in `prices.toml` beside it and the arithmetic, which is in integers of 10⁻¹² of the currency unit: a
price that is no whole number per token in that unit does not load. It converts no currency, fetches nothing, and knows
no tier but the standard one and batch files. A model that is not in the table has no price: unknown is None, never 0.
"""

from __future__ import annotations

import tomllib
from datetime import date
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from batch.core.errors import RefusedToStart
from batch.core.records import COST_UNIT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batch.core.records import Usage

TABLE: Final = Path(__file__).with_name("prices.toml")
_PER: Final = 1_000_000
_CACHE_MAX: Final = 4096


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """The price of one token in 10⁻¹² of the currency unit, on the days for which it is valid."""

    id: str
    """`provider/model@first-day`: it never changes and is stored with every call of this price."""
    currency: str
    input: int
    output: int
    cached_input: int
    batch_input: int
    batch_output: int
    batch_cached_input: int

    def cost(self, usage: Usage, *, bulk: bool = False) -> int:
        """The exact cost of a call in 10⁻¹² of the currency unit.

        Cached tokens are a part of the prompt tokens and cost `cached_input`; reasoning tokens are a part of the
        completion tokens.

        Args:
            usage: the tokens of the call.
            bulk: take the price of batch files, which is the full price where the table has no other.
        """
        cached = min(max(usage.cached_tokens or 0, 0), usage.prompt_tokens)
        fresh = usage.prompt_tokens - cached
        if bulk:
            return (
                fresh * self.batch_input
                + cached * self.batch_cached_input
                + usage.completion_tokens * self.batch_output
            )
        return fresh * self.input + cached * self.cached_input + usage.completion_tokens * self.output


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[price]]` of the file."""

    providers: tuple[str, ...]
    models: tuple[str, ...]
    currency: str
    input: str
    output: str
    valid_from: date
    source: str
    checked_on: date
    cached_input: str | None = None
    batch_factor: str | None = None
    valid_to: date | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    price: tuple[_Entry, ...] = ()


class Prices:
    """A table of prices, in which a repeated search costs one access to a dictionary."""

    def __init__(self, entries: Iterable[tuple[_Entry, Price]]) -> None:
        # Latest first: the first entry that matches is the one that counts.
        self._entries = sorted(entries, key=lambda pair: pair[0].valid_from, reverse=True)
        self._cache: dict[tuple[str, str, date], Price | None] = {}

    @classmethod
    def load(cls, path: Path | None = None) -> Prices:
        """Read the table in `path`, or the one that comes with promptmill.

        Raises:
            RefusedToStart: the file cannot be read, is not TOML, or has a wrong entry, which the message names.
        """
        path = path or TABLE
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
            entries = msgspec.convert(document, _File).price
        except (OSError, ValueError) as error:  # those of TOML, UTF-8 and msgspec are ValueErrors
            raise RefusedToStart(f"price table {path}: {error}") from error
        return cls(
            [
                (entry, _price(entry, where=f"price table {path}, entry {number}"))
                for number, entry in enumerate(entries, 1)
            ]
        )

    def find(self, provider: str, model: str, day: date) -> Price | None:
        """The price of a model on a day, or None when the table does not have it.

        Upper and lower case are the same. An exact name goes before a pattern, then the later entry before the earlier.

        Args:
            provider: its name.
            model: its name.
            day: the day of the call, in UTC.
        """
        key = (provider, model, day)
        if key in self._cache:
            return self._cache[key]
        if len(self._cache) >= _CACHE_MAX:  # a server may make up a model name for every call
            self._cache.clear()
        price = self._cache[key] = self._search(provider.lower(), model.lower(), day)
        return price

    def _search(self, provider: str, model: str, day: date) -> Price | None:
        valid = [
            (entry, price)
            for entry, price in self._entries
            if provider in entry.providers
            and entry.valid_from <= day
            and (entry.valid_to is None or day <= entry.valid_to)
        ]
        for entry, price in valid:
            if model in entry.models:
                return price
        for entry, price in valid:
            if any(fnmatchcase(model, pattern) for pattern in entry.models):
                return price
        return None


def _price(entry: _Entry, *, where: str) -> Price:
    if not entry.providers or not entry.models or not entry.currency:
        raise RefusedToStart(f"{where}: providers, models and currency must not be empty")
    if entry.models != tuple(model.lower() for model in entry.models):
        raise RefusedToStart(f"{where}: models are written in lower case, they match any")
    if entry.valid_to is not None and entry.valid_to < entry.valid_from:
        raise RefusedToStart(f"{where}: valid_to {entry.valid_to} is before valid_from {entry.valid_from}")
    factor = entry.batch_factor or "1"
    cached = entry.cached_input or entry.input
    return Price(
        id=f"{entry.providers[0]}/{entry.models[0]}@{entry.valid_from}",
        currency=entry.currency,
        input=_units(entry.input, "1", where=where),
        output=_units(entry.output, "1", where=where),
        cached_input=_units(cached, "1", where=where),
        batch_input=_units(entry.input, factor, where=where),
        batch_output=_units(entry.output, factor, where=where),
        batch_cached_input=_units(cached, factor, where=where),
    )


def _units(per_million: str, factor: str, *, where: str) -> int:
    """The price of one token in 10⁻¹² of the currency unit, exactly.

    Args:
        per_million: the price of a million tokens, as a decimal number.
        factor: what it is multiplied by.
        where: the entry of the table, for the error.

    Raises:
        RefusedToStart: one of them is no decimal number, or the result is not whole.
    """
    try:
        units = Decimal(per_million) * Decimal(factor) * (COST_UNIT // _PER)
    except InvalidOperation:
        raise RefusedToStart(f"{where}: {per_million!r} or {factor!r} is no decimal number") from None
    if not units.is_finite() or units < 0 or units != units.to_integral_value() or units > 10**18:
        raise RefusedToStart(
            f"{where}: {per_million} per million tokens is not a whole number of 10^-12 per token: at most 6 decimals"
        )
    return int(units)
