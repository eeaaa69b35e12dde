"""What runs in a worker process: one process that runs the tools, and a keeper beside it that sees to its end.

Owns the life of both. The keeper is the process that was started; it loads the modules, forks the one that serves, and
waits. It becomes the parent of whatever outlives a tool, and kills it all when the serving process ends, when it is
told to, and when nobody holds the other end of its socket any more, because the run was killed. It runs no code of the
job, so nothing that a tool does can hold it up.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import suppress
from typing import Final, NoReturn

from batch.core import process
from batch.tools import frames, orphans
from batch.tools.serving import serve

WATCH_MS: Final = 20
"""How often the keeper counts processes while a call takes long."""
LOOK_MS: Final = 2_000
"""How often the keeper looks whether its parent is still the one that started it."""
PAUSE_MS: Final = 5


def main(line: int, leash: int, processes: int) -> NoReturn:
    """Be a worker process.

    Args:
        line: a socket over which calls come and answers go.
        leash: a socket. Over it comes `w` when a call takes long, `r` when that has ended; with anything else, or its
            end, the process ends with all that it started. The last thing it sends is the exit status of the serving
            process, behind `CROWDED` where there were too many processes.
        processes: how many a call may have at a time.
    """
    parent, keeper = os.getppid(), os.getpid()
    for number in (line, leash):
        os.set_inheritable(number, False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # of the terminal, and of a tool that signals its parent
    orphans.adopt_orphans()
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for number in (leash, woken, wakes):
            os.close(number)
        _serve(line, keeper)
    os.close(line)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)  # where it may: to be heard in a crowd
    status = _watch(pid, leash, woken, parent, processes)
    status = _end_all(pid, woken, status)
    with suppress(OSError), socket.socket(fileno=leash) as told:
        told.send(str(status).encode())
    os._exit(0)


def _serve(line: int, keeper: int) -> NoReturn:
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        process.die_with_parent(keeper)
        orphans.adopt_orphans()
        serve(line)
        code = 0
    finally:
        os._exit(code)


def _watch(pid: int, leash: int, woken: int, parent: int, processes: int) -> int | None:
    """Wait until the worker has to end; the exit status of the serving process if that ended first."""
    watched = False
    poll = select.poll()
    poll.register(leash, select.POLLIN)
    poll.register(woken, select.POLLIN)
    while True:
        ready = {number for number, _ in poll.poll(WATCH_MS if watched else LOOK_MS)}
        _drain(woken)
        if (status := _reap(pid)[0]) is not None:
            return status
        if leash in ready:
            told = _told(leash)
            if told not in {"w", "r"}:
                return None
            watched = told == "w"
        if os.getppid() != parent:
            return None
        if watched and orphans.are_more(processes + 1):  # the serving process is one of them
            with suppress(OSError):
                os.write(leash, frames.CROWDED)
            return None


def _told(leash: int) -> str:
    """The last thing that was said over the leash, or that which ends the process."""
    with suppress(OSError):
        said = os.read(leash, 64).decode("ascii", "replace")
        return "k" if "k" in said else said[-1:]
    return ""


def _end_all(pid: int, woken: int, status: int | None) -> int:
    """Kill everything until there is no child left; the exit status of the serving process."""
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    while True:
        orphans.kill_descendants(pid)
        # What was killed is gone in a moment, and to look for more of it takes longer than that.
        for pause_ms in (0, PAUSE_MS):
            if pause_ms and poll.poll(pause_ms):
                _drain(woken)
            ended, left = _reap(pid)
            status = ended if status is None else status
            if not left:
                return signal.SIGKILL if status is None else status


def _reap(pid: int) -> tuple[int | None, bool]:
    """Take note of children that ended.

    Returns:
        The exit status of the serving process when it is among them, and whether there is a child left.
    """
    status = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == pid:
                status = ended[1]
        return status, True
    return status, False


def _drain(number: int) -> None:
    with suppress(BlockingIOError):
        while os.read(number, 4096):
            pass
