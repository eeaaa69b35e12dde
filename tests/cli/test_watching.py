"""`status --watch`: until nobody is at work, with the exit code of the run; one line a change, or a terminal painted over."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batch.cli import watching
from batch.core.errors import StorageError
from batch.ledger.totals import Totals
from batch.report.status import Live, Status
from tests.cli.conftest import Cli, Shell
from tests.simulator.conftest import Start


def standing(rows: int, **more: Any) -> Status:
    """A run at work that has settled so many rows."""
    live = Live(10, 1.5 + rows, 2, 0, 0, 3.0, None)
    return Status(
        **{
            "folder": Path("out"),
            "state": "running",
            "runs": 1,
            "run": "r1",
            "locked": True,
            "live": live,
            "totals": Totals(rows_ok=rows),
            **more,
        }
    )


ENDED = {"state": "finished", "locked": False, "live": None}


def looks(*seen: Status | Exception) -> Callable[[], Status]:
    left = iter(seen)

    def look() -> Status:
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return found

    return look


def watched(*seen: Status | Exception, every_s: float = 2.0) -> tuple[int, list[float]]:
    """The exit code, and how long it rested between looks."""
    rests: list[float] = []
    code = watching.watch(looks(*seen), watching.Changes(watching.line), every_s, sleep=rests.append)
    return code, rests


def test_it_looks_until_nobody_is_at_work_and_ends_as_the_run_did(capsys: pytest.CaptureFixture[str]) -> None:
    """A script that waits for a run of another shell goes on with its exit code."""
    code, rests = watched(standing(1), standing(5), standing(10, **ENDED, exit_code=1))
    assert (code, len(rests)) == (1, 2)
    assert all(rest >= 2 for rest in rests)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ", 1)[1].split(" · ")[:2] for line in lines] == [
        ["running", "1/10 rows"],
        ["running", "5/10 rows"],
        ["finished", "10 rows"],
    ]


def test_a_run_that_is_over_while_its_process_goes_on_with_the_next_is_waited_for() -> None:
    """A changed job closes one run and opens another, in one command."""
    code, rests = watched(
        standing(1),
        standing(2, state="job_changed", live=None),
        standing(1, run="r2"),
        standing(9, **ENDED, exit_code=0),
    )
    assert (code, len(rests)) == (0, 3)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (standing(1, state="killed", locked=False, live=None), 4),
        (Status(folder=Path("out"), state="never", runs=0), 0),
        (standing(3, state="budget", locked=False, live=None, exit_code=3), 3),
    ],
)
def test_where_nobody_is_at_work_it_says_so_once(end: Status, code: int) -> None:
    """And a run that was killed has no exit code: the same command goes on, as after an interruption."""
    assert watched(end) == (code, [])


def test_nothing_is_printed_where_nothing_changed(capsys: pytest.CaptureFixture[str]) -> None:
    """The rate is another at each look; that is no news."""
    same = standing(3)
    faster = standing(3, live=Live(10, 9.0, 2, 0, 0, 1.0, None))
    waits = standing(3, live=Live(10, 9.0, 0, 0, 0, 1.0, "a pause of glm-4"))
    watched(same, faster, same, waits, standing(3, **ENDED, exit_code=0))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "waits for a pause of glm-4" in lines[1]


def test_a_file_that_is_replaced_while_it_is_read_is_looked_at_again() -> None:
    """But not for ever."""
    torn = StorageError("part-00000.parquet: torn")
    assert watched(standing(1), torn, standing(2, **ENDED, exit_code=0))[0] == 0
    with pytest.raises(StorageError, match="torn"):
        watched(*[torn] * watching.TRIES)


def test_ctrl_c_ends_the_watching_and_says_that_the_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """It is no success: a script does not go on."""

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    code = watching.watch(looks(standing(1)), watching.Changes(watching.line), 2.0, sleep=interrupted)
    assert code == 4
    assert capsys.readouterr().err == "promptmill: no longer watching; the run goes on.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--every", "3"], "--every says how often --watch looks, so it needs --watch"),
        (["--watch", "--every", "0"], "--every 0: give seconds between 0.1 and 86,400"),
        (["--watch", "--every", "nan"], "--every nan: give seconds"),
    ],
)
def test_a_rhythm_that_cannot_be_is_refused(words: list[str], said: str, cli: Cli, tmp_path: Path) -> None:
    """With what to give."""
    refused = cli("status", tmp_path, *words)
    assert refused.code == 2
    assert said in refused.err


def in_a_terminal(*words: str | Path, environ: dict[str, str], interrupt: bytes) -> tuple[int, str]:
    """The command with a terminal of its own, which gets a Ctrl-C once it has shown `interrupt`."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "batch", *map(str, words)],
        env={**environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen, asked = b"", False
    while True:
        try:
            chunk = os.read(ours, 65_536)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
        if not asked and interrupt in seen:
            asked = True
            process.send_signal(signal.SIGINT)
    os.close(ours)
    return process.wait(60), seen.decode()


@pytest.mark.slow
def test_a_run_at_work_is_watched_in_a_terminal_and_in_a_pipe(tmp_path: Path, start: Start) -> None:
    """Painted over with the cursor back at the end; Ctrl-C ends one of them and not the run; JSON lines parse."""
    shell = Shell(tmp_path / "job", start("[latency]\nchat_ms = [60000, 60000]\n"))
    shell.write(shell.rows(2))
    run = shell.start("run", ".", "--progress", "json")
    assert run.stderr is not None
    while '"in_flight": 2' not in (line := run.stderr.readline()):
        assert line, "it ended"
    piped = shell.start("status", shell.out, "--watch", "--json", "--every", "0.1")
    assert piped.stdout is not None
    assert json.loads(piped.stdout.readline())["state"] == "running"
    words = ("status", shell.out, "--watch", "--every", "0.1")
    code, screen = in_a_terminal(*words, environ=shell.environ(), interrupt=b"running")
    assert code == 4
    assert "the run goes on" in screen
    assert screen.rindex("\x1b[?25h") > screen.index("\x1b[?25l")
    run.send_signal(signal.SIGINT)
    while '"stopping"' not in (line := run.stderr.readline()):
        assert line, "it ended"
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode == 4
    out, _ = piped.communicate(timeout=60)
    assert (piped.returncode, json.loads(out.splitlines()[-1])["state"]) == (4, "interrupted")


@pytest.fixture
def done(shell: Shell) -> Shell:
    """A folder whose last run had a row that failed."""
    shell.write([*shell.rows(1), {"id": "x", "text": "struck"}])
    shell.sections["limits"] = ["max_attempts = 1"]
    shell.write([*shell.rows(1), {"id": "x", "text": "struck"}])
    assert shell("run", ".").code == 1
    return shell


@pytest.mark.slow
def test_a_folder_in_which_nobody_works_is_told_at_once(done: Shell, cli: Cli) -> None:
    """With the exit code of its last run."""
    said = cli("status", done.out, "--watch")
    assert said.code == 1
    assert "finished · 2 rows · 1 failed" in said.out
