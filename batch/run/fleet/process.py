"""Worker processes of a fleet, as the core has them: started, spoken with, watched, ended.

Owns how a process is started, with which line, and that it is waited for. What is said over the line is `crew`'s.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from batch.run.fleet import messages
from batch.run.fleet.line import Line

_BOOT: Final = (
    "import json, sys\n"
    "sys.path[:] = json.loads(sys.argv[1])\n"
    "from batch.core import process\n"
    "process.die_with_parent(int(sys.argv[3]))\n"  # before all that takes time
    "from batch.run.fleet.worker_main import main\n"
    "main(int(sys.argv[2]))\n"
)
END_S: Final = 0.1
"""How long a process may take to end whose line has ended."""


class WorkerProcess:
    """One worker process; it has begun to start when this is made: see `transport.Started`.

    To be made in a thread that lives as long as the process is wanted: with that thread the system ends it.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self) -> None:
        self._end, theirs = socket.socketpair()
        self._line: Line | None = None
        try:
            with theirs:
                self._process = self._started(theirs.fileno())
        except BaseException:
            self._end.close()
            raise

    async def open(self, received: Callable[[messages.ToCore], None], ended: Callable[[], None]) -> None:
        """Open the line to it; messages may come before this returns."""
        self._line = Line(lambda message: received(messages.for_core(message)), ended)
        await self._line.open(self._end)

    def send(self, message: messages.ToWorker) -> None:
        """Send one message."""
        if self._line is not None:
            self._line.send(messages.encode(message))

    def abort(self) -> None:
        """Close the line at once."""
        if self._line is None:
            self._end.close()
        else:
            self._line.abort()

    def _started(self, end: int) -> subprocess.Popen[bytes]:
        paths = [path or os.getcwd() for path in sys.path]  # noqa: PTH109  "" stands for the working folder
        return subprocess.Popen(  # noqa: S603  our own interpreter
            [sys.executable, "-I", "-c", _BOOT, json.dumps(paths), str(end), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            pass_fds=(end,),
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its number, for people."""
        return self._process.pid

    def how_it_ended(self) -> str:
        """In words, of a process whose line has ended; it is killed if it still runs."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        code = self._process.poll()
        if code is None:
            self.end()
            return "closed its line and was ended"
        if code >= 0:
            return f"ended by itself with exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        more = "; perhaps the machine had no more memory" if name == "SIGKILL" else ""
        return f"was ended by {name}{more}"

    def end(self) -> None:
        """Kill it and wait for that; whatever it was doing, a stopped one too."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
