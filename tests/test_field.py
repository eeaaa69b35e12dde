"""The map from what failed in the field to tests is true, both ways."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIELD: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "tests" / "field.toml").read_text(encoding="utf-8"))
MARK = "FIELD"
"""A test of a line says so in its docstring: `FIELD 7`."""


def marked() -> set[tuple[str, str]]:
    """(number, `file::test`) of every test whose docstring names a line."""
    found = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if MARK not in text or path == Path(__file__):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                numbers = re.findall(r"\bFIELD (\d+)", ast.get_docstring(node) or "")
                found |= {(number, f"{path.relative_to(ROOT)}::{node.name}") for number in numbers}
    return found


def test_the_lines_are_numbered_without_a_gap() -> None:
    """51 lines; a line is never dropped, only held."""
    assert [int(number) for number in FIELD] == list(range(1, 52))


@pytest.mark.parametrize("number", FIELD)
def test_every_line_says_what_holds_it_or_what_is_still_to_come(number: str) -> None:
    """A line has what is right and its tests, and nothing else."""
    assert set(FIELD[number]) <= {"right", "tests", "later"}
    assert FIELD[number]["right"]
    assert FIELD[number].get("tests") or FIELD[number].get("later")


def test_the_tests_named_are_there_and_say_so_themselves() -> None:
    """Named in the file, marked in the docstring: neither without the other."""
    named = {(number, test) for number, line in FIELD.items() for test in line.get("tests", ())}
    assert named == marked()
