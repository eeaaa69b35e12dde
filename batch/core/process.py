"""The three standard streams of this process, the signals that end it, and how its threads share memory.

Owns the opening of streams that are missing, and the one handler of SIGINT, SIGTERM and SIGHUP: it is set once and
never changed, so there is no moment in which the system's own way of dying counts. What a signal means at the moment is
told to it. A signal that was ignored when the process was started (`nohup`, `&` in a script) stays ignored. It knows no
command and no run, and imports nothing that takes time.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, NoReturn

from batch.core.errors import EXIT_INTERRUPTED

Listener = Callable[[], None]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
_ARENA_MAX: Final = -8
"""What `mallopt` calls the number of pools (`M_ARENA_MAX` in malloc.h)."""
_MMAP_THRESHOLD: Final = -3
"""What it calls the size from which on a piece of memory lies outside the pools."""
_APART: Final = 256 << 10


def open_streams() -> None:
    """Open `/dev/null` in place of a standard stream that is closed.

    Else the next file that is opened would be taken for it: a table would be written into the ledger, or a library that
    knows better would end the process.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as the process
            setattr(sys, name, stream)


def share_memory() -> None:
    """Have the threads of this process share two pools of memory, where the C library is glibc; elsewhere do nothing.

    It gives each thread a pool of its own, eight for each core, and what one thread gave back is then of no use to the
    others: over 50,000 rows that came to 16 MB. And what is large, such as a prompt of a megabyte, has its own piece of
    memory, which the system gets back at once; the library would raise that size with the first such piece that is
    given back, and the holes that later ones leave in the pools came to 40 MB.
    """
    with suppress(OSError, AttributeError, ImportError):
        import ctypes  # noqa: PLC0415 - not every Python has it

        ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _APART)


def die_with_parent(parent: int) -> None:
    """Let this process be killed when its parent ends, as far as the system can do that.

    Args:
        parent: the pid of the parent, which may have ended already.
    """
    prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def prctl(option: int, value: int) -> None:
    """Set something of this process, where the system is Linux; elsewhere do nothing.

    Args:
        option: its number in <sys/prctl.h>.
        value: what it becomes.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError, ImportError):
            import ctypes  # noqa: PLC0415 - as in `share_memory`

            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def ignore_signals() -> None:
    """Let those signals pass that end a command: this process serves one, which knows what they mean."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def die(code: int) -> NoReturn:
    """End at once, without another word to anybody: what is durable is durable."""
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\x1b[?25h\n")  # a live line hides the cursor
    os._exit(code)


class _Signals:
    """What a signal does now."""

    def __init__(self) -> None:
        self.taken = False
        self.listener: Listener = _loading
        self.code: int | None = None
        """What the process ends with, once that is known."""
        self._asked = False
        self._process = 0

    def install(self, numbers: Iterable[int]) -> None:
        """Take these signals from now on."""
        self._process = os.getpid()
        for number in numbers:
            signal.signal(number, self)

    def __call__(self, number: int, _: FrameType | None) -> None:
        """A signal came (`signal.signal`)."""
        if os.getpid() != self._process:
            # A process that a tool forked has our handlers and is not us: it ends as its parent expects.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self.code is None:
            self.listener()
        elif self._asked:
            die(self.code)
        self._asked = self.code is not None  # what is left to say takes a moment; whoever has none asks once more


def _loading() -> None:
    """While modules are loaded: nothing was begun."""
    with suppress(OSError):
        os.write(2, b"promptmill: interrupted.\n")
    os._exit(EXIT_INTERRUPTED)


def _interrupt() -> None:
    """While a command works that has no better way: as Ctrl-C does in any Python program."""
    raise KeyboardInterrupt


_signals: Final = _Signals()


def take_signals() -> None:
    """Let the signals end this process in our way, from its first moment on; only for a process that is ours alone."""
    _signals.taken = True
    _signals.install(number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN)


def is_ours() -> bool:
    """Whether this process was started as the command, so that nobody else's code is in it."""
    return _signals.taken


def loaded() -> None:
    """The modules are loaded and a command begins: a signal interrupts it from now on."""
    _signals.listener = _interrupt


def ends_with(code: int) -> None:
    """The work is done and the exit code known: no signal changes it any more."""
    if _signals.taken:
        _signals.code = code


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Let `listener` be called for each signal, in the main thread and between any two of its instructions."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    others = {
        number: handler
        for number, handler in handlers.items()
        if handler not in (signal.SIG_IGN, None) and handler is not _signals
    }
    earlier, _signals.listener = _signals.listener, listener
    _signals.install(others)
    try:
        yield
    finally:
        for number, handler in others.items():
            signal.signal(number, handler)
        _signals.listener = earlier
