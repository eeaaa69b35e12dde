"""The sample jobs: their tools, and that their data is what it says."""

import inspect
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.records import ToolCall
from batch.job.job import Job
from batch.simulator.models import tool_calls
from batch.simulator.models.completion import Ask
from batch.tools.content import ToolResult
from batch.tools.execute import Executor
from batch.tools.registry import ToolSet

JOBS = Path(__file__).parents[2] / "jobs"
TOOLS = ToolSet.load(JOBS / "quickstart" / "tools.py")
QUESTIONS: list[dict[str, Any]] = [
    json.loads(line) for line in (JOBS / "quickstart" / "questions.jsonl").read_text(encoding="utf-8").splitlines()
]


async def run(name: str, **arguments: object) -> ToolResult:
    """Call one of the seven the way a model does."""
    text = msgspec.json.encode(arguments).decode()
    return await Executor(TOOLS).run_call(ToolCall("call_1", name, text))


def two(name: str, description: str, first: tuple[str, str], second: tuple[str, str]) -> dict[str, Any]:
    """The schema of a tool of two numbers."""
    properties = {key: {"type": "number", "description": text} for key, text in (first, second)}
    return function(name, description, properties)


def function(name: str, description: str, properties: dict[str, Any]) -> dict[str, Any]:
    """A tool schema whose parameters are all required."""
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def test_the_schemas_of_the_seven_are_exactly_these() -> None:
    """What the model sees is part of the fingerprint: a change here buys every row again."""
    assert TOOLS.schemas() == (
        two("add", "Add two numbers: a + b.", ("a", "The first number."), ("b", "The number to add.")),
        two("multiply", "Multiply two numbers: a * b.", ("a", "The first factor."), ("b", "The second factor.")),
        two(
            "subtract",
            "Subtract the second number from the first: a - b.",
            ("a", "The number to subtract from."),
            ("b", "The number to subtract."),
        ),
        two(
            "divide",
            "Divide the first number by the second: a / b.",
            ("a", "The dividend."),
            ("b", "The divisor, not zero."),
        ),
        function(
            "sqrt",
            "Calculate the square root of a number.",
            {"x": {"type": "number", "description": "The number, not negative."}},
        ),
        two(
            "power",
            "Raise a number to a power: base ** exponent.",
            ("base", "The number to raise."),
            ("exponent", "The power to raise it to."),
        ),
        function(
            "factorial",
            "Calculate the factorial of a whole number: n!.",
            {"n": {"type": "integer", "description": "The whole number, not negative."}},
        ),
    )


@pytest.mark.parametrize(
    ("name", "arguments", "content"),
    [
        ("add", {"a": 2**53, "b": 1}, "9007199254740993"),
        ("add", {"a": 0.1, "b": 0.2}, "0.30000000000000004"),
        ("subtract", {"a": 90, "b": 17}, "73"),
        ("multiply", {"a": 1250908070, "b": 42525463}, "53195444847186410"),
        ("multiply", {"a": 10**30, "b": -(10**30)}, str(-(10**60))),
        ("divide", {"a": 84, "b": 2}, "42"),
        ("divide", {"a": 10**40, "b": 10**10}, str(10**30)),
        ("divide", {"a": 7, "b": -2}, "-3.5"),
        ("divide", {"a": 0, "b": 5}, "0"),
        ("divide", {"a": 10**400, "b": 3 * 10**399}, "3.3333333333333335"),
        ("sqrt", {"x": 0}, "0"),
        ("sqrt", {"x": 2}, "1.4142135623730951"),
        ("sqrt", {"x": 0.25}, "0.5"),
        ("sqrt", {"x": 10**600}, str(10**300)),
        ("power", {"base": 2, "exponent": 10}, "1024"),
        ("power", {"base": 2, "exponent": -2}, "0.25"),
        ("power", {"base": 0, "exponent": 0}, "1"),
        ("power", {"base": 0, "exponent": 10**30}, "0"),
        ("power", {"base": -1, "exponent": 10**30 + 1}, "-1"),
        ("power", {"base": -8, "exponent": 3}, "-512"),
        ("power", {"base": 9, "exponent": 0.5}, "3.0"),
        ("power", {"base": 10, "exponent": 3999}, str(10**3999)),
        ("factorial", {"n": 0}, "1"),
        ("factorial", {"n": 25}, "15511210043330985984000000"),
        ("factorial", {"n": 1400}, str(math.factorial(1400))),
    ],
)
async def test_each_tool_gives_the_exact_result(name: str, arguments: dict[str, Any], content: str) -> None:
    """Integers of any size come back to the last digit."""
    assert await run(name, **arguments) == ToolResult(content)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("divide", {"a": 1, "b": 0}, "ZeroDivisionError: division by zero"),
        ("divide", {"a": 0, "b": 0.0}, "ZeroDivisionError: division by zero"),
        ("sqrt", {"x": -9}, "ValueError: the square root of a negative number is not real"),
        ("sqrt", {"x": 10**601}, "OverflowError: "),
        ("power", {"base": 0, "exponent": -1}, "ZeroDivisionError: zero cannot be raised to a negative power"),
        ("power", {"base": -8, "exponent": 0.5}, "ValueError: a negative number raised to a fraction is not real"),
        ("power", {"base": 10, "exponent": 4000}, "OverflowError: the result has more than 4000 digits"),
        ("power", {"base": 2, "exponent": 10**4000}, "OverflowError: the result has more than 4000 digits"),
        ("power", {"base": 10**4000, "exponent": 16000}, "OverflowError: the result has more than 4000 digits"),
        ("power", {"base": 1.5, "exponent": 10**6}, "OverflowError: "),
        ("power", {"base": 3, "exponent": -(10**4000)}, "OverflowError: "),
        ("multiply", {"a": 1e308, "b": 10}, "multiply returned NaN or infinity"),
        ("multiply", {"a": 10**4000, "b": 10**4000}, "multiply returned what cannot be written as JSON"),
        ("factorial", {"n": -3}, "ValueError: the factorial of a negative number is not defined"),
        ("factorial", {"n": 1401}, "OverflowError: the result has more than 4000 digits"),
        ("factorial", {"n": 10**30}, "OverflowError: the result has more than 4000 digits"),
        ("factorial", {"n": 2.5}, "invalid arguments: parameter 'n': Expected `int`, got `float`"),
        ("add", {"a": "1", "b": 2}, "invalid arguments: parameter 'a': Expected `float`, got `str`"),
        ("add", {"a": 1}, "invalid arguments: missing parameter 'b'"),
    ],
)
async def test_each_bad_number_is_told_as_text(name: str, arguments: dict[str, Any], says: str) -> None:
    """An error is something for the model to read, and no call can hold up the process."""
    result = await run(name, **arguments)
    assert result.failed
    assert json.loads(result.content)["error"].startswith(says)


@given(a=st.integers(min_value=-(10**60), max_value=10**60), b=st.integers(min_value=-(10**60), max_value=10**60))
async def test_integers_are_exact_through_the_whole_way(a: int, b: int) -> None:
    """From the model's text to the content of the tool message."""
    names = ("add", "subtract", "multiply", "divide")
    calls = [ToolCall(name, name, f'{{"a": {a}, "b": {b}}}') for name in names]
    calls[3] = ToolCall("divide", "divide", f'{{"a": {a * b}, "b": {b or 1}}}')
    contents = [result.content for result in await Executor(TOOLS).run_calls(calls)]
    assert contents == [str(a + b), str(a - b), str(a * b), str(a if b else 0)]


def test_every_tool_is_still_an_ordinary_function() -> None:
    """People test and reuse their tools like any other code."""
    add = TOOLS.get("add")
    assert add is not None
    assert inspect.isfunction(add.function)
    assert add.function(1, 2) == 3


@pytest.mark.parametrize("row", QUESTIONS, ids=lambda row: str(row["id"]))
async def test_the_expected_answer_of_each_question_is_what_the_tools_give(row: dict[str, Any]) -> None:
    """The simulated model asks, the tools answer, turn by turn, as in a run."""
    offered = tuple(schema["function"] for schema in TOOLS.schemas())
    messages: list[dict[str, Any]] = [{"role": "user", "content": row["question"]}]
    said: list[str] = []
    for _ in range(8):
        calls, _text = tool_calls.decide(Ask("glm-4", messages, offered, "", True, (), None, None, 1, 0))
        if not calls:
            break
        asked = [ToolCall(str(index), call.name, call.arguments) for index, call in enumerate(calls)]
        results = await Executor(TOOLS).run_calls(asked)
        messages.append({"role": "assistant", "tool_calls": [{"function": {"name": call.name}} for call in calls]})
        messages += [{"role": "tool", "content": result.content} for result in results]
        said += [json.loads(one.content)["error"].split(": ", 1)[1] if one.failed else one.content for one in results]
    assert "; ".join(said) == row["expected"]


def test_the_questions_have_unique_ids_and_one_shape() -> None:
    """A key that repeats would be an input error in the very first job a person runs."""
    assert len({row["id"] for row in QUESTIONS}) == len(QUESTIONS) >= 40
    assert all(list(row) == ["id", "question", "expected", "note"] for row in QUESTIONS)


@pytest.mark.parametrize("name", ["quickstart", "label_tickets"])
def test_the_sample_jobs_are_sound(name: str) -> None:
    """The job file is accepted, and the files it names are there."""
    job = Job.load(JOBS / name)
    assert job.input.path.is_file()
    assert job.tools is None or job.tools.module is None or job.tools.module.is_file()
    assert job.output.path == JOBS / name / "out" / job.name


def test_the_tickets_are_what_the_job_says() -> None:
    """Types as declared, one ticket per id, in the order of their arrival, every channel and both languages."""
    job = Job.load(JOBS / "label_tickets")
    table = pq.read_table(job.input.path)
    assert {field.name: str(field.type) for field in table.schema} == {
        "ticket_id": "int64",
        "created_at": "timestamp[us, tz=UTC]",
        "channel": "string",
        "subject": "string",
        "body": "string",
    }
    rows = table.to_pylist()
    assert len({row["ticket_id"] for row in rows}) == len(rows) == 60
    assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)
    assert {row["channel"] for row in rows} == {"email", "web", "chat", "phone"}
    assert all(row["body"].strip() for row in rows)
    assert sum(not row["body"].isascii() for row in rows) >= 5
    assert set(job.output.columns or ()) < set(table.column_names)
