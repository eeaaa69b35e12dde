"""The keys of a price in a price file: what each may hold, and how its value is read.

Owns the words for every key and the reading of one value. It does not know how prices stand together in a file.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from batch.core.hours import FORM, Window, tz
from batch.core.records import COST_UNIT
from batch.money.rates import TIERS

_PER: Final = 1_000_000
_MOST: Final = 10**18
"""Units a token may cost: the cost of the largest call still fits its column."""


class Key(NamedTuple):
    """One key.

    Attributes:
        read: from the value in the file to that of `Rates`; raises ValueError with what is wrong and the way out.
        means: what it says, for people.
    """

    read: Callable[[Any], Any]
    means: str


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError('expected a text in quotes, for example "USD"')
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(name, str) and name for name in value):
        raise ValueError('expected a list of texts, for example ["glm-4.7"]')
    if any(name != name.lower() for name in value):
        raise ValueError("names are written in lower case, they match any")
    return tuple(value)


def _amount(value: Any, *, per: int) -> int:
    """An amount of money in 10⁻¹² of the currency unit, exactly."""
    advice = "write the price in the currency's unit, for example 0.25"
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
            raise InvalidOperation  # noqa: TRY301 - what is no number and what reads as none are one fault
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise ValueError(f"is no decimal number: {advice}") from None
    units = number * (COST_UNIT // per) if number.is_finite() else number
    if not units.is_finite() or units < 0:
        raise ValueError(f"is no price: {advice}")
    if units > _MOST:
        raise ValueError("is more than any token costs: the price is in the currency's unit, of a million tokens")
    if units != units.to_integral_value():
        places = 6 if per == _PER else 12
        raise ValueError(f"is not a whole number of 10^-12: at most {places} decimals")
    return int(units)


def _per_million(value: Any) -> int:
    return _amount(value, per=_PER)


def _once(value: Any) -> int:
    return _amount(value, per=1)


def _tokens(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("expected a whole number of tokens, for example 32000")
    return value


def _border(value: Any) -> int:
    if _tokens(value) == 0:
        raise ValueError("no call has fewer than 0 tokens: leave it out, or write where the band ends")
    return int(value)


def _tier(value: Any) -> str:
    if value not in TIERS:
        raise ValueError(f"is no tier: there are {', '.join(TIERS)}")
    return str(value)


def _hours(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(text, str) for text in value):
        raise ValueError(f"expected a list of windows, each {FORM}")
    return tuple(value)


def windows(texts: tuple[str, ...], zone: str) -> tuple[Window, ...]:
    """The windows of hours of a price, in the zone of its list where a text names none.

    Raises:
        ValueError: one of them is no window; the message says what to write.
    """
    return tuple(Window.parse(text, zone=zone) for text in texts)


def _day(value: Any) -> date:
    if type(value) not in {date, datetime}:
        raise ValueError("expected a day or a moment without quotes: 2026-09-09 or 2026-09-09T16:00:00Z")
    day: date = value
    if isinstance(value, datetime) and (value.second or value.microsecond):
        raise ValueError("expected a whole minute, for example 2026-09-09T16:00:00Z")
    return day


def _plain_day(value: Any) -> date:
    if type(value) is not date:
        raise ValueError("expected a day without quotes: 2026-11-21")
    day: date = value
    return day


def _zone(value: Any) -> str:
    tz(_text(value))
    return str(value)


def _flag(value: Any) -> bool:
    if value is not True and value is not False:
        raise ValueError("expected true or false")
    return bool(value)


KEYS: Final[dict[str, Key]] = {
    "list": Key(_text, "the [list.NAME] whose keys count where the price has none of its own"),
    "providers": Key(_names, "names as in job.toml; the first one stands in the price's id"),
    "hosts": Key(_names, "only for calls to these, where a provider has another list at each of its addresses"),
    "models": Key(_names, "names in lower case or patterns (* any text, ? a character, # a digit); a name goes first"),
    "currency": Key(_text, "as the list has it: CNY, USD; nothing is ever converted"),
    "input": Key(_per_million, "price of 1,000,000 prompt tokens"),
    "output": Key(_per_million, "price of 1,000,000 completion tokens, reasoning included"),
    "cached_input": Key(_per_million, "price of 1,000,000 cached prompt tokens; absent: as `input`"),
    "cache_write": Key(_per_million, "price of 1,000,000 prompt tokens written to the cache; absent: as `input`"),
    "per_request": Key(_once, "what each call costs beside its tokens"),
    "in_from": Key(_tokens, "fewest prompt tokens of a call it is for"),
    "in_below": Key(_border, "one more than the most; a whole call has the price of its lengths"),
    "out_from": Key(_tokens, "fewest completion tokens of a call it is for"),
    "out_below": Key(_border, "one more than the most"),
    "tier": Key(_tier, "standard (default), batch, flex or priority"),
    "hours": Key(_hours, f"a list of {FORM}: this price counts for calls sent then, the one without hours else"),
    "valid_from": Key(_day, "first day it counts, in `zone`, or a moment: 2026-09-09T16:00:00Z; absent: always"),
    "valid_to": Key(_day, "last day it counts, or the first moment it does not; absent: until a later one begins"),
    "zone": Key(_zone, 'in which days begin and hours are meant, for example "Asia/Shanghai"; absent: UTC'),
    "source": Key(_text, "where it was published"),
    "checked_on": Key(_plain_day, "when that was read"),
    "unconfirmed": Key(_flag, "true: read from third parties; used, and said so"),
}
"""Of a price; of the list it names, and of each of its `rates`, but for what makes no sense there."""
