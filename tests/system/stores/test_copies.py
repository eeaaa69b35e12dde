"""The working copy of an output in an object store: `status` says where it lies, and when it can be removed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.core.errors import EXIT_ROWS_FAILED
from tests.support import processes
from tests.support.seaweed import Seaweed
from tests.system.kills.stage import simulator
from tests.system.stores.stage import StoreStage

ROWS = 24


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("sim"), "time_factor = 0.2\n") as address:
        yield address


@pytest.fixture
def stage(tmp_path: Path, url: str, seaweed: Seaweed) -> StoreStage:
    """A job without tools, with its output in a store."""
    made = StoreStage(tmp_path / "job", url, "sync", rows=ROWS, rows_per_part=12, store=seaweed)
    job = made.folder / "job.toml"
    job.write_text(re.sub(r"\[tools\].*?\[", "[", job.read_text("utf-8"), flags=re.DOTALL), encoding="utf-8")
    return made


def command(stage: StoreStage, *words: str) -> subprocess.CompletedProcess[str]:
    process = processes.start([sys.executable, "-m", "batch", *words], env={**os.environ, **stage.environ()})
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def test_a_copy_that_is_removed_as_status_says_is_brought_back_as_it_says(stage: StoreStage) -> None:
    """Ours: nobody said that it is there and grows. Nothing is asked again; what is told of the output is as before."""
    stage.finish()
    told = json.loads(command(stage, "status", stage.place, "--json").stdout)
    assert (told["copy"]["path"], told["copy"]["only_here"]) == (str(stage.copy), [])
    size = sum(path.stat().st_size for path in stage.copy.rglob("*") if path.is_file())
    assert told["copy"]["bytes"] == size > 0
    said = command(stage, "status", stage.place).stdout
    found = re.search(r"rm -r (\S+) makes room, and promptmill (.+) brings it back\n", said)
    assert found is not None, said
    shutil.rmtree(shlex.split(found[1])[0])
    made = command(stage, *shlex.split(found[2]))
    assert made.returncode == EXIT_ROWS_FAILED, "the sums of runs are made again, and it says so"
    asked = stage.requests()
    stage.finish()
    assert stage.requests() == asked
    again = json.loads(command(stage, "status", stage.place, "--json").stdout)
    assert (again["table_rows"], again["copy"]["only_here"]) == (ROWS, [])
    stage.fetch()
    assert len(stage.results()) == ROWS


def test_a_copy_that_alone_has_something_is_to_be_kept(stage: StoreStage, seaweed: Seaweed, tmp_path: Path) -> None:
    """Rows that a killed run has not published, and what tools with effects have done."""
    assert stage.run("publish.results_named:1") == -signal.SIGKILL, stage.said
    said = command(stage, "status", stage.place).stdout
    assert re.search(r"keep it, it alone has \d+ rows that are not in the table yet\n", said), said
    assert "rm -r" not in said
    acting = StoreStage(tmp_path / "acting", stage.url, "sync", rows=ROWS, rows_per_part=12, store=seaweed)
    acting.finish()
    said = command(acting, "status", acting.place).stdout
    assert re.search(r"keep it, it alone has \d+ calls of tools with effects\n", said), said
