"""The number that a tool gets when the model gives an integer for a `float` parameter: exact, and as good as a float.

Owns that one class and its way back to a plain integer. It does not know when an argument becomes one (`kinds`).

Why neither of the two plain types will do: as a `float`, 53195444847186410 becomes …408; as an `int`, it has no
`is_integer` before Python 3.12, and `isinstance(x, float)` says no to a number that the author called a float.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

EXACT_FLOATS: Final = 2**53
"""Up to here a float holds every integer."""
MAX_BITS: Final = 1_000_000
"""A power with more bits is refused: as a float it would overflow at once, as an integer it may take for ever."""


class ExactFloat(int):
    """A whole number given for a `float`: it computes exactly as an `int`, and has all that a `float` has.

    It is an instance of both. Sums, differences, products, powers and remainders of whole numbers stay exact and of
    this class; whatever meets a fraction is a plain `float`. A quotient is a `float`, unless it is a whole number that
    a float cannot hold. As JSON and as text it is the bare integer.
    """

    __slots__ = ()

    @property  # type: ignore[misc]  # what mypy knows of `__class__` is a method
    def __class__(self) -> type:
        """`float`, so that `isinstance(x, float)` is true; `isinstance(x, int)` is so anyway."""
        return float

    @classmethod
    def fromhex(cls, text: str, /) -> float:
        """As of a float."""
        return float.fromhex(text)

    @classmethod
    def from_number(cls, number: Any, /) -> float:
        """As of a float, which has it from Python 3.14 on."""
        return float(number)

    def is_integer(self) -> bool:
        """Always true."""
        return True

    def hex(self) -> str:
        """The hexadecimal form of the nearest float."""
        return float(self).hex()

    def __truediv__(self, other: Any) -> Any:
        return _quotient(int(self), other) if isinstance(other, int) else NotImplemented

    def __rtruediv__(self, other: Any) -> Any:
        return _quotient(other, int(self)) if isinstance(other, int) else NotImplemented

    def __pow__(self, other: Any, modulus: Any = None, /) -> Any:
        return _power(int(self), other, modulus) if isinstance(other, int) else NotImplemented

    def __rpow__(self, other: Any, modulus: Any = None, /) -> Any:
        return _power(other, int(self), modulus) if isinstance(other, int) else NotImplemented

    def __format__(self, spec: str, /) -> str:
        try:
            return int.__format__(self, spec)
        except ValueError:  # such as ".3", which only a float takes
            return float.__format__(float(self), spec)

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return ExactFloat, (int(self),)  # not by `__class__`, which would copy it as a float


def as_builtin(value: Any) -> Any:
    """What a tool returned that has no JSON form by itself: a number of our class, or a pydantic model.

    Raises:
        NotImplementedError: it is something else.
    """
    if isinstance(value, ExactFloat):
        return int(value)
    if hasattr(type(value), "model_dump") and hasattr(type(value), "model_json_schema"):
        return value.model_dump(mode="json")
    raise NotImplementedError(f"no JSON form of {type(value).__name__}")


def _exact(value: Any) -> Any:
    """A plain integer made one of our class; anything else, NotImplemented too, as it is."""
    if type(value) is tuple:
        return tuple(map(_exact, value))
    return ExactFloat(value) if type(value) is int else value


def _quotient(a: int, b: int) -> Any:
    if b != 0 and abs(a) >= EXACT_FLOATS and a % b == 0 and abs(whole := a // b) >= EXACT_FLOATS:
        return ExactFloat(whole)
    return operator.truediv(int(a), int(b))


def _power(base: int, exponent: int, modulus: Any) -> Any:
    base, exponent = int(base), int(exponent)
    if modulus is not None:
        return _exact(pow(base, exponent, modulus))
    if abs(base) > 1 and exponent * base.bit_length() > MAX_BITS:
        raise OverflowError("the result of a power is too large")
    return _exact(base**exponent)


def _kept(name: str) -> Callable[..., Any]:
    plain = getattr(int, name)

    def operation(self: int, *others: Any) -> Any:
        return _exact(plain(self, *others))

    operation.__name__ = name
    return operation


for _name in ("add", "sub", "mul", "floordiv", "mod", "divmod"):
    setattr(ExactFloat, f"__{_name}__", _kept(f"__{_name}__"))
    setattr(ExactFloat, f"__r{_name}__", _kept(f"__r{_name}__"))
for _name in ("neg", "pos", "abs", "round"):
    setattr(ExactFloat, f"__{_name}__", _kept(f"__{_name}__"))
