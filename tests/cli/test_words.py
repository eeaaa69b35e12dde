"""`batch.cli.words`: every line that a command prints has its explanation, and none is explained that nobody prints."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from batch.cli import status, summary
from batch.cli.words import LINES, PHRASES
from batch.core.states import STATES
from batch.report.status import State
from batch.run.command import Report
from tests.cli.conftest import ROOT, Cli

FILES = [path for path in sorted((ROOT / "batch").rglob("*.py")) if path.name != "words.py"]


@pytest.fixture(autouse=True)
def eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No terminal of whoever runs the tests."""
    monkeypatch.delenv("COLUMNS", raising=False)


def texts_of(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may be, of those that are written out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*texts_of(node.body), *texts_of(node.orelse))


def printed(path: Path) -> set[str]:
    """The names in front of the lines that the functions of a module print by `pairs`."""
    found: set[str] = set()
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        inside = list(ast.walk(function))
        if any(isinstance(node, ast.Call) and ast.unparse(node.func) == "pairs" for node in inside):
            for node in inside:
                if isinstance(node, ast.Tuple) and len(node.elts) == 2:
                    found.update(texts_of(node.elts[0]))
    return found - {""}


def test_every_line_is_explained_and_no_other() -> None:
    """FIELD 50. Who prints a line adds it to `LINES`."""
    names = set().union(*(printed(path) for path in FILES if path.parent.name == "cli"))
    assert {"left", "stopped by", "then user", "models"} <= names
    assert names == set(LINES)
    assert list(LINES) == sorted(LINES)


def test_every_turn_of_phrase_is_one_that_is_said() -> None:
    """FIELD 50. Words that were changed in a message are no longer found here."""
    texts = "\n".join(
        " ".join(str(node.value).split())
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    assert [phrase for phrase in PHRASES if phrase not in texts] == []
    assert all(text.endswith(".") for text in (*LINES.values(), *PHRASES.values()))


def test_every_state_has_a_sentence_where_it_is_printed() -> None:
    """FIELD 50. `status` and the end of a run say it in words; what the words mean is in one table."""
    assert set(status._SENTENCES) == set(get_args(State)) <= set(STATES)
    ends = set(get_args(get_type_hints(Report)["state"]))
    assert set(summary._STATES) == ends - {"nothing_to_do", "skipped"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("job_changed", ["state job_changed  (state of a run)"]),
        ("unchanged", ["planned.unchanged  (number in runs/*.json)"]),
        ("possibly billed", ["turn of phrase", "only the provider knows"]),
        ("exit code", ["line exit code", "killed"]),
        ("left", ["planned.left", "line left", "known to remain"]),
        ("lines", ["lines: line that a command prints.", "line API key"]),
        ("behaviour 7", ["Places in flight for each key and model. What is more", "limits.in_flight"]),
        ("behaviour 1", ["POST /api/paas/v4/chat/completions\n", "GET /v1/models\n"]),
        ("behaviour 18", ["fault 18  (fault of the simulator)"]),
        ("behaviours", ["  behaviour 1 ", "  behaviour 17 ", "  fault 18 ", "  fault 62 ", "  fault 72 "]),
    ],
)
def test_words_and_behaviours_are_told_by_the_word_at_hand(words: str, told: list[str], cli: Cli) -> None:
    """FIELD 50. As a person types what stands on the screen."""
    said = cli("explain", words)
    assert (said.code, said.err) == (0, "")
    assert [text for text in told if text not in said.out] == []


def test_every_behaviour_is_told_by_its_number(cli: Cli) -> None:
    """FIELD 50. 1 to 72, each once."""
    for number in range(1, 73):
        assert f"{number}  (" in cli("explain", f"behaviour {number}").out, number
