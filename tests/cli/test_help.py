"""`batch.cli.help`: a help page is read in a terminal of any width."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest

from batch.cli import app
from batch.cli.text import columns, wrapped
from tests.cli.conftest import Cli

PAGES = ["", *app.COMMANDS]
ENTRY = re.compile(r"  (\S.*?)(?:  +(\S.*))?")


def blocks(page: str) -> dict[str, list[str]]:
    """The lines under each title that stands alone in its line."""
    found: dict[str, list[str]] = {}
    for block in page.split("\n\n"):
        title, *lines = block.strip("\n").splitlines()
        if title in ("Commands:", "Arguments:", "Options:", "Exit codes:"):
            found[title] = lines
    return found


def aligned(lines: Sequence[str]) -> bool:
    """Whether every text begins in one column, and what follows of it as well."""
    starts = {len(line) - len(line.lstrip()) for line in lines if line.startswith("   ")}
    starts |= {match.start(2) for line in lines if (match := ENTRY.fullmatch(line)) and match[2]}
    return len(starts) == 1


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("command", PAGES)
def test_every_line_fits_and_every_text_begins_in_one_column(
    command: str, width: int, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 50. Lines that went on at the left edge, and others broken after a word, could not be read."""
    monkeypatch.setenv("COLUMNS", str(width))
    said = cli(*([command] if command else []), "--help")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= min(width, 100)
    assert lines[0].startswith(f"Usage: promptmill {command}".rstrip())
    assert "\n\n\n" not in said.out
    assert lines[-1]
    assert "\x1b" not in said.out
    parts = blocks(said.out)
    assert parts
    for title, inside in parts.items():
        assert aligned(inside), (title, inside)


@pytest.mark.parametrize("command", PAGES)
def test_a_line_ends_only_where_the_next_word_has_no_room(
    command: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 50. A page that was wrapped twice has lines of one or two words between full ones."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = cli(*([command] if command else []), "--help").out.splitlines()
    for line, after in pairwise(lines):
        indent = len(after) - len(after.lstrip())
        goes_on = line and after and line[-1] not in ":." and (indent > 3 or not line.startswith(" "))
        if goes_on and not after.startswith("--debug") and indent != 2:
            assert len(line) + 1 + len(after.split()[0]) > 80, (line, after)


def test_the_help_of_a_command_tells_all_of_its_docstring(cli: Cli) -> None:
    """FIELD 50. That a run is resumed by the same command, and what Ctrl-C does, was written and never shown."""
    said = " ".join(cli("run", "--help").out.split())
    assert "The same command is resume, retry and the nightly increment" in said
    assert "Ctrl-C lets calls in flight finish, a second one cuts" in said
    assert "The same command is" not in cli("--help").out


def test_defaults_and_choices_are_told_where_there_are_any(cli: Cli) -> None:
    """FIELD 50. `[default: ()]` and `[default: False]` told nothing."""
    said = " ".join(cli("run", "--help").out.split())
    assert "[one of fail, wait, skip; default fail]" in said
    assert "default False" not in said
    assert "()" not in said
    assert "[default 8311]" in " ".join(cli("simulate", "--help").out.split())


def test_a_name_that_is_too_long_stands_above_its_text() -> None:
    """The texts of the others keep their room."""
    assert columns([("a", "one"), ("b" * 30, "two")], width=60) == ["  a  one", f"  {'b' * 30}", "     two"]
    assert columns([("a", "one two three four five six")], width=25)[1:] == ["     five six"]
    assert columns([("a", "")]) == ["  a"]


def test_a_paragraph_is_never_wider_than_can_be_read() -> None:
    """A hundred characters, however wide the terminal is; words are not broken."""
    lines = wrapped("word " * 100, 2, width=300)
    assert max(map(len, lines)) in range(95, 101)
    assert wrapped("a" * 150, width=80) == ["a" * 150]
    assert all(line.startswith("  word") for line in lines)
