"""The number a function gets for a whole number where it asked for a float: exact, and nothing that a float has is missing."""

import copy
import json
import math
import pickle
import statistics
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batch.tools.exact import MAX_BITS, ExactFloat, as_builtin

ROOT = Path(__file__).resolve().parents[2]
BIG = 53195444847186410
WHOLE = st.integers(min_value=-(10**40), max_value=10**40)
SMALL = st.integers(min_value=-(2**53), max_value=2**53)


def test_it_has_every_name_that_a_float_has() -> None:
    """`is_integer` of an int is new in Python 3.12, `hex` and `fromhex` no int has; `__getformat__` is for CPython's own tests."""
    assert set(dir(float)) - set(dir(ExactFloat)) <= {"__getformat__"}
    number = ExactFloat(5)
    assert (number.is_integer(), number.hex(), ExactFloat.fromhex("0x1p3")) == (True, (5.0).hex(), 8.0)
    assert (number.as_integer_ratio(), number.real, number.imag, number.conjugate()) == ((5, 1), 5, 0, 5)
    assert ExactFloat.from_number(3) == 3.0


def test_it_is_an_instance_of_both() -> None:
    """A function may ask for either, and means a number by it."""
    number = ExactFloat(BIG)
    assert isinstance(number, float)
    assert isinstance(number, int)
    match number:
        case float():
            found = "float"
        case _:
            found = "other"
    assert found == "float"


@given(WHOLE, WHOLE)
def test_whole_numbers_compute_exactly_and_stay_of_the_class(a: int, b: int) -> None:
    """With each other and with plain integers, on either side."""
    for x, y in ((ExactFloat(a), ExactFloat(b)), (ExactFloat(a), b), (a, ExactFloat(b))):
        results: list[tuple[Any, Any]] = [(x + y, a + b), (x - y, a - b), (x * y, a * b)]
        if b:
            results += [(x // y, a // b), (x % y, a % b), *zip(divmod(x, y), divmod(a, b), strict=True)]
        assert all(found == wanted and type(found) is ExactFloat for found, wanted in results)
        assert (x == y, x < y, x >= y, hash(x) == hash(a)) == (a == b, a < b, a >= b, True)
    x = ExactFloat(a)
    for found, wanted in ((-x, -a), (+x, a), (abs(x), abs(a)), (round(x), a), (round(x, 2), a)):
        assert (found, type(found)) == (wanted, ExactFloat)


@given(SMALL, SMALL)
def test_what_a_float_would_have_said_exactly_is_the_same(a: int, b: int) -> None:
    """Below 2**53 nobody can tell the two apart by value."""
    operations: list[Callable[[Any, Any], Any]] = [
        lambda x, y: x / y,
        lambda x, y: x + y / 7,
        lambda x, y: x * 0.5 - y,
        math.hypot,
        lambda x, y: x**0.5 if x >= 0 else 0,
        lambda x, y: (math.floor(x), math.ceil(y), math.trunc(x)),
        lambda x, y: (math.isnan(x), math.isinf(y), math.isfinite(x)),
        lambda x, y: f"{x:.3} {x:.2f} {y:e} {x:g} {y:>30.1f} {x:,.0f} {y:%}",
        lambda x, y: (x.hex(), y.is_integer(), bool(x)),
    ]
    assume(b)
    for operation in operations:
        assert operation(ExactFloat(a), ExactFloat(b)) == operation(float(a), float(b))


def test_a_quotient_is_a_float_unless_only_an_integer_holds_it() -> None:
    """10 / 2 prints as 5.0, as the tutorials show; a large one is no other number."""
    half = ExactFloat(BIG * 2) / 2
    assert (half, type(half)) == (BIG, ExactFloat)
    assert (BIG * 2) / ExactFloat(2) == BIG
    assert str(ExactFloat(10) / 2) == "5.0"
    assert str(ExactFloat(10) / ExactFloat(4)) == "2.5"
    assert ExactFloat(BIG) / 2.0 == float(BIG) / 2.0
    assert ExactFloat(10**400) / ExactFloat(10**399) == 10
    for x, y in ((ExactFloat(1), 0), (1, ExactFloat(0))):
        with pytest.raises(ZeroDivisionError):
            _ = x / y
    with pytest.raises(ZeroDivisionError):
        _ = ExactFloat(0) ** -1


def test_powers_are_exact_and_bounded() -> None:
    """A float overflows at 10**309; an unbounded integer power would hold its thread, and all memory, for ever."""
    power = ExactFloat(3) ** ExactFloat(200)
    assert (power, type(power)) == (3**200, ExactFloat)
    assert (2 ** ExactFloat(10), ExactFloat(2) ** -1, pow(ExactFloat(3), 4, 5)) == (1024, 0.5, 1)
    assert (ExactFloat(1) ** 10**30, ExactFloat(-1) ** (10**30 + 1), ExactFloat(0) ** 10**30) == (1, -1, 0)
    for base, exponent in ((ExactFloat(10), 10**9), (10, ExactFloat(10**9)), (ExactFloat(9), MAX_BITS)):
        with pytest.raises(OverflowError):
            _ = base**exponent


def test_what_cannot_be_a_float_at_all_says_so() -> None:
    """The function reads it as an error, and so does the model; infinity would be a wrong number."""
    for use in (math.sqrt, math.isnan, float):
        with pytest.raises(OverflowError):
            use(ExactFloat(10**400))
    with pytest.raises(TypeError):
        ExactFloat(1) + "1"  # type: ignore[operator]  # the fault


def test_as_text_and_json_it_is_the_bare_integer() -> None:
    """What a function returns in a list or dictionary is rendered exactly, too."""
    number = ExactFloat(BIG)
    assert (str(number), repr(number), f"{number}", f"{number:d}") == (str(BIG),) * 4
    assert json.dumps({"a": [number], "b": number}, indent=1) == json.dumps({"a": [BIG], "b": BIG}, indent=1)
    assert msgspec.json.encode({"a": (number,)}, enc_hook=as_builtin) == f'{{"a":[{BIG}]}}'.encode()
    with pytest.raises(NotImplementedError):
        as_builtin(object())


def test_the_libraries_that_functions_use_take_it_for_what_it_is() -> None:
    """Those that ask for the type in C, and those that ask by `isinstance`."""
    number = ExactFloat(BIG)
    assert [Decimal(number), Fraction(number), int(number), math.gcd(number, BIG)] == [BIG] * 4
    assert type(int(number)) is int
    assert math.factorial(ExactFloat(5)) == 120
    assert sum([number, number]) == 2 * BIG
    assert math.prod([number, number]) == BIG * BIG
    assert statistics.mean([ExactFloat(1), ExactFloat(2)]) == 1.5
    assert list(range(ExactFloat(2))) == [0, 1]
    assert max(number, 1.5) == BIG


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_survives_being_copied_and_pickled(protocol: int) -> None:
    """By its own type, and not by the one that it says it has, which would round it."""
    for number in (pickle.loads(pickle.dumps([ExactFloat(BIG)], protocol))[0], copy.deepcopy(ExactFloat(BIG))):
        assert (int(number), type(number)) == (BIG, ExactFloat)


@pytest.mark.slow
def test_it_arrives_exactly_in_another_process() -> None:
    """Tools may run in worker processes."""
    code = "import pickle, sys; x, = pickle.load(sys.stdin.buffer); print(x, x.is_integer(), isinstance(x, float))"
    sent = pickle.dumps([ExactFloat(BIG)])
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, cwd=ROOT, check=True)
    assert done.stdout.decode() == f"{BIG} True True\n"
