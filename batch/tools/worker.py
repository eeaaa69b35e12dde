"""One worker process as this process sees it: it is started, given one call at a time, and ended with all it started.

Owns the process, both sockets to it, and the words for how it ended. Which calls it gets is the pool's matter
(`workers`). What a tool can do to the process is foreseen: it may die, hang, write nonsense, or kill its keeper.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio
import anyio.to_thread

from batch.core.errors import BatchError
from batch.core.redaction import redact
from batch.tools import frames, orphans
from batch.tools.confinement import Confinement
from batch.tools.content import RawResult

START_S: Final = 60.0
"""Seconds until the tools of a new process have to be loaded."""
CLOSED_S: Final = 1.0
"""Seconds that a process may take to end by itself after its connection ended: one that crashes leaves a dump first."""
END_S: Final = 0.4
"""Seconds that the keeper has for ending everything, before it is ended itself."""
CROWD_S: Final = 10.0
"""Seconds that it has for a crowd."""
WATCH_S: Final = 0.1
"""Seconds after which a call takes long, so that its processes are counted."""
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from batch.tools.worker_main import main; "
    "main(*map(int, sys.argv[2:]))"
)


class WorkerFault(BatchError):
    """A worker process cannot be started, or does not load the tools; the text says why."""


class WorkerGone(BatchError):
    """The process ended, or its connection did, before there was a result; the text says how."""


class Worker:
    """A worker process that is ready for calls.

    Args:
        origin: the tools that it loads.
        confinement: its limits.
        started: is told of it as soon as there is a process that has to be ended.

    Raises:
        WorkerFault: it does not come up.
    """

    def __init__(
        self, origin: frames.Origin, confinement: Confinement, *, started: Callable[[Worker], None] = lambda _: None
    ) -> None:
        self._mark = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._ended = False
        self._asked = False
        self._flags = threading.Lock()
        self._busy = False
        self._closed = False
        self._status = b""
        self._line, line = socket.socketpair()
        self._leash, leash = socket.socketpair()
        try:
            with line, leash:
                self._process = self._spawn(confinement, line.fileno(), leash.fileno())
        except (OSError, ValueError) as error:  # ValueError: a variable or path with a NUL in it
            self._line.close()
            self._leash.close()
            raise WorkerFault(f"no worker process can be started: {error}") from error
        started(self)
        try:
            self._greet(origin, confinement)
        except BaseException:
            self.end()
            raise

    def _spawn(self, confinement: Confinement, line: int, leash: int) -> subprocess.Popen[bytes]:
        paths = [path or os.getcwd() for path in sys.path]  # noqa: PTH109  "" stands for the working folder
        numbers = (line, leash, confinement.processes)
        output = 2 if confinement.show_output else subprocess.DEVNULL
        return subprocess.Popen(  # noqa: S603  our own interpreter
            [sys.executable, "-I", "-c", _BOOT, json.dumps(paths), *map(str, numbers)],
            env={**confinement.environment, orphans.MARK: self._mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(line, leash),
            start_new_session=True,
        )

    def _greet(self, origin: frames.Origin, confinement: Confinement) -> None:
        """Have the tools loaded; waits."""
        hello = frames.Hello(origin, str(confinement.folder), confinement.memory, confinement.open_files)
        self._line.settimeout(START_S)
        try:
            self._line.sendall(frames.packed(hello))
            head = self._exactly(frames.HEAD)
            ready = frames.unpacked(self._exactly(frames.length(head)), frames.Ready)
        except (OSError, ValueError, EOFError) as error:
            why = f"within {START_S:g} s" if isinstance(error, TimeoutError) else f"but {self._how_it_ended()}"
            raise WorkerFault(f"a worker process did not load the tools, {why}") from error
        if ready.fault:
            raise WorkerFault(f"a worker process cannot load the tools: {redact(ready.fault)}")
        for end in (self._line, self._leash):
            end.setblocking(False)

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < min(size, frames.MOST):
            part = self._line.recv(size - len(found))
            if not part:
                raise EOFError
            found += part
        return found

    @property
    def alive(self) -> bool:
        """Whether it can take a call, as far as is known."""
        return not self._ended and self._process.poll() is None

    async def call(self, call: frames.Call) -> tuple[RawResult, bool]:
        """Run a call; its result, and whether the process is worn by it. Without a time limit of its own.

        Raises:
            WorkerGone: the process ended, or it sent what is no answer.
        """
        self._busy = True
        loop = asyncio.get_running_loop()
        watch = loop.call_later(WATCH_S, self._say, b"w")
        began = loop.time()
        try:
            await loop.sock_sendall(self._line, frames.packed(call))
            answer = frames.unpacked(await self._message(), frames.Answer)
        except ValueError as error:
            raise WorkerGone("wrote into the connection of its worker process, which was ended") from error
        except (OSError, EOFError) as error:
            raise WorkerGone(await anyio.to_thread.run_sync(self._how_it_ended)) from error
        finally:
            watch.cancel()
            if loop.time() - began >= WATCH_S / 2:  # it may have been told
                self._say(b"r")
            self._free()
        return RawResult(answer.text, answer.size, answer.failed), answer.worn

    async def _message(self) -> bytearray:
        """The next message.

        Raises:
            EOFError: the process ended.
            ValueError: there comes more than a worker sends.
        """
        loop = asyncio.get_running_loop()
        received = bytearray()
        while len(received) < frames.HEAD or len(received) < frames.HEAD + frames.length(received):
            part = await loop.sock_recv(self._line, 1 << 16)
            if not part:
                raise EOFError
            received += part
            if len(received) >= frames.HEAD and frames.length(received) > frames.MOST:
                raise ValueError("too long")
        return received[frames.HEAD :]

    async def end_soon(self) -> None:
        """End the process and all that it started, without holding up the event loop."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.end)

    def ask_to_end(self) -> None:
        """Have its end begin; waits for nothing."""
        self._say(b"k")

    def _say(self, word: bytes) -> None:
        with suppress(OSError):
            self._leash.send(word)

    def end(self, *, patience_s: float = 0.0) -> None:
        """End the process and all that it started; waits for it, at most about half a second.

        Args:
            patience_s: so long it may end by itself first.
        """
        with self._lock:
            if self._ended:
                return
            self._ended = True
            if patience_s == 0 or not self._ends_within(patience_s):
                self._asked = True
                self.ask_to_end()
            if not self._ends_within(END_S):
                self._status = self._last_word()
                if not self._status or not self._ends_within(CROWD_S):
                    self._process.kill()
                    self._process.wait()
            self._status += self._last_word()
            if not self._status.removeprefix(frames.CROWDED):
                # The keeper itself was killed or stopped, by a tool most likely: its processes are orphans now.
                orphans.kill_marked(self._mark)
            self._close()

    def _close(self) -> None:
        """Close both sockets; the one that the event loop still reads from is closed when it has found its end."""
        self._leash.close()
        with self._flags:
            self._closed = True
            if not self._busy:
                self._line.close()
                return
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)

    def _free(self) -> None:
        with self._flags:
            self._busy = False
            if self._closed:
                self._line.close()

    def _ends_within(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            return True
        return False

    def _last_word(self) -> bytes:
        with suppress(OSError):
            self._leash.setblocking(False)
            return self._leash.recv(64)
        return b""

    def _how_it_ended(self) -> str:
        if self._ended:
            return "the run is over"
        self.end(patience_s=CLOSED_S)
        if self._status.startswith(frames.CROWDED):
            return "it had too many processes, and was ended with all of them"
        text = self._status.decode("ascii", "replace")
        if not text.isdigit():
            return "its process ended together with the one that watches over it"
        if self._asked:
            return "it closed the connection of its process, which was ended"
        code = os.waitstatus_to_exitcode(int(text))
        if code >= 0:
            return f"its process ended by itself with exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        why = {
            "SIGXCPU": ", because it used too much processor time",
            "SIGKILL": "; perhaps the machine had no more memory",
        }
        return f"its process was ended by {name}{why.get(name, '')}"
