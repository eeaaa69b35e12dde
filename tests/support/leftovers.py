"""What a test or a module of tests leaves behind: processes, threads, open files and sockets.

Owns the look before and after, and the guard that keeps processes out of the tests that are called fast. Knows nothing
of what the tests are about.
"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from tests.support import processes

PATIENCE_S: Final = 20.0
"""What was told to end may take its time on a busy machine."""
FILES: Final = Path("/proc/self/fd")
NO_FILES: Final = ("/dev/", "/proc/", "anon_inode:", "/memfd:")
SHARED: Final = ("promptmill-tool",)
"""Names of threads that live on idle by design: those of `batch.tools.threads` end by themselves after ten seconds."""
_started: list[subprocess.Popen[Any]] = []
_everybodys: set[int] = set()
_fast = False


@dataclass(frozen=True)
class Held:
    """What this process holds at a moment: how many children it has started, its threads, its open files."""

    started: int
    threads: frozenset[int]
    files: frozenset[tuple[int, str]]


@dataclass
class Leftovers:
    """What was not there before."""

    processes: list[subprocess.Popen[Any]] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    files: list[tuple[int, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.processes or self.threads or self.files)

    def __str__(self) -> str:
        found = [f"process {one.pid} ({_state(one)}): {one.args!r}" for one in self.processes]
        found += [f"thread {one.name}" for one in self.threads]
        lines = {line.fd: line for line in psutil.Process().net_connections("all")} if self.files else {}
        for number, name in self.files:
            line = lines.get(number)
            ends = f" ({line.laddr} to {line.raddr}, {line.status})" if line is not None else ""
            found.append(f"open file {number}: {name}{ends}")
        return "; ".join(found)


def _state(process: subprocess.Popen[Any]) -> str:
    try:
        return str(psutil.Process(process.pid).status())
    except psutil.NoSuchProcess:
        return "gone"


def held() -> Held:
    """Look now; some fifty microseconds."""
    return Held(len(_started), frozenset(thread.native_id or 0 for thread in threading.enumerate()), _files())


def _files() -> frozenset[tuple[int, str]]:
    """Numbers and names of open files; none where the system does not tell them."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for number in os.listdir(FILES):  # noqa: PTH208 - a list of names, five thousand times
            with contextlib.suppress(OSError):  # the one that is open for this list
                name = os.readlink(f"{FILES}/{number}")  # noqa: PTH115 - a text, and fast
                if name.startswith("/dev/shm/") or not name.startswith(NO_FILES):
                    found.append((int(number), name))
    return frozenset(found)


def left(before: Held) -> Leftovers:
    """What was started or opened since, and has neither ended nor been closed; waits for what is about to."""
    deadline = time.monotonic() + PATIENCE_S
    pause = 0.001
    while (found := _left(before)) and not found.processes and time.monotonic() < deadline:
        gc.collect()  # what is in a circle is closed when it is found, and a thread that ends now may leave another
        time.sleep(pause)
        pause = min(0.1, 2 * pause)
    return found


def _left(before: Held) -> Leftovers:
    pid, file = processes.helper()
    threads = [
        thread
        for thread in threading.enumerate()
        if thread.native_id not in before.threads and not thread.name.startswith(SHARED)
    ]
    return Leftovers(
        [one for one in _started[before.started :] if one.returncode is None and one.pid not in (pid, *_everybodys)],
        threads,
        sorted(one for one in _files() - before.files if one[0] != file),
    )


def end(found: Leftovers) -> None:
    """End the processes, so that they are nobody else's trouble."""
    for process in found.processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait(10)


def share(before: Held) -> None:
    """Count the processes that were started since as everybody's: a fixture of the whole session has them."""
    _everybodys.update(one.pid for one in _started[before.started :] if one.returncode is None)


def forget() -> None:
    """Drop the list of processes that have been waited for, at a moment when nobody counts them."""
    _started[:] = [one for one in _started if one.returncode is None]


def is_fast(fast: bool) -> None:
    """Say whether the test that begins now is one of the fast ones."""
    global _fast  # noqa: PLW0603 - one for the process
    _fast = fast


def not_in_fast_tests(what: str) -> None:
    """Refuse to start something in a test that is counted among the fast ones."""
    assert not _fast, f"this test starts {what}: mark it slow, or put it where such tests are (tests/conftest.py)"


def watch() -> None:
    """From now on every process that is started is noticed."""
    begin = subprocess.Popen.__init__

    def noticed(self: subprocess.Popen[Any], *args: Any, **how: Any) -> None:
        not_in_fast_tests("a process")
        begin(self, *args, **how)
        _started.append(self)

    subprocess.Popen.__init__ = noticed  # type: ignore[method-assign]  # for all tests
