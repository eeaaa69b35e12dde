"""A whole run whose tools hang, fork, die and change the world: every row ends right, and nothing is left."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import psutil
import pytest

from batch.job.job import Job
from batch.run.command import run
from batch.tools import orphans
from tests.system.runs.conftest import Mill
from tests.system.runs.test_stops import until

TOOLS = '''
import os, signal, subprocess, sys, time
from batch import tool


@tool
def add(a: int, b: int) -> object:
    """Add two numbers."""
    print("a word to stdout")
    os.write(1, b"raw")
    if a == 1:
        subprocess.Popen(["setsid", "sleep", "1000"])
        time.sleep(1000)
    elif a == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    elif a == 3:
        os._exit(0)
    elif a == 4:
        return [bytearray(10_000_000) for _ in range(1_000)]
    elif a == 5:
        os.chdir("/")
        os.environ.clear()
    elif a == 6:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(1000)
    elif a == 7:
        return "x" * 100_000_000
    elif a == 8:
        os.closerange(0, 1000)
    elif a == 9:
        return sorted(os.environ)
    elif a == 10:
        with open("beside.txt") as file:
            return file.read()
    return a + b
'''


def left_of(mill: Mill) -> list[int]:
    """The pids of the workers of a job, and of what comes from them; those of other tests have another HOME."""
    signs = (f"{orphans.MARK}=".encode(), f"HOME={mill.folder}".encode())
    found = []
    for pid in psutil.pids():
        with suppress(OSError):
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if all(any(variable.startswith(sign) for variable in environ) for sign in signs):
                found.append(pid)
    return found


@pytest.fixture
def rough(mill: Mill) -> Mill:
    mill.tools = TOOLS
    mill.environ["HOME"] = str(mill.folder)
    mill.write([{"n": n, "question": f"What is {n} plus 1?"} for n in range(30)])
    (mill.folder / "beside.txt").write_text("beside the job")
    job = mill.save() / "job.toml"
    job.write_text(job.read_text().replace("max_turns = 8", 'max_turns = 8\ntimeout_s = 10\nmemory = "400MB"'))
    mill.save = lambda: mill.folder  # type: ignore[method-assign]  # for this test
    return mill


def test_every_row_ends_right_whatever_a_tool_does_and_no_process_is_left(
    rough: Mill, capfd: pytest.CaptureFixture[str]
) -> None:
    """Step 7: the row ends right, the run goes on, no process is left, nothing is printed."""
    seen: list[int] = []
    look = partial(
        run, Job.load(rough.save()), environ=rough.environ, on_progress=lambda _: seen.extend(left_of(rough))
    )
    assert anyio.run(look, backend_options={"use_uvloop": True}).exit_code == 0
    assert seen, "no worker was seen, so that none is left says nothing"
    rough.check_table(30)
    told = {n: json.loads(messages)[1]["content"] for n, messages in rough.results("n, messages")}
    wrong = {n: json.loads(content)["error"] for n, content in told.items() if content.startswith('{"error"')}
    assert wrong.pop(1) == "add did not finish within 10 s"
    assert "SIGSEGV" in wrong.pop(2)
    assert "exit code 0" in wrong.pop(3)
    assert wrong.pop(4) == "MemoryError"
    assert "did not return" in wrong.pop(8)
    assert wrong == {}
    assert told[7].endswith("[cut: too long, 100000000 bytes]")
    assert not [name for name in json.loads(told[9]) if "KEY" in name]
    assert told[10] == "beside the job"
    plain = {n: content for n, content in told.items() if n not in {1, 2, 3, 4, 7, 8, 9, 10}}
    assert plain == {n: str(n + 1) for n in plain}
    until(lambda: not left_of(rough), "the end of all that tools started")
    assert capfd.readouterr().out == ""
    assert Path.cwd() != Path("/")
    assert "PATH" in os.environ
