"""The map from what the first notebooks showed to tests and jobs is true, both ways."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from tests.test_behaviours import ROOT, exists, named_by

LINES: dict[int, dict[str, Any]] = {
    int(number): line for number, line in tomllib.loads((ROOT / "tests/seeds.toml").read_text(encoding="utf-8")).items()
}


def test_every_seed_has_its_line_and_no_other_has() -> None:
    """1 to 42, in order, so that nobody has to look for one."""
    assert list(LINES) == list(range(1, 43))
    assert len({line["title"] for line in LINES.values()}) == 42


@pytest.mark.parametrize("number", LINES)
def test_what_shows_a_seed_exists(number: int) -> None:
    """A test of that name, or a folder with a job in it."""
    line = LINES[number]
    assert not line.keys() - {"title", "shown"}, "unknown field"
    shown = named_by(line, "shown")
    assert shown
    assert len(set(shown)) == len(shown)
    for named in shown:
        there = (ROOT / named / "job.toml").is_file() if named.startswith("jobs/") else exists(named)
        assert there, f"{named} does not exist"


def test_every_job_of_the_project_shows_a_seed_or_is_one_of_the_two_that_label() -> None:
    """A sample nobody asked for is one more thing to keep."""
    named = {one for line in LINES.values() for one in named_by(line, "shown") if one.startswith("jobs/")}
    jobs = {f"jobs/{path.parent.name}" for path in (ROOT / "jobs").glob("*/job.toml")}
    assert jobs - named == {"jobs/label_tickets", "jobs/banking_labels"}
