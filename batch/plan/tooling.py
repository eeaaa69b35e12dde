"""The tools of a job before it starts: loaded here, confined, and loaded once in a worker process as a trial.

Owns what a job may not ask for: a key of a provider in the environment of its tools, a folder of files that holds the
job itself or its output. It runs no tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from batch.core.errors import JobError
from batch.job.job import Job
from batch.job.toolspec import ToolSpec
from batch.providers.registry import key_names
from batch.tools.confinement import Confinement, holds_key, visible
from batch.tools.registry import ToolSet


def load(job: Job) -> ToolSet:
    """The tools of a job.

    Raises:
        JobError: they cannot be loaded, or one of them is refused.
    """
    spec = job.tools
    if spec is None:
        return ToolSet.empty()
    return ToolSet.load(spec.module, shipped=spec.shipped, files=spec.folder)


def confine(job: Job, environ: Mapping[str, str]) -> Confinement:
    """How far the tools of a job may go.

    Args:
        job: the job, which has tools.
        environ: usually `os.environ`; keys that are in it must have been hidden (`redaction.hide`).

    Raises:
        JobError: the job asks for what no tool gets; the error names all of it.
    """
    spec = job.tools or ToolSpec()
    keys = key_names(job.provider) | {job.model.api_key_env or ""}
    faults = [
        f"tools.environment: {name} holds a key of a provider, which no tool gets: take it out"
        for name in spec.environment
        if holds_key(environ, name, keys)
    ]
    faults += _folder_faults(job, spec)
    if faults:
        raise JobError(faults, where=str(job.folder / "job.toml"))
    return Confinement(
        folder=job.folder,
        environment=visible(environ, spec.environment, keys=keys),
        timeout_s=spec.timeout_s,
        memory=spec.memory,
    )


def prepare(job: Job, tools: ToolSet, environ: Mapping[str, str], faults: list[str]) -> Confinement | None:
    """Confine the tools of a job and load them in a worker process once.

    What works here may not work there: a variable that is missing, too little memory. It is found before the first
    request, not in each row.

    Args:
        job: the job.
        tools: its tools, as they were loaded here.
        environ: usually `os.environ`.
        faults: gets what is wrong.
    """
    if not len(tools):
        return None
    try:
        confinement = confine(job, environ)
    except JobError as error:
        faults += error.faults
        return None
    if tools.origin is not None and not all(tool.quick for tool in tools):
        from batch.tools.workers import try_load  # noqa: PLC0415  a run without tools does not pay for it

        fault = try_load(tools.origin, confinement)
        if fault is not None:
            advice = "a tool sees only the variables that tools.environment names, and has tools.memory bytes"
            faults.append(f"tools.module: {fault}; {advice}")
    return confinement


def unset(job: Job, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What to say of variables that the job names for its tools and that are not set."""
    names = job.tools.environment if job.tools is not None else ()
    return tuple(f"tools.environment: {name} is not set, so no tool sees it" for name in names if name not in environ)


def _folder_faults(job: Job, spec: ToolSpec) -> list[str]:
    """What is wrong with the folder in which the model may write."""
    if not spec.shipped:
        return []
    files, out = (path.resolve() for path in (spec.folder, job.output.path))
    if job.folder.resolve().is_relative_to(files):
        return ["tools.folder: the job itself is in it, and the model would write there: give it one of its own"]
    if spec.module is not None and spec.module.resolve().is_relative_to(files):
        return ["tools.folder: the tools file is in it, and the model could write over it: give it one of its own"]
    if _overlap(files, out):
        return [f"tools.folder: it and the output folder {out} overlap: give it one of its own"]
    return []


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
