"""What a terminal obeys comes out of no command, whoever wrote it: rows, columns, models, providers, tools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Shell
from tests.core.test_plain import ORDERS, harmless

TOOLS = """
from batch import tool

@tool
def add(a: int, b: int) -> str:
    \"\"\"Add two numbers.\"\"\"
    return {said!r}

@tool
def fail() -> None:
    \"\"\"Fail.\"\"\"
    raise ValueError({said!r})
"""


@pytest.fixture
def hostile(shell: Shell) -> Path:
    """A job of which every name is hostile; its first row fails, the second is answered with its own text."""
    rows = [
        {"id": f"struck{ORDERS}{number}", "text": f"{word} {ORDERS}", f"column{ORDERS}": ORDERS}
        for number, word in enumerate(("struck", "fine"))
    ]
    shell.sections["limits"] = ["max_attempts = 1"]
    shell.sections["tools"] = ['module = "tools.py"']
    folder = shell.write(rows, names=[f"one{ORDERS}", f"two{ORDERS}"], name=f"one{ORDERS}")
    job = (folder / "job.toml").read_text("utf-8")
    (folder / "job.toml").write_text(job.replace('name = "glm-4"\n', ""), "utf-8")
    (folder / "tools.py").write_text(TOOLS.replace("{said!r}", repr(ORDERS)), "utf-8")
    return folder


def test_no_command_sends_a_terminal_what_it_obeys(hostile: Path, shell: Shell, cli: Cli) -> None:
    """FIELD 20. OSC 52 writes the clipboard, C1 and ESC colour and move, marks of direction make text read as another."""
    out = shell.out
    said = [
        shell("run", hostile, "--progress", "plain"),
        shell("run", hostile, "--progress", "json", "--log-format", "json"),
        cli("check", hostile, "--full"),
        cli("status", out),
        cli("show", out, f"struck{ORDERS}0"),
        cli("show", out, f"struck{ORDERS}1"),
        cli("compare", out),
        cli("tools", hostile),
        cli("tools", hostile, "add", '{"a": 1, "b": 2}'),
        cli("tools", hostile, "fail", "{}"),
        cli("tools", hostile, f"none{ORDERS}"),
        cli("show", out, f"none{ORDERS}"),
        cli("status", hostile / f"none{ORDERS.replace(chr(0), '')}"),
    ]
    for number, one in enumerate(said):
        assert one.out + one.err, number
        assert harmless(one.out + one.err), (number, one)


def test_json_for_programs_is_the_same_value(hostile: Path, shell: Shell, cli: Cli) -> None:
    """FIELD 20. Escaped, not cleaned: a program finds the row again."""
    shell("run", hostile)
    for words in (("status", shell.out, "--json"), ("show", shell.out, f"struck{ORDERS}1", "--json")):
        said = cli(*words)
        assert harmless(said.out)
        assert any(f"struck{ORDERS}" in text for text in _texts(json.loads(said.out)))


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for inner in pair for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []
