"""Keys from files and commands: what is taken, and errors that show nothing of them."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from batch.core.errors import RefusedToStart
from batch.providers import keysource
from batch.providers.keysource import KeySource

KEY = "canary-Zq7kPw3mVx9tRb2c"


def in_file(tmp_path: Path, raw: bytes, mode: int = 0o600) -> KeySource:
    file = tmp_path / "some.key"
    file.write_bytes(raw)
    file.chmod(mode)
    return KeySource("model.key_file", file=file)


def command(tmp_path: Path, script: str) -> KeySource:
    return KeySource("model.key_command", command=("sh", "-c", script), folder=tmp_path)


@pytest.mark.parametrize("raw", [KEY.encode(), f"{KEY}\n".encode(), f"\ufeff\r\n {KEY} \r\n\n".encode()])
def test_a_file_has_the_key_alone(raw: bytes, tmp_path: Path) -> None:
    """Line ends, blanks and a byte order mark are no part of it."""
    assert in_file(tmp_path, raw).fetch({}) == KEY


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty: put the key into it"),
        (b" \n\n", "is empty"),
        (f"# mine\n{KEY}\n".encode(), "holds 2 lines, and a key is one: put the key alone into it"),
        (KEY.encode() * 4_000, "is larger than any key"),
    ],
)
def test_a_file_without_one_is_refused_with_the_way_out(raw: bytes, said: str, tmp_path: Path) -> None:
    """And nothing of it is shown."""
    with pytest.raises(RefusedToStart, match=f"^model.key_file .*some.key {said}") as caught:
        in_file(tmp_path, raw).fetch({})
    assert KEY not in str(caught.value)


def test_a_file_that_is_not_there_or_no_file_is_named(tmp_path: Path) -> None:
    """With what to do."""
    with pytest.raises(RefusedToStart, match=r"nix: there is no such file"):
        KeySource("model.key_file", file=tmp_path / "nix").fetch({})
    with pytest.raises(RefusedToStart, match=r"is a folder: name the file in it"):
        KeySource("model.key_file", file=tmp_path).fetch({})


def test_a_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    """With the command that mends it."""
    warning = in_file(tmp_path, KEY.encode(), 0o644).warning()
    assert warning is not None
    assert warning.endswith(f"chmod 600 {tmp_path / 'some.key'}")
    assert in_file(tmp_path, KEY.encode(), 0o600).warning() is None
    assert command(tmp_path, "true").warning() is None


@pytest.mark.slow
def test_a_command_runs_in_the_folder_of_the_job_with_the_environment_and_nothing_to_read(tmp_path: Path) -> None:
    """What it complains of goes nowhere."""
    (tmp_path / "here").write_text(KEY)
    source = command(tmp_path, 'read x; echo noise >&2; test "$MORE" = 1 && cat here')
    assert source.fetch({"MORE": "1", "PATH": os.environ["PATH"]}) == KEY


@pytest.mark.slow
def test_what_it_printed_is_not_asked_for_again_within_a_minute_unless_it_must_be(tmp_path: Path) -> None:
    """A person is asked to unlock the password manager once, though a command looks at its job several times."""
    source = command(tmp_path, f"echo x >> ran; echo {KEY}")
    assert [source.fetch(os.environ) for _ in range(3)] == [KEY] * 3
    assert (tmp_path / "ran").read_text() == "x\n"
    source.fetch(os.environ, again=True)
    assert (tmp_path / "ran").read_text() == "x\nx\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"echo {KEY}; echo {KEY} >&2; exit 3", "ended with exit code 3. What it said is not shown"),
        (f"echo {KEY}; kill -9 $$", "ended by SIGKILL"),
        (f"echo {KEY}; echo {KEY}", "printed 2 lines, and a key is one"),
        ("true", "printed nothing: run it yourself"),
        ("yes", "prints more than any key"),
    ],
)
def test_a_command_that_gives_no_key_is_refused_and_nothing_it_said_is_shown(
    script: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither in the error nor on the terminal."""
    with pytest.raises(RefusedToStart, match=f"^model.key_command sh {said}") as caught:
        command(tmp_path, script).fetch(os.environ)
    shown = capfd.readouterr()
    assert KEY not in f"{caught.value}{shown.out}{shown.err}"
    assert script not in str(caught.value)


@pytest.mark.slow
def test_a_program_that_is_not_there_or_cannot_be_started_is_named(tmp_path: Path) -> None:
    """With what to do."""
    with pytest.raises(RefusedToStart, match=r"model.key_command: there is no program 'nixda': install it"):
        KeySource("model.key_command", command=("nixda", KEY), folder=tmp_path).fetch(os.environ)
    file = tmp_path / "text"
    file.write_text("x")
    file.chmod(stat.S_IRUSR)
    with pytest.raises(RefusedToStart, match=r"cannot be started: Permission denied"):
        KeySource("model.key_command", command=(str(file), KEY), folder=tmp_path).fetch(os.environ)


@pytest.mark.slow
def test_a_command_that_takes_too_long_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run from cron does not wait for a person who sleeps."""
    monkeypatch.setattr(keysource, "COMMAND_S", 2.0)
    with pytest.raises(RefusedToStart, match=r"took longer than 2 s and was ended"):
        command(tmp_path, "sleep 600 & echo $! > pid; wait").fetch(os.environ)
    started = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    while started.exists() and " Z " not in started.read_text():  # until the kernel is done with it
        time.sleep(0.001)


@pytest.mark.slow
def test_what_a_command_leaves_in_the_background_holds_nothing_up(tmp_path: Path) -> None:
    """Agents of password managers stay, and hold what they were started with open."""
    began = time.monotonic()
    script = f"(exec sleep 20 & echo $! > pid); echo {KEY}"
    assert command(tmp_path, script).fetch(os.environ) == KEY
    assert time.monotonic() - began < 15
    os.kill(int((tmp_path / "pid").read_text()), 9)
