"""`batch.tools.sources`: what counts as a change of a tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.tools.registry import ToolSet
from batch.tools.sources import source_digest

FILE = '''
import math

from batch import tool

LIMIT = 10
OTHER = 1


class Box:
    def __init__(self, n):
        self.n = helper(n)


def helper(n):
    """Help."""
    return n + 1


def unused(n):
    return n


@tool
def count(n: int) -> float:
    """Count."""
    return math.sqrt(min(LIMIT, Box(n).n))
'''


def digest(tmp_path: Path, text: str) -> str:
    path = tmp_path / "tools.py"
    path.write_text(text, encoding="utf-8")
    found = ToolSet.load(path).sources()["count"][1]
    assert found
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("min(LIMIT", "max(LIMIT"),
        ("LIMIT = 10", "LIMIT = 11"),
        ("return n + 1", "return n + 2"),
        ("self.n = helper(n)", "self.n = n"),
    ],
)
def test_a_change_of_what_a_tool_does_is_seen_however_far_away_in_its_file(tmp_path: Path, old: str, new: str) -> None:
    """The function, what it calls, and the constants they use."""
    assert digest(tmp_path, FILE) != digest(tmp_path, FILE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Count."""', '"""Count well."""'),
        ('"""Help."""', "# help"),
        ("return n\n", "return -n\n"),
        ("OTHER = 1", "OTHER = 2"),
        ("@tool\n", '@tool(version="2")\n'),
        ("min(LIMIT, ", "min(\n        LIMIT,\n        "),
    ],
)
def test_what_is_written_otherwise_and_does_the_same_is_no_change(tmp_path: Path, old: str, new: str) -> None:
    """Docstrings are in the schema, and so in the fingerprint already."""
    assert digest(tmp_path, FILE) == digest(tmp_path, FILE.replace(old, new))


def test_a_function_without_a_file_has_no_hash() -> None:
    """Nothing can be said of it, so nothing is."""
    namespace: dict[str, object] = {}
    exec("def made(): return 1", namespace)
    assert source_digest(namespace["made"]) == ""  # type: ignore[arg-type]  # from a namespace
