"""promptmill: a file of prompts in, a file of answers out, every token accounted for.

The public surface for Python; everything else in here may change from one version to the next::

    import anyio
    from batch import Job, run

    report = anyio.run(run, Job.load("jobs/label_tickets"))

`tool` marks the functions of a job's `tools.py`; `RunOptions` are the flags of one command (`run(job, options=…)`). The
four load their modules when they are first used: a tools file, or a program that only wants to catch an error, does not
pay for Arrow and SQLite.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from batch.core.errors import (
    BatchError,
    InputError,
    JobError,
    OutputError,
    ProviderStop,
    RefusedToStart,
    StorageError,
    SystematicFailure,
)

if TYPE_CHECKING:
    from batch.job.job import Job
    from batch.job.options import RunOptions
    from batch.run.command import run
    from batch.tools.registry import tool

__all__ = [
    "BatchError",
    "InputError",
    "Job",
    "JobError",
    "OutputError",
    "ProviderStop",
    "RefusedToStart",
    "RunOptions",
    "StorageError",
    "SystematicFailure",
    "run",
    "tool",
]

_LAZY: Final = {
    "Job": "batch.job.job",
    "RunOptions": "batch.job.options",
    "run": "batch.run.command",
    "tool": "batch.tools.registry",
}


def __getattr__(name: str) -> Any:
    """Load what is used for the first time."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Surface(ModuleType):
    """This package, in which `run` is the function, whoever has imported the wing of that name before."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _LAZY and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Surface
