"""Shards of one job on machines that have nothing in common but an object store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.core.errors import EXIT_REFUSED, EXIT_ROWS_FAILED, OutputError
from batch.job.shard import Shard
from batch.output import shards
from batch.output.folder import OutputFolder
from tests.support import processes
from tests.support.seaweed import BUCKET, Seaweed
from tests.system.kills.stage import CHUNKS, expected_answers, simulator
from tests.system.stores.stage import StoreStage

ROWS = 36


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("sim"), f"time_factor = 0.2\n{CHUNKS}") as address:
        yield address


@pytest.fixture
def reached(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in seaweed.environ.items():
        monkeypatch.setenv(name, value)


def claimed(above: Path, text: str) -> str:
    """Why a shard is refused; empty when it may go on."""
    shard = Shard.parse(text)
    try:
        shards.claim(OutputFolder(above / shard.folder), shard)
    except OutputError as exc:
        return str(exc)
    return ""


def on(machine: Path, stage: StoreStage, *words: str) -> subprocess.CompletedProcess[str]:
    """A command on one of several machines."""
    environ = {**os.environ, **stage.environ(), "PROMPTMILL_STATE": str(machine)}
    process = processes.start([sys.executable, "-m", "batch", *words], env=environ)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def test_machines_agree_over_a_store(reached: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine has none of the files of this one, and learns the number from the store."""
    above = Path(f"s3:/{BUCKET}/shards-{uuid.uuid4().hex}")
    for machine, text, why in (("one", "0/3", ""), ("two", "1/3", ""), ("two", "1/4", "divided among 3 shards")):
        monkeypatch.setenv("PROMPTMILL_STATE", str(tmp_path / machine))
        assert why in (said := claimed(above, text))
        assert bool(said) == bool(why)
    monkeypatch.setenv("PROMPTMILL_STATE", str(tmp_path / "three"))
    with pytest.raises(OutputError, match="holds the outputs of 3 shards"):
        shards.claim(OutputFolder(above), None)
    shards.claim(OutputFolder(above / "elsewhere"), None)


def test_of_two_machines_at_the_same_time_the_store_takes_one(
    reached: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one saw nothing there, wrote too late, and reads what counts."""
    above = Path(f"s3:/{BUCKET}/shards-{uuid.uuid4().hex}")
    monkeypatch.setenv("PROMPTMILL_STATE", str(tmp_path / "one"))
    late = OutputFolder(above)
    late.store.prepare()
    monkeypatch.setenv("PROMPTMILL_STATE", str(tmp_path / "two"))
    assert claimed(above, "0/3") == ""
    shards._write(late, 4)
    assert shards.known(late) == 3


def test_shards_on_three_machines_make_one_table_in_the_store(tmp_path: Path, url: str, seaweed: Seaweed) -> None:
    """One is killed and goes on; a machine that was in none of it finds that their number is fixed."""
    answers = expected_answers(tmp_path / "calm", url, "sync", ROWS)
    stage = StoreStage(tmp_path / "job", url, "sync", rows=ROWS, rows_per_part=4, store=seaweed)
    for number in range(3):
        stage.state = tmp_path / f"machine-{number}"
        if number == 1:
            assert stage.run("publish.results_put:1", "--shard", "1/3") == -signal.SIGKILL, stage.said
        assert stage.run(None, "--shard", f"{number}/3") == 0, stage.said
    seaweed.copy(f"{stage.name}/out", stage.out)
    found = stage.query(f"SELECT n, answer FROM read_parquet('{stage.out}/**/results/*.parquet') ORDER BY n")
    assert dict(found) == answers
    assert len(found) == ROWS
    for words in (["--shard", "3/4"], []):
        stage.state = tmp_path / "another machine"
        assert stage.run(None, *words) == EXIT_REFUSED
        assert "Go on with --shard 0/3 to 2/3" in stage.said
    told = on(tmp_path / "machine-0", stage, "cost", stage.place)
    assert told.returncode == EXIT_REFUSED
    assert f"promptmill cost {stage.place}/shard=0 {stage.place}/shard=1 …" in told.stderr
    assert on(tmp_path / "machine-0", stage, "cost", f"{stage.place}/shard=0").returncode == 0
    assert on(tmp_path / "fourth", stage, "rebuild", f"{stage.place}/shard=1").returncode == EXIT_ROWS_FAILED
    stage.state = tmp_path / "fourth"
    before = stage.requests()
    assert stage.run(None, "--shard", "1/3") == 0, stage.said
    assert stage.requests() == before, "what another machine had bought was bought again"
