"""The text a model wrote as arguments: taken exactly, or refused in words it can repair."""

import contextlib
import enum
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.tools.arguments import WHOLE, ArgumentFault, build_arguments, check_arguments, read_arguments
from batch.tools.exact import ExactFloat
from batch.tools.registry import ToolSet, tool

BIG = 53195444847186410


class Unit(enum.Enum):
    CELSIUS = "c"


@dataclass
class Item:
    amount: float
    count: int = 1


def read(function: Callable[..., Any], text: str) -> dict[str, Any]:
    """Read a text for one function."""
    entry = ToolSet.of([tool(function)]).get(function.__name__)
    assert entry is not None
    return read_arguments(entry.parameters, text)


def numbers(i: int, f: float) -> None:
    """Take two numbers."""


def optional(a: int = 0, b: str | None = None) -> None:
    """Take what comes."""


def rich(items: list[Item], unit: Unit, mode: Literal["x", "y"], extra: dict[str, float]) -> None:
    """Take structures."""


def nothing() -> None:
    """Take nothing."""


@pytest.mark.parametrize("text", ["", "  \n", "{}"])
def test_no_arguments_may_be_said_in_three_ways(text: str) -> None:
    """Models send all of them for a function without parameters, or with defaults only."""
    assert read(nothing, text) == {}
    assert read(optional, text) == {}


@given(st.integers(min_value=-(10**4000), max_value=10**4000))
def test_any_integer_survives_exactly_for_int_and_for_float(value: int) -> None:
    """Neither 2^53 nor 2^64 nor the largest float is a border; and a float is what the function gets."""
    read_back = read(numbers, f'{{"i": {value}, "f": {value}}}')
    assert read_back == {"i": value, "f": value}
    assert (type(read_back["i"]), type(read_back["f"])) == (int, ExactFloat)
    assert isinstance(read_back["f"], float)


@given(st.lists(st.integers(min_value=-(2**200), max_value=2**200) | st.floats(allow_nan=False, allow_infinity=False)))
def test_integers_inside_containers_of_floats_stay_integers(values: list[float]) -> None:
    """Lists, dictionaries and optional values are walked too."""

    def f(a: list[float], b: dict[str, float | None]) -> None:
        """Take containers."""

    text = msgspec.json.encode({"a": values, "b": {str(i): value for i, value in enumerate(values)}}).decode()
    arguments = read(f, text)
    kinds = {int: ExactFloat, float: float}
    assert [(type(value), value) for value in arguments["a"]] == [(kinds[type(value)], value) for value in values]
    assert list(arguments["b"].values()) == values


def test_structures_arrive_as_the_author_declared_them() -> None:
    """Dataclasses, enums and literals are built, floats inside take whole numbers that fit."""
    text = '{"items": [{"amount": 2}], "unit": "c", "mode": "y", "extra": {"k": 1.5}}'
    assert read(rich, text) == {"items": [Item(2.0)], "unit": Unit.CELSIUS, "mode": "y", "extra": {"k": 1.5}}


def test_an_integer_for_a_float_field_of_a_class_is_exact_too() -> None:
    """As a float it would be another number, and `is_integer` of a plain integer is new in Python 3.12."""
    text = (
        f'{{"items": [{{"amount": {2**53 + 1}, "count": {2**53 + 1}}}], "unit": "c", "mode": "x", "extra": {{"k": 2}}}}'
    )
    found = read(rich, text)
    (item,) = found["items"]
    assert int(item.amount) == item.count == 2**53 + 1
    assert item.amount.is_integer()
    assert isinstance(found["extra"]["k"], float)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"i": "2", "f": 1}', "parameter 'i': Expected `int`, got `str`"),
        ('{"i": 2.0, "f": 1}', "parameter 'i': Expected `int`, got `float`"),
        ('{"i": true, "f": 1}', "parameter 'i': Expected `int`, got `bool`"),
        ('{"i": null, "f": 1}', "parameter 'i': Expected `int`, got `null`"),
        ('{"i": 1, "f": "1.5"}', "parameter 'f': Expected `float`, got `str`"),
        ('{"i": 1, "f": false}', "parameter 'f': Expected `float`, got `bool`"),
        ('{"i": 1}', "missing parameter 'f'; the parameters are: i, f"),
        ('{"i": 1, "f": 1, "g": 1}', "unknown parameter 'g'; the parameters are: i, f"),
        ("[1, 2]", "got an array"),
        ("null", "got null"),
        ('"{}"', "got a string"),
        ("7", "got a number"),
        ("true", "got a boolean"),
        ('```json\n{"i": 1, "f": 1}\n```', "without a code fence"),
        ("{'i': 1, 'f': 1}", "not a JSON object"),
        ('{"i": 1, "f": 1,}', "not a JSON object"),
        ('{"i": 1, "f": 1', "not a JSON object"),
        ('{"i": 1, "f": NaN}', "not a JSON object"),
        ('{"i": 1, "f": 1e400}', "parameter 'f': 1E+400 is too large for a float"),
        ('{"i": 1, "f": 1e99999999999999999999}', "the number 1e99999999999999999999 is too large"),
        ('{"i": 1, "f": 1e10000}', "the number 1e10000 is too large"),
        ('{"i": 1, "f": {"g": 1}}', "parameter 'f': Expected `float`, got `object`"),
        ('{"i": 1, "f": 1} and more', "not a JSON object"),
        ('{"i": ' + "9" * 5000 + ', "f": 1}', "not a JSON object"),
        ('{"i": ' + "[" * 50_000, "not a JSON object"),
        ('{"i": "\ud800", "f": 1}', "not a JSON object"),
    ],
)
def test_what_does_not_fit_is_refused_in_words_for_the_model(text: str, says: str) -> None:
    """Nothing is guessed: a number in quotes is a text, a cut object is none."""
    with pytest.raises(ArgumentFault) as caught:
        read(numbers, text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('{"i": 1, "f": 1}', ()),
        ('{"i": "1", "f": "1.5"}', ("i", "f")),
        ('"{\\"i\\": 1, \\"f\\": 1}"', (WHOLE,)),
        ('```json\n{"i": 1, "f": 1}\n```', (WHOLE,)),
    ],
)
def test_what_was_coerced_is_told_by_its_place(text: str, places: tuple[str, ...]) -> None:
    """An object that was written as a text, or in a code fence, is one, too."""
    entry = ToolSet.of([tool(numbers)]).get("numbers")
    assert entry is not None
    checked = check_arguments(entry.parameters, text, coerce=True)
    assert checked.coerced == places
    assert build_arguments(entry.parameters, checked.values).keys() == {"i", "f"}
    if places:
        with pytest.raises(ArgumentFault):
            check_arguments(entry.parameters, text)


def test_checked_arguments_can_be_sent_to_another_process_as_json() -> None:
    """Nothing in them is of a class of the author's, and no digit is lost on the way."""
    entry = ToolSet.of([tool(rich)]).get("rich")
    assert entry is not None
    text = f'{{"items": [{{"amount": {BIG}}}], "unit": "c", "mode": "y", "extra": {{"k": 1.5}}}}'
    values = check_arguments(entry.parameters, text).values
    sent = msgspec.json.decode(msgspec.json.encode(values))
    assert build_arguments(entry.parameters, sent) == build_arguments(entry.parameters, values) == read(rich, text)
    assert int(build_arguments(entry.parameters, sent)["items"][0].amount) == BIG


@pytest.mark.parametrize("text", ["```" + "\n" * 200_000, "```\n" + " \n" * 100_000 + "x```", "`" * 300_000])
def test_an_endless_code_fence_is_refused_at_once(text: str) -> None:
    """A model that repeats itself must not hold up the run."""
    entry = ToolSet.of([tool(numbers)]).get("numbers")
    assert entry is not None
    started = time.thread_time()
    with pytest.raises(ArgumentFault):
        check_arguments(entry.parameters, text, coerce=True)
    assert time.thread_time() - started < 10  # one that looks again from each place takes minutes


def test_a_long_list_of_faults_is_cut() -> None:
    """It is billed as tokens."""

    def f(a: list[int]) -> None:
        """Take integers."""

    with pytest.raises(ArgumentFault) as caught:
        read(f, '{"a": [' + ", ".join(['"x"'] * 100) + "]}")
    assert str(caught.value).endswith("parameter 'a[19]': Expected `int`, got `str`; and 80 more")


def test_of_very_many_unknown_names_the_first_are_told() -> None:
    """At the top and within an object."""
    many = ", ".join(f'"k{n}": 1' for n in range(100))
    with pytest.raises(ArgumentFault) as caught:
        read(optional, f"{{{many}}}")
    assert "unknown parameter 'k19'; the parameters are: a, b; and 80 more" in str(caught.value)
    with pytest.raises(ArgumentFault) as caught:
        read(rich, f'{{"items": [{{"amount": 1, {many}}}], "unit": "c", "mode": "x", "extra": {{}}}}')
    assert "unknown key 'k19', the keys are amount, count" in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    """One repair by the model instead of three."""
    with pytest.raises(ArgumentFault) as caught:
        read(numbers, '{"i": "x", "g": 1}')
    assert str(caught.value).split("; ") == [
        "unknown parameter 'g'",
        "missing parameter 'f'",
        "the parameters are: i, f",
        "parameter 'i': Expected `int`, got `str`",
    ]


def test_a_function_without_parameters_says_so() -> None:
    """Models like to invent some."""
    with pytest.raises(ArgumentFault, match="there are no parameters"):
        read(nothing, '{"x": 1}')


@given(st.text())
def test_no_text_at_all_does_anything_but_fit_or_be_refused(text: str) -> None:
    """The row never crashes on what a model wrote."""
    with contextlib.suppress(ArgumentFault):
        assert read(optional, text).keys() <= {"a", "b"}
