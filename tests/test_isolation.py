"""What holds for every test is true itself: leftovers are found, fast tests start nothing, a forked command is one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.support import leftovers, processes, signalling
from tests.support.processes import ROOT
from tests.system.faults import limits_campaign

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
LEAKING = """
import subprocess, sys
import pytest

def test_a_neighbour():
    assert True

@pytest.mark.slow
def test_that_leaks():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

def test_that_is_not_fast():
    with pytest.raises(AssertionError, match="mark it slow"):
        subprocess.run(["true"])

def test_another_neighbour():
    assert True
"""


@pytest.mark.slow
def test_a_test_that_leaves_a_process_fails_itself_and_not_its_neighbour(tmp_path: Path) -> None:
    """The process is ended as well."""
    (tmp_path / "test_leaking.py").write_text(LEAKING)
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "-p", "tests.conftest"]
    done = subprocess.run(
        [*command, "-n", "0", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert "ERROR at teardown of test_that_leaks" in done.stdout, done.stdout + done.stderr
    assert "this test left behind: process" in done.stdout
    assert "4 passed, 1 error" in done.stdout


@pytest.mark.slow
def test_a_process_is_found_whether_it_runs_or_was_not_waited_for() -> None:
    before = leftovers.held()
    running, ended = subprocess.Popen(SLEEP), subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    found = leftovers.left(before)
    assert found.processes == [running, ended]
    leftovers.end(found)
    assert not psutil.pid_exists(running.pid)
    assert not leftovers.left(before)


def test_files_sockets_and_threads_are_found_until_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends a little later is waited for."""
    before, stop = leftovers.held(), threading.Event()
    thread = threading.Thread(target=stop.wait, name="the one that stays")
    with socket.socket(), (tmp_path / "a file").open("w"), monkeypatch.context() as patched:
        thread.start()
        patched.setattr(leftovers, "PATIENCE_S", 0)
        told = str(leftovers.left(before))
    assert "thread the one that stays" in told
    assert f"{tmp_path}/a file" in told
    assert "socket:" in told
    timer = threading.Timer(0.02, stop.set)
    timer.start()
    assert not leftovers.left(before)


SAYS = """
import os, sys, time
print(os.getcwd(), os.environ.get("MARK"), sys.argv, sys.stdin.read() == "", file=sys.stderr)
while sys.argv[1] == "wait":
    time.sleep(0.01)
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", signalling.STOPS)
def test_signals_reach_what_tests_start_though_the_tests_ignore_them(number: int) -> None:
    """Started by `nohup … &`, every test that interrupts a command hung until its time was up."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        signalling.unshield()
        os.kill(os.getpid(), number)
        done = subprocess.run(["sh", "-c", f"kill -{int(number)} $$; echo alive"], capture_output=True, check=False)
    finally:
        signal.signal(number, before)
    assert (done.returncode, done.stdout) == (-number, b"")


def test_a_campaign_that_stops_runs_reaches_them_though_it_ignores_signals_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Started by `scripts/limits &` in a script, it waited for runs that did not hear that they were to stop."""
    nothing = [word for name in ("mixes", "pairs", "shared") for word in (f"--{name}", "0")]
    monkeypatch.setattr(sys, "argv", ["limits", *nothing])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit) as ended:
            limits_campaign.main()
        kept = signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (ended.value.code, kept is signal.SIG_IGN) == (0, False)


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [False, True])
def test_a_forked_command_is_a_process_as_a_fresh_one_is(fresh: bool, tmp_path: Path) -> None:
    """Its own folder, environment and end; a child that can be waited for; signals reach it alone."""
    (tmp_path / "says.py").write_text(SAYS)
    environ = {**os.environ, "MARK": "mine"}
    words = [sys.executable, "-m", "says"]
    with processes.start([*words, "3"], env=environ, cwd=tmp_path, fresh=fresh) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (3, "")
    assert err.startswith(f"{tmp_path} mine [")
    assert err.endswith("'3'] True\n")
    for number, code in ((signal.SIGINT, {1, -2}), (signal.SIGTERM, {-15}), (signal.SIGKILL, {-9})):
        with processes.start([*words, "wait"], env=environ, cwd=tmp_path, fresh=fresh) as process:
            assert process.stderr is not None
            while "wait" not in (line := process.stderr.readline()):
                assert line, "it ended"
            assert process.pid in {child.pid for child in psutil.Process().children()}
            process.send_signal(number)
            process.communicate(timeout=120)
        assert process.returncode in code
    assert isinstance(process, processes._Forked) is not fresh or not processes._HELPER.works


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["--version"], ["run", "/nowhere"], ["check", "jobs/quickstart"], ["simulate", "--port", "x"]]
)
def test_a_forked_command_says_what_a_fresh_one_says(words: list[str]) -> None:
    told = []
    for fresh in (False, True):
        with processes.start([sys.executable, "-m", "batch", *words], fresh=fresh) as process:
            told.append((*process.communicate(timeout=120), process.returncode))
    assert told[0] == told[1]
    assert told[0][0] or told[0][1]


@pytest.mark.slow
def test_another_environment_of_the_interpreter_gets_a_fresh_one() -> None:
    environ = {**os.environ, "PYTHONUTF8": "1"}
    with processes.start([sys.executable, "-m", "batch", "--version"], env=environ) as process:
        assert not isinstance(process, processes._Forked)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=120)
