"""promptmill: a file of prompts in, a file of answers out, every token accounted for.

The public surface for Python; everything else in here may change from one version to the next::

    from batch import Job, run_sync

    report = run_sync(Job.load("jobs/label_tickets"))
    print(report.exit_code, report.totals.cost, report.results)

In a notebook or an async program: `report = await run(job)`. A job may also be made of its sections, as in
`Job(input=InputSpec(path="rows.jsonl"), …)`. `RunOptions` are the flags of one command (`run_sync(job, options=…)`),
`Report` is what it did, `tool` marks the functions of a job's `tools.py`. Errors reach the caller as themselves. Log
lines go to the standard logger `promptmill`, and nowhere until `logging` is configured.

All but the errors load their modules when they are first used: a tools file, or a program that only wants to catch an
error, does not pay for Arrow and SQLite.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from batch.core.errors import (
    BatchError,
    BatchNotEnded,
    BudgetReached,
    InputError,
    JobError,
    OutputError,
    ProviderStop,
    RefusedToStart,
    StorageError,
    SystematicFailure,
)

if TYPE_CHECKING:
    from batch.job.budgetspec import BudgetSpec, GrantSpec
    from batch.job.bulkspec import BulkSpec
    from batch.job.endpointspec import EndpointSpec, ModelLimitSpec
    from batch.job.job import (
        InputSpec,
        Job,
        LimitSpec,
        ModelSpec,
        OutputSpec,
        PromptSpec,
    )
    from batch.job.labelspec import LabelSpec
    from batch.job.options import RunOptions
    from batch.job.providers import ProviderSpec
    from batch.job.toolspec import ToolSpec
    from batch.run.blocking import run_sync
    from batch.run.command import Report, run
    from batch.tools.registry import tool

__all__ = [
    "BatchError",
    "BatchNotEnded",
    "BudgetReached",
    "BudgetSpec",
    "BulkSpec",
    "EndpointSpec",
    "GrantSpec",
    "InputError",
    "InputSpec",
    "Job",
    "JobError",
    "LabelSpec",
    "LimitSpec",
    "ModelLimitSpec",
    "ModelSpec",
    "OutputError",
    "OutputSpec",
    "PromptSpec",
    "ProviderSpec",
    "ProviderStop",
    "RefusedToStart",
    "Report",
    "RunOptions",
    "StorageError",
    "SystematicFailure",
    "ToolSpec",
    "run",
    "run_sync",
    "tool",
]

_LAZY: Final = {
    "BudgetSpec": "batch.job.budgetspec",
    "BulkSpec": "batch.job.bulkspec",
    "EndpointSpec": "batch.job.endpointspec",
    "GrantSpec": "batch.job.budgetspec",
    "InputSpec": "batch.job.job",
    "Job": "batch.job.job",
    "LabelSpec": "batch.job.labelspec",
    "LimitSpec": "batch.job.job",
    "ModelLimitSpec": "batch.job.endpointspec",
    "ModelSpec": "batch.job.job",
    "OutputSpec": "batch.job.job",
    "PromptSpec": "batch.job.job",
    "ProviderSpec": "batch.job.providers",
    "Report": "batch.run.command",
    "RunOptions": "batch.job.options",
    "ToolSpec": "batch.job.toolspec",
    "run": "batch.run.command",
    "run_sync": "batch.run.blocking",
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
