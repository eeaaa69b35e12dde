"""The project's commands in processes of their own, most of them started without their half second of imports.

Owns how a test starts `python -m MODULE …`. One helper process (`forking`) imports everything once and is forked for
each command: what comes of it is a process like any other, with a pid, signals, an environment and an end of its own,
and a child of this one, so that `Popen` waits for it and SIGKILL reaches it alone. Where a system cannot do that, or a
command needs another interpreter (its environment, its standard input), a fresh one is started.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PR_SET_CHILD_SUBREAPER: Final = 36
READ_AT_START: Final = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC", "ARROW", "UV_")
"""Beginnings of the variables that an interpreter or a library looks at once, when it is loaded."""


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    stderr: int = subprocess.PIPE,
    fresh: bool = False,
) -> subprocess.Popen[str]:
    """Start a command with its output in pipes, as text.

    Args:
        command: the program and its arguments; `(sys.executable, "-m", MODULE, …)` is forked.
        env: its whole environment; this process's own by default.
        cwd: the folder it starts in.
        stderr: `PIPE`, or `STDOUT` to have both in one.
        fresh: start an interpreter of its own whatever the command is.
    """
    environ = dict(os.environ if env is None else env)
    module = list(command[:2]) == [sys.executable, "-m"]
    kind = _Forked if module and not fresh and _as_here(environ) and _HELPER.works else subprocess.Popen
    return kind(list(command), env=environ, cwd=cwd, stdout=subprocess.PIPE, stderr=stderr, text=True)


def _as_here(environ: Mapping[str, str]) -> bool:
    """Whether a new interpreter would come up as the helper did."""

    def read(variables: Mapping[str, str]) -> dict[str, str]:
        return {k: v for k, v in variables.items() if k.startswith(READ_AT_START) and k != "PYTHONPATH"}

    return read(environ) == read(os.environ)


class _Forked(subprocess.Popen[str]):
    """A process that the helper forks instead of one that is executed."""

    def _execute_child(self, args: list[str], *how: Any) -> None:
        # The arguments of Python 3.11 to 3.14: executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo,
        # creationflags, shell, then both ends of the three pipes.
        cwd, env = how[4], how[5]
        pipes = how[9:15]
        _, _, _, written, _, told = pipes
        self.pid = _HELPER.fork(args[2:], str(cwd), env, (written, told))
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]  # ours, which the child has as well


class _Helper:
    """The process that is forked, started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._lock = threading.Lock()
        self.works = sys.platform == "linux"

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        return self._process

    @property
    def file(self) -> int | None:
        """The number of its open file in this process."""
        return None if self._line is None else self._line.fileno()

    def fork(self, words: list[str], cwd: str, env: Mapping[str, str], files: tuple[int, int]) -> int:
        """Fork a process for `python -m` these words; its pid, as a child of this process."""
        with self._lock:
            line = self._line or self._begin()
            message = json.dumps({"words": words, "cwd": cwd, "env": dict(env)}).encode()
            socket.send_fds(line, [message], files)
            told = line.recv(64)
        if not told:
            raise OSError("the process that is forked for each command is gone; its last words are above")
        return int(told)

    def _begin(self) -> socket.socket:
        # A process whose parent has gone becomes the child of the nearest ancestor that asked for orphans.
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "this process may not become the parent of orphans")
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forking", str(theirs.fileno())],
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        return self._line

    def stop(self) -> None:
        """End it, if it was started."""
        if self._line is not None and self._process is not None:
            self._line.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._line = self._process = None


_HELPER: Final = _Helper()
atexit.register(_HELPER.stop)


def helper() -> tuple[int | None, int | None]:
    """Pid and open file of the helper, which outlives the test that needed it first."""
    return (_HELPER.process.pid if _HELPER.process else None), _HELPER.file
