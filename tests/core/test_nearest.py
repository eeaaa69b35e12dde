"""`batch.core.nearest`: the name that was meant, and one sentence that says so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from batch.core.nearest import did_you_mean, nearest, suggestion
from batch.simulator import toml_table

PACKAGE = Path(__file__).resolve().parents[2] / "batch"
OWNERS = {"core/nearest.py", "simulator/toml_table.py"}


def test_the_likest_names_come_first_and_as_they_are_spelt() -> None:
    """Upper and lower case do not count; what is no likeness is not proposed."""
    assert nearest("tickt", ["body", "ticket", "tickets"], most=2) == ["ticket", "tickets"]
    assert nearest("TICKETS", ["Tickets", "zzz"]) == ["Tickets"]
    assert nearest("a", ["A", "b"]) == ["A"]
    assert nearest("zzz", ["body", "ticket"]) == []
    assert nearest("pictures", ["user", "turns"]) == []


def test_a_list_is_nearest_to_the_same_words_in_another_order() -> None:
    """Ours: `sync,bulk` was taken for `sync`."""
    lanes = ["sync", "stream", "task", "bulk", "bulk,sync", "bulk,stream", "bulk,task"]
    assert nearest("sync,bulk", lanes) == ["bulk,sync"]
    assert nearest("Stream, BULK", lanes, most=2)[0] == "bulk,stream"
    assert nearest("bulk,syn", lanes) == ["bulk,sync"]
    assert nearest("sync,sync", lanes) != ["bulk,sync"]


def test_a_name_is_never_proposed_in_place_of_itself() -> None:
    """It reads like a joke: there is no `rows.csv`, did you mean `rows.csv`?"""
    assert nearest("rows.csv", ["rows.csv"]) == []
    assert nearest("rows.csv", ["rows.csv", "row.csv"]) == ["row.csv"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], ""),
        (["text"], "Did you mean text?"),
        (["a", "b"], "Did you mean a or b?"),
        (["a", "b", "limits.rpm"], "Did you mean a, b or limits.rpm?"),
        (["标签"], "Did you mean 标签?"),
        (["first name"], "Did you mean 'first name'?"),
        (["id,q", "it's"], """Did you mean 'id,q' or "it's"?"""),
        (["a\x1b[1m"], r"Did you mean 'a\x1b[1m'?"),
        (['{{ row["a.b"] }}'], 'Did you mean {{ row["a.b"] }}?'),
    ],
)
def test_the_sentence_is_the_same_everywhere(names: list[str], said: str) -> None:
    """A name of several words stands in quotes, so that its beginning and its end are seen."""
    assert did_you_mean(names) == said


def test_where_no_name_is_near_something_else_is_said() -> None:
    """Mostly which names there are."""
    assert suggestion("txt", ["text"], "It has: text.") == "Did you mean text?"
    assert suggestion("zzz", ["text"], "It has: text.") == "It has: text."
    assert suggestion("zzz", ["text"]) == ""


def test_nobody_else_looks_for_near_names_or_words_the_sentence() -> None:
    """The simulator shares nothing, so it has its own; its sentence is the same."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.relative_to(PACKAGE).as_posix() in OWNERS:
            assert text.count("Did you mean {") == 1
            continue
        assert "difflib" not in text, path
        texts = [
            node.value
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not [one for one in texts if re.search("did you mean", one, re.IGNORECASE)], path
    assert toml_table.did_you_mean(["seed"]) == did_you_mean(["seed"])
