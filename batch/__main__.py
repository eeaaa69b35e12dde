"""The program `promptmill`, and `python -m batch`: what has to be so before anything else is loaded.

Owns the order: streams first, then signals, then the half second of modules. What a command does is in `batch.cli`.
"""

from __future__ import annotations

import atexit
import signal
import sys

from batch.core import process


def main() -> int:
    """Run the command line of this process and return its exit code."""
    process.open_streams()
    process.take_signals()
    process.share_memory()
    # The interpreter puts the system's handlers back long before it has taken its modules apart.
    atexit.register(_ignore_signals)
    from batch.cli import main as command  # noqa: PLC0415 - takes as long as a short command

    process.loaded()
    return command()


def _ignore_signals() -> None:
    for number in process.SIGNALS:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
