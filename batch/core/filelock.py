"""A lock on an open file, waited for in a thread as long as another process may need it, and no longer.

A process that is stopped (Ctrl-Z, SIGSTOP) keeps its locks: whoever waits for one of these without an end hangs, deaf
to Ctrl-C, until somebody sees it. Owns that wait. What is said of it is told by whoever waits.
"""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batch.core.clock import Clock

PATIENCE_S: Final = 60.0
"""For locks that are held for milliseconds."""
_FIRST_WAIT_S: Final = 0.001
_LONGEST_WAIT_S: Final = 0.05


def taken(handle: int, *, clock: Clock, patience_s: float = PATIENCE_S) -> bool:
    """Take the lock on a file; False when another process has had it all the time.

    Args:
        handle: the open file; closing it gives the lock back.
        clock: by which is waited; never on the event loop.
        patience_s: how long another process may have it.

    Raises:
        OSError: this file system knows no locks.
    """
    until, wait_s = clock.monotonic() + patience_s, _FIRST_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # some file systems say that it is not allowed
            if clock.monotonic() >= until:
                return False
        else:
            return True
        clock.pause(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
