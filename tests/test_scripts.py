"""The programs of `scripts/`: each can be read by its shell, and help is told before anything is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow  # each starts a shell

SHELL = sorted(
    path.name
    for path in (ROOT / "scripts").iterdir()
    if path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env bash")
)


@pytest.mark.parametrize("name", SHELL)
def test_the_shell_can_read_a_script(name: str) -> None:
    """Two versions of one that were never made one, for example, cannot be read."""
    read = subprocess.run(["bash", "-n", ROOT / "scripts" / name], capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--seed", "3", "--help"]])
@pytest.mark.parametrize("name", ["fleet", "stores"])
def test_help_of_what_installs_servers_needs_nothing_installed(name: str, words: list[str], tmp_path: Path) -> None:
    alone = tmp_path / "scripts" / name
    alone.parent.mkdir()
    shutil.copy2(ROOT / "scripts" / name, alone)
    told = subprocess.run([alone, *words], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    assert f"scripts/{name} [--" in told.stdout
    assert sorted(tmp_path.rglob("*")) == [alone.parent, alone]
