"""`scripts/bench`: what it measures can be measured, and a goal that is missed is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.runs.conftest import ROOT

TABLE = {
    *("rows", "cpu", "tls", "tasks", "in-flight", "memory", "long-rows", "drift", "again", "limit", "polls", "rewrite"),
    *("start", "kill", "workers"),
}


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    """The program, as the script starts it, without the set-up of an environment."""
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}/scripts"}
    command = [sys.executable, "-m", "benchmark", *words]
    return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False, timeout=250)


@pytest.mark.skipif(shutil.which("taskset") is None, reason="programs are pinned to a core by taskset")
def test_a_figure_is_measured_by_its_name_and_held_against_its_goal(tmp_path: Path) -> None:
    """A hundredth of the rows of one figure: its lines, and all of it as JSON."""
    said = bench("limit", "--scale", "0.02", "--rounds", "1", "--json", str(tmp_path / "found.json"))
    assert said.returncode == 0, said.stderr
    assert "of a limit of 3,000 a minute used" in said.stdout
    assert said.stdout.endswith("0.02 of the rows: no figure counts\n")
    found = json.loads((tmp_path / "found.json").read_text("utf-8"))
    used, most = found["figures"]["limit"]
    assert used["goal"] == {"reach": 98, "aim": 99, "is_least": True}
    assert used["value"] > 0  # how near to each other thirty requests arrive says how busy the machine is
    assert (most["value"], most["verdict"]) == (30, "reach")


def test_each_figure_of_the_table_has_a_name() -> None:
    """And another name is refused with those there are."""
    names = {line.split()[0] for line in bench("--list").stdout.splitlines()}
    assert names > TABLE
    said = bench("speed")
    assert said.returncode == 2
    assert "speed: no such figure; there are rows" in said.stderr
