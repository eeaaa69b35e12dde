"""The seven maths functions of the function-calling tutorials, as people paste them, in every lane."""

from __future__ import annotations

import json
import signal

import pytest

from tests.system.runs.conftest import Make, Mill

# As in the tutorials, but for the import and the mark: `x: float`, Chinese docstrings without indent, errors as texts.
TOOLS = '''
import math

from batch import tool


@tool
def add(a: float, b: float) -> float:
    """
    计算两个数的和。

    参数:
    a (float): 第一个数
    b (float): 第二个数

    返回:
    float: 两个数的和
    """
    return a + b


@tool
def subtract(a: float, b: float) -> float:
    """
    计算两个数的差。

    参数:
    a (float): 被减数
    b (float): 减数

    返回:
    float: 两个数的差
    """
    return a - b


@tool
def multiply(a: float, b: float) -> float:
    """
    计算两个数的乘积。

    参数:
    a (float): 第一个数
    b (float): 第二个数

    返回:
    float: 两个数的乘积
    """
    return a * b


@tool
def divide(a: float, b: float) -> float:
    """
    计算两个数的商。

    参数:
    a (float): 被除数
    b (float): 除数

    返回:
    float: 两个数的商
    """
    if b == 0:
        return "错误：除数不能为零"
    return a / b


@tool
def square_root(x: float) -> float:
    """
    计算一个数的平方根。

    参数：
    x（float）：要计算平方根的数

    返回：
    float：x的平方根
    """
    if x < 0:
        return "错误：负数没有实数平方根"
    return math.sqrt(x)


@tool
def power(base: float, exponent: float) -> float:
    """
    计算一个数的幂。

    参数:
        base (float): 底数
        exponent (float): 指数

    返回:
        float: base的exponent次幂
    """
    return base ** exponent


@tool
def factorial(x: float) -> float:
    """
    计算一个数的阶乘。

    参数:
    x (float): 要计算阶乘的数

    返回:
    float: x的阶乘
    """
    if not isinstance(x, float):
        return "错误：需要一个浮点数"
    if x < 0 or not x.is_integer():
        return "错误：阶乘仅适用于非负整数"
    return math.factorial(int(x))
'''

QUESTIONS = {
    "1250908070 * 42525463 等于多少？": "53195444847186410",
    "计算 53195444847186410 加 1": "53195444847186411",
    "53195444847186411 - 1 = ?": "53195444847186410",
    "What is 53195444847186410 divided by 2?": "26597722423593205",
    "What is 10 divided by 4?": "2.5",
    "What is 1 divided by 0?": "错误：除数不能为零",
    "计算 16 的平方根": "4.0",
    "计算 -16 的平方根": "错误：负数没有实数平方根",
    "What is 3 to the power of 50?": "717897987691852588770249",
    "What is 10 to the power of 400?": "1" + "0" * 400,
    "What is 2 to the power of -1?": "0.5",
    "计算 5 的阶乘": "120",
    "计算 25 的阶乘": "15511210043330985984000000",
    "计算 -3 的阶乘": "错误：阶乘仅适用于非负整数",
    "计算 2.5 的阶乘": "错误：阶乘仅适用于非负整数",
    "What is 0.1 plus 0.2?": "0.30000000000000004",
}


@pytest.mark.parametrize(
    ("provider", "lane"),
    [("glm", "sync"), ("glm", "stream"), ("glm", "task"), ("openai", "sync"), ("openai", "stream")],
)
def test_the_functions_of_the_tutorials_answer_exactly_in_every_lane(provider: str, lane: str, make: Make) -> None:
    """Whole numbers of any size, errors that a function returns as text: each is what the model is told."""
    mill = make(provider=provider, lane=lane)
    mill.tools = TOOLS
    mill.write([{"n": n, "question": question} for n, question in enumerate(QUESTIONS)])
    report = mill.run()
    assert report.exit_code == 0, report
    mill.check_table(len(QUESTIONS))
    mill.check_books()
    told = {
        n: [turn["content"] for turn in json.loads(messages) if turn["role"] == "tool"]
        for n, messages in mill.results("n, messages")
    }
    assert {question: told[n] for n, question in enumerate(QUESTIONS)} == {
        q: [answer] for q, answer in QUESTIONS.items()
    }
    for answer, wanted in zip(mill.one("answer"), QUESTIONS.values(), strict=True):
        assert wanted in answer
    assert set(mill.one("len(flags)")) == {0}


def test_a_power_that_no_float_holds_is_an_error_for_the_model_at_once(make: Make) -> None:
    """As a float it overflows at once; computed exactly it would hold a thread, and all memory, for ever."""
    mill = make()
    mill.tools = TOOLS
    mill.write([{"n": 0, "question": "What is 10 to the power of 1000000000?"}])
    assert mill.run().exit_code == 0
    ((messages, flags),) = mill.results("messages, flags")
    assert "OverflowError: the result of a power is too large" in json.loads(messages)[1]["content"]
    assert flags == ["tool_failed"]


TEXTS = '''
from batch import tool


@tool
def add(a: str, b: str) -> str:
    """Join two texts."""
    return a + b
'''


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_arguments_of_the_wrong_type_are_repaired_by_the_model_or_coerced_and_flagged(lane: str, make: Make) -> None:
    """As the job says; by default the model reads what was wrong, and nothing is guessed."""
    mill = make(lane=lane)
    mill.tools = TEXTS
    mill.write([{"n": n, "question": f"What is {n} plus 1?"} for n in range(3)])
    mill.run()
    for messages, flags in mill.results("messages, flags"):
        assert "parameter 'a': Expected `str`, got `int`" in json.loads(messages)[1]["content"]
        assert flags == ["tool_failed"]
    mill.coerce, mill.out = True, mill.folder / "coerced"
    assert mill.run().exit_code == 0
    told = [(json.loads(messages)[1]["content"], flags) for messages, flags in mill.results("messages, flags")]
    assert told == [(f"{n}1", ["coerced"]) for n in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", ["tool.ran:1", "tool.committed:1", "sent.committed:2"])
def test_a_row_is_flagged_coerced_wherever_its_process_is_killed(failpoint: str, mill: Mill) -> None:
    """What is known of its calls is worked out again from what the model sent."""
    mill.tools, mill.coerce = TEXTS, True
    mill.write([{"n": 0, "question": "What is 4 plus 1?"}])
    assert mill.command(failpoint=failpoint)[0] == -signal.SIGKILL
    assert mill.command()[0] == 0
    assert mill.results("answer, flags") == [("The result is 41.", ["coerced"])]
