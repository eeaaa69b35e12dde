"""Seven maths functions for the model to call.

Integers are exact at any size: a `float` parameter that is given an integer gets a number that is both, an `int` to
compute with and a `float` by all that it has. Whatever a function raises becomes the text the model reads, so the
messages say what is wrong with the numbers. No call can hold up the run: results are bounded before they are computed.
"""

import math
from typing import Final

from batch import tool

MAX_DIGITS: Final = 4_000
MAX_FACTORIAL: Final = 1_400  # 1400! has 3,799 digits


@tool
def add(a: float, b: float) -> float:
    """Add two numbers: a + b.

    Args:
        a: The first number.
        b: The number to add.
    """
    return a + b


@tool
def multiply(a: float, b: float) -> float:
    """Multiply two numbers: a * b.

    Args:
        a: The first factor.
        b: The second factor.
    """
    return a * b


@tool
def subtract(a: float, b: float) -> float:
    """Subtract the second number from the first: a - b.

    Args:
        a: The number to subtract from.
        b: The number to subtract.
    """
    return a - b


@tool
def divide(a: float, b: float) -> float:
    """Divide the first number by the second: a / b.

    Args:
        a: The dividend.
        b: The divisor, not zero.
    """
    if b == 0:
        raise ZeroDivisionError("division by zero")
    if isinstance(a, int) and isinstance(b, int) and a % b == 0:
        return a // b
    return a / b


@tool
def sqrt(x: float) -> float:
    """Calculate the square root of a number.

    Args:
        x: The number, not negative.
    """
    if x < 0:
        raise ValueError("the square root of a negative number is not real")
    if isinstance(x, int) and math.isqrt(x) ** 2 == x:
        return math.isqrt(x)
    return math.sqrt(x)


@tool
def power(base: float, exponent: float) -> float:
    """Raise a number to a power: base ** exponent.

    Args:
        base: The number to raise.
        exponent: The power to raise it to.
    """
    if base == 0 and exponent < 0:
        raise ZeroDivisionError("zero cannot be raised to a negative power")
    if base < 0 and exponent != int(exponent):
        raise ValueError("a negative number raised to a fraction is not real")
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0 and abs(base) > 1:
        # From the logarithm alone: computing a huge power only to see its length would take for ever.
        if exponent > MAX_DIGITS * 4 or exponent * math.log10(abs(base)) >= MAX_DIGITS:
            raise OverflowError(f"the result has more than {MAX_DIGITS} digits")
        whole: int = base**exponent
        return whole
    result: float = base**exponent
    return result


@tool
def factorial(n: int) -> int:
    """Calculate the factorial of a whole number: n!.

    Args:
        n: The whole number, not negative.
    """
    if n < 0:
        raise ValueError("the factorial of a negative number is not defined")
    if n > MAX_FACTORIAL:
        raise OverflowError(f"the result has more than {MAX_DIGITS} digits; the largest n is {MAX_FACTORIAL}")
    return math.factorial(n)
