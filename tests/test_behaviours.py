"""The map from a provider's behaviours to tests is true, both ways."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from batch.simulator.faults.register import BEHAVIOURS

ROOT = Path(__file__).resolve().parents[1]
LINES: dict[int, dict[str, Any]] = {
    int(number): line
    for number, line in tomllib.loads((ROOT / "tests/behaviours.toml").read_text(encoding="utf-8")).items()
}
FIELDS = {"title", "simulator", "client", "where", "later", "pending"}
LAST_OF_HEALTH = 17
"""Numbers up to this one are a provider in health; above, faults."""


@cache
def named_in(file: str) -> frozenset[str]:
    """Every test of a file, as `test_name` and, in classes, as `Class::test_name`; parametrized ones by their name."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for one in inner:
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name.startswith("test_"):
                found.add(prefix + one.name)
    return frozenset(found)


def named_by(line: dict[str, Any], field: str) -> list[str]:
    """What a field names: one test, or several in a list."""
    value = line.get(field, [])
    return [value] if isinstance(value, str) else value


def exists(named: str) -> bool:
    file, _, test = named.partition("::")
    return test.partition("[")[0] in named_in(file)


def test_every_behaviour_has_its_line_and_no_other_has() -> None:
    """1 to 74, in order, so that nobody has to look for one."""
    assert list(LINES) == list(range(1, 75))


@pytest.mark.parametrize("number", LINES)
def test_a_line_says_who_shows_the_behaviour_and_who_meets_it(number: int) -> None:
    """Both tests exist; what is missing is said in so many words, and only where it may be missing."""
    line = LINES[number]
    assert not line.keys() - FIELDS, "unknown field"
    assert line["title"]
    for named in (one for field in ("simulator", "client") for one in named_by(line, field)):
        assert exists(named), f"{named} does not exist"
    if "later" in line:
        assert line["later"] in ("stream", "batch files")
        assert not {"simulator", "client", "pending", "where"} & line.keys()
        return
    if "where" in line:
        assert line["where"] == "client"
        assert "simulator" not in line
    else:
        assert "simulator" in line
    if "pending" in line:
        assert line["pending"] is True
        assert "client" not in line, "it is not pending any more"
    else:
        assert "client" in line


def test_the_register_and_the_faults_of_the_list_are_the_same() -> None:
    """A fault without a line is untested, a line without a fault is a wish."""
    simulated = {
        number for number, line in LINES.items() if number > LAST_OF_HEALTH and not {"where", "later"} & line.keys()
    }
    assert simulated == set(BEHAVIOURS)


@pytest.mark.parametrize("number", [n for n in LINES if n > LAST_OF_HEALTH and "simulator" in LINES[n]])
def test_the_simulators_test_is_about_that_number(number: int) -> None:
    """A slip in the list would name a neighbour's test."""
    assert LINES[number]["simulator"].partition("::")[2].startswith(f"test_{number}_")
