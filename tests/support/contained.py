"""A tools file and an executor that runs it in worker processes, and the look for processes that should be gone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from batch.core.records import ToolCall
from batch.tools.confinement import Confinement, visible
from batch.tools.content import ToolResult
from batch.tools.execute import Executor
from batch.tools.registry import ToolSet

PATIENCE_S: Final = 60.0
HEAD: Final = """
import ctypes, os, signal, socket, subprocess, sys, threading, time
from batch import tool


def tell(name):
    # The pid of this process, whole or not at all.
    with open(f"{name}.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{name}.new", name)


def stay():
    while True:
        time.sleep(100)


def leave_two(name):
    # A child, and a grandchild in a session of its own whose parent has gone.
    if os.fork() == 0:
        tell(name + "-child")
        stay()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            tell(name + "-orphan")
            stay()
        os._exit(0)
    while not (os.path.exists(name + "-child") and os.path.exists(name + "-orphan")):
        time.sleep(0.005)

"""


@contextmanager
def contained(
    folder: Path, source: str, *, environ: Mapping[str, str] = os.environ, **limits: Any
) -> Iterator[Executor]:
    """An executor over the functions of a tools file, each marked with a bare `@tool` and `Do it.` where it has no text.

    Args:
        folder: where the file is written, and the working folder of the workers.
        source: the file, after `HEAD`.
        environ: what the workers' basic variables are taken from.
        limits: of `Confinement`.
    """
    (folder / "tools.py").write_text(HEAD + source, encoding="utf-8")
    limits.setdefault("workers", 2)
    confinement = Confinement(folder=folder, environment=visible(environ, (), keys=()), **limits)
    executor = Executor(ToolSet.load(folder / "tools.py"), confinement)
    try:
        yield executor
    finally:
        executor.close()


async def ask(executor: Executor, name: str, arguments: str = "", *, timeout_s: float | None = None) -> ToolResult:
    """Call a tool as a model does."""
    return await executor.run_call(ToolCall("call_1", name, arguments), timeout_s=timeout_s)


def pid_of(path: Path) -> int:
    """The pid that a tool wrote, once it has."""
    _wait(path.exists, f"the file {path.name}")
    return int(path.read_text())


def is_gone(pid: int) -> bool:
    """Whether there is no such process, or only what its parent has not looked at yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(*pids: int) -> None:
    """Wait for the end of processes that are not ours to wait for."""
    _wait(lambda: all(map(is_gone, pids)), f"the end of {pids}")


def _wait(state: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not state():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)
