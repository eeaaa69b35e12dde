"""The state folder: where it is, who may read it, and several processes that change one file."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from batch.core import filelock
from batch.core.clock import HandClock
from batch.core.errors import StorageError
from batch.core.statefolder import StateFile, folder, named

ADDERS, TIMES = 4, 25


def test_an_environment_without_a_place_names_none() -> None:
    """What is only useful is not written into the home of whoever runs a program that was handed two variables."""
    assert named({"ZAI_API_KEY": "k"}) is None
    assert named({"HOME": "/home/a"}) == folder({"HOME": "/home/a"})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PROMPTMILL_STATE": "/srv/state", "XDG_STATE_HOME": "/xdg", "HOME": "/home/a"}, "/srv/state"),
        ({"XDG_STATE_HOME": "/xdg", "HOME": "/home/a"}, "/xdg/promptmill"),
        ({"XDG_STATE_HOME": "xdg", "HOME": "/home/a"}, "/home/a/.local/state/promptmill"),
        ({"PROMPTMILL_STATE": "", "HOME": "/home/a"}, "/home/a/.local/state/promptmill"),
    ],
)
def test_the_folder_is_ours_then_that_of_xdg_then_in_the_home(environ: dict[str, str], expected: str) -> None:
    """The first variable that says something counts; a relative XDG folder is none, as its specification has it."""
    assert folder(environ) == Path(expected)


def test_a_file_is_read_as_it_was_written_and_by_its_owner_alone(tmp_path: Path) -> None:
    """Folder and file are closed to others: what was spent is nobody's business."""
    file = StateFile(tmp_path / "state" / "spend.json")
    assert file.read() is None
    with file.locked():
        file.write(b"one")
        file.write(b"two")
    assert file.read() == b"two"
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


_ADDER = f"""
import sys
from pathlib import Path
from batch.core.statefolder import StateFile

file = StateFile(Path(sys.argv[1]))
for _ in range({TIMES}):
    with file.locked():
        file.write(str(int(file.read() or b"0") + 1).encode())
"""


@pytest.mark.slow
def test_processes_that_change_one_file_lose_none_of_their_changes(tmp_path: Path) -> None:
    """Four processes add one to the same number, 25 times each."""
    path = tmp_path / "count"
    adders = [subprocess.Popen([sys.executable, "-c", _ADDER, str(path)]) for _ in range(ADDERS)]
    assert [adder.wait() for adder in adders] == [0] * ADDERS
    assert path.read_bytes() == str(ADDERS * TIMES).encode()


def test_a_folder_that_cannot_be_made_is_told_with_the_way_out(tmp_path: Path) -> None:
    """The variable that names another folder is part of the error."""
    (tmp_path / "state").write_text("a file", encoding="utf-8")
    file = StateFile(tmp_path / "state" / "spend.json")
    with pytest.raises(StorageError, match="PROMPTMILL_STATE"), file.locked():
        pass
    with pytest.raises(StorageError, match="PROMPTMILL_STATE"):
        file.read()


def test_a_file_system_without_locks_is_told_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Homes of clusters lie on such ones: it is no bug of ours, and what was learned may be given up for it."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("batch.core.filelock.fcntl.flock", refuse)
    with (
        pytest.raises(StorageError, match="cannot lock: Function not implemented.* PROMPTMILL_STATE"),
        StateFile(tmp_path / "spend.json").locked(),
    ):
        pass


def test_a_process_that_is_stopped_with_the_lock_in_its_hands_holds_up_nobody_for_good(tmp_path: Path) -> None:
    """Ctrl-Z in the wrong moment: every other run of the user would hang, deaf to Ctrl-C, until somebody saw it."""
    path, clock = tmp_path / "spend.json", HandClock()
    with (
        StateFile(path).locked(),
        pytest.raises(StorageError, match="has held its lock for 60 s.* let it go on or end it"),
        StateFile(path, clock=clock).locked(),
    ):
        pass
    with StateFile(path, clock=clock).locked():
        assert clock.monotonic() >= filelock.PATIENCE_S
