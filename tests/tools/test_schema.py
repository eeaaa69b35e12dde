"""What the model is told about a function, and which functions are refused."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, Optional, TypedDict

import msgspec
import pytest

from batch.core.errors import JobError
from batch.tools.hints import HintFault, kind_of
from batch.tools.registry import ToolSet, tool


class Unit(enum.Enum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Point(TypedDict):
    x: float
    label: NotRequired[str]


@dataclass
class Address:
    street: str
    title: str = "home"


class Order(msgspec.Struct):
    """An order."""

    to: Address
    lines: list[int] = []


class Tree(msgspec.Struct):
    children: list["Tree"]


class Plain:
    pass


def one(function: Callable[..., Any]) -> dict[str, Any]:
    """The `function` part of the schema of one marked function."""
    (schema,) = ToolSet.of([function]).schemas()
    assert schema["type"] == "function"
    part: dict[str, Any] = schema["function"]
    return part


ADDRESS = {
    "type": "object",
    "properties": {"street": {"type": "string"}, "title": {"type": "string", "default": "home"}},
    "required": ["street"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (str, {"type": "string"}),
        (bool, {"type": "boolean"}),
        (list[float], {"type": "array", "items": {"type": "number"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Literal["b", "a"], {"type": "string", "enum": ["a", "b"]}),
        (Literal[1, 2], {"type": "integer", "enum": [1, 2]}),
        (Unit, {"type": "string", "enum": ["c", "f"]}),
        (Size, {"type": "integer", "enum": [1, 2]}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045  people write it
        (str | None, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (list[Unit], {"type": "array", "items": {"type": "string", "enum": ["c", "f"]}}),
        (Annotated[int, msgspec.Meta(ge=0, description="how many")], {"minimum": 0, "description": "how many"}),
        (Address, ADDRESS),
        (Order, {"description": "An order.", "required": ["to"]}),
        (Point, {"required": ["x"]}),
    ],
)
def test_each_supported_hint_becomes_its_json_type(hint: Any, expected: dict[str, Any]) -> None:
    """`<class 'float'>` as a type, as in naive generators, is never seen."""
    schema = kind_of(hint).schema()
    assert {key: schema[key] for key in expected} == expected
    assert schema["type"] if "anyOf" not in schema else True


def test_references_are_written_out_at_any_depth() -> None:
    """Several OpenAI-compatible servers refuse `$ref`; a property called title survives the removal of titles."""
    schema = kind_of(dict[str, list[Order]]).schema()
    assert b"$ref" not in msgspec.json.encode(schema)
    assert schema["additionalProperties"]["items"]["properties"]["to"] == ADDRESS


def test_parameters_keep_their_order_and_only_those_without_default_are_required() -> None:
    """The order in which a person declared them is the order the model reads."""

    @tool
    def move(z: int, a: str = "x", *, m: Unit = Unit.CELSIUS, b: float | None = None) -> None:
        """Move."""

    parameters = one(move)["parameters"]
    assert list(parameters["properties"]) == ["z", "a", "m", "b"]
    assert parameters["required"] == ["z"]
    assert parameters["additionalProperties"] is False
    assert [part.get("default", "none") for part in parameters["properties"].values()] == ["none", "x", "c", None]


def test_a_function_without_parameters_has_an_empty_object() -> None:
    """Some models then send `{}`, some an empty text."""

    @tool
    def ping() -> str:
        """Answer."""
        return "pong"

    parameters = one(ping)["parameters"]
    assert parameters == {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def test_a_function_without_docstring_is_described_by_its_name() -> None:
    """The BigModel API reference asks for a description, so there always is one."""

    @tool
    def current_weather(city: str) -> str:
        return city

    assert one(current_weather)["description"] == "current weather"


def test_name_and_description_given_to_the_mark_win() -> None:
    """The model's name for a function need not be ours."""

    @tool(name="get-weather", description="Look outside.")
    def f(city: str) -> str:
        """Do something internal."""
        return city

    assert (one(f)["name"], one(f)["description"]) == ("get-weather", "Look outside.")
    assert f("Graz") == "Graz"


def google(city: str, days: int, unit: str = "c") -> None:
    """Forecast for a city,
    day by day.

    In two paragraphs.

    Args:
        city: Name of the city,
            in any language.
        days (int): How many: up to 5.
        unit: c or f.

    Returns:
        Nothing of interest.
    """  # noqa: D205  wrapped summaries are common in tools written in a hurry


def numpy(city: str, days: int, unit: str = "c") -> None:
    """Forecast for a city, day by day.

    In two paragraphs.

    Parameters
    ----------
    city : str
        Name of the city,
        in any language.
    days : int
        How many: up to 5.
    unit
        c or f.

    Returns
    -------
    None
    """  # noqa: D416 - as numpy writes them


def sphinx(city: str, days: int, unit: str = "c") -> None:
    """Forecast for a city, day by day.

    In two paragraphs.

    :param city: Name of the city,
        in any language.
    :param int days: How many: up to 5.
    :param unit: c or f.
    :returns: nothing
    """


@pytest.mark.parametrize("function", [google, numpy, sphinx])
def test_docstrings_of_all_three_styles_are_read(function: Callable[..., Any]) -> None:
    """Google, NumPy and Sphinx forms give the same texts."""
    part = one(tool(function))
    assert part["description"] == "Forecast for a city, day by day.\n\nIn two paragraphs."
    assert {name: schema["description"] for name, schema in part["parameters"]["properties"].items()} == {
        "city": "Name of the city, in any language.",
        "days": "How many: up to 5.",
        "unit": "c or f.",
    }


@pytest.mark.parametrize(
    "hint",
    [Plain, set[int], complex, bytes, dict[int, str], Callable[[], int], Tree, float | Plain, object],
)
def test_hints_without_a_json_form_are_refused(hint: Any) -> None:
    """Each is told with what can be used instead."""
    with pytest.raises(HintFault, match="use"):
        kind_of(hint)


def test_every_faulty_parameter_is_named_with_file_and_line() -> None:
    """All of them in one go, so that a tools file is repaired once."""

    def bad(a: bytes, b: set[int], *rest: int, c: int = None, **more: int) -> None:  # type: ignore[assignment]  # noqa: RUF013 - the faults
        """Be wrong in five ways."""

    def other(a: int, /) -> None:
        """Be wrong in one."""

    with pytest.raises(JobError) as caught:
        ToolSet.of([tool(bad), tool(other)], where="tools.py")
    faults = caught.value.faults
    assert [fault.split("parameter ")[1].split(":")[0] for fault in faults] == [
        "'a'", "'b'", "'rest'", "'c'", "'more'", "'a'",
    ]  # fmt: skip
    assert all(fault.startswith(f"test_schema.py:{bad.__code__.co_firstlineno}: tool 'bad', ") for fault in faults[:5])
    assert "it has a bytes" in faults[0]
    assert "int | None = None" in faults[3]


@pytest.mark.parametrize("default", [float("nan"), float("inf"), "text", object()])
def test_a_default_that_is_no_valid_argument_is_refused(default: Any) -> None:
    """The model would be told something false."""

    def f(a: float = default) -> None:
        """Take a number."""

    with pytest.raises(JobError, match="default"):
        ToolSet.of([tool(f)])
