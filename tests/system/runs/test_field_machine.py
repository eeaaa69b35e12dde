"""The machine around a run: signals from its first moment to its last, streams that are closed, few open files."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import anyio
import pytest

from batch.core.clock import Clock
from batch.job.job import Job
from batch.run.command import run
from tests.simulator.conftest import Gate
from tests.system.runs.conftest import ROOT, Make, Mill
from tests.system.runs.test_stops import arrived, end, stopping, until

WAITS = """
import atexit, time
from pathlib import Path
from batch import tool

HERE = Path(__file__).parent

def wait() -> None:
    (HERE / "here").touch()
    while not (HERE / "go").exists():
        time.sleep(0.005)

@tool
def add(a: int, b: int) -> int:
    'Add two numbers.'
    return a + b
"""


def through_sh(line: str) -> tuple[str, ...]:
    """The program as a shell starts it; `line` has `$RUN` where it stands."""
    return ("sh", "-c", line.replace("$RUN", '"$0" -m batch "$@"'), sys.executable)


def waiting(mill: Mill, *, at: str) -> subprocess.Popen[str]:
    """A run that waits at one point of its life for `go`, when it has come there."""
    mill.tools = f"{WAITS}\n{at}"
    mill.questions(3)
    process = mill.start()
    until(lambda: (mill.folder / "here").exists() or process.poll() is not None, "the place where it waits")
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_run_starts_gives_it_up(number: int, mill: Mill) -> None:
    """FIELD 43. SIGTERM killed it then (-15), whatever the README says; nothing was sent, and no folder made."""
    process = waiting(mill, at="wait()")
    process.send_signal(number)
    (mill.folder / "go").touch()
    assert end(process) == "whole: interrupted before it began. Nothing was sent.\n"
    assert process.returncode == 4
    assert not mill.out.exists()


def test_a_second_signal_while_a_run_starts_ends_it_at_once(mill: Mill) -> None:
    """FIELD 43. Whatever holds it up: a network drive, a tools.py that never comes back."""
    process = waiting(mill, at="wait()")
    while process.poll() is None:
        process.terminate()
        time.sleep(0.02)
    assert (process.returncode, end(process)) == (4, "")


@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_after_the_end_changes_nothing_about_it(times: int, mill: Mill) -> None:
    """FIELD 43. The table is printed and the run closed: exit 0, at once for whoever asks twice."""
    process = waiting(mill, at="atexit.register(wait)")
    process.terminate()
    if times == 1:
        (mill.folder / "go").touch()
    while times == 2 and process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    assert "3 ok" in end(process)
    assert process.returncode == 0
    assert mill.runs()[-1]["state"] == "finished"


def test_ctrl_c_while_the_modules_are_loaded_prints_no_traceback(tmp_path: Path) -> None:
    """FIELD 43. The first third of a second of every command; here a module that takes longer."""
    (tmp_path / "cyclopts.py").write_text(
        "from pathlib import Path\nimport time\nPath('here').touch()\ntime.sleep(60)\n"
    )
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "batch", "run", "."]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True) as process:
        until((tmp_path / "here").exists, "the module")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read() == "promptmill: interrupted.\n"
    assert process.returncode == 4


def test_signals_that_are_ignored_at_the_start_stay_ignored(make: Make, gate: Gate) -> None:
    """FIELD 43. `nohup promptmill run … &`: the next Ctrl-C in that terminal stopped it."""
    mill = make(gate=gate)
    mill.questions(32)
    process = mill.start(program=through_sh("trap '' INT HUP; exec $RUN"))
    until(lambda: arrived(mill) >= 16, "the first requests")
    for number in (signal.SIGINT, signal.SIGHUP):
        process.send_signal(number)
    gate.open()
    said = end(process)
    assert process.returncode == 0, said
    assert len(mill.books()) == 32


def test_a_terminal_that_is_closed_lets_calls_in_flight_finish(make: Make, gate: Gate) -> None:
    """FIELD 43. SIGHUP, and every word to the terminal an error: what was paid for is there, exit 4."""
    mill = make(gate=gate)
    mill.limits["concurrency"] = 8
    mill.questions(60)
    mill.save()
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "batch", "run", str(mill.folder)],
        cwd=ROOT,
        env={**os.environ, **mill.environ, "TERM": "xterm"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - it calls the system only
    )
    os.close(inside)
    gate.let_pass(8)
    until(lambda: arrived(mill) >= 16 or process.poll() is not None, "16 requests")
    os.close(terminal)
    until(lambda: stopping(mill) or process.poll() is not None, "the end of the terminal")
    gate.open()
    assert process.wait(60) == 4
    assert all(record["delivered"] for record in mill.books()), "a call in flight was cut"
    assert len(mill.results()) == len(mill.books()) == 16
    assert mill.runs()[-1]["exit_code"] == 4


def test_a_run_without_any_stream_ends_as_one_with_all(mill: Mill) -> None:
    """FIELD 42. From a daemon that closed them: SIGABRT after the last row, and numbers of files taken for streams."""
    mill.questions(20)
    assert mill.command(program=through_sh("exec $RUN <&- >&- 2>&-")) == (0, "")
    mill.check_table(20)
    assert mill.runs()[-1]["exit_code"] == 0


def test_readers_that_went_away_change_no_exit_code(make: Make) -> None:
    """FIELD 42. `promptmill run JOB 2>&1 | head -1`: the code tells of the rows, here that one failed."""
    mill = make('[[fault]]\nbehaviour = 28\nstatus = 500\nrows = ["number 3."]\n')
    mill.limits["max_attempts"] = 1
    mill.questions(6)
    process = mill.start("--progress", "plain")
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    assert process.wait(60) == 1
    mill.check_table(6)


def test_few_open_files_are_raised_or_else_fewer_calls_are_made(mill: Mill) -> None:
    """FIELD 41. `ulimit -n 64`, exit 5 and "check the disk" at every command, with 50 calls in flight asked for."""
    mill.limits["concurrency"] = 50
    mill.questions(60)
    code, said = mill.command(program=through_sh("ulimit -n 64; exec $RUN"))
    assert code == 0, said
    assert "calls in flight instead of 50: each needs an open file" in said
    assert "ulimit -n" in said
    assert mill.sim is not None
    assert mill.sim.judge()["max_in_flight"] < 30
    mill.user = "Once more: {{ question }}"
    code, said = mill.command(program=through_sh("ulimit -Sn 64; exec $RUN"))
    assert (code, "open file" in said) == (0, False), said
    code, said = mill.command(program=through_sh("ulimit -n 30; exec $RUN"))
    assert code == 2
    assert "too few files may be open" in said


@pytest.mark.parametrize("files", [8, 10, 12, 13, 40])
def test_with_hardly_any_open_files_one_sentence_is_all_that_is_said(mill: Mill, files: int) -> None:
    """FIELD 41. An event loop that got no files told of itself, in tracebacks and warnings below the message."""
    mill.questions(1)
    code, said = mill.command(program=through_sh(f"ulimit -n {files}; exec $RUN"))
    assert code == 2
    assert said.startswith("promptmill: too few files may be open for even one call, which needs ")
    assert said.count("\n") == 1, said


def test_a_simulator_with_hardly_any_open_files_blames_no_port() -> None:
    """FIELD 41. "Give --port another one", and warnings of an event loop."""
    program = [sys.executable, "-m", "batch", "simulate", "--port", "0"]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 10; exec "$@"', "sh", *program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("promptmill: too few files may be open for a server. Have this process started with ")
    assert done.stderr.count("\n") == 1, done.stderr


class Restless(Clock):
    """A wall clock that is set at every look, an hour forth or two back."""

    looks = 0

    def now_us(self) -> int:
        self.looks += 1
        return super().now_us() + (3_600_000_000 if self.looks % 2 else -7_200_000_000)


def test_a_latency_is_that_of_a_clock_that_nobody_sets(make: Make) -> None:
    """FIELD 45. Of calls and of rows: -7,199,800 ms and 0 ms stood there when the clock was set back."""
    mill = make("[latency]\nchat_ms = [100, 120]\n")
    mill.questions(24)

    async def main() -> int:
        return (await run(Job.load(mill.save()), environ=mill.environ, clock=Restless())).exit_code

    assert anyio.run(main) == 0
    for found in (mill.one("latency_ms"), [row[0] for row in mill.calls("latency_ms")]):
        assert len(found) == 24
        assert 90 <= min(found) <= max(found) < 60_000
