"""Exchange rates that a user wrote down, with a date and a source: the only ones by which a total is converted.

Owns the form of such a file and the arithmetic, which is exact until the last digit. Nothing is fetched, and without a
file nothing is converted.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Final

import msgspec

from batch.core.errors import RefusedToStart

_EXAMPLE: Final = (
    '[[rate]]\nfrom = "USD"\nto = "CNY"\nrate = "7.12"\ndate = 2026-10-31\nsource = "the bank\'s closing rate"'
)


class Rate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one unit of a currency is worth in another."""

    from_: str = msgspec.field(name="from")
    to: str
    rate: str
    date: date
    source: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rate: tuple[Rate, ...]


class Exchange:
    """The rates of one file, all into one currency.

    Args:
        path: a TOML file of `[[rate]]` tables with from, to, rate (as text), date and source.

    Raises:
        RefusedToStart: it cannot be read or is wrong; says what to write.

    Attributes:
        to: the currency of converted totals.
        rates: the rate of each other currency.
    """

    def __init__(self, path: Path) -> None:
        where = f"--rates {path}"
        try:
            found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8-sig")), _File).rate
        except OSError as exc:
            raise RefusedToStart(
                f"{where}: cannot be read: {exc.strerror}. It is a file like this:\n{_EXAMPLE}"
            ) from exc
        except ValueError as exc:  # those of TOML, UTF-8 and msgspec
            raise RefusedToStart(f"{where}: {exc}. It is a file like this:\n{_EXAMPLE}") from exc
        targets = sorted({rate.to for rate in found})
        if len(targets) != 1:
            raise RefusedToStart(f"{where}: its rates are into {', '.join(targets) or 'nothing'}. Keep one currency.")
        self.to = targets[0]
        self.rates: dict[str, Rate] = {}
        for rate in found:
            if not _is_rate(rate.rate):
                raise RefusedToStart(f'{where}: rate = "{rate.rate}" is no amount. Write rate = "7.12".')
            if rate.from_ in self.rates or rate.from_ == self.to:
                raise RefusedToStart(f"{where}: there are two rates from {rate.from_}. Keep the one that counts.")
            self.rates[rate.from_] = rate

    def converted(self, costs: Mapping[str, int]) -> int | None:
        """A total in one currency, in 10⁻¹² of its unit, rounded once at the end; None when a rate is missing.

        Args:
            costs: by currency, in 10⁻¹² of its unit.
        """
        total = Fraction(0)
        for currency, cost in costs.items():
            if currency == self.to:
                total += cost
            elif currency in self.rates:
                total += cost * Fraction(Decimal(self.rates[currency].rate))
            else:
                return None
        return round(total)


def _is_rate(text: str) -> bool:
    try:
        value = Decimal(text)
    except ArithmeticError:
        return False
    return value.is_finite() and value > 0
