"""What a type hint is to JSON: a kind, with its schema, the check of a value, and the object made of it.

Owns what all kinds have in common, and what a check collects. The kinds themselves are in `scalars`, `shapes` and
`models`. A kind says all three things of a hint in one place, so that what the schema asks for is what the check
accepts. It does not know where a hint stands (`hints`), nor the text that a model sent (`arguments`).

A check runs no code of the author and gives plain JSON back, in which integers are exact; `build` makes what the
function takes of it, and may run the author's classes.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Final

import msgspec

from batch.tools.exact import as_builtin

MISSING: Final = object()
MOST_FAULTS: Final = 20
LARGEST: Final = 9_999
"""The largest exponent of a number. With a larger one, a Decimal would fill all memory when it becomes an integer."""
_SHOWN: Final = 80
_JSON_NAMES: Final[dict[type, str]] = {
    str: "str",
    int: "int",
    float: "float",
    Decimal: "float",
    bool: "bool",
    type(None): "null",
    list: "array",
    dict: "object",
}


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"the number {text[:_SHOWN]} is too large or too small") from error
    if number.adjusted() > LARGEST:
        raise ValueError(f"the number {text[:_SHOWN]} is too large")
    return number


_decode: Final = msgspec.json.Decoder(float_hook=_decimal).decode


class Check:
    """One check of a model's arguments: whether near misses are accepted, and what was found.

    Args:
        coerce: accept a value of the wrong type that can only mean one thing: "2" for an integer, "true" for a bool.
    """

    __slots__ = ("coerce", "coerced", "faults", "untold")

    def __init__(self, *, coerce: bool) -> None:
        self.coerce = coerce
        self.coerced: list[str] = []
        """Where a near miss was accepted: `items[0].count`."""
        self.faults: list[str] = []
        """The first of them, of which a model reads each."""
        self.untold = 0
        """How many more there are."""

    def fault(self, at: str, text: str) -> None:
        """Note that the value at this place does not fit."""
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(f"parameter {at!r}: {text}")
        else:
            self.untold += 1


class Kind:
    """One kind of hint."""

    name = "any"
    takes: tuple[type, ...] = ()
    """The JSON types, as they are decoded, of which some values are of this kind."""
    has_description = False
    """Whether its schema describes itself, as a class with a docstring does."""

    def schema(self) -> dict[str, Any]:
        """Its JSON schema, made anew."""
        raise NotImplementedError

    def accepts(self, value: Any) -> Any:
        """The plain JSON of a value that is of this kind; MISSING, or a text that says why not, for any other.

        A number with a fraction or an exponent comes as `Decimal`, with all its digits.
        """
        raise NotImplementedError

    def near(self, value: Any) -> Any:  # noqa: ARG002  for those that override it
        """What a value of a wrong type can only mean, still to be checked; MISSING when it can mean several things."""
        return MISSING

    def check(self, value: Any, at: str, check: Check) -> Any:
        """The plain JSON of a value; whatever is wrong with it is told to `check`.

        Args:
            value: as the model sent it.
            at: the place of the value, beginning with the parameter.
            check: takes the faults.
        """
        found = self.accepts(value)
        if isinstance(found, Misfit) and check.coerce and (near := self.near(value)) is not MISSING:
            accepted = self.accepts(near)
            if not isinstance(accepted, Misfit):
                check.coerced.append(at)
                return accepted
        if isinstance(found, Misfit):
            check.fault(at, found.text or f"Expected `{self.name}`, got `{json_name(value)}`")
            return None
        return found

    def build(self, plain: Any) -> Any:
        """What the function takes, of the plain JSON that a check gave."""
        return plain


class Misfit(msgspec.Struct, frozen=True):
    """A value is not of a kind; without a text, its type is wrong."""

    text: str = ""


NO: Final = Misfit()


class AnyKind(Kind):
    """No hint, or `Any`: every JSON value."""

    def schema(self) -> dict[str, Any]:
        return {}

    def accepts(self, value: Any) -> Any:
        if isinstance(value, Decimal):
            return finite(value)
        if isinstance(value, list):
            found = [self.accepts(item) for item in value]
            return next((item for item in found if isinstance(item, Misfit)), found)
        if isinstance(value, dict):
            named = {key: self.accepts(item) for key, item in value.items()}
            return next((item for item in named.values() if isinstance(item, Misfit)), named)
        return value


def parse(text: str) -> Any:
    """The value of a JSON text, with every digit of its numbers.

    Raises:
        ValueError: it is no JSON, or has an integer of more than 4,300 digits.
        RecursionError: it is nested too deep.
    """
    return _decode(text)


def as_json(value: Any) -> Any:
    """A default as plain JSON.

    Raises:
        TypeError, ValueError, NotImplementedError: it has no such form.
    """
    return _lists(msgspec.to_builtins(value, enc_hook=as_builtin, str_keys=True))


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return list(map(_lists, value)) if isinstance(value, list | tuple) else value


def json_name(value: Any) -> str:
    """What JSON calls the type of a value."""
    return _JSON_NAMES.get(type(value), type(value).__name__)


def show(value: Any) -> str:
    """A value as JSON, its end cut."""
    text = str(value) if isinstance(value, Decimal) else msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def length_fault(name: str, length: int, shortest: int | None, longest: int | None) -> str:
    """What is wrong with a length, in words; empty when nothing is."""
    if shortest is not None and length < shortest:
        return f"Expected `{name}` of length >= {shortest}"
    if longest is not None and length > longest:
        return f"Expected `{name}` of length <= {longest}"
    return ""


def finite(value: Decimal | float) -> Any:
    """The number as a float, or a misfit when it is too large for one, or none."""
    number = float(value)
    return number if math.isfinite(number) else Misfit(f"{show(value)} is too large for a float")
