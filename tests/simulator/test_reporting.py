"""The built-in model as an agent that reads a figure and writes a file by it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batch.simulator.models import tool_calls
from batch.simulator.models.completion import Ask
from tests.simulator.test_tools import MATHS, tool

AGENT = [
    tool("memory_info", "How much memory is in use."),
    tool("write_file", "Write a text file.", path="string", text="string"),
]
TASK = "Read the memory in use. If more than 80 percent is used, write high.txt, otherwise ok.txt."


def played(task: str, *results: str, offered: list[dict[str, Any]] = AGENT) -> tuple[list[tuple[str, str]], str | None]:
    """The calls the model makes one after the other when the tools say this, and what it says in the end."""
    functions = tuple(entry["function"] for entry in offered)
    messages: list[dict[str, Any]] = [{"role": "user", "content": task}]
    made: list[tuple[str, str]] = []
    said: str | None = None
    for result in (*results, None):
        calls, said = tool_calls.decide(Ask("glm-4", messages, functions, "", True, (), None, None, 1, 0))
        if not calls or result is None:
            break
        made += [(call.name, call.arguments) for call in calls]
        messages.append({"role": "assistant", "tool_calls": [{"function": {"name": call.name}} for call in calls]})
        messages.append({"role": "tool", "content": result})
    return made, said


@pytest.mark.parametrize(
    ("task", "reading", "name"),
    [
        (TASK, '{"used_percent": 80.1}', "high.txt"),
        (TASK, '{"used_percent": 80.0}', "ok.txt"),
        (TASK, '{"total_mb": 1000, "used_mb": 900}', "high.txt"),
        (TASK, "41.5 percent in use", "ok.txt"),
        ("Read the memory. If less than 50 % is used write logs/low.md, otherwise logs/high.md.", "49", "logs/low.md"),
        ("读取内存使用率。如果超过 60% ，写入文件 high.txt，否则写入 ok.txt。", '{"percent": 61}', "high.txt"),
    ],
)
def test_the_file_that_the_figure_asks_for_is_written_and_then_there_is_an_answer(
    task: str, reading: str, name: str
) -> None:
    """Three turns: reading, writing, a sentence that names the file."""
    (first, second), said = played(task, reading, "written")
    assert first == ("memory_info", "{}")
    assert second[0] == "write_file"
    given = json.loads(second[1])
    assert given["path"] == name
    assert "percent of the memory is in use" in given["text"]
    assert said is not None
    assert said.endswith(f"{name} is written.")


def test_an_error_of_either_tool_is_told_and_nothing_is_tried_again() -> None:
    """The model takes an error for what it is."""
    made, said = played(TASK, '{"error":"no such thing"}')
    assert ([name for name, _ in made], said) == (["memory_info"], "The report could not be written: no such thing")
    made, said = played(TASK, "90", '{"error":"disk full"}', "never asked for")
    assert ([name for name, _ in made], said) == (
        ["memory_info", "write_file"],
        "The report could not be written: disk full",
    )
    assert played(TASK, "no figure")[1] == "The memory in use is not known, so no report was written."


def test_other_tasks_are_what_they_were() -> None:
    """Without both tools, or without a share and two files, the model is the one of before."""
    assert played("Read the memory in use.", offered=AGENT)[0] == []
    assert [name for name, _ in played("add 2 and 3 percent", "5", offered=[*MATHS, *AGENT])[0]] == ["add"]
    assert played(TASK, offered=[AGENT[0]])[0] == []
