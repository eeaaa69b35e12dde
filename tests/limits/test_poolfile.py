"""`batch.limits.poolfile`: one lock, whole files, and who is alive."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from batch.limits.poolfile import OLD_S, PoolFile, remote

KEY = "0123456789abcdef"
DAY_US = 1_790_000_000_000_000


def opened(folder: Path, member: str, key: str = KEY) -> PoolFile:
    return PoolFile(folder, ("http://one.example/v1", key, "m"), member, now_us=DAY_US)


def test_neither_a_name_nor_a_byte_of_a_file_tells_the_key(tmp_path: Path) -> None:
    """The name is a hash with a secret that lies beside it, so two users have different names for one key."""
    first, second = opened(tmp_path / "a", "x"), opened(tmp_path / "b", "x")
    with first.locked():
        first.write(b"{}")
    with second.locked():
        second.write(b"{}")
    names = [{path.name for path in (tmp_path / folder).glob("*.json")} for folder in "ab"]
    assert names[0].isdisjoint(names[1])
    assert not any(KEY in path.name or KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*.*"))


def test_all_files_are_the_users_alone(tmp_path: Path) -> None:
    file = opened(tmp_path / "limits", "x")
    with file.locked():
        file.write(b"{}")
    assert stat.S_IMODE((tmp_path / "limits").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "limits").iterdir()} == {0o600}


def test_only_one_has_the_lock_and_nobody_waits_for_it(tmp_path: Path) -> None:
    one, other = opened(tmp_path, "a"), opened(tmp_path, "b")
    with one.locked() as mine, other.locked() as its:
        assert (mine, its) == (True, False)
    with other.locked() as its:
        assert its


def test_another_key_has_another_file(tmp_path: Path) -> None:
    one, other = opened(tmp_path, "a"), opened(tmp_path, "a2", key="other")
    with one.locked() as mine, other.locked() as its:
        assert mine
        assert its
        one.write(b"1")
        assert other.read() is None


@pytest.mark.slow
def test_a_member_is_alive_until_its_process_is_killed(tmp_path: Path) -> None:
    """The system gives up its lock at that very moment, and what it left is cleared away."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom batch.limits.poolfile import PoolFile\n"
        f"file = PoolFile(Path({str(tmp_path)!r}), ('http://one.example/v1', {KEY!r}, 'm'), 'it', now_us={DAY_US})\n"
        "print('there', flush=True)\nsys.stdin.read()\n"
    )
    mine = opened(tmp_path, "me")
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        assert mine.is_alive("it")
        assert mine.is_alive("me")
    finally:
        process.kill()
        process.communicate()
    assert not mine.is_alive("it")
    assert not list(tmp_path.glob("*.it.member"))
    assert not mine.is_alive("never-there")


def test_a_lock_that_was_taken_away_is_no_lock_any_more(tmp_path: Path) -> None:
    """Who comes later makes a new file, and both must mean the same."""
    one, other = opened(tmp_path, "a"), opened(tmp_path, "b")
    with one.locked():
        pass
    (path,) = tmp_path.glob("*.lock")
    path.unlink()
    with other.locked(), one.locked() as mine:
        assert not mine
    with one.locked() as mine:
        assert mine
    told = [one.taken_away]
    for path in tmp_path.iterdir():
        path.unlink()
    with one.locked() as mine:
        assert mine
    told.append(one.taken_away)
    assert told == [False, True], "what stood in the other files is lost with it"
    with other.locked() as mine:
        assert mine
    assert other.is_alive("a"), "it is there for who comes later, too"


def test_a_process_that_is_stopped_with_the_lock_in_its_hands_holds_up_nobody_for_good(tmp_path: Path) -> None:
    """What it wants to write when it wakes up is old by then."""
    one, other, third = opened(tmp_path, "a"), opened(tmp_path, "b"), opened(tmp_path, "c")
    with one.locked() as mine:
        assert mine
        for waiting in (other, third):
            with waiting.locked() as its:
                assert not its
        other.take_over()
        with other.locked() as its:
            assert its
            third.take_over()  # it has waited for the one before, and that is void already
            with third.locked() as its_too:
                assert not its_too
            other.write(b"new")
        one.write(b"old")
    assert one.read() == b"new"
    for file in (one, third):
        with file.locked() as its:
            assert its
        assert not file.taken_away


def test_pools_that_nobody_has_visited_for_long_are_taken_away(tmp_path: Path) -> None:
    old = opened(tmp_path, "a", key="old")
    with old.locked():
        old.write(b"{}")
    old.close()
    (path,) = tmp_path.glob("*.json")
    long_ago = DAY_US / 1e6 - OLD_S - 1
    os.utime(path, (long_ago, long_ago))
    opened(tmp_path, "b")
    assert not path.exists()


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(tmp_path, "a")
    with file.locked():
        file.write(b"old")
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda _, data: len(data) - 1)
            with pytest.raises(OSError, match="No space"):
                file.write(b"new one")
    assert file.read() == b"old"


MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,relatime - nfs4 server:/home rw
31 22 0:41 / /home/me/local rw - xfs /dev/sdb rw
32 22 0:42 / /with\\040blank rw - fuse.sshfs host: rw
33 22 0:43 / /cluster rw - gpfs cluster rw
34 22 0:44 / /of-the-host rw - virtiofs host rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/.local/state", "nfs4"),
        ("/home/me/local/state", None),
        ("/homework", None),
        ("/with blank/state", "fuse.sshfs"),
        ("/cluster/home/me/.local/state", "gpfs"),
        ("/of-the-host/state", "virtiofs"),
        ("/var/lib", None),
    ],
)
def test_a_folder_on_another_machine_is_told_from_one_on_this(folder: str, kind: str | None) -> None:
    assert remote(Path(folder), MOUNTS) == kind
