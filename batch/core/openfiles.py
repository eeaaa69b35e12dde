"""How many files this process may have open at once, sockets included: raised, counted, and named when they run out.

Owns the limit of the system (`ulimit -n`) and the advice for whoever meets it. It knows no file and no connection.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

USUAL: Final = 1_024
"""What every command is given where the system allows it: some shells and services start with 64 or 256."""
_USED_UP: Final = (errno.EMFILE, errno.ENFILE)


def limit() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def raise_to(wanted: int) -> int:
    """Let this process have so many files open, or as many as the system allows it; never fewer than before.

    Returns:
        The limit from now on.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # macOS has a second limit, which it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return limit()


def used() -> int:
    """How many files are open now."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(list(Path(folder).iterdir())) - 1  # one of them reads the folder
    return 32  # about what a run has open before its first call


def used_up(exc: BaseException) -> bool:
    """Whether an error says that no more files can be opened."""
    return isinstance(exc, OSError) and exc.errno in _USED_UP


def none_left() -> bool:
    """Whether no file can be opened now; for errors of libraries that do not say why they could not."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return used_up(exc)
    return False


def advice(wanted: int = 4_096) -> str:
    """What to do when there are too few for what is wanted; a sentence without its end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(wanted, 2 * soft)
    if soft < hard or hard == resource.RLIM_INFINITY:
        return f"Raise the number of files that may be open, now {soft:,}: ulimit -n {wanted}"
    return (
        f"Have this process started with more files that may be open than {hard:,}: ulimit -n {wanted} as root, "
        f"LimitNOFILE={wanted} of a service, --ulimit nofile={wanted} of docker"
    )
