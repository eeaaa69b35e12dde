"""The built-in model's use of tools."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.simulator.conftest import Sim


def tool(name: str, description: str | None, **types: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {parameter: {"type": kind} for parameter, kind in types.items()},
        "required": list(types),
    }
    function: dict[str, Any] = {"name": name, "parameters": schema}
    if description is not None:
        function["description"] = description
    return {"type": "function", "function": function}


MATHS = [
    tool("add", "Add two numbers.", a="number", b="number"),
    tool("multiply", "Multiply two numbers.", a="number", b="number"),
    tool("subtract", "Subtract b from a.", a="number", b="number"),
    tool("divide", "Divide a by b.", a="number", b="number"),
    tool("sqrt", "Square root of x.", x="number"),
    tool("power", "Raise base to exponent.", base="number", exponent="number"),
    tool("factorial", "Factorial of n.", n="integer"),
]
CHINESE = [
    tool("f1", "两个数相加", a="number", b="number"),
    tool("f2", "计算两个数的乘积", a="number", b="number"),
    tool("f3", "计算 a 减去 b", a="number", b="number"),
    tool("f4", "两个数相除，返回商", a="number", b="number"),
    tool("f5", "计算一个数的平方根", x="number"),
    tool("f6", "计算 base 的 exponent 次方", base="number", exponent="number"),
    tool("f7", "计算 n 的阶乘", n="integer"),
]
SIGNS = [
    tool("g1", "a + b", a="number", b="number"),
    tool("g2", "a * b", a="number", b="number"),
    tool("g3", "a - b", a="number", b="number"),
    tool("g4", "a / b", a="number", b="number"),
    tool("g5", "√", x="number"),
    tool("g6", "a ** b", base="number", exponent="number"),
    tool("g7", "!", n="integer"),
]
NAMES = [function["function"]["name"] for function in MATHS]


def called(answer: dict[str, Any]) -> list[tuple[str, str]]:
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls", choice
    return [(call["function"]["name"], call["function"]["arguments"]) for call in choice["message"]["tool_calls"]]


@pytest.mark.parametrize("tools", [MATHS, CHINESE, SIGNS], ids=["names", "chinese", "signs"])
@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("add 2 and 3", "add", [2, 3]),
        ("What is 12 plus 30?", "add", [12, 30]),
        ("计算 3 加 5", "add", [3, 5]),
        ("3 与 4 的和是多少", "add", [3, 4]),
        ("1250908070 * 42525463", "multiply", [1250908070, 42525463]),
        ("请问 1250908070 乘以 42525463 等于多少？", "multiply", [1250908070, 42525463]),
        ("the product of 6 and 7", "multiply", [6, 7]),
        ("6 × 7", "multiply", [6, 7]),
        ("6x7", "multiply", [6, 7]),
        ("subtract 3 from 10", "subtract", [3, 10]),
        ("10 - 3", "subtract", [10, 3]),
        ("10 减去 3", "subtract", [10, 3]),
        ("divide 10 by 0", "divide", [10, 0]),
        ("10 除以 4", "divide", [10, 4]),
        ("10 ÷ 4", "divide", [10, 4]),
        ("square root of 16", "sqrt", [16]),
        ("-9 的平方根", "sqrt", [-9]),
        ("√16", "sqrt", [16]),
        ("2 to the power of 10", "power", [2, 10]),
        ("2 的 10 次方", "power", [2, 10]),
        ("2 ** 10", "power", [2, 10]),
        ("2^10", "power", [2, 10]),
        ("factorial of 5", "factorial", [5]),
        ("5 的阶乘", "factorial", [5]),
        ("5!", "factorial", [5]),
    ],
)
def test_the_tool_that_means_the_operation_is_called(
    sim: Sim, tools: list[dict[str, Any]], text: str, name: str, arguments: list[int]
) -> None:
    """By name or description, in English, Chinese or signs; numbers in order, parameters as declared."""
    wanted = tools[NAMES.index(name)]["function"]
    expected = dict(zip(wanted["parameters"]["properties"], arguments, strict=True))
    ((found, given),) = called(sim.glm(text, tools=tools).json())
    assert (found, json.loads(given)) == (wanted["name"], expected)
    assert list(json.loads(given)) == list(expected)


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("1250908070 * 42525463", '{"a": 1250908070, "b": 42525463}'),
        ("multiply 100000000000000000000000001 and 3.0", '{"a": 100000000000000000000000001, "b": 3}'),
        ("multiply 2.50 and -0.1", '{"a": 2.5, "b": -0.1}'),
        ("multiply 1,250,908,070 and 1e3", '{"a": 1250908070, "b": 1000}'),
    ],
)
def test_numbers_stay_what_the_user_wrote(sim: Sim, text: str, given: str) -> None:
    """Whole numbers are JSON integers of any size, fractions are never floats on their way."""
    assert called(sim.glm(text, tools=MATHS).json()) == [("multiply", given)]


def test_several_operations_are_called_at_once(sim: Sim) -> None:
    """Two questions are two calls in one turn, with ids counting up on GLM."""
    answer = sim.glm("add 2 and 3, and multiply 4 and 5", tools=MATHS).json()
    assert called(answer) == [("add", '{"a": 2, "b": 3}'), ("multiply", '{"a": 4, "b": 5}')]
    calls = answer["choices"][0]["message"]["tool_calls"]
    first, second = (int(number) for call in calls for number in re.findall(r"^call_(-?\d{19})$", call["id"]))
    assert second == first + 1
    assert [call["index"] for call in calls] == [0, 1]
    assert answer["choices"][0]["message"]["content"] in (None, "\n")
    many = sim.glm("factorials of 3, 4 and 5", tools=MATHS).json()
    assert [json.loads(given)["n"] for _, given in called(many)] == [3, 4, 5]


def test_openai_calls_have_their_own_ids_and_null_content(sim: Sim) -> None:
    """Twenty-four characters, the same for the same messages."""
    first, second = (sim.openai("add 2 and 3", tools=MATHS).json()["choices"][0]["message"] for _ in range(2))
    assert first == second
    assert first["content"] is None
    assert re.fullmatch(r"call_[0-9A-Za-z]{24}", first["tool_calls"][0]["id"])


def loop(sim: Sim, dialect: str, text: str, results: list[str], **more: Any) -> tuple[list[int], str]:
    """A tool loop to its end: how many calls each turn made, and the last text."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": text}]
    turns: list[int] = []
    left = list(results)
    while True:
        answer = getattr(sim, dialect)(messages, tools=MATHS, **more)
        assert answer.status_code == 200
        message = answer.json()["choices"][0]["message"]
        calls = message.get("tool_calls") or []
        if not calls:
            return turns, message["content"]
        turns.append(len(calls))
        messages.append(message)
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": left.pop(0)} for call in calls]


@pytest.mark.parametrize("dialect", ["glm", "openai"])
def test_the_answer_holds_every_result_verbatim(sim: Sim, dialect: str) -> None:
    """Big numbers, JSON and error texts come back letter by letter, in the language of the question."""
    turns, text = loop(sim, dialect, "1250908070 乘以 42525463，10 除以 0", ["53195444847186410", '{"error": "除零"}'])
    assert turns == [2]
    assert text == '计算结果是 53195444847186410；{"error": "除零"}。'
    assert loop(sim, dialect, "add 1 and 2", [""]) == ([1], "The tool returned nothing.")


def test_a_chain_takes_a_turn_for_each_step(sim: Sim) -> None:
    """The second call takes the first one's result as its first operand."""
    turns, text = loop(sim, "openai", "add 2 and 3, then multiply the result by 4", ["5", "20"])
    assert turns == [1, 1]
    assert "20" in text
    assert loop(sim, "glm", "1 + 2 + 3 + 4", ["3", "6", "10"])[0] == [1, 1, 1]


def test_parallel_calls_may_be_forbidden(sim: Sim) -> None:
    """Then each call takes a turn of its own."""
    assert loop(sim, "openai", "add 2 and 3, multiply 4 and 5", ["5", "20"], parallel_tool_calls=False)[0] == [1, 1]


def test_a_tool_message_without_calls_is_answered_on_glm(sim: Sim) -> None:
    """Early clients sent the result with neither the assistant's message nor an id."""
    messages = [{"role": "user", "content": "add 2 and 3"}, {"role": "tool", "content": "add 2 and 3 = 5"}]
    text = sim.glm(messages, tools=MATHS, tool_choice="add").json()["choices"][0]["message"]["content"]
    assert text == "The result is add 2 and 3 = 5."


@pytest.mark.parametrize("text", ["Tell me a joke", "What is love?", "add", "**bold** and 3 apples", "加油！"])
def test_a_question_no_tool_fits_is_answered_in_words(sim: Sim, text: str) -> None:
    """Tools are offered, not forced."""
    choice = sim.glm(text, tools=MATHS).json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert "tool_calls" not in choice["message"]


def test_an_operation_without_its_tool_is_answered_in_words(sim: Sim) -> None:
    """Multiplying is not done with an adding tool; and words that mean no offered tool take no numbers."""
    assert "tool_calls" not in sim.glm("6 * 7", tools=MATHS[:1]).json()["choices"][0]["message"]
    assert called(sim.glm("plus, what is the product of 6 and 7", tools=MATHS[1:2]).json())[0][0] == "multiply"


def test_tool_choice_forbids_and_forces(sim: Sim) -> None:
    """`none` forbids; `required`, an object, and on GLM a bare name force."""
    assert (
        "tool_calls" not in sim.openai("add 2 and 3", tools=MATHS, tool_choice="none").json()["choices"][0]["message"]
    )
    assert called(sim.openai("hello", tools=MATHS, tool_choice="required").json())[0][0] == "add"
    forced = {"type": "function", "function": {"name": "sqrt"}}
    assert called(sim.openai("hello 16", tools=MATHS, tool_choice=forced).json()) == [("sqrt", '{"x": 16}')]
    assert called(sim.glm("hello 16", tools=MATHS, tool_choice="sqrt").json()) == [("sqrt", '{"x": 16}')]


def test_a_tool_named_in_the_text_is_called(sim: Sim) -> None:
    """Tools that are no arithmetic can be asked for by name: quoted texts and numbers become arguments."""
    tools = [
        {"type": "function", "function": {"name": "get_memory_info"}},
        tool("write_file", "Write a file.", path="string", content="string"),
    ]
    answer = sim.openai("call get_memory_info, then write_file with 'a.txt' and 'free'", tools=tools).json()
    assert called(answer) == [("get_memory_info", "{}"), ("write_file", '{"path": "a.txt", "content": "free"}')]


def test_odd_schemas_do_no_harm(sim: Sim) -> None:
    """Types as Python spells them, no required list, optional parameters, arrays, and no schema at all."""
    python = {"a": {"type": "<class 'float'>"}, "b": {"type": "<class 'float'>"}}
    loose = {"type": "function", "function": {"name": "add", "parameters": {"properties": python, "required": []}}}
    assert called(sim.glm("3 加 5", tools=[loose]).json()) == [("add", '{"a": 3, "b": 5}')]
    optional = tool("add", None, a="number", b="number", digits="integer")
    optional["function"]["parameters"]["required"] = ["a", "b"]
    assert called(sim.glm("3 加 5", tools=[optional]).json()) == [("add", '{"a": 3, "b": 5}')]
    assert called(sim.glm("sum of 1, 2 and 3", tools=[tool("sum", None, numbers="array")]).json()) == [
        ("sum", '{"numbers": [1, 2, 3]}')
    ]
    hostile: list[Any] = [None, [], {"properties": []}, {"properties": {"a": None}, "required": [{}]}]
    for schema in hostile:
        bare = {"type": "function", "function": {"name": "add", "parameters": schema}}
        assert sim.glm("3 加 5", tools=[bare]).status_code == 200


def test_calls_that_do_not_fit_max_tokens_end_as_length(sim: Sim) -> None:
    """No half call is sent, and no more is billed than was allowed."""
    answer = sim.glm("add 2 and 3", tools=MATHS, max_tokens=2).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2


def test_tools_count_as_prompt(sim: Sim) -> None:
    """Their JSON text is part of the prompt, in each round again."""
    with_tools = sim.glm("hello", tools=MATHS).json()["usage"]["prompt_tokens"]
    assert with_tools > sim.glm("hello").json()["usage"]["prompt_tokens"] + 50


@pytest.mark.parametrize(
    "text",
    [
        "one of " * 20_000,
        "-1 - " * 20_000,
        "{" * 100_000,
        "9" * 100_000,
        "labels:\na\n" * 20_000,
        "1 " * 50_000,
        "以下" * 50_000,
    ],
    ids=["one of", "minus", "braces", "digits", "labels", "numbers", "chinese"],
)
def test_a_hostile_prompt_does_not_hold_up_the_server(sim: Sim, text: str) -> None:
    """Long repetitions are read in a fraction of a second."""
    assert sim.glm(text, tools=MATHS).status_code == 200
    assert sim.glm([{"role": "system", "content": text}, {"role": "user", "content": "hello"}]).status_code == 200
    assert sim.http.get("/_sim/judge").elapsed.total_seconds() < 10
