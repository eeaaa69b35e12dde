"""The serving half of a worker process: it loads the tools, runs one call after another, and tidies up after each.

Owns what a call may leave behind: working folder, environment and umask are put back; processes that are left, closed
files and memory that ran out make the process `worn`, so that it is replaced. It has no key of a provider and masks
none. What tools print goes where the process's standard streams go.
"""

from __future__ import annotations

import gc
import os
import resource
import stat
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from batch.core.errors import JobError
from batch.tools import frames, orphans
from batch.tools.arguments import build_arguments
from batch.tools.content import RawResult, of_error, of_value
from batch.tools.registry import Tool, ToolSet

if TYPE_CHECKING:
    import asyncio

MORE_TASKS: Final = 4_096
"""How many processes and threads its user may have beside those that there are when a worker starts."""
M = TypeVar("M", bound=msgspec.Struct)

_TICKS_OF_THIS_PROCESS: Final = ~0 << 3
"""The clock that Linux holds RLIMIT_CPU against: process 0, which is this one, inverted, and CPUCLOCK_PROF, which is 0
(include/linux/posix-timers_types.h)."""
_GONE: Final = 3
"""Exit code of a process whose connection is gone."""


class _Line:
    """The connection to the process that asks; nobody else gets it, whatever a tool does with open files."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._is = _identity(number)
        self._pid = os.getpid()
        os.register_at_fork(after_in_child=self._leave)

    def _leave(self) -> None:
        if self.open:
            os.close(self._number)
        self._is = None

    @property
    def open(self) -> bool:
        """Whether it is still the same connection, and not closed or another file of the same number."""
        return self._is is not None and _identity(self._number) == self._is

    def is_ours(self) -> bool:
        """Whether this is the process that it belongs to, and not one that a tool forked."""
        return os.getpid() == self._pid

    def read(self, kind: type[M]) -> M | None:
        """The next message, or None when there is none any more."""
        head = self._exactly(frames.HEAD)
        body = self._exactly(frames.length(head)) if head else b""
        return frames.unpacked(body, kind) if body else None

    def write(self, message: msgspec.Struct) -> None:
        """Send a message.

        Raises:
            OSError: nobody takes it.
        """
        if not self.open:
            raise OSError("the connection was closed")
        rest = memoryview(frames.packed(message))
        while rest:
            rest = rest[os.write(self._number, rest) :]

    def _exactly(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            part = os.read(self._number, min(size, 1 << 20)) if self.open else b""
            if not part:
                return b""
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class _World:
    """What belongs to the process and not to a call."""

    def __init__(self) -> None:
        self._folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._folder_is = _identity(self._folder)
        self._path = Path.cwd()
        self._environ = dict(os.environ)
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._streams = [_identity(number) for number in range(3)]

    def restore(self) -> bool:
        """Put it back; False when that cannot be done."""
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            if os.getcwd() != str(self._path):  # noqa: PTH109  a Path would be made for each call
                os.fchdir(self._folder)
        except (OSError, ValueError, AttributeError):  # of a stream that was closed, or taken away
            return False
        if _identity(self._folder) != self._folder_is:
            return False
        if os.environ != self._environ:
            os.environ.clear()
            os.environ.update(self._environ)
        os.umask(self._umask)
        if [_identity(number) for number in range(3)] != self._streams:
            return False
        return not _children_left()


def serve(number: int) -> None:
    """Load the tools that the first message names, then run calls until there are none.

    Args:
        number: the socket, connected to the process that asks.
    """
    line = _Line(number)
    hello = line.read(frames.Hello)
    if hello is None:
        return
    tools, fault = _load(hello)
    if not line.is_ours():
        return
    line.write(frames.Ready(fault))
    if fault:
        return
    world = _World()
    gc.freeze()  # what is loaded stays; a collection looks only at what calls make
    loop = _Loop()
    while (call := line.read(frames.Call)) is not None:
        _limit_cpu(call.cpu_s)
        raw, worn = _run(tools, call, loop)
        if not line.is_ours():
            return  # a process that the tool forked came back from it
        worn = not world.restore() or worn
        try:
            line.write(frames.Answer(raw.text, raw.size, raw.failed, worn))
        except OSError:
            os._exit(_GONE)
        del raw


def _load(hello: frames.Hello) -> tuple[ToolSet, str]:
    """The tools in a process that is limited as it is told to be, or what is wrong with them."""
    try:
        os.chdir(hello.folder)
        _limit(resource.RLIMIT_NOFILE, hello.open_files)
        _limit(resource.RLIMIT_CORE, 0)
        limit_processes()
        _limit_memory(hello.memory)
        return ToolSet.from_origin(hello.origin), ""
    except JobError as error:
        return ToolSet.empty(), "; ".join(error.faults)
    except BaseException as error:  # noqa: BLE001  the job's own code, and a limit that is too low for it
        return ToolSet.empty(), of_error(error).text


class _Loop:
    """The event loop of async tools: one for all calls, because what a tool keeps belongs to the loop it came from."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def run(self, tool: Tool, arguments: dict[str, Any]) -> tuple[RawResult, bool]:
        """Call an async function in it; its result, and whether the process is worn by it.

        Raises:
            BaseException: the loop itself was stopped or closed, or a child task of the tool has left it.
        """
        import asyncio  # noqa: PLC0415  a third of the time that a worker takes to start, and most tools are plain

        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(_awaited(tool, arguments))


async def _awaited(tool: Tool, arguments: dict[str, Any]) -> tuple[RawResult, bool]:
    try:
        return of_value(await tool.function(**arguments), name=tool.name), False
    except BaseException as error:  # noqa: BLE001  whatever a tool raises belongs to its row
        return of_error(error), isinstance(error, MemoryError)


def _run(tools: ToolSet, call: frames.Call, loop: _Loop) -> tuple[RawResult, bool]:
    """Run one call; its result, and whether the process is worn by it."""
    tool = tools.get(call.name)
    if tool is None:
        return of_error(LookupError(f"the worker process has no tool {call.name!r}")), True
    try:
        arguments = build_arguments(tool.parameters, msgspec.json.decode(call.arguments))
        if tool.is_async:
            return loop.run(tool, arguments)
        return of_value(tool.function(**arguments), name=tool.name), False
    except BaseException as error:  # noqa: BLE001  as above
        return of_error(error), tool.is_async or isinstance(error, MemoryError)


def _children_left() -> bool:
    """Whether a process is left that a call started, or one that such a process started and left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _limit(kind: int, most: int) -> None:
    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def limit_processes() -> None:
    """Bound how many processes and threads the user of this process may have, before this process gets another one.

    The system counts all that the user has, perhaps in places that are not seen from here; where there are more than
    seen already, the limit is not set. It does not hold for root, for whom the keeper alone counts.
    """
    used = orphans.tasks_of(os.getuid()) if os.geteuid() != 0 else 0
    if used == 0:
        return
    with suppress(OSError, ValueError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        if soft != resource.RLIM_INFINITY and soft <= used + MORE_TASKS:
            return
        resource.setrlimit(resource.RLIMIT_NPROC, (used + MORE_TASKS, hard))
        try:
            probe = threading.Thread(target=int)
            probe.start()
            probe.join()
        except RuntimeError:
            resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))


def _limit_memory(most: int) -> None:
    """Bound what the process can write to: reserved addresses, of which some libraries take many, do not count."""
    _limit(resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS, most)


def _limit_cpu(seconds: int) -> None:
    """Let the process use so many seconds of processor time from now on."""
    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(_processor_s()) + 1 + seconds, hard))


def _processor_s() -> float:
    """The processor time that this process has used, by the count its limit is held against.

    On many Linux systems that is a count of clock ticks, which on a busy machine runs ahead of the exact one.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    exact = usage.ru_utime + usage.ru_stime
    if sys.platform != "linux":
        return exact
    with suppress(OSError):
        return max(exact, time.clock_gettime(_TICKS_OF_THIS_PROCESS))
    return exact


def _identity(number: int) -> tuple[int, int, int] | None:
    """What an open file is, as long as it is open."""
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino, stat.S_IFMT(found.st_mode)
