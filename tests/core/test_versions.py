"""`batch.core.versions`: the version of what is loaded, also when the environment is made anew under the process."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from batch.core import versions


@pytest.fixture(autouse=True)
def _asked_by_nobody() -> Iterator[None]:
    versions.installed.cache_clear()
    yield
    versions.installed.cache_clear()


def test_a_version_is_that_of_the_installed_package() -> None:
    assert versions.installed("pyarrow") == metadata.version("pyarrow")


def test_a_package_that_is_not_there_has_no_version_and_is_no_error() -> None:
    assert versions.installed("promptmill-never-was") is None


def test_a_version_that_was_asked_stays_when_the_package_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment removes and installs packages while a run is at work, which goes on with what it has loaded."""
    told = tmp_path / "passing-1.2.3.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: passing\nVersion: 1.2.3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert versions.installed("passing") == "1.2.3"
    shutil.rmtree(told)
    importlib.invalidate_caches()
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("passing")
    assert versions.installed("passing") == "1.2.3"
