"""How far a tool may go: the limits of its process, its working folder, and what it sees of the environment.

Owns the usual limits, the variables that every worker process has, and the rule that no key of a provider is among
them. It starts no process.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from batch.core.redaction import Unshown, masked

TIMEOUT_S: Final = 60.0
"""Seconds that one call may take."""
MEMORY: Final = 2_000_000_000
"""Bytes of data of one worker process: enough for numpy and its threads on a large machine."""
OPEN_FILES: Final = 1_024
PROCESSES: Final = 256
"""How many processes a tool may have at a time beside its own, on a machine of few processors."""
PER_PROCESSOR: Final = 4
"""How many for each processor, where that is more: a tool may compute in one process for each, with a shell around."""
CPU_PER_SECOND: Final = 4
"""Seconds of processor time for each second of the time limit, for tools that compute in several threads."""
FEWEST: Final = 2
"""Worker processes on a machine with one processor."""

BASICS: Final = (
    *("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE"),
    # An interpreter of a cluster's module system, or of conda, does not even start without these.
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
)
"""Variables that a worker process has in any case, where they are set: a Python and what it starts need them."""


class Confinement(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for each worker process of a job."""

    folder: Path
    """Its working folder."""
    environment: Mapping[str, str] = {}
    """All the variables it sees."""
    timeout_s: float = TIMEOUT_S
    memory: int = MEMORY
    open_files: int = OPEN_FILES
    processes: int = msgspec.field(default_factory=lambda: max(PROCESSES, PER_PROCESSOR * _processors()))
    """How many processes a call may have at a time; with more it is ended."""
    workers: int = msgspec.field(default_factory=lambda: max(FEWEST, _processors()))
    """How many there are at most."""
    show_output: bool = False
    """Whether what tools print goes to our standard error; nowhere otherwise."""

    def cpu_s(self, timeout_s: float) -> int:
        """Seconds of processor time for a call with this time limit."""
        return max(1, round(timeout_s * CPU_PER_SECOND))


def _processors() -> int:
    """How many processors this process may use; of a container, not of its host, where the system says that."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible(environ: Mapping[str, str], names: Iterable[str], *, keys: Collection[str]) -> Mapping[str, str]:
    """The variables that a worker process sees.

    Args:
        environ: usually `os.environ`.
        names: those that the job names.
        keys: names of variables that hold keys of providers.

    Returns:
        The basic ones and the named ones that are set. One that is or holds a key is left out, whatever its name.
    """
    wanted = dict.fromkeys((*BASICS, *names))
    return Unshown({name: environ[name] for name in wanted if name in environ and not holds_key(environ, name, keys)})


def holds_key(environ: Mapping[str, str], name: str, keys: Collection[str]) -> bool:
    """Whether a variable has the name of one for keys, or a key of this process in its value."""
    value = environ.get(name, "")
    return name in keys or masked(value) != value
