"""`promptmill run` as a process, against the simulator on a socket."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cli.conftest import KEY, Shell
from tests.simulator.conftest import Gate, Start

WAITS = "[latency]\nchat_ms = [1, 1]\n"
"""Answers that a gate holds back."""


def test_a_run_ends_with_a_table_on_stdout_and_talks_on_stderr(shell: Shell) -> None:
    """Rows, calls, tokens, money, time, and where the answers lie."""
    shell.write(shell.rows(5))
    said = shell("run", ".")
    assert said.code == 0
    assert said.out.startswith("shell: finished\n")
    assert "5 ok, 0 failed  (5 new)" in said.out
    assert "5: 5 answered" in said.out
    assert " CNY\n" in said.out
    assert f"5 rows in {shell.out}/results" in said.out
    assert f"promptmill show {shell.out} ROW_ID" in said.out
    assert "failed\n " not in said.out
    assert "5/5 rows (100 %)" in said.err
    assert "finished" in said.err


def test_the_same_command_again_has_nothing_to_do(shell: Shell) -> None:
    """It says so, and what still stands failed; no provider is needed for that."""
    shell.write([*shell.rows(2), {"id": "r-000", "text": "again"}])
    assert shell("run", ".").code == 1
    said = shell("run", ".")
    assert said.code == 0
    assert "nothing to do" in said.out
    assert "1 row for good" in said.out
    # Where the start took long it says that it looks at the job (`test_live`).
    assert [line for line in said.err.splitlines() if "looking at the job" not in line] == []


def test_an_input_without_rows_is_told_as_one(alone: Shell) -> None:
    """FIELD 48. A header and nothing below it: "0 ok, 0 failed", which an export that went wrong looks like, too."""
    alone.write([])
    (alone.folder / "rows.csv").write_text("id,text\n")
    said = alone("run", ".", "--set", "input.path=rows.csv")
    assert said.code == 0
    assert re.search(r"  rows +0 ok, 0 failed\n +the input has no rows\n", said.out), said.out


def test_failed_rows_are_counted_by_kind_and_code_with_what_to_do_next(shell: Shell) -> None:
    """FIELD 29. Passing reasons and lasting ones ask for different things; what the input lacks is mended there."""
    shell.sections["limits"] = ["max_attempts = 1"]
    rows = [*shell.rows(2), *shell.rows(2, "struck"), {"id": "", "text": "no key"}]
    rows[2]["id"], rows[3]["id"] = "s-1", "s-2"
    shell.write(rows)
    said = shell("run", ".")
    assert said.code == 1
    assert "2 ok, 3 failed" in said.out
    assert "  2  server/" in said.out
    assert "  1  input/no_key" in said.out
    assert "2 rows failed for a passing reason: run the same command" in said.out
    assert "1 row cannot be asked as the input stands: mend it there" in said.out
    assert "--retry all" not in said.out
    assert f"promptmill status {shell.out}" in said.out


def test_unknown_tokens_and_prices_are_never_shown_as_nothing(shell: Shell) -> None:
    """A zero would be believed by whoever explains the bill."""
    shell.write(shell.rows(2, "silent"))
    said = shell("run", ".")
    assert "tokens   unknown: the provider did not say for 2 calls" in said.out
    assert "cost     unknown for 2 calls" in said.out
    shell.write(shell.rows(2), name="no-such-price")
    said = shell("run", ".", "-o", "other")
    assert "cost     unknown for 2 calls (no price for glm/no-such-price)" in said.out


def test_only_models_without_any_price_are_named_whoever_prices_the_others(shell: Shell) -> None:
    """By the end of a run and by status, which does not know the price files: the calls themselves tell."""
    (shell.folder / "mine.toml").write_text(
        '[[price]]\nproviders = ["glm"]\nmodels = ["ours"]\ncurrency = "CNY"\ninput = 1\noutput = 2\n', encoding="utf-8"
    )
    job = shell.write(shell.rows(2)) / "job.toml"
    job.write_text(job.read_text("utf-8").replace('name = "glm-4"', 'names = ["ours", "nobodys"]'), encoding="utf-8")
    said = shell("run", ".", "--prices", "mine.toml")
    named = re.compile(r"cost +[\d.]+ CNY; unknown for 2 calls \(no price for glm/nobodys\)\n")
    assert named.search(said.out), said.out
    assert named.search(shell("status", "out").out)


def test_a_place_for_workers_that_is_none_is_refused_before_anything_is_made(shell: Shell) -> None:
    shell.write(shell.rows(2))
    said = shell("run", ".", "--on", "ray:6379")
    assert said.code == 2
    assert "--on ray:6379: give ray for a Ray that this run starts" in said.err
    assert not shell.out.exists()


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here")
def test_workers_on_ray_without_ray_are_refused_with_the_package_before_a_run_is_opened(shell: Shell) -> None:
    shell.write(shell.rows(2))
    said = shell("run", ".", "--on", "ray", "--progress", "none")
    assert said.code == 2
    assert "pip install 'promptmill[ray]'" in said.err
    assert "no run has begun here" in shell("status", str(shell.out)).out
    assert shell("run", ".", "--progress", "none").code == 0


def test_a_sample_is_as_large_as_asked_and_the_same_for_the_same_seed(shell: Shell) -> None:
    """Drawn by seed, admitted in the order of the source."""
    shell.write(shell.rows(40))
    drawn = []
    for place, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        said = shell("run", ".", "--limit", "6", "--shuffle", "--seed", seed, "-o", place, "--progress", "none")
        assert said.code == 0
        assert "6 ok" in said.out
        found = json.loads(shell("status", place, "--json").out)
        assert found["table_rows"] == 6
        drawn.append(sorted(_ids(shell.folder / place)))
    assert drawn[0] == drawn[1] != drawn[2]


def _ids(out: Path) -> list[str]:
    import pyarrow.parquet as pq

    return [row for path in (out / "results").iterdir() for row in pq.read_table(path).column("row_id").to_pylist()]


def test_json_progress_and_json_logs_are_one_object_a_line(shell: Shell) -> None:
    """On stderr, for programs; logs at info level, progress with the fields of status.json."""
    shell.write(shell.rows(3))
    said = shell("run", ".", "--progress", "json", "--log-format", "json")
    lines = [json.loads(line) for line in said.err.splitlines()]
    progress = [line for line in lines if line["event"] == "progress"]
    assert progress[-1]["state"] == "finished"
    assert progress[-1]["rows"]["done"] == 3
    assert {"run_started", "run_finished"} <= {line["event"] for line in lines}
    assert all(line["ts"] for line in lines)


def test_progress_none_says_nothing_while_all_is_well(shell: Shell) -> None:
    """For cron: stderr stays empty, so that any mail is worth reading."""
    shell.write(shell.rows(1))
    assert shell("run", ".", "--progress", "none").err == ""


def test_a_simulator_that_is_not_there_is_named_with_the_command_that_starts_it(alone: Shell) -> None:
    """Instead of minutes of retries; nothing was written."""
    alone.write(alone.rows(1), provider="simulator")
    said = alone("run", ".")
    assert said.code == 2
    assert "promptmill simulate --port 1\n" in said.err
    assert not alone.out.exists()


def test_of_several_simulators_one_that_is_there_is_enough(alone: Shell, start: Start) -> None:
    """Where it would be without a base_url, nobody is looked for; each that is missing is named when none is there."""
    sim, row = start("").port, alone.rows(1)
    ends = [{"base_url": f"http://127.0.0.1:{port}/api/paas/v4"} for port in (1, 2, sim)]

    def write(these: list[dict[str, str]]) -> None:
        alone.write(row, provider="simulator")
        path = alone.folder / "job.toml"
        told = ", ".join(f'{{ base_url = "{one["base_url"]}" }}' for one in these)
        lines = path.read_text(encoding="utf-8").splitlines()
        lines = [f"endpoints = [{told}]" if line.startswith("base_url") else line for line in lines]
        path.write_text("\n".join(lines), encoding="utf-8")

    write(ends[:2])
    said = alone("run", ".")
    assert said.code == 2
    assert said.err.endswith("\n  promptmill simulate --port 1\n  promptmill simulate --port 2\n")
    assert not alone.out.exists()
    write(ends[1:])
    said = alone("run", ".")
    assert (said.code, "1 ok" in said.out) == (0, True), said.err


def test_a_missing_key_is_refused_with_the_names_of_the_variables(alone: Shell) -> None:
    """Nothing was sent."""
    alone.write(alone.rows(1))
    alone.more["ZHIPUAI_API_KEY"] = ""
    said = alone("run", ".")
    assert said.code == 2
    assert "ZHIPUAI_API_KEY or ZHIPU_API_KEY or ZAI_API_KEY" in said.err


def test_a_refused_key_ends_with_6_and_is_not_in_any_text(tmp_path: Path, start: Start) -> None:
    """Neither in what is printed nor in any file of the output folder."""
    sim = start('[keys]\nsomebody = "else"\n')
    shell = Shell(tmp_path / "job", sim)
    shell.write(shell.rows(3))
    said = shell("run", ".", "--log-format", "json")
    assert said.code == 6
    assert "promptmill: the provider stopped this run" in said.err
    assert said.out.startswith("shell: stopped, because the provider refused")
    secret = KEY.split(".")[1].encode()
    assert not [path for path in shell.out.rglob("*") if path.is_file() and secret in path.read_bytes()]
    status = shell("status", "out")
    assert "provider refused" in status.out
    assert "stopped by" in status.out


def test_an_output_folder_in_use_is_refused(tmp_path: Path, start: Start) -> None:
    """Two processes never write one table."""
    shell = Shell(tmp_path / "job", start(WAITS, Gate()))
    shell.write(shell.rows(2))
    first = shell.start("run", ".")
    try:
        _wait_for(shell.out / "status.json")
        said = shell("run", ".")
        assert said.code == 2
        assert f"process {first.pid}" in said.err
    finally:
        first.kill()
        first.communicate()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--only", "faild"], "Did you mean failed?"),
        (["--only", "new", "--retry", "all"], "--only new leaves them out"),
        (["--retry", "some"], 'Choose from: "all"'),
        (["--max-failed", "0.5"], "such as 0.5%"),
        (["--max-failed", "-1"], "--max-failed -1: give a number of rows"),
        (["--max-failed"], "--max-failed needs a value"),
        (["--if-running", "never"], '"fail", "wait", "skip"'),
    ],
)
def test_a_flag_for_cron_with_a_wrong_value_is_refused_with_the_right_ones(
    alone: Shell, words: list[str], told: str
) -> None:
    """Exit 2 before anything is touched."""
    alone.write(alone.rows(1))
    said = alone("run", ".", *words)
    assert (said.code, told in said.err) == (2, True), said
    assert not alone.out.exists()


def test_the_table_tells_what_was_left_out_and_whether_the_allowed_failures_were_kept(shell: Shell) -> None:
    """So that a mail from cron needs no second look."""
    shell.sections["limits"] = ["max_attempts = 1"]
    rows = shell.rows(10)
    rows[0]["text"] = "struck"
    shell.write(rows)
    said = shell("run", ".", "--max-failed", "10%")
    assert said.code == 0
    assert "allowed  --max-failed 10%: kept, 1 of 10 failed (10 %)" in said.out
    shell.write([*rows, {"id": "new", "text": "one more"}])
    said = shell("run", ".", "--only", "new", "--max-failed", "0", "--progress", "none")
    assert (said.code, said.err) == (0, "")
    assert "9 answered before, 1 left out by --only: left alone" in said.out
    said = shell("run", ".", "--only", "new")
    assert "nothing to do" in said.out
    assert "left out  1 row worth another try" in said.out
    said = shell("run", ".", "--only", "failed", "--max-failed", "0")
    assert said.code == 1
    assert "exceeded, 1 of 1 failed (100 %)" in said.out
    status = shell("status", "out")
    assert "exit code  1 (--max-failed 0: exceeded)" in status.out


def test_a_run_that_was_killed_is_said_not_to_run(tmp_path: Path, start: Start) -> None:
    """Although its own files still say running."""
    shell = Shell(tmp_path / "job", start())
    shell.more["PROMPTMILL_FAILPOINT"] = "sent.left:1"
    shell.write(shell.rows(4))
    assert shell("run", ".").code == -signal.SIGKILL
    assert shell("status", "out").out.startswith("shell: not running: it was killed")
    found = json.loads(shell("status", "out", "--json").out)
    assert (found["state"], found["locked"], found["exit_code"], found["exit_reason"]) == ("killed", False, None, None)


def _wait_for(path: Path, text: str = "") -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or text not in path.read_text("utf-8", "replace"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("signals", "states"), [(1, "answered"), (2, "unknown")])
def test_an_interrupt_drains_a_second_cuts_and_the_same_command_finishes(
    tmp_path: Path, start: Start, signals: int, states: str
) -> None:
    """What was cut is shown as possibly billed; the exit code is 4; nothing is lost."""
    gate = Gate()
    shell = Shell(tmp_path / "job", start(WAITS, gate))
    shell.sections["limits"] = ["concurrency = 2"]
    shell.write(shell.rows(3))
    process = shell.start("run", ".")
    assert process.stderr is not None
    _wait_for_calls(shell.out, 2)
    process.send_signal(signal.SIGINT)
    _wait_for(shell.out / "status.json", '"stopping"')
    if signals == 2:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    gate.open()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 4, err
    assert "shell: interrupted\n" in out
    assert "Run the same command to continue." in out
    assert f"2: 2 {states}" in out
    assert ("possibly billed" in out) == (states == "unknown")
    status = shell("status", "out")
    assert "interrupted; run the same command to continue" in status.out
    assert shell("run", ".", "--progress", "none").code == 0
    assert sorted(_ids(shell.out)) == ["r-000", "r-001", "r-002"]


def _wait_for_calls(out: Path, count: int) -> None:
    """Until that many calls are in the ledger as sent."""
    import apsw

    _wait_for(out / "ledger.db")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            ledger = apsw.Connection(str(out / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)
            if ledger.execute("SELECT count(*) FROM calls").get == count:
                ledger.close()
                return
            ledger.close()
        except apsw.Error:
            pass
        time.sleep(0.02)
    raise AssertionError("no call was sent")


def test_a_killed_run_is_told_as_such_and_continued(tmp_path: Path, start: Start) -> None:
    """`kill -9` leaves nobody to say anything; the ledger still does."""
    shell = Shell(tmp_path / "job", start())
    shell.sections["limits"] = ["concurrency = 1"]
    shell.more["PROMPTMILL_FAILPOINT"] = "settled.committed"
    shell.write(shell.rows(4))
    assert shell("run", ".").code == -signal.SIGKILL
    del shell.more["PROMPTMILL_FAILPOINT"]
    assert "killed; run the same command to continue" in shell("status", "out").out
    assert shell("run", ".").code == 0
    assert "shell: finished" in shell("status", "out").out


def _on_terminal(shell: Shell, *words: str, **more: str) -> tuple[int, str]:
    """The command with a terminal as its stderr and stdout; exit code and everything that was on it."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "batch", *words],
        cwd=shell.folder,
        env={**shell.environ(), "TERM": "xterm", "COLUMNS": "140", **more},
        stdin=child,
        stdout=child,
        stderr=child,
    )
    os.close(child)
    seen = b""
    while select.select([parent], [], [], 30)[0]:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # Linux says so when the last process with the terminal ended
            break
        if not piece:
            break
        seen += piece
    os.close(parent)
    return process.wait(120), seen.decode()


def test_on_a_terminal_one_line_is_written_over_and_taken_away(shell: Shell) -> None:
    """Erased in place while it lives; at the end only the table stands there."""
    shell.write(shell.rows(3))
    code, seen = _on_terminal(shell, "run", ".")
    assert code == 0
    assert "\x1b[2K" in seen
    assert "3/3 rows (100 %)" in seen
    assert seen.rstrip().split("\x1b[2K")[-1].startswith("shell: finished")
    assert "\x1b[?25h" in seen, "the cursor is given back"


@pytest.mark.parametrize("more", [{"TERM": "dumb"}, {"CI": "true"}])
def test_a_terminal_that_cannot_write_over_gets_plain_lines(shell: Shell, more: dict[str, str]) -> None:
    """No escape sequence at all in what a CI keeps as text."""
    shell.write(shell.rows(2))
    code, seen = _on_terminal(shell, "run", ".", **more)
    assert code == 0
    assert "\x1b" not in seen
    assert "2/2 rows" in seen


def test_no_color_is_honoured(shell: Shell) -> None:
    """The line may move the cursor, but nothing is coloured."""
    shell.write(shell.rows(2))
    _, seen = _on_terminal(shell, "run", ".", NO_COLOR="1")
    assert "\x1b[3" not in seen
    assert "\x1b[1m" not in seen


def test_log_lines_stand_above_the_live_line_whole(shell: Shell) -> None:
    """A JSON log line on a narrow terminal is still one line of JSON."""
    shell.write(shell.rows(2))
    _, seen = _on_terminal(shell, "run", ".", "--log-format", "json", COLUMNS="40")
    lines = [line.split("\x1b[2K")[-1].strip("\r") for line in seen.split("\n")]
    events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
    assert {"run_started", "run_finished"} <= set(events)
