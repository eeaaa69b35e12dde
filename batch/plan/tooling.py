"""The tools of a job before it starts: loaded here, confined, and loaded once in a worker process as a trial.

Owns what a job may not ask for: a key of a provider in the environment of its tools, a folder of files that holds the
job itself or its output. It runs no tool.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from batch.core.errors import JobError
from batch.job.job import Job
from batch.job.toolspec import ToolSpec
from batch.ledger.reader import LedgerReader
from batch.output.folder import OutputFolder
from batch.providers.registry import key_names
from batch.tools.confinement import Confinement, holds_key, visible
from batch.tools.registry import ToolSet

TOOLS: Final = "tools"
"""Key of the ledger's `meta` that holds version and source hash of each tool by name, as JSON."""


def load(job: Job) -> ToolSet:
    """The tools that a job offers: those of its file and the shipped ones it names, as far as it allows them.

    Raises:
        JobError: they cannot be loaded, one of them is refused, or one that is allowed is not there.
    """
    spec = job.tools
    if spec is None:
        return ToolSet.empty()
    try:
        tools = ToolSet.load(spec.module, shipped=spec.shipped, files=spec.folder)
    except JobError as error:
        raise JobError([f"tools.module ({error.where}): {fault}" for fault in error.faults], where=job.where) from error
    if spec.allow is None:
        return tools
    try:
        return tools.only(spec.allow)
    except JobError as error:
        raise JobError([f"tools.{fault}" for fault in error.faults], where=job.where) from error


def changed(tools: ToolSet, folder: OutputFolder) -> Iterator[str]:
    """What to say of tools whose source changed and whose version did not, since the last run in this folder."""
    if not len(tools) or not folder.ledger.exists():
        return
    with LedgerReader(folder.ledger) as reader:
        kept = reader.meta(TOOLS) if reader.made else None
    for name in tools.changed(msgspec.json.decode(kept, type=dict[str, list[str]])) if kept else ():
        yield (
            f"tool {name}: its code changed and its version did not, so rows that were answered with it stay as they "
            "are; if its results are others now, raise @tool(version=…), which asks those rows again"
        )


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
        raise JobError(faults, where=job.where)
    return Confinement(
        folder=job.folder,
        environment=visible(environ, spec.environment, keys=keys),
        timeout_s=spec.timeout_s,
        memory=spec.memory,
    )


def prepare(job: Job, environ: Mapping[str, str], faults: list[str]) -> tuple[ToolSet, Confinement | None]:
    """Load the tools of a job, confine them, and load them in a worker process once.

    What works here may not work there: a variable that is missing, too little memory. It is found before the first
    request, not in each row.

    Args:
        job: the job.
        environ: usually `os.environ`.
        faults: gets what is wrong.

    Returns:
        The tools, and how far they may go; none when something is wrong with them.
    """
    if job.tools is None:
        return ToolSet.empty(), None
    tools = confinement = None
    try:
        tools = load(job)
    except JobError as error:
        faults += error.faults
    try:
        confinement = confine(job, environ)
    except JobError as error:
        faults += error.faults
    if tools is None or confinement is None:
        return ToolSet.empty(), None
    if tools.origin is not None and not all(tool.quick for tool in tools):
        from batch.tools.workers import try_load  # noqa: PLC0415  a run without tools does not pay for it

        fault = try_load(tools.origin, confinement)
        if fault is not None:
            advice = "a tool sees only the variables that tools.environment names, and has tools.memory bytes"
            faults.append(f"tools.module: {fault}; {advice}")
    return tools, confinement


def unshared(job: Job, tools: ToolSet) -> list[str]:
    """What is wrong with rows that share an answer: with it they would not have what its tools did."""
    found = [name for name in tools.names if (tool := tools.get(name)) is not None and tool.effects]
    if not (job.prompt.dedupe and found):
        return []
    text = (
        f"prompt.dedupe: {', '.join(found)} {'have' if len(found) > 1 else 'has'} effects, and a row that shares the "
        "answer of another would go without its own: take dedupe out, or offer no tools with effects (tools.allow)"
    )
    return [text]


def unset(job: Job, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What to say of variables that the job names for its tools and that are not set."""
    names = job.tools.environment if job.tools is not None else ()
    return tuple(f"tools.environment: {name} is not set, so no tool sees it" for name in names if name not in environ)


def _folder_faults(job: Job, spec: ToolSpec) -> list[str]:
    """What is wrong with the folder in which the model may write."""
    if not spec.shipped:
        return []
    files, out = (path.resolve() for path in (spec.folder, OutputFolder(job.output.path).root))
    if job.folder.resolve().is_relative_to(files):
        return ["tools.folder: the job itself is in it, and the model would write there: give it one of its own"]
    if spec.module is not None and spec.module.resolve().is_relative_to(files):
        return ["tools.folder: the tools file is in it, and the model could write over it: give it one of its own"]
    if _overlap(files, out):
        return [f"tools.folder: it and the output folder {out} overlap: give it one of its own"]
    return []


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
