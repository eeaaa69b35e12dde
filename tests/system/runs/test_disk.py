"""A disk that is full: exit 5, what to do, and the same command goes on once there is room."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import apsw
import pytest

from batch.ledger.index import IndexReader
from batch.report.status import status_of
from batch.run.intake import Intake
from tests.system.faults.stage import command
from tests.system.runs.conftest import Make, Mill

Disk = Callable[..., Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounts a file system of so many KiB, with room for so many files; called again it is resized."""
    place = tmp_path / "disk"
    mounted = False

    def sized(kib: int, files: int = 1_000) -> Path:
        nonlocal mounted
        place.mkdir(exist_ok=True)
        options = f"{'remount,' if mounted else ''}size={kib}k,nr_inodes={files}"
        told = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
        )
        if told.returncode and not mounted:
            pytest.skip("only root may mount a file system")
        mounted = True
        return place

    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    yield sized
    if mounted:
        subprocess.run(["umount", str(place)], check=True)


def rows(mill: Mill, count: int = 100, *, ballast: int = 6_000) -> None:
    """Rows that do not compress, each with so many bytes."""
    chance = random.Random(7)
    mill.write(
        [{"n": n, "question": f"What of {n}?", "ballast": chance.randbytes(ballast).hex()} for n in range(count)]
    )


@pytest.mark.parametrize(("kib", "lane"), [(16, "sync"), (900, "task"), (1_900, "sync")])
def test_a_full_disk_ends_the_run_with_advice_and_more_room_finishes_it(
    kib: int, lane: str, make: Make, disk: Disk
) -> None:
    """Promise 7 and exit code 5; promises 1 and 2 across it."""
    mill = make(lane=lane)
    mill.out = disk(kib) / "out"
    mill.output = {"rows_per_part": 50}
    rows(mill)
    code, said = mill.command()
    assert code == 5, said
    assert str(mill.out) in said or str(mill.out.parent) in said
    assert "run the same command again" in said or "Choose another folder" in said, said
    assert "bug" not in said
    assert "Traceback" not in said
    disk(32_000)
    code, said = mill.command()
    assert code == 0, said
    mill.check_table(100)
    assert mill.one("n") == list(range(100))
    mill.check_books(at_risk=2 * 16)
    assert mill.pending() == []
    assert mill.run().state == "nothing_to_do"


def filled_and_freed(mill: Mill, place: Path, full: Callable[[], object], free: Callable[[], object]) -> int:
    """One run into a disk that fills up, one after it was freed; the exit code of the first."""
    assert mill.sim is not None
    shutil.rmtree(mill.out, ignore_errors=True)
    mill.sim.reset()
    full()
    code, said = command(mill.out, mill.folder)
    assert code in (0, 5), said
    assert "bug of ours" not in said
    if code == 5:
        assert str(place) in said
        assert re.search("No space left|disk is full|disk I/O error|unable to open database file", said), said
    free()
    again, said = command(mill.out, mill.folder)
    assert again == 0, said
    mill.check_table(40)
    mill.check_books(at_risk=16)
    assert mill.pending() == []
    return code


def test_a_disk_filled_at_any_of_twenty_points_of_a_run_goes_on_after_space_is_freed(make: Make, disk: Disk) -> None:
    """From no room for the ledger to almost enough: exit 5 with the reason, nothing bought twice but what was in flight."""
    mill = make()
    place = disk(32_000)
    mill.out = place / "out"
    mill.output = {"rows_per_part": 8}
    mill.save()
    rows(mill, 40, ballast=5_000)
    sizes = [4, 8, 16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 480, 512]
    codes = [filled_and_freed(mill, place, partial(disk, size), partial(disk, 32_000)) for size in sizes]
    assert codes == [5] * 20


def test_a_disk_without_room_for_another_file_goes_on_after_some_are_freed(make: Make, disk: Disk) -> None:
    """Bytes enough, inodes none: at every number of files that is too small."""
    mill = make()
    place = disk(32_000)
    mill.out = place / "out"
    mill.output = {"rows_per_part": 8}
    mill.save()
    rows(mill, 40, ballast=5_000)
    codes = [
        filled_and_freed(mill, place, partial(disk, 32_000, files), partial(disk, 32_000)) for files in range(2, 22, 2)
    ]
    assert codes[:5] == [5] * 5


def test_a_disk_that_stays_full_says_the_same_again_and_loses_nothing(make: Make, disk: Disk) -> None:
    """Promise 1: twice full, then room."""
    mill = make(lane="task")
    mill.out = disk(1_500) / "out"
    rows(mill)
    for _ in range(2):
        code, said = mill.command()
        assert code == 5, said
    disk(32_000)
    assert mill.command()[0] == 0
    mill.check_table(100)
    mill.check_books(at_risk=2 * 16)


LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
runpy.run_module("batch", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("limit", [50_000, 300_000, 700_000])
def test_a_file_that_may_not_grow_is_a_full_disk(limit: int, make: Make) -> None:
    """Exit code 5 without being root: the quota of a file's size."""
    mill = make()
    mill.output = {"rows_per_part": 50}
    rows(mill)
    code, said = mill.command(program=(sys.executable, "-c", LIMITED.format(limit=limit)))
    assert code == 5, said
    assert str(mill.out) in said
    assert "bug" not in said
    assert mill.command()[0] == 0
    mill.check_table(100)
    mill.check_books(at_risk=16)
    assert mill.pending() == []


def test_a_folder_that_may_not_be_written_is_told_by_name(make: Make, tmp_path: Path) -> None:
    """FIELD 45. A file stands where a folder is wanted: a slip, told at the very start, and no fault of the disk."""
    mill = make()
    mill.questions(3)
    (tmp_path / "file").write_text("x")
    mill.out = tmp_path / "file" / "out"
    code, said = mill.command()
    assert code == 2, said
    assert f"{tmp_path / 'file'} is a file" in said


def test_answers_that_could_not_be_published_are_in_the_sums_of_the_run_that_bought_them(make: Make) -> None:
    """What a run says at its end is what `status` says of it: all that was bought, and not what is published alone."""
    mill = make()
    mill.output = {"rows_per_part": 3}
    mill.questions(3)
    assert mill.run().exit_code == 0
    in_the_way = mill.out / "results" / "part-00001.parquet" / "x"
    in_the_way.mkdir(parents=True)
    mill.questions(10)
    report = mill.run()
    assert (report.state, report.exit_code) == ("storage", 5)
    bought = status_of(mill.out).totals
    assert 3 <= report.totals.rows_ok == bought.rows_ok
    assert (report.totals.answered, report.totals.cost) == (bought.answered, bought.cost)
    in_the_way.rmdir()
    in_the_way.parent.rmdir()
    assert mill.run().exit_code == 0
    mill.check_table(10)


def test_what_is_published_before_the_next_range_is_planned_takes_no_rows_along(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: the next range of a continued run got the numbers of rows that were published and pruned meanwhile.

    Its rows were taken for those, and 8 of them were left over by an exit of 0.
    """
    mill = make()
    mill.output = {"rows_per_part": 8}
    mill.write([{"n": n, "question": f"What of {n}?", "ballast": "x" * (90_000 if n > 7 else 10)} for n in range(40)])
    # Killed with one range admitted and nothing sent: a disk that refuses the second may do so after a part is there.
    code, said = mill.command(failpoint="admitted.committed:1")
    assert code == -signal.SIGKILL, said
    with apsw.Connection(str(mill.out / "ledger.db")) as ledger:
        assert ledger.execute("SELECT (SELECT count(*) FROM ranges), (SELECT count(*) FROM parts)").get == (1, 0)
    before = Intake._sample

    def late(self: Intake, reader: IndexReader) -> list[str] | None:
        while reader.next_number("work"):  # until they are pruned, as on a machine on which this thread waits for long
            time.sleep(0.01)
        return before(self, reader)

    monkeypatch.setattr(Intake, "_sample", late)
    assert mill.run().exit_code == 0
    mill.check_table(40)
    assert mill.run().state == "nothing_to_do"
