"""Pydantic models as hints: their schema written out, their strictness ours, and nothing of it without pydantic."""

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pydantic
import pytest
from openai.lib import _pydantic as openai_rules

from batch.core.records import ToolCall
from batch.tools.arguments import ArgumentFault, check_arguments, read_arguments
from batch.tools.execute import Executor
from batch.tools.hints import HintFault, kind_of
from batch.tools.registry import ToolSet, tool

ROOT = Path(__file__).resolve().parents[2]


class Address(pydantic.BaseModel):
    """Where somebody lives."""

    street: str
    since: dt.date | None = None


class Order(pydantic.BaseModel):
    to: Address = pydantic.Field(description="the receiver")
    lines: list[Address] = []
    amount: float = pydantic.Field(gt=0)
    unit: Literal["kg", "g"] = "kg"
    price: Decimal = Decimal(1)
    more: dict[str, int] = {}


class Open(pydantic.BaseModel, extra="allow"):
    a: int


class Tree(pydantic.BaseModel):
    children: list["Tree"]


class Odd(pydantic.BaseModel):
    call: Callable[[], int]


def order(order: Order) -> Order:
    """Take an order.

    Args:
        order: what to send.
    """
    return order


def read(value: Any, *, function: Callable[..., Any] = order, coerce: bool = False) -> Any:
    entry = ToolSet.of([tool(function)]).get(function.__name__)
    assert entry is not None
    (found,) = read_arguments(entry.parameters, json.dumps({entry.parameters[0].name: value}), coerce=coerce).values()
    return found


def test_its_schema_stands_in_the_tool_without_references() -> None:
    """Closed at every depth, as its check is; accepted by the standard and, where every key is asked for, by OpenAI's rules."""
    (schema,) = ToolSet.of([tool(order)]).schemas()
    parameters = schema["function"]["parameters"]
    jsonschema.Draft202012Validator.check_schema(parameters)
    assert "$ref" not in json.dumps(parameters)
    part = parameters["properties"]["order"]
    assert part["description"] == "what to send."
    assert part["required"] == ["to", "amount"]
    assert part["properties"]["to"]["description"] == "the receiver"
    assert part["properties"]["lines"]["items"]["description"] == "Where somebody lives."
    assert [
        p["additionalProperties"] for p in (part, part["properties"]["to"], part["properties"]["lines"]["items"])
    ] == [False] * 3
    ours = kind_of(Address).schema()
    theirs = openai_rules.to_strict_json_schema(Address)
    assert ours["properties"].keys() == theirs["properties"].keys()
    assert ours["additionalProperties"] == theirs["additionalProperties"]


def test_what_pydantic_says_of_a_parameter_counts_at_any_hint() -> None:
    """`Field` in `Annotated` is how users of pydantic describe and bound a plain number."""

    def f(a: Annotated[int, pydantic.Field(description="how many", ge=1)], b: list[Annotated[str, "a name"]]) -> None:
        """Take it."""

    (schema,) = ToolSet.of([tool(f)]).schemas()
    properties = schema["function"]["parameters"]["properties"]
    assert properties["a"] == {"type": "integer", "minimum": 1, "description": "how many"}
    assert properties["b"]["items"] == {"type": "string", "description": "a name"}
    entry = ToolSet.of([tool(f)]).get("f")
    assert entry is not None
    with pytest.raises(ArgumentFault, match="Expected `int` >= 1"):
        read_arguments(entry.parameters, '{"a": 0, "b": []}')


def test_it_arrives_as_the_model_it_is() -> None:
    """Dates and decimals from their texts, as pydantic reads JSON."""
    found = read({"to": {"street": "x", "since": "2026-05-01"}, "amount": 2, "price": "1.50"})
    assert found == Order(to=Address(street="x", since=dt.date(2026, 5, 1)), amount=2, price=Decimal("1.50"))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1, "parameter 'order': Expected `object`, got `int`"),
        ({"to": {"street": "x"}}, "parameter 'order.amount': Field required"),
        ({"to": {"street": 1}, "amount": 1}, "parameter 'order.to.street': Input should be a valid string"),
        ({"to": {"street": "x"}, "amount": 0}, "parameter 'order.amount': Input should be greater than 0"),
        ({"to": {"street": "x"}, "amount": 1, "unit": "lb"}, "parameter 'order.unit': Input should be 'kg' or 'g'"),
        (
            {"to": {"street": "x", "zip": 1}, "amount": 1},
            "parameter 'order.to': unknown key 'zip', the keys are street, since",
        ),
        (
            {"to": {"street": "x"}, "amount": 1, "lines": [{"street": "y", "q": 1}]},
            "parameter 'order.lines[0]': unknown key 'q'",
        ),
        ({"to": {"street": "x"}, "amount": 2**53 + 1}, "9007199254740993 does not fit a float exactly"),
        ({"to": {"street": "x"}, "amount": "2"}, "parameter 'order.amount': Input should be a valid number"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(value: Any, says: str) -> None:
    """Pydantic would let unknown keys pass; and it makes floats, so what it would round is refused."""
    with pytest.raises(ArgumentFault) as caught:
        read(value)
    assert says in str(caught.value)


def test_a_model_that_takes_more_keys_gets_them() -> None:
    """Its author said so."""

    def f(a: Open) -> None:
        """Take it."""

    assert read({"a": 1, "b": [2]}, function=f).model_dump() == {"a": 1, "b": [2]}


def test_coercion_is_pydantics_own_and_told() -> None:
    """Where the job coerces, the model reads as it does by itself."""
    entry = ToolSet.of([tool(order)]).get("order")
    assert entry is not None
    text = '{"order": {"to": {"street": "x"}, "amount": "2.5"}}'
    assert check_arguments(entry.parameters, text, coerce=True).coerced == ("order",)
    assert read({"to": {"street": "x"}, "amount": "2.5"}, coerce=True).amount == 2.5
    with pytest.raises(ArgumentFault, match="unknown key"):
        read({"to": {"street": "x"}, "amount": "2.5", "z": 1}, coerce=True)


@pytest.mark.parametrize(("hint", "says"), [(Tree, "contains itself"), (Odd, "no JSON schema")])
def test_a_model_without_a_plain_schema_is_refused(hint: Any, says: str) -> None:
    """With what it was."""
    with pytest.raises(HintFault, match=says):
        kind_of(hint)


async def test_a_model_that_a_tool_returns_is_json_for_the_model() -> None:
    """As pydantic writes it."""
    result = await Executor(ToolSet.of([tool(order)])).run_call(
        ToolCall("c", "order", '{"order": {"to": {"street": "x"}, "amount": 1.5}}')
    )
    assert json.loads(result.content)["to"] == {"street": "x", "since": None}


@pytest.mark.slow
def test_pydantic_is_not_imported_for_those_who_do_not_use_it() -> None:
    """It is no dependency."""
    code = (
        "import sys; from batch.tools.registry import ToolSet, tool\n"
        "def f(a: int, b: list[str] = []) -> int:\n    return a\n"
        "ToolSet.of([tool(f)]); print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "False\n"
