"""The quiet network: a run speaks to its provider alone, and every other command to nobody."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from batch.cli.app import COMMANDS, main
from tests.simulator.conftest import start
from tests.system.runs.conftest import ROOT, Make, Mill

__all__ = ["start"]

SPEAKING: Final = {
    "run": "to the provider",
    "doctor": "to the provider of a job, once",
    "simulate": "it listens",
    "view": "it listens",
}
QUIET: Final = {
    "init": ["NEW"],
    "check": ["JOB", "--full"],
    "estimate": ["JOB"],
    "status": ["OUT"],
    "show": ["OUT", "0"],
    "labels": ["OUT"],
    "compare": ["OUT"],
    "export": ["OUT", "FILE.csv"],
    "prune": ["OUT", "JOB", "--yes"],
    "prices": ["glm-4"],
    "tools": ["JOB"],
    "cost": ["OUT"],
    "explain": ["limits"],
    "report": ["OUT", "-o", "FILE.html"],
    "rebuild": ["OUT"],
}
"""What each is given; OUT is the folder of a run that has ended."""
WATCHED: Final = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg")
_SEEN: Final[list[tuple[str, Any]]] = []
_ON: Final = [False]


def _hook(
    event: str,
    arguments: tuple[Any, ...],
    *,
    on: list[bool] = _ON,
    of_network: frozenset[str] = frozenset(WATCHED),
    seen: list[tuple[str, Any]] = _SEEN,
) -> None:
    # What it needs is its own: when the process ends, the names of this module are taken away before the hook is.
    if on[0] and event in of_network:
        seen.append((event, arguments))


sys.addaudithook(_hook)  # the interpreter's own: whatever module opens a socket is seen, and it cannot be taken away


@contextmanager
def watched() -> Iterator[list[tuple[str, Any]]]:
    """What this process does on the network meanwhile."""
    _SEEN.clear()
    _ON[0] = True
    try:
        yield _SEEN
    finally:
        _ON[0] = False


@pytest.fixture
def mill(make: Make, monkeypatch: pytest.MonkeyPatch) -> Mill:
    """A job, in an environment that names everything a chatty program would speak to."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "PUSHGATEWAY_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    made = make()
    made.key = "n"
    made.questions(3)
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    return made


def test_the_watch_sees_a_connection_and_a_name_that_is_looked_up() -> None:
    """Else the silence below would say nothing."""
    with watched() as seen, pytest.raises(OSError, match="refused"):
        socket.create_connection(("localhost", 9), timeout=5)
    assert {event for event, _ in seen} == {"socket.getaddrinfo", "socket.connect"}
    with watched() as seen:
        pass
    assert seen == []


AT_THE_END = """
import sys
import tests.system.runs.test_quiet


class Last:
    def __init__(self, look):
        self.look = look

    def __del__(self):
        self.look(".")


tests.system.runs.test_quiet.last = Last(__import__("os").listdir)
"""
"""Does something that hooks are told of when the modules are gone already."""


def test_the_watch_says_nothing_when_its_process_ends() -> None:
    """Else every run of these tests ends with a riddle on stderr."""
    done = subprocess.run([sys.executable, "-c", AT_THE_END], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_in_this_process_speaks_to_its_provider_alone(mill: Mill) -> None:
    """By what the interpreter reports of every connection and every name that is looked up."""
    with watched() as seen:
        assert mill.run().exit_code == 0
    port = urlsplit(mill.url).port
    connected = {arguments[1] for event, arguments in seen if event == "socket.connect"}
    assert connected == {("127.0.0.1", port)}
    assert [event for event, _ in seen if event != "socket.connect"] == []


def test_doctor_asks_its_provider_one_unpaid_question_and_nobody_without_a_job(mill: Mill) -> None:
    """A list of models, in whose books nothing is billed."""
    with watched() as seen:
        assert main(["doctor"]) == 0
    assert seen == []
    with watched() as seen:
        assert main(["doctor", str(mill.save())]) == 0
    assert mill.sim is not None
    assert {arguments[1] for event, arguments in seen if event == "socket.connect"} == {("127.0.0.1", mill.sim.port)}
    assert [(record["route"], record["billed"]) for record in mill.sim.books()] == [("models", False)]


def test_every_other_command_speaks_to_nobody(mill: Mill, tmp_path: Path) -> None:
    """A command that is added says here what it speaks to."""
    assert mill.run().exit_code == 0
    assert set(COMMANDS) <= {*QUIET, *SPEAKING}
    places = {"OUT": str(mill.out), "JOB": str(mill.folder), "NEW": str(tmp_path / "new")}
    for command in [name for name in QUIET if name in COMMANDS]:
        words = [places.get(word, word.replace("FILE", str(tmp_path / "file"))) for word in QUIET[command]]
        with watched() as seen:
            code = main([command, *words])
        assert code in (0, 2), command  # labels and compare have nothing to tell of this job
        assert seen == [], command


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_run_as_a_process_connects_to_its_provider_alone(mill: Mill, tmp_path: Path) -> None:
    """By what the system is asked for, whatever library asks, threads and children included."""
    mill.save()
    trace = tmp_path / "trace"
    program = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg,bind", "-o", str(trace)]
    command = [*program, sys.executable, "-m", "batch", "run", str(mill.folder), "--progress", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if "ptrace" in done.stderr.lower() and "not permitted" in done.stderr.lower():
        pytest.skip("this machine lets nobody trace a process")
    assert done.returncode == 0, done.stderr
    text = trace.read_text()
    reached = set(re.findall(r"sin6?_port=htons\((\d+)\), sin6?_\w+=(?:inet_addr\()?\"?([^\")]+)", text))
    assert reached == {(str(urlsplit(mill.url).port), "127.0.0.1")}
    assert "bind(" not in text
