"""Kinds without parts: numbers, texts, choices, dates, truth and nothing.

Owns, of each, what its schema says, which JSON is of it, and what a near miss can only mean (`Kind.near`), which the
job may accept. Arrays and objects are in `shapes`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from batch.tools.exact import ExactFloat
from batch.tools.kinds import MISSING, NO, Kind, Misfit, finite, json_name, length_fault, show

SHOWN_CHOICES: Final = 100
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,4000}(?:\.0{1,9})?")
_NUMBER: Final = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?"
_NUMBER_TEXT: Final = re.compile(_NUMBER)
_BOOLEANS: Final = {"true": True, "false": False}
_NULLS: Final = frozenset({"null", "none"})


class NullKind(Kind):
    """`None`."""

    name = "null"
    takes = (type(None),)

    def schema(self) -> dict[str, Any]:
        return {"type": "null"}

    def accepts(self, value: Any) -> Any:
        return None if value is None else NO

    def near(self, value: Any) -> Any:
        return None if isinstance(value, str) and value.strip().lower() in _NULLS else MISSING


class BoolKind(Kind):
    """`bool`."""

    name = "bool"
    takes = (bool,)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def accepts(self, value: Any) -> Any:
        return value if isinstance(value, bool) else NO

    def near(self, value: Any) -> Any:
        return _BOOLEANS.get(value.strip().lower(), MISSING) if isinstance(value, str) else MISSING


class Range(msgspec.Struct, frozen=True):
    """The bounds of a number, None where there is none."""

    ge: Any = None
    gt: Any = None
    le: Any = None
    lt: Any = None
    multiple_of: Any = None

    def schema(self) -> dict[str, Any]:
        """The keywords of JSON Schema for it."""
        words = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf")
        limits = (self.ge, self.gt, self.le, self.lt, self.multiple_of)
        return {word: limit for word, limit in zip(words, limits, strict=True) if limit is not None}

    def fault(self, value: Any) -> str:
        """Which bound a number breaks, as `>= 0`; empty when it keeps to all."""
        if self.ge is not None and not value >= self.ge:
            return f">= {self.ge}"
        if self.gt is not None and not value > self.gt:
            return f"> {self.gt}"
        if self.le is not None and not value <= self.le:
            return f"<= {self.le}"
        if self.lt is not None and not value < self.lt:
            return f"< {self.lt}"
        if self.multiple_of is not None and value % self.multiple_of != 0:
            return f"that's a multiple of {self.multiple_of}"
        return ""


class IntKind(Kind):
    """`int`, of any size."""

    name = "int"
    takes = (int,)

    def __init__(self, limits: Range) -> None:
        self.limits = limits

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", **self.limits.schema()}

    def accepts(self, value: Any) -> Any:
        if type(value) is not int:
            return NO
        return Misfit(f"Expected `int` {fault}") if (fault := self.limits.fault(value)) else value

    def near(self, value: Any) -> Any:
        if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
            return int(value.strip().partition(".")[0])
        if isinstance(value, Decimal) and value.adjusted() < 400 and value == value.to_integral_value():
            return int(value)
        return MISSING


class FloatKind(Kind):
    """`float`; an integer stays one, see `ExactFloat`."""

    name = "float"
    takes = (int, float, Decimal)

    def __init__(self, limits: Range) -> None:
        self.limits = limits

    def schema(self) -> dict[str, Any]:
        return {"type": "number", **self.limits.schema()}

    def accepts(self, value: Any) -> Any:
        if isinstance(value, Decimal | float):
            value = finite(value)
            if isinstance(value, Misfit):
                return value
        elif type(value) is not int:
            return NO
        return Misfit(f"Expected `float` {fault}") if (fault := self.limits.fault(value)) else value

    def near(self, value: Any) -> Any:
        if not isinstance(value, str) or not _NUMBER_TEXT.fullmatch(text := value.strip()):
            return MISSING
        return int(text) if text.lstrip("+-").isdigit() and len(text) <= 4000 else Decimal(text)

    def build(self, plain: Any) -> Any:
        return ExactFloat(plain) if type(plain) is int else plain


class StrKind(Kind):
    """`str`."""

    name = "str"
    takes = (str,)

    def __init__(self, shortest: int | None = None, longest: int | None = None, pattern: str | None = None) -> None:
        self.lengths = (shortest, longest)
        self.pattern = pattern

    def schema(self) -> dict[str, Any]:
        words = {"minLength": self.lengths[0], "maxLength": self.lengths[1], "pattern": self.pattern}
        return {"type": "string", **{word: limit for word, limit in words.items() if limit is not None}}

    def accepts(self, value: Any) -> Any:
        if not isinstance(value, str):
            return NO
        if fault := length_fault("str", len(value), *self.lengths):
            return Misfit(fault)
        if self.pattern is not None and re.search(self.pattern, value) is None:
            return Misfit(f"Expected `str` matching regex {self.pattern!r}")
        return value

    def near(self, value: Any) -> Any:
        return str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else MISSING


class ChoiceKind(Kind):
    """`Literal`, or an `Enum`."""

    def __init__(self, values: Sequence[Any], cls: type[enum.Enum] | None = None, description: str = "") -> None:
        self.values = list(values)
        self.cls = cls
        self.description = description
        self.has_description = bool(description)
        self.name = "choice"
        self.takes = tuple({type(value) for value in values})

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"description": self.description} if self.description else {}
        if all(isinstance(value, str) for value in self.values):
            schema["type"] = "string"
        elif all(type(value) is int for value in self.values):
            schema["type"] = "integer"
        return {**schema, "enum": list(self.values)}

    def accepts(self, value: Any) -> Any:
        for choice in self.values:
            if type(choice) is type(value) and choice == value:
                return choice
        shown = ", ".join(map(show, self.values[:SHOWN_CHOICES]))
        more = len(self.values) - SHOWN_CHOICES
        return Misfit(f"Expected one of {shown}{f' and {more} more' if more > 0 else ''}, got {show(value)}")

    def near(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, str | int):
            return MISSING
        meant = str(value).strip().casefold()
        near = [choice for choice in self.values if str(choice).casefold() == meant and not isinstance(choice, bool)]
        return near[0] if len(near) == 1 else MISSING

    def build(self, plain: Any) -> Any:
        return plain if self.cls is None else self.cls(plain)


class TextKind(Kind):
    """A type that JSON writes as text: `date`, `datetime`, `time`, `UUID`."""

    takes = (str,)

    def __init__(self, cls: type, form: str, example: str) -> None:
        self.cls = cls
        self.form = form
        self.example = example
        self.name = cls.__name__

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": self.form}

    def accepts(self, value: Any) -> Any:
        if not isinstance(value, str):
            return Misfit(f"Expected a text such as {show(self.example)}, got `{json_name(value)}`")
        try:
            msgspec.convert(value, self.cls, strict=True)
        except ValueError:
            return Misfit(f"Expected a {self.form} such as {show(self.example)}, got {show(value)}")
        return value

    def near(self, value: Any) -> Any:
        return value.strip() if isinstance(value, str) else MISSING

    def build(self, plain: Any) -> Any:
        return msgspec.convert(plain, self.cls, strict=True)


class DecimalKind(Kind):
    """`Decimal`: a number, of which no digit is lost, or a text with one."""

    name = "Decimal"
    takes = (str, int, float, Decimal)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^{_NUMBER}$"}]}

    def accepts(self, value: Any) -> Any:
        if isinstance(value, str):
            return (
                value
                if _NUMBER_TEXT.fullmatch(value)
                else Misfit(f'Expected a number such as "1.50", got {show(value)}')
            )
        if isinstance(value, float):
            value = finite(value)
        return str(value) if type(value) in {int, float, Decimal} else NO

    def near(self, value: Any) -> Any:
        return value.strip() if isinstance(value, str) else MISSING

    def build(self, plain: Any) -> Any:
        return Decimal(plain)
