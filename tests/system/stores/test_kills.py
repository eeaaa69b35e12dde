"""Runs with input and output in an object store, killed and continued, and machines that are lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.core.errors import EXIT_REFUSED, EXIT_ROWS_FAILED
from tests.support import processes
from tests.support.seaweed import Remote
from tests.system.kills.stage import CHUNKS, expected_answers, simulator
from tests.system.stores.stage import StoreStage

ROWS = 36
POINTS = ("sent.committed", "publish.calls_put", "publish.results_named", "publish.results_put", "publish.committed")
"""In this order, so that each has something left to pass."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("sim"), f"time_factor = 0.2\n{CHUNKS}") as address:
        yield address


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, url: str) -> dict[int, str]:
    return expected_answers(tmp_path_factory.mktemp("calm") / "job", url, "sync", ROWS)


def command(stage: StoreStage, *words: str) -> subprocess.CompletedProcess[str]:
    process = processes.start([sys.executable, "-m", "batch", *words], env={**os.environ, **stage.environ()})
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def test_a_run_killed_at_each_step_continues_to_the_same_table_in_the_store(
    tmp_path: Path, url: str, seaweed: Remote, answers: dict[int, str]
) -> None:
    """A kill after the store took a part, and before the ledger knew it, leaves no object that nobody names."""
    stage = StoreStage(tmp_path / "job", url, "sync", rows=ROWS, rows_per_part=12, store=seaweed)
    for point in POINTS:
        assert stage.run(f"{point}:1") == -signal.SIGKILL, f"{point} was never passed: {stage.said}"
    stage.finish()
    stage.fetch()
    stage.verify(answers)


@pytest.mark.parametrize("point", ["publish.rewrite_named", "publish.results_put"])
def test_a_part_that_is_rewritten_takes_the_place_of_the_one_in_the_store(
    point: str, tmp_path: Path, url: str, seaweed: Remote
) -> None:
    """Killed before the store took it, and after: the same command brings both together."""
    stage = StoreStage(tmp_path / "job", url, "sync", rows=ROWS, rows_per_part=1_000, store=seaweed)
    assert stage.run(None, "--limit", "12") == 0, stage.said
    stage.fetch()
    assert len(stage.results()) == 12
    job = stage.folder / "job.toml"
    job.write_text(job.read_text(encoding="utf-8").replace("{{ question }}", "{{ question }} "), encoding="utf-8")
    assert stage.run(f"{point}:1") == -signal.SIGKILL, stage.said
    stage.finish()
    stage.fetch()
    assert [row[0] for row in stage.results("row_number")] == list(range(ROWS))
    assert len(stage.results("DISTINCT row_id")) == ROWS
    stage.verify_books()


def test_a_lost_machine_is_made_up_for_from_the_store(
    tmp_path: Path, url: str, seaweed: Remote, answers: dict[int, str]
) -> None:
    """What was published is not asked again; what was not is asked, and said to be lost."""
    stage = StoreStage(tmp_path / "job", url, "sync", rows=ROWS, rows_per_part=12, store=seaweed)
    assert stage.run("publish.committed:2") == -signal.SIGKILL, stage.said
    stage.store.copy(f"{stage.name}/out", stage.out)
    published = stage.results("row_id")
    stage.lose_machine()
    told = command(stage, "status", stage.place)
    assert told.returncode == EXIT_REFUSED
    assert f"promptmill rebuild {stage.place}" in told.stderr
    take_over(seaweed, stage)
    assert stage.run() == EXIT_REFUSED
    assert f"promptmill rebuild {stage.place}" in stage.said
    made = command(stage, "rebuild", stage.place)
    assert made.returncode == EXIT_ROWS_FAILED, made.stderr
    assert "what was bought and not published yet is lost" in made.stdout
    before = stage.requests()
    stage.finish()
    stage.fetch()
    assert {row[1] for row in stage.results("n, answer")} == set(answers.values())
    assert stage.requests() - before <= 2 * (ROWS - len(published)), "a published row was asked again"
    assert command(stage, "status", stage.place).returncode == 0


def test_a_second_machine_is_kept_out_while_the_first_is_at_work(tmp_path: Path, url: str, seaweed: Remote) -> None:
    """The lock in the store names its holder; a machine that died is in nobody's way after two minutes."""
    stage = StoreStage(tmp_path / "job", url, "sync", rows=ROWS, rows_per_part=12, store=seaweed)
    assert stage.run("sent.committed:3") == -signal.SIGKILL
    stage.state = tmp_path / "another machine"
    assert stage.run() == EXIT_REFUSED
    assert "another run is at work here (host " in stage.said
    assert "in nobody's way 120 s after it was heard of last" in stage.said
    assert stage.run(None, "--if-running", "skip") == 0


def test_the_store_refuses_whoever_was_taken_over(tmp_path: Path, url: str, seaweed: Remote) -> None:
    """A writer that was only asleep finds another object where it expects its own, and ends with what to do."""
    stage = StoreStage(tmp_path / "job", url, "sync", rows=ROWS, rows_per_part=1_000, store=seaweed)
    assert stage.run(None, "--limit", "12") == 0, stage.said
    (part,) = [name for name in seaweed.names(f"{stage.name}/out") if name.startswith("results/")]
    whole = seaweed.read(f"{stage.name}/out/{part}")
    seaweed.write(f"{stage.name}/out/{part}", b"PAR1 of another machine PAR1")
    assert stage.run() == EXIT_REFUSED
    assert f"{part}: is not the file that was published" in stage.said
    assert seaweed.read(f"{stage.name}/out/{part}") == b"PAR1 of another machine PAR1"
    seaweed.write(f"{stage.name}/out/{part}", whole)
    stage.finish()


def test_an_object_that_the_ledger_does_not_name_is_not_taken_for_ours(
    tmp_path: Path, url: str, seaweed: Remote
) -> None:
    stage = StoreStage(tmp_path / "job", url, "sync", rows=ROWS, rows_per_part=12, store=seaweed)
    stage.finish()
    seaweed.write(f"{stage.name}/out/results/mine.parquet", b"somebody else's")
    stage.write_input(ROWS + 1)
    assert stage.run() == EXIT_REFUSED
    assert "results/mine.parquet: the ledger does not name it" in stage.said
    seaweed.remove(f"{stage.name}/out/results/mine.parquet")
    stage.finish()


def test_everything_that_reads_an_output_reads_one_in_a_store(tmp_path: Path, url: str, seaweed: Remote) -> None:
    stage = StoreStage(tmp_path / "job", url, "sync", rows=ROWS, rows_per_part=12, store=seaweed)
    stage.finish()
    status = command(stage, "status", stage.place, "--json")
    assert json.loads(status.stdout)["folder"] == stage.place
    assert stage.place in command(stage, "cost", stage.place).stdout
    row_id = stage_row(stage)
    assert "Tell me about the number 0." in command(stage, "show", stage.place, row_id).stdout
    assert command(stage, "export", stage.place, str(tmp_path / "all.csv")).returncode == 0
    assert command(stage, "report", stage.place, "-o", str(tmp_path / "all.html")).returncode == 0
    stage.write_input(ROWS - 6)
    pruned = command(stage, "prune", stage.place, str(stage.folder), "--yes")
    assert "6 rows removed from the table" in pruned.stdout, pruned.stderr
    stage.fetch()
    assert len(stage.results()) == ROWS - 6


def stage_row(stage: StoreStage) -> str:
    stage.store.copy(f"{stage.name}/out", stage.out)
    return str(stage.results("row_id")[0][0])


def take_over(store: Remote, stage: StoreStage) -> None:
    """Have the lock be that of a machine that was heard of long ago, and gave it back."""
    name = f"{stage.name}/out/.lock"
    held = json.loads(store.read(name))
    store.write(name, json.dumps(held | {"free": True}).encode())
