"""`batch.run.status_files`: what a run leaves does not hang on what is installed around it."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pyarrow as pa
import pytest

from batch.core.version import VERSION
from tests.run.test_metrics_file import go, provider
from tests.simulator.conftest import start

__all__ = ["provider", "start"]


def test_a_run_whose_packages_are_taken_away_under_it_ends_as_any_other(
    tmp_path: Path, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended as a bug of ours, with all rows answered: the file of a run wanted the version of promptmill."""

    def gone(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", gone)
    assert go(tmp_path, provider).exit_code == 0
    [path] = tmp_path.glob("out/*/runs/*.json")
    told = json.loads(path.read_bytes())["versions"]
    assert (told["promptmill"], told["pyarrow"]) == (VERSION, pa.__version__)
    assert told["python"]
