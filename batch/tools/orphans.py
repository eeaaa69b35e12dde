"""Ends processes together with all that they started, those that hid in a session of their own as well.

Owns the two ways to find them: as descendants of this process, which has become the parent of orphans, and by a mark
in their environment. Both read `/proc`; where there is none, only what is in a process group can be ended. It knows
nothing of tools.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from batch.core import process

MARK: Final = "PROMPTMILL_TOOL_WORKER"
"""The variable that tells which worker a process comes from."""

MANY: Final = 32
"""More processes than these are stopped before they are killed."""
ROUNDS: Final = 1_000
_PROC: Final = Path("/proc")
_ADOPT_ORPHANS: Final = 36  # PR_SET_CHILD_SUBREAPER of <sys/prctl.h>


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends; does nothing where that is unknown."""
    process.prctl(_ADOPT_ORPHANS, 1)


def kill_descendants(group: int) -> None:
    """Kill every descendant of this process; those that are its children are left to be waited for.

    Args:
        group: a process group that is killed where descendants cannot be found.
    """
    found = _descendants(os.getpid())
    if len(found) > MANY:
        _hold(partial(_descendants, os.getpid()))
        found = _descendants(os.getpid())
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)
    for pid in found:
        _signal(pid, signal.SIGKILL)


def are_more(most: int) -> bool:
    """Whether this process has more descendants than so many. Costs nothing much as long as it has few."""
    waiting, count = [os.getpid()], 0
    while waiting and count <= most:
        children = _children(waiting.pop())
        count += len(children)
        waiting += children
    return count > most and len(_descendants(os.getpid())) > most  # without those that ended


def tasks_of(user: int) -> int:
    """How many processes and threads a user has, as far as it is seen from here; 0 where that is not told."""
    count = 0
    for pid in _pids():
        with contextlib.suppress(OSError):
            folder = Path(_PROC, str(pid))
            if folder.stat().st_uid == user:
                count += len(list((folder / "task").iterdir()))
    return count


def kill_marked(value: str) -> None:
    """Kill every process with this value of `MARK` in its environment; for what lost all its parents."""
    find = partial(_marked, f"{MARK}={value}".encode())
    if len(find()) > MANY:
        _hold(find)
    for pid in find():
        _signal(pid, signal.SIGKILL)


def _hold(find: Callable[[], list[int]]) -> None:
    """Stop processes until none is found that was not stopped: what stands still starts no further one.

    Killed at once, they would leave room for others, and their parents would be told.
    """
    held: set[int] = set()
    for _ in range(ROUNDS):
        fresh = [pid for pid in find() if pid not in held]
        if not fresh:
            return
        for pid in fresh:
            _signal(pid, signal.SIGSTOP)
        held.update(fresh)


def _marked(wanted: bytes) -> list[int]:
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):  # it ended, or is somebody else's
            if wanted in Path(_PROC, str(pid), "environ").read_bytes().split(b"\0") and pid != os.getpid():
                found.append(pid)
    return found


def _children(pid: int) -> list[int]:
    """The children of a process, those that ended included; none where the system does not list them."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for task in Path(_PROC, str(pid), "task").iterdir():
            found += map(int, (task / "children").read_bytes().split())
    return found


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid in _pids():
        with contextlib.suppress(OSError, ValueError):
            # The name of the program, in brackets, may hold anything; state and parent follow it.
            state, parent = Path(_PROC, str(pid), "stat").read_bytes().rpartition(b")")[2].split()[:2]
            if state != b"Z":
                children.setdefault(int(parent), []).append(pid)
    found = children.get(root, [])
    for pid in found:  # grows while it is read
        found += children.get(pid, [])
    return found


def _pids() -> Iterator[int]:
    with contextlib.suppress(OSError):
        for entry in os.scandir(_PROC):
            if entry.name.isdigit():
                yield int(entry.name)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)
