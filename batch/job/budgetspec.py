"""The section `[budget]` of a job: how much a run, a day or a prepaid pack of tokens may be used up.

Owns the shape of that section, and how amounts of money and numbers of tokens are written. What its keys mean is in
`budgetkeys`; what rules hold between them, in `checks`; who keeps to a budget is `batch.submit.purse`.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from batch.core.records import COST_UNIT, cost_decimal
from batch.job.fieldtypes import Misread

_AMOUNT: Final = re.compile(r"([0-9][0-9_]{0,14}(?:\.[0-9]{1,12})?) ?([A-Za-z]{3})", re.ASCII)
_TOKENS: Final = re.compile(r"([0-9][0-9_]{0,14}(?:\.[0-9]{1,9})?) ?([kKmMgG]?)", re.ASCII)
_MOST_TOKENS: Final = 10**15


class Amount(Struct, frozen=True):
    """An amount of money: `units` are 10⁻¹² of the currency's own."""

    units: int
    currency: str

    @classmethod
    def parse(cls, text: str) -> Amount:
        """The amount that a text such as `50 CNY` stands for.

        Raises:
            Misread: the text is no amount; the message says what to write.
        """
        match = _AMOUNT.fullmatch(text.strip())
        if match is None:
            raise Misread('expected an amount and the three letters of its currency, for example "50 CNY"')
        units = int(Decimal(match[1].replace("_", "")) * COST_UNIT)
        if units <= 0:
            raise Misread("is nothing: give more than 0, or leave it out for no such limit")
        return cls(units, match[2].upper())

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{cost_decimal(self.units).normalize():f} {self.currency}"


def tokens(text: str) -> int:
    """The number of tokens that a text such as `5M` or `200k` stands for.

    Raises:
        Misread: the text is no number of tokens; the message says what to write.
    """
    match = _TOKENS.fullmatch(text.strip())
    if match is None:
        raise Misread('expected a number of tokens, for example 5_000_000 or "5M"')
    number = Decimal(match[1].replace("_", "")) * 1000 ** " kmg".index((match[2] or " ").lower())
    if number != int(number) or not 0 < number <= _MOST_TOKENS:
        raise Misread(f"expected a whole number of tokens from 1 to {_MOST_TOKENS:_}")
    return int(number)


class GrantSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prepaid pack of tokens.

    Raises:
        ValueError: `tokens` is no number of tokens.
    """

    tokens: int | str
    """How many there are in it; a text such as `5M` is read."""
    until: date | None = None
    """The last day on which it is good, by the clocks of `batch.money.days.GRANT_ZONE`; None for always."""
    key: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] | None = None
    """The NAME of the environment variable with the API key it belongs to; None for the job's own key."""

    def __post_init__(self) -> None:
        """Read `tokens` where it is a text."""
        number = tokens(str(self.tokens))
        msgspec.structs.force_setattr(self, "tokens", number)

    @property
    def size(self) -> int:
        """How many tokens there are in it."""
        assert isinstance(self.tokens, int)
        return self.tokens


Money = Annotated[
    Amount | None,
    Meta(description='an amount and its currency, for example "50 CNY"', extra={"read": Amount.parse}),
]


class BudgetSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much may be used up: checked before each call is sent, with the most that the call can come to."""

    max_cost: Money = None
    max_tokens: Annotated[
        Annotated[int, Meta(ge=1, le=_MOST_TOKENS)] | None,
        Meta(description='a number of tokens, for example 5_000_000 or "5M"', extra={"read": tokens}),
    ] = None
    max_rows: Annotated[
        Annotated[int, Meta(ge=1, le=10**12)] | None, Meta(description="a whole number of rows, at least 1")
    ] = None
    per_day: Money = None
    grants: Annotated[
        tuple[GrantSpec, ...],
        Meta(
            description="a list of packs: tokens, until (a day) and key (the NAME of an environment variable, never "
            'the key itself), as in [{ tokens = "5M", until = 2026-12-31, key = "ZAI_API_KEY" }]'
        ),
    ] = ()

    @property
    def bounds_calls(self) -> bool:
        """Whether it must be known before a call is sent how much it can come to."""
        return bool(self.max_cost or self.max_tokens or self.per_day or self.grants)

    @property
    def amounts(self) -> dict[str, Amount]:
        """Its limits of money, by their keys."""
        limits = {"max_cost": self.max_cost, "per_day": self.per_day}
        return {name: amount for name, amount in limits.items() if amount is not None}
