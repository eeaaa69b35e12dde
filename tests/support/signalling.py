"""Signals as they reach a process that nobody shields from them, however the tests themselves were started.

`nohup scripts/test &` and many a CI start them with SIGHUP or SIGINT ignored. Ignored stays ignored across an exec, and
a run keeps it so (`run/interrupts`): every test that interrupts a command would wait for an end that never comes.
"""

from __future__ import annotations

import signal
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT)


def unshield() -> None:
    """Have what this process starts end by each of these signals; where they were ignored they do nothing to it still."""
    for number in STOPS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _nothing)  # a handler does not outlive an exec


def _nothing(number: int, frame: FrameType | None) -> None:
    """Hear a signal and do nothing."""
