"""`batch.core.version`: one version, wherever it is told."""

from __future__ import annotations

import tomllib
from pathlib import Path

from batch.core.version import VERSION


def test_the_version_is_that_of_the_package() -> None:
    """Of `pyproject.toml`, from which the package is built."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == VERSION
