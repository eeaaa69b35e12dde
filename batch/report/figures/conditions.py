"""The conditions that rows are chosen by: over the columns of a row group, and over its ends alone.

Owns how a value of any type is compared. A condition that cannot tell by the ends lets the row group be read.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from functools import reduce
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from batch.core.clock import MICROSECONDS
from batch.report.figures.parquet import Ends
from batch.report.label_table import has_flag, texts

_INT64: Final = 2**63
_FLAGS: Final = "flags.list.element"
"""How a footer names the elements of the column `flags`."""


class Condition(ABC):
    """One condition.

    Attributes:
        columns: what it looks at.
    """

    def __init__(self, *columns: str) -> None:
        self.columns = columns

    def mask(self, table: pa.Table) -> Any:
        """For each of N rows whether it holds."""
        return pc.fill_null(self._mask(table), fill_value=False)

    def may(self, told: Ends) -> bool:
        """Whether it can hold for a row of a row group with these ends."""
        return self._may(told)

    @abstractmethod
    def _mask(self, table: pa.Table) -> Any:
        """The same as `mask`, but null is no, too."""

    @abstractmethod
    def _may(self, told: Ends) -> bool:
        """As `may`."""


class Equal(Condition):
    """The text of a value is this one; empty for null, too."""

    def __init__(self, column: str, value: str) -> None:
        super().__init__(column)
        self._value = value

    def _mask(self, table: pa.Table) -> Any:
        column = table.column(self.columns[0])
        found = pc.equal(texts(column), self._value)
        return found if self._value else pc.or_kleene(found, column.is_null())

    def _may(self, told: Ends) -> bool:
        least, greatest = told.get(self.columns[0], ("", None))
        if not self._value or not (isinstance(least, str) and isinstance(greatest, str)):
            return not self._value or self.columns[0] not in told or least is not None
        return least <= self._value <= greatest


class OneOf(Condition):
    """A text is one of these."""

    def __init__(self, column: str, values: Sequence[str]) -> None:
        super().__init__(column)
        self._values = list(values)

    def _mask(self, table: pa.Table) -> Any:
        return pc.is_in(texts(table.column(self.columns[0])), pa.array(self._values, pa.string()))

    def _may(self, told: Ends) -> bool:
        return any(Equal(self.columns[0], value).may(told) for value in self._values)


class AnyOf(Condition):
    """At least one of these conditions holds."""

    def __init__(self, conditions: Sequence[Condition]) -> None:
        super().__init__(*(name for condition in conditions for name in condition.columns))
        self._conditions = conditions

    def _mask(self, table: pa.Table) -> Any:
        return reduce(pc.or_, (condition.mask(table) for condition in self._conditions))

    def _may(self, told: Ends) -> bool:
        return any(condition.may(told) for condition in self._conditions)


class HasFlag(Condition):
    """The row has a flag."""

    def __init__(self, flag: str) -> None:
        super().__init__("flags")
        self._flag = flag

    def _mask(self, table: pa.Table) -> Any:
        return has_flag(table.column("flags").combine_chunks(), self._flag)

    def _may(self, told: Ends) -> bool:
        least, greatest = told.get(_FLAGS, ("", None))
        if _FLAGS in told and least is None:
            return False
        return greatest is None or least <= self._flag <= greatest


class Contains(Condition):
    """A text stands somewhere in a column, in upper or lower case."""

    def __init__(self, column: str, text: str) -> None:
        super().__init__(column)
        self._text = text

    def _mask(self, table: pa.Table) -> Any:
        column = table.column(self.columns[0])
        if pa.types.is_dictionary(column.type):
            column = texts(column)
        # Looking without regard to case is several times faster than looking for exactly these characters, too.
        return pc.match_substring(column, self._text, ignore_case=True)

    def _may(self, told: Ends) -> bool:
        least, _ = told.get(self.columns[0], ("", None))
        return least is not None


class IsWithin(Condition):
    """A number lies between two, the ends included; None for no end.

    Args:
        column: its name.
        kind: its type.
        least: as `as_number` gives it.
        most: as above.
    """

    def __init__(self, column: str, kind: Any, *, least: Any = None, most: Any = None) -> None:
        super().__init__(column)
        self._kind, self._least, self._most = kind, least, most

    def _mask(self, table: pa.Table) -> Any:
        column = table.column(self.columns[0])
        if pa.types.is_timestamp(self._kind):
            column = column.cast(pa.timestamp("us", self._kind.tz)).cast(pa.int64())
        elif pa.types.is_integer(self._kind) and isinstance(self._least or self._most, float):
            column = column.cast(pa.float64(), safe=False)
        if self._least is not None:
            return pc.greater_equal(column, pa.scalar(self._least))
        return pc.less_equal(column, pa.scalar(self._most))

    def _may(self, told: Ends) -> bool:
        least, greatest = told.get(self.columns[0], (0, None))
        if self.columns[0] in told and least is None:
            return False
        if not isinstance(greatest, (int, float, Decimal)) or not isinstance(least, (int, float, Decimal)):
            return True
        return bool(greatest >= self._least if self._least is not None else least <= self._most)


def is_number(kind: Any) -> bool:
    """Whether values of this type are numbers or moments."""
    types = pa.types
    return any(check(kind) for check in (types.is_integer, types.is_floating, types.is_decimal, types.is_timestamp))


def as_number(text: str, kind: Any) -> Any:
    """A number that can be compared with values of this type.

    Raises:
        ValueError: it is none.
    """
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number") from None
    if not number.is_finite() or not math.isfinite(float(number)):
        raise ValueError(f"{text!r} is no number that can be compared")
    if pa.types.is_timestamp(kind):
        return int(number * MICROSECONDS)
    if pa.types.is_decimal(kind) and len(number.as_tuple().digits) <= 38 and abs(number) < 10**20:
        return number
    if pa.types.is_integer(kind) and number == int(number) and -_INT64 <= number < _INT64:
        return int(number)
    return float(number)


def countable(kind: Any) -> bool:
    """Whether values of this type can be told apart by their text."""
    types = pa.types
    binary = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return not types.is_nested(kind) and not any(check(kind) for check in binary)
