"""`batch.output.folder`: one writer at a time in an output folder that is ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batch.core.errors import OutputError, StorageError
from batch.output.folder import OutputFolder, RunLock

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def out(tmp_path: Path) -> OutputFolder:
    return OutputFolder(tmp_path / "out")


def test_everything_lies_where_the_design_says(out: OutputFolder) -> None:
    """People and other programs read these files by name."""
    names = [
        out.part(0),
        out.part(123_456),
        out.calls_part("20261121T020000123Z-a1b2", 7),
        out.run_file("20261121T020000123Z-a1b2"),
        out.spill(12),
        out.ledger,
        out.status,
        out.lock,
        out.wire,
    ]
    assert [str(name.relative_to(out.root)) for name in names] == [
        "results/part-00000.parquet",
        "results/part-123456.parquet",
        "calls/run=20261121T020000123Z-a1b2/part-00007.parquet",
        "runs/20261121T020000123Z-a1b2.json",
        "pending/range-00012.arrow",
        "ledger.db",
        "status.json",
        ".lock",
        "wire",
    ]


def test_preparing_twice_is_harmless(out: OutputFolder) -> None:
    """Every command begins with it."""
    out.prepare()
    out.part(0).write_bytes(b"kept")
    out.ledger.touch()
    out.prepare()
    assert out.part(0).read_bytes() == b"kept"
    assert out.pending.is_dir()


def test_the_hidden_folder_of_older_versions_is_taken_over(out: OutputFolder) -> None:
    """Copy tools skip hidden folders; the rows that wait in it go on."""
    old = out.root / ".pending"
    old.mkdir(parents=True)
    (old / "range-00003.arrow").write_bytes(b"rows")
    for _ in range(2):
        out.prepare()
        assert out.spill(3).read_bytes() == b"rows"
        assert not old.exists()


def test_a_file_in_the_place_of_the_folder_is_a_storage_fault(tmp_path: Path) -> None:
    """The text names what cannot be made."""
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StorageError, match=r"out.*cannot make the folder"):
        OutputFolder(tmp_path / "out").prepare()
    with pytest.raises(StorageError, match=r"cannot be written"):
        RunLock(OutputFolder(tmp_path / "out")).take()


def test_a_second_run_is_told_which_process_is_at_work(out: OutputFolder) -> None:
    """Exit 2, at once, with the process id."""
    with RunLock(out).take():
        with pytest.raises(OutputError, match=rf"process {os.getpid()}, since 20") as caught:
            RunLock(out).take()
        assert caught.value.exit_code == 2
        assert out.lock.read_text() == f"{os.getpid()}\n"
    with RunLock(out):
        pass


def test_a_refused_lock_leaves_the_holders_name_alone(out: OutputFolder) -> None:
    """The third one must still be told who the first is."""
    with RunLock(out).take():
        for _ in range(2):
            with pytest.raises(OutputError, match=str(os.getpid())):
                RunLock(out).take()


@pytest.mark.slow
def test_the_lock_of_a_killed_process_is_free(out: OutputFolder) -> None:
    """The system frees it when its holder dies, however it dies."""
    program = (
        "import os, sys, pathlib\n"
        "from batch.output.folder import OutputFolder, RunLock\n"
        "lock = RunLock(OutputFolder(pathlib.Path(sys.argv[1]))).take()\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(out.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=f"process {holder.pid}"):
            RunLock(out).take()
        holder.kill()
        holder.wait(60)
    with RunLock(out).take():
        assert out.lock.read_text() == f"{os.getpid()}\n"


def test_giving_a_lock_back_twice_is_harmless(out: OutputFolder) -> None:
    """`with` and an explicit `free` may both be there."""
    lock = RunLock(out).take()
    lock.free()
    lock.free()
    RunLock(out).take().free()


@pytest.mark.slow
def test_a_full_disk_does_not_stop_the_lock(out: OutputFolder) -> None:
    """The process id is a courtesy; the lock itself needs no room."""
    program = (
        "import resource, signal, sys, pathlib\n"
        "from batch.output.folder import OutputFolder, RunLock\n"
        "folder = OutputFolder(pathlib.Path(sys.argv[1]))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "with RunLock(folder).take():\n"
        "    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(out.root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
