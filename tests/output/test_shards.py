"""`batch.output.shards`: outputs of one job side by side, as many as whoever came first says."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from pathlib import Path

import pytest

from batch.core import filelock
from batch.core.clock import HandClock
from batch.core.errors import OutputError
from batch.job.shard import Shard
from batch.output import place, shards
from batch.output.folder import OutputFolder
from tests.support import processes


def output(above: Path, number: int) -> OutputFolder:
    return OutputFolder(above / f"shard={number}")


def claimed(above: Path, text: str) -> str:
    """Why a shard is refused; empty when it may go on."""
    shard = Shard.parse(text)
    try:
        shards.claim(output(above, shard.number), shard)
    except OutputError as exc:
        return str(exc)
    return ""


def refused(folder: OutputFolder, shard: str | None = None) -> str:
    """Why a place is refused before anything is written; empty when it is taken."""
    try:
        place.require(folder, job=Path("/job"), shard=None if shard is None else Shard.parse(shard))
    except OutputError as exc:
        return str(exc)
    return ""


def test_whoever_starts_first_says_how_many_there_are(tmp_path: Path) -> None:
    above = tmp_path / "out"
    assert [claimed(above, text) for text in ("2/3", "0/3", "1/3", "0/3")] == [""] * 4
    for other in ("0/4", "3/4", "0/2", "0/1"):
        said = claimed(above, other)
        assert said.startswith(f"{above}: its rows are divided among 3 shards, and this is --shard {other}.")
        assert "Go on with --shard 0/3 to 2/3, or give another folder" in said
        assert refused(output(above, int(other[0])), other) == said, "before anything else is looked at, too"


def test_of_two_numbers_at_the_same_time_one_counts(tmp_path: Path) -> None:
    """Each of many shards that start together finds the same number, whichever that is."""
    said: list[str] = []
    start = threading.Barrier(12)

    def one(text: str) -> None:
        start.wait()
        said.append(claimed(tmp_path / "out", text))

    threads = [threading.Thread(target=one, args=(f"{number}/{count}",)) for number in range(6) for count in (6, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said.count("") == 6
    assert shards.known(OutputFolder(tmp_path / "out")) in (6, 7)


STOPPED = """
import os, signal, sys
from pathlib import Path
from batch.job.shard import Shard
from batch.output import shards
from batch.output.folder import OutputFolder

shards._write = lambda *_: os.kill(os.getpid(), signal.SIGSTOP)
shards.claim(OutputFolder(Path(sys.argv[1]) / "shard=0"), Shard.parse("0/3"))
"""
"""A shard that is stopped the moment before it says how many there are."""


@pytest.mark.slow
def test_a_shard_that_is_stopped_at_its_start_holds_up_no_other_for_good(tmp_path: Path) -> None:
    """They would hang, deaf to Ctrl-C, until somebody saw it."""
    folder, shard, clock = output(tmp_path, 1), Shard.parse("1/3"), HandClock(start=0)
    other = processes.start([sys.executable, "-c", STOPPED, str(tmp_path)])
    try:
        assert os.WIFSTOPPED(os.waitpid(other.pid, os.WUNTRACED)[1])
        with pytest.raises(OutputError) as caught:
            shards.claim(folder, shard, clock)
        said = str(caught.value)
        assert f"/.lock: process {other.pid} has held this lock for 60 s, and needs it for milliseconds." in said
        assert f"let it go on (kill -CONT {other.pid}) or end it" in said
        assert clock.monotonic() >= filelock.PATIENCE_S
    finally:
        other.kill()
        other.communicate()
    shards.claim(folder, shard, clock)
    assert shards.known(OutputFolder(tmp_path)) == 3


def test_who_finds_the_number_waits_for_nobody(tmp_path: Path) -> None:
    """It never changes, so there is nothing to agree on any more."""
    claimed(tmp_path, "0/3")
    with (tmp_path / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert claimed(tmp_path, "1/3") == ""
        assert "divided among 3 shards" in claimed(tmp_path, "1/4")


def test_a_whole_job_and_shards_do_not_share_a_place(tmp_path: Path) -> None:
    claimed(tmp_path / "shards", "0/3")
    said = refused(OutputFolder(tmp_path / "shards"))
    assert "holds the outputs of 3 shards, and a run of the whole job would buy their answers again" in said
    (tmp_path / "whole" / "results").mkdir(parents=True)
    (tmp_path / "whole" / "ledger.db").touch()
    said = refused(output(tmp_path / "whole", 0), "0/3")
    assert "is the output of a job without --shard, and its rows cannot be divided any more" in said


def test_shards_need_a_folder_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert "is no output folder, but holds notes.txt. Give" in refused(output(tmp_path, 0), "0/3")


def test_a_file_that_says_no_number_is_told_with_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "shards.json").write_text('{"shards":', encoding="utf-8")
    assert 'Write what it was, such as {"shards":4}' in claimed(tmp_path, "0/3")


def test_what_reads_one_output_says_which_ones_there_are(tmp_path: Path) -> None:
    claimed(tmp_path, "0/3")
    with pytest.raises(OutputError) as caught:
        shards.require_one(OutputFolder(tmp_path))
    said = str(caught.value)
    assert f"promptmill cost {tmp_path}/shard=*. Every other command takes one: {tmp_path}/shard=0" in said
    shards.require_one(output(tmp_path, 0))
