"""`batch.core.codes`: every code of an error that the program itself gives has its words, and no word is left over."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import batch
from batch.core.codes import CODES
from batch.labels import answers
from batch.providers import batch_files

ROOT = Path(batch.__file__).parent
REFUSALS = ROOT / "input" / "openai_batch.py"
"""It gives back code and reason as a pair."""


def modules() -> dict[Path, ast.Module]:
    found = (path for path in ROOT.rglob("*.py") if ROOT / "simulator" not in path.parents)
    return {path: ast.parse(path.read_text("utf-8")) for path in found}


def constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The texts that stand under a name at the top of a module."""
    for node in tree.body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield from ((target.id, value.value) for target in targets if isinstance(target, ast.Name))


def known_in(path: Path, tree: ast.Module, tops: dict[Path, dict[str, str]]) -> dict[str, str]:
    """The same, those that it imports as well."""
    found = dict(tops[path])
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            source = ROOT.parent.joinpath(*node.module.split(".")).with_suffix(".py")
            theirs = tops.get(source, {})
            found |= {alias.name: theirs[alias.name] for alias in node.names if alias.name in theirs}
    return found


def texts(value: ast.expr, names: dict[str, str]) -> Iterator[str]:
    """What an expression may come to, as far as it is a text that stands in the code."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.Name) and value.id in names:
        yield names[value.id]
    elif isinstance(value, ast.IfExp):
        yield from (*texts(value.body, names), *texts(value.orelse, names))
    elif isinstance(value, ast.BoolOp):
        for one in value.values:
            yield from texts(one, names)


def codes_in(tree: ast.Module, names: dict[str, str]) -> Iterator[str]:
    """What is given as the code of a failure, by its name or to one of the functions that take it by place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg in ("code", "error_code"):
                    yield from texts(keyword.value, names)
            if getattr(node.func, "attr", getattr(node.func, "id", "")) in ("_fail", "_unanswered", "_failed"):
                given = (one for one in node.args if not isinstance(one, ast.Constant))
                yield from (text for one in given for text in texts(one, names))


def refusals() -> Iterator[str]:
    for node in ast.walk(ast.parse(REFUSALS.read_text("utf-8"))):
        for pair in ast.walk(node.value) if isinstance(node, ast.Return) and node.value is not None else ():
            if isinstance(pair, ast.Tuple) and isinstance(pair.elts[0], ast.Constant):
                yield str(pair.elts[0].value)


def test_every_code_that_the_program_gives_is_explained_and_no_other() -> None:
    """`explain duplicate_key` knew nothing, although rows fail with it. Who adds a code adds a line to `CODES`."""
    trees = modules()
    tops = {path: dict(constants(tree)) for path, tree in trees.items()}
    given = {code for path, tree in trees.items() for code in codes_in(tree, known_in(path, tree, tops))}
    given |= {*refusals(), *batch_files.UNDONE, *get_args(answers.Code)}
    assert given == set(CODES)


def test_every_code_is_told_in_whole_sentences() -> None:
    """They stand in a list beside others."""
    assert all(text[0].isupper() and text.endswith(".") for text in CODES.values() if not text.startswith("tools."))
