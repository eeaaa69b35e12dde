"""Tools in whole runs: what the job allows, what is counted, and what is said of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batch.cli import main
from tests.system.runs.conftest import GLM_LANES, Make, Mill
from tests.system.runs.faulty import faulty

ADD = '''
from batch import tool


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b
'''
BROKEN = '''
from batch import tool


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    raise ValueError("out of order")
'''


def contents(mill: Mill) -> list[list[str]]:
    """By row, what its model was told by tools."""
    return [
        [str(message["content"]) for message in json.loads(messages) if message["role"] == "tool"]
        for messages in mill.one("messages")
    ]


def test_a_tool_that_the_job_does_not_allow_is_not_offered(mill: Mill) -> None:
    """The model that is asked for a product has nothing to multiply with; the sum is made."""
    mill.tools, mill.tool_keys = ADD, {"allow": ["add"]}
    mill.write([{"n": 0, "question": "What is 6 times 7?"}, {"n": 1, "question": "What is 6 plus 7?"}])
    assert mill.run().exit_code == 0
    assert contents(mill) == [[], ["13"]]
    fingerprints = mill.one("fingerprint")
    mill.tool_keys = {"allow": ["multiply", "add"]}
    assert mill.run().planned.changed == 2, "other tools are another question"
    mill.tool_keys = {}
    assert (mill.run().planned.changed, len(set(fingerprints + mill.one("fingerprint")))) == (0, 4)


@pytest.mark.parametrize("lane", GLM_LANES)
def test_a_tool_that_is_not_allowed_is_unknown_to_a_model_that_calls_it_all_the_same(lane: str, make: Make) -> None:
    """It is told which tools there are; the function of that name does not run."""
    mill = faulty(make, 55, form="unknown_name", lane=lane, struck=(), first=1)
    mill.tools = ADD.replace("def multiply", "def no_such_tool").replace("a * b", "1 / 0")
    mill.tool_keys = {"allow": ["add"]}
    mill.write([{"n": 0, "question": "What is 6 plus 7?"}])
    assert mill.run().exit_code == 0
    assert [json.loads(content)["error"] for content in contents(mill)[0]] == [
        "no tool is called 'no_such_tool'; there are: add"
    ]


@pytest.mark.parametrize("lane", GLM_LANES)
def test_a_model_that_repeats_a_failing_call_is_cut_after_three_turns(
    lane: str, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """Long before max_turns; the conversation, the errors and their number are there to be read."""
    mill = faulty(make, 55, form="endless", lane=lane, struck=())
    mill.tools, mill.max_turns = BROKEN, 20
    mill.write([{"n": n, "question": f"What is {n} plus 7?"} for n in range(3)])
    report = mill.run()
    assert report.exit_code == 1
    rows = mill.results("error_kind, error_code, retryable, turns, tool_calls, tool_errors, flags")
    assert rows == [("tool_loop", "same_call", False, 3, 3, 3, ["tool_failed"])] * 3
    assert contents(mill) == [['{"error":"ValueError: out of order"}'] * 3] * 3
    assert (report.totals.tool_calls, report.totals.tool_errors) == (9, 9)
    mill.check_books()
    assert main(["status", str(mill.out)]) == 0
    said = capsys.readouterr().out
    assert "9 tool calls, 9 of them with an error" in said
    assert "tool_loop/same_call, for good" in said
    assert main(["status", str(mill.out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["tool_errors"] == 9


def test_calls_beyond_the_limit_of_a_row_are_told_and_the_answer_comes_all_the_same(mill: Mill) -> None:
    """A model that asks for more gets an error, not a longer bill of side effects."""
    mill.tools, mill.tool_keys = ADD, {"calls_per_row": 2}
    mill.write([{"n": 0, "question": "add 1 and 2, and add 3 and 4, and multiply 5 and 6"}])
    assert mill.run().exit_code == 0
    first, second, third = contents(mill)[0]
    assert (first, second) == ("3", "7")
    assert json.loads(third)["error"].startswith("not run: this task has used up its 2 calls")
    assert mill.results("status, tool_calls, tool_errors") == [("ok", 3, 1)]
    mill.tool_keys = {}
    assert mill.run().planned.changed == 0, "the limit is no part of the question"


def test_a_tool_whose_code_changed_under_its_version_is_told_and_nothing_is_asked_again(
    mill: Mill, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `check` as long as it is so, by the run once; layout and comments are no change."""
    for name, value in mill.environ.items():
        monkeypatch.setenv(name, value)
    mill.tools = ADD
    mill.write([{"n": 0, "question": "What is 6 plus 7?"}])
    assert mill.command()[0] == 0
    mill.tools = ADD.replace("return a + b", "# the sum\n    return  a + b")
    assert "tool_changed" not in mill.command()[1]
    mill.tools = ADD.replace("return a + b", "return a + b + 1")
    mill.save()
    for _ in range(2):
        assert main(["check", str(mill.folder)]) == 0
        assert "tool add: its code changed and its version did not" in " ".join(capsys.readouterr().out.split())
    code, said = mill.command()
    assert (code, "its code changed and its version did not" in " ".join(said.split())) == (0, True), said
    assert contents(mill) == [["13"]], "the answer of then stays"
    assert "its version did not" not in " ".join(mill.command()[1].split())
    mill.tools = mill.tools.replace("@tool\ndef add", '@tool(version="2")\ndef add')
    code, said = mill.command()
    assert (code, "its version did not" in said) == (0, False)
    assert contents(mill) == [["14"]]


def test_check_says_which_tools_have_effects_and_what_becomes_of_one_that_is_cut_off(
    mill: Mill, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first of them runs."""
    for name, value in mill.environ.items():
        monkeypatch.setenv(name, value)
    mill.tools, mill.tool_keys = ADD.replace("@tool\ndef add", "@tool(effects=True)\ndef add"), {"policy": "ask_model"}
    mill.questions(1)
    mill.save()
    assert main(["check", str(mill.folder)]) == 0
    assert "add (effects: ask_model when cut off), multiply" in capsys.readouterr().out


def test_a_pure_tool_runs_once_for_the_rows_that_ask_the_same(mill: Mill) -> None:
    """Thirty rows, three sums."""
    mill.tools = ADD.replace("@tool\ndef add", "@tool(cache=True)\ndef add").replace(
        "    return a + b",
        '    with open(__file__ + ".count", "a") as log:\n        log.write("x")\n    return a + b',
    )
    mill.write([{"n": n, "question": f"What is {n % 3} plus 7? ({n})"} for n in range(30)])
    report = mill.run()
    assert (report.exit_code, report.totals.tool_calls) == (0, 30)
    assert [content for [content] in contents(mill)] == [str(n % 3 + 7) for n in range(30)]
    assert len((mill.folder / "tools.py.count").read_text()) == 3


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"allow": ["ad"]}, "tools.allow: there is no tool 'ad'. Did you mean add?"),
        ({"allow": ["zzz"]}, "tools.allow: there is no tool 'zzz'. There are: add, multiply."),
        ({"allow": []}, "tools.allow: names no tool; name one, or remove [tools] from the job"),
        ({"policy": "hope"}, '"fail", "ask_model" or "rerun"'),
        ({"calls_per_row": 0}, "tools.calls_per_row"),
    ],
)
def test_a_wrong_key_is_told_before_anything_is_sent(
    keys: dict[str, Any], says: str, mill: Mill, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the way out."""
    for name, value in mill.environ.items():
        monkeypatch.setenv(name, value)
    mill.tools, mill.tool_keys = ADD, keys
    mill.questions(1)
    mill.save()
    assert main(["check", str(mill.folder)]) == 2
    assert says in " ".join(capsys.readouterr().err.split())
