"""`promptmill tools`: prints the tool schemas as the model sees them, or runs one call by hand."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from batch.cli import jobs
from batch.cli.text import say, say_json
from batch.core.errors import EXIT_OK, EXIT_ROWS_FAILED, JobError, RefusedToStart
from batch.core.nearest import suggestion
from batch.core.plain import clean

if TYPE_CHECKING:
    from batch.tools.execute import ToolResult
    from batch.tools.registry import ToolSet


def tools(
    job: jobs.JobPath,
    name: Annotated[str | None, Parameter(negative=())] = None,
    arguments: Annotated[str | None, Parameter(negative=(), allow_leading_hyphen=True)] = None,
    /,
    *,
    set_: jobs.Settings = (),
) -> int:
    """The tool schemas the model will see, as JSON; with a name and arguments, the result of one call.

    Args:
        job: job folder, or its job.toml.
        name: a tool to call by hand.
        arguments: its arguments as a JSON object, as a model would send them: '{"a":2,"b":3}'.
        set_: change one key of the job; may be repeated.
    """
    import msgspec

    from batch.providers import registry
    from batch.tools.registry import ToolSet

    loaded = jobs.load(job, settings=set_)
    if loaded.tools is None:
        raise JobError(['tools: this job has none; add [tools] with module = "tools.py"'], where=loaded.where)
    registry.hide_keys(os.environ)  # a tool finds them there, and its result is shown
    toolset = ToolSet.load(loaded.tools.module)
    if loaded.tools.allow is not None:
        toolset = toolset.only(loaded.tools.allow)
    if name is None:
        for warning in toolset.warnings:
            print(f"promptmill: {clean(warning)}", file=sys.stderr, flush=True)
        say_json(msgspec.json.format(msgspec.json.encode(toolset.schemas()), indent=2).decode())
        return EXIT_OK
    _check(toolset, name, arguments)
    result, coerced = _call(toolset, name, arguments or "{}", coerce=loaded.tools.coerce)
    if coerced:
        note = f"accepted because tools.coerce is true, and not of the right type: {', '.join(coerced)}"
        print(f"promptmill: {clean(note)}", file=sys.stderr, flush=True)
    say([clean(result.content, lines=True)])
    return EXIT_ROWS_FAILED if result.failed else EXIT_OK


def _check(toolset: ToolSet, name: str, arguments: str | None) -> None:
    if toolset.get(name) is None:
        hint = suggestion(name, toolset.names, f"There are: {', '.join(toolset.names)}.")
        raise RefusedToStart(f"no tool is called {name!r}. {hint}")
    if arguments is None and (wanted := toolset.schemas()[toolset.names.index(name)]["function"]["parameters"]).get(
        "required"
    ):
        raise RefusedToStart(
            f"{name} needs arguments as a JSON object after its name, with {', '.join(wanted['required'])}: "
            f"'{_example(wanted['required'])}'"
        )


def _example(names: list[str]) -> str:
    return "{" + ", ".join(f'"{name}": …' for name in names) + "}"


def _call(toolset: ToolSet, name: str, arguments: str, *, coerce: bool) -> tuple[ToolResult, tuple[str, ...]]:
    import anyio

    from batch.core.records import ToolCall
    from batch.tools.execute import Executor

    executor = Executor(toolset, threads=1, coerce=coerce)
    call = ToolCall(id="by-hand", name=name, arguments=arguments)
    return anyio.run(executor.run_call, call), executor.coerced(call)
