"""Every line that a checker is told to pass over says why."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRAGMA = re.compile(
    r"#\s*type:\s*ignore(\[[\w\s,-]*\])?|#\s*noqa(:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*)?|#\s*fmt:\s*\w+", re.IGNORECASE
)
REASON = re.compile(r"[^\W\d_]{2,}.*[^\W\d_]{2,}|[^\W\d_]{4,}")
"""Two words, or one that is no abbreviation."""


def unexplained(path: Path) -> list[int]:
    """The lines of a file that have `noqa` or `type: ignore` and no reason behind it."""
    text = path.read_text(encoding="utf-8", errors="replace").lower()
    if "noqa" not in text and "ignore" not in text:  # most have none, and reading them token by token takes seconds
        return []
    with path.open("rb") as file:
        comments = [token for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
    return [
        comment.start[0]
        for comment in comments
        if re.search(r"#\s*(noqa|type:\s*ignore)", comment.string, re.IGNORECASE)
        and not REASON.search(PRAGMA.sub("", comment.string))
    ]


def python_files(folder: str) -> Iterator[Path]:
    """The modules of a folder, and its programs without an ending."""
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix == ".py":
            yield path
        elif path.is_file() and not path.suffix:
            with path.open("rb") as file:
                if re.match(rb"#!.*python", file.readline(200)):
                    yield path


@pytest.mark.parametrize("folder", ["batch", "tests", "scripts"])
def test_whoever_tells_a_checker_to_look_away_says_why(folder: str) -> None:
    """On the same line, behind the code: a reason that is not written down is one that nobody can judge."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in python_files(folder)
        if path != Path(__file__)
        for line in unexplained(path)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "bare"),
    [
        ("x = f()  # type: ignore[arg-type]", True),
        ("x = f()  # type: ignore", True),
        ("x = f()  # noqa: SIM115", True),
        ("x = f()  # NOQA", True),
        ("x = f()  # type: ignore[arg-type]  # noqa: SIM115, E501", True),
        ("x = f()  # noqa: SIM115 -", True),
        ("x = f()  # noqa: SIM115 - open for good", False),
        ("x = f()  # noqa: TRY004  data", False),
        ("x = f()  # type: ignore[arg-type]  # noqa: E501 - the fault itself", False),
        ("x = f()  # type: ignore[arg-type]  # the fault", False),
        ("x = '# noqa: SIM115'  # a text about it", False),
    ],
)
def test_a_code_alone_is_no_reason(line: str, bare: bool, tmp_path: Path) -> None:
    """However many codes there are, and whatever stands between them."""
    path = tmp_path / "a.py"
    path.write_text(f"{line}\n")
    assert unexplained(path) == ([1] if bare else [])
