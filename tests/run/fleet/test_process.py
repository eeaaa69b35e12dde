"""Worker processes: they come up, answer over their line, and end with whoever started them."""

from __future__ import annotations

import os
import signal

import anyio
import pytest

from batch.run.fleet import messages
from batch.run.fleet.process import WorkerProcess

pytestmark = pytest.mark.slow


async def greeted(process: WorkerProcess) -> messages.ToCore:
    """The first thing that a worker says."""
    said: list[messages.ToCore] = []
    came = anyio.Event()

    def told(message: messages.ToCore) -> None:
        said.append(message)
        came.set()

    await process.open(told, lambda: None)
    process.send(messages.Hello(5, "glm", {}, "http://127.0.0.1:1", 5.0, 5.0, 5.0, False))
    with anyio.fail_after(60):
        await came.wait()
    process.abort()
    return said[0]


def test_a_worker_says_that_it_is_ready_and_ends_with_its_line() -> None:
    process = WorkerProcess()
    try:
        assert anyio.run(greeted, process) == messages.Alive(5)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process.how_it_ended() == "ended by itself with exit code 0"
    finally:
        process.end()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_how_a_worker_ended_is_told(number: signal.Signals) -> None:
    process = WorkerProcess()
    try:
        os.kill(process.pid, number)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process.how_it_ended().startswith(f"was ended by {number.name}")
    finally:
        process.end()
        process.abort()


def test_a_stopped_worker_can_be_ended() -> None:
    process = WorkerProcess()
    os.kill(process.pid, signal.SIGSTOP)
    process.end()
    process.abort()
    assert process.how_it_ended().startswith("was ended by SIGKILL")
