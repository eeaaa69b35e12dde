"""How the built-in model uses tools: which of those offered it calls, with which arguments, and what it says after.

A tool is meant when its name or its description means an operation that the last user message asks for, or when the
message names it literally. The state of a tool loop is read from the messages alone: calls made, results so far.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

from batch.simulator.books.tokens import text_of
from batch.simulator.models import arithmetic, reporting
from batch.simulator.models.completion import Ask, ToolCall

_SYNONYMS = {
    "add": {"add", "adds", "addition", "plus", "sum", "加", "加法", "和"},
    "multiply": {"multiply", "multiplication", "mul", "mult", "times", "product", "乘", "乘法", "积"},
    "subtract": {"subtract", "subtraction", "sub", "minus", "difference", "减", "减法", "差"},
    "divide": {"divide", "division", "div", "quotient", "除", "除法", "商"},
    "sqrt": {"sqrt", "root", "squareroot"},
    "power": {"power", "pow", "exponent", "exponentiate", "exponentiation"},
    "factorial": {"factorial", "fact"},
}
_OPERATION = {word: operation for operation, words in _SYNONYMS.items() for word in words}
_FILLERS = {
    "a", "and", "ab", "b", "by", "calc", "calculate", "compute", "do", "float", "floats", "fn", "func", "function",
    "get", "int", "integer", "integers", "ints", "math", "maths", "number", "numbers", "num", "nums", "of", "op",
    "square", "the", "tool", "two", "x", "y",
}  # fmt: skip
_NAME_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_a-zA-Z]+")
_QUOTED = re.compile(r"\"([^\"]+)\"|'([^']+)'|“([^”]+)”|「([^」]+)」|`([^`]+)`")
_NUMERIC = re.compile(r"int|num|float|decimal|double", re.IGNORECASE)
_RESULT = re.compile(r"-?\d+(?:\.\d+)?")
_CJK = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
_MOST_CALLS = 16


def decide(ask: Ask) -> tuple[tuple[ToolCall, ...], str | None]:
    """The tools to call now, or else a sentence with the results that have come back; both empty without either."""
    if not ask.messages:
        return (), None
    user, called, results = _loop(ask.messages)
    last = ask.messages[-1].get("role")
    report = None if ask.forced or last not in ("tool", "user") else reporting.read(ask.tools, user)
    if report is not None:
        return reporting.next_calls(report, called, results), reporting.answer(report, results) if results else None
    if last == "tool":
        return _next_calls(ask, user, called, results), _sentence(user, results)
    if not ask.tools or last == "assistant":
        return (), None
    return _next_calls(ask, user, 0, []), None


def _loop(messages: list[dict[str, Any]]) -> tuple[str, int, list[str]]:
    """The last user text, the number of calls made since, and the tools' answers since."""
    start = max((position for position, message in enumerate(messages) if message.get("role") == "user"), default=-1)
    user = text_of(messages[start].get("content")) if start >= 0 else ""
    since = messages[start + 1 :]
    made = [message.get("tool_calls") for message in since if message.get("role") == "assistant"]
    called = sum(len(calls) for calls in made if isinstance(calls, list))
    results = [text_of(message.get("content")) for message in since if message.get("role") == "tool"]
    return user, called, results


def _next_calls(ask: Ask, user: str, called: int, results: list[str]) -> tuple[ToolCall, ...]:
    if results and not called:
        return ()  # results without calls: an early client that ran the tool by itself
    by_operation: dict[str, dict[str, Any]] = {}
    others: list[dict[str, Any]] = []
    for tool in ask.tools:
        operation = operation_of(tool)
        if operation is not None:
            by_operation.setdefault(operation, tool)
        elif re.search(rf"(?<![A-Za-z0-9_-]){re.escape(tool['name'])}(?![A-Za-z0-9_-])", user):
            others.append(tool)
    steps = arithmetic.read(user, {operation: _arity(tool) for operation, tool in by_operation.items()})
    batch: list[ToolCall] = []
    for step in steps[called:]:
        if step.chained:
            if batch or not results:
                break
            previous = _RESULT.search(results[-1])
            if previous is None:
                return ()
            batch.append(_arithmetic_call(by_operation[step.operation], (previous[0], *step.numbers)))
            break
        batch.append(_arithmetic_call(by_operation[step.operation], step.numbers))
    if not batch or not any(step.chained for step in steps[called:]):
        batch += [_named_call(tool, user) for tool in others[max(0, called - len(steps)) :]]
    if ask.forced and not called and not batch:
        wanted = ask.tools[0] if ask.forced == "*" else next(t for t in ask.tools if t["name"] == ask.forced)
        batch = [_named_call(wanted, user)]
    if ask.forced not in ("", "*") and not called:
        batch = [call for call in batch if call.name == ask.forced] or [
            _named_call(next(tool for tool in ask.tools if tool["name"] == ask.forced), user)
        ]
    return tuple(batch[: _MOST_CALLS if ask.parallel else 1])


def operation_of(tool: dict[str, Any]) -> str | None:
    """The operation a tool stands for, by its name, else by its description if it takes numbers."""
    parameters = _parameters(tool)
    if not parameters:
        return None
    numeric = any(kind in ("", "array") or _NUMERIC.search(kind) for _, kind in parameters)
    description = tool.get("description")
    return _operation_of(tool["name"], description if isinstance(description, str) and numeric else "")


@lru_cache(maxsize=4096)
def _operation_of(name: str, description: str) -> str | None:
    parts = {part.lower() for part in _NAME_PARTS.findall(name)}
    operations = {_OPERATION.get(part, "") for part in parts - _FILLERS}
    if len(operations) == 1 and "" not in operations:
        return operations.pop()
    return arithmetic.operation_in(description) if description else None


def _parameters(tool: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and types of the parameters to fill: the required ones, or all, in the order they are declared."""
    schema = tool.get("parameters")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or not isinstance(properties, dict):
        return []
    required = schema.get("required")
    wanted = [name for name in properties if name in required] if isinstance(required, list) and required else []
    return [(name, _type_of(properties[name])) for name in wanted or properties]


def _type_of(schema: Any) -> str:
    kind = schema.get("type") if isinstance(schema, dict) else None
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "")
    if kind is None and isinstance(schema, dict):
        return next((_type_of(inner) for inner in schema.get("anyOf") or () if inner != {"type": "null"}), "")
    return kind if isinstance(kind, str) else ""


def _arity(tool: dict[str, Any]) -> int:
    parameters = _parameters(tool)
    return 0 if len(parameters) == 1 and parameters[0][1] == "array" else len(parameters)


def _arithmetic_call(tool: dict[str, Any], numbers: tuple[str, ...]) -> ToolCall:
    names = [name for name, _ in _parameters(tool)]
    if _arity(tool) == 0:
        return _call(tool, {names[0]: f"[{', '.join(numbers)}]"})
    return _call(tool, dict(zip(names, numbers, strict=False)))


def _named_call(tool: dict[str, Any], user: str) -> ToolCall:
    """A call whose arguments are the numbers and the quoted texts of the message, in order, by type."""
    numbers = [number.json for number in arithmetic.numbers_in(user)]
    texts = ["".join(groups) for groups in _QUOTED.findall(user)]
    texts = [text for text in texts if text != tool["name"]]
    arguments: dict[str, str] = {}
    for name, kind in _parameters(tool):
        if _NUMERIC.search(kind):
            arguments[name] = numbers.pop(0) if numbers else "0"
        elif kind == "boolean":
            arguments[name] = "true"
        elif kind == "array":
            arguments[name] = "[]"
        elif kind == "object":
            arguments[name] = "{}"
        else:
            arguments[name] = _json(texts.pop(0) if texts else user)
    return _call(tool, arguments)


def _call(tool: dict[str, Any], arguments: dict[str, str]) -> ToolCall:
    # Written by hand, so that an integer of any size and a decimal fraction stay what the user wrote.
    inside = ", ".join(f"{_json(name)}: {value}" for name, value in arguments.items())
    return ToolCall(tool["name"], f"{{{inside}}}")


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _sentence(user: str, results: list[str]) -> str:
    chinese = _CJK.search(user) is not None
    answers = [result for result in results if result]
    if not answers:
        return "工具没有返回内容。" if chinese else "The tool returned nothing."
    return f"计算结果是 {'；'.join(answers)}。" if chinese else f"The result is {' and '.join(answers)}."
