"""Running a tool call: its result becomes the content of a tool message, and so does everything that goes wrong.

Owns where a call runs, its limits, and the texts of errors, which the model reads and can act on: `{"error": "…"}`. No
exception comes out, whatever the model or the tool does. It knows no conversation and no ledger.

A call runs in a worker process (`workers`), which can be ended with all that it started. In this process run only the
functions that are marked `quick`, and those that another process cannot import because they were given as such: plain
ones in threads (`threads`), async ones in event loops of their own (`loops`), so what they do to "the" loop and "all"
tasks reaches neither the run nor its other calls. What this cannot do: there a function that overruns its time is given
up, not stopped; one that ends the process ends the run; memory is not bounded.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from batch.core.clock import describe
from batch.core.logs import logger
from batch.tools.arguments import ArgumentFault, build_arguments, check_arguments
from batch.tools.confinement import TIMEOUT_S, Confinement
from batch.tools.content import ToolResult, error_result, finished, of_error, of_value
from batch.tools.loops import LoopClosed, LoopsLost, ToolLoops
from batch.tools.threads import PoolFull, ToolThreads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch.core.records import ToolCall
    from batch.tools.registry import Tool, ToolSet
    from batch.tools.workers import ToolWorkers

_SHOWN_NAMES: Final = 20
Begin = Callable[[], Awaitable[None]]
_ERROR_BEGINS: Final = '{"error":"'


def failed(content: str) -> bool:
    """Whether this content, which the model got from a tool, is an error and no result; one that a tool made counts."""
    if not content.startswith(_ERROR_BEGINS):
        return False
    try:
        return msgspec.json.decode(content, type=dict[str, Any]).keys() == {"error"}
    except msgspec.MsgspecError:
        return False


class Executor:
    """Runs the tool calls of one run.

    Args:
        tools: the tools of the job.
        confinement: what holds for the worker processes of the job; without it everything runs in this process.
        threads: how many plain functions may run at a time in this process; async functions are not limited.
        coerce: accept arguments of a wrong type that can only mean one thing: "2" for an integer.
    """

    def __init__(
        self, tools: ToolSet, confinement: Confinement | None = None, *, threads: int = 8, coerce: bool = False
    ) -> None:
        self._tools = tools
        self._coerce = coerce
        self._timeout_s = TIMEOUT_S if confinement is None else confinement.timeout_s
        self._workers = _pool(tools, confinement)
        self._threads: ToolThreads[ToolResult] = ToolThreads(threads)
        self._loops: ToolLoops[ToolResult] = ToolLoops()

    def close(self) -> None:
        """End the worker processes with all that they started, and the event loops; calls under way are cancelled.

        Waits for the processes, at most about half a second.
        """
        self._loops.close()
        if self._workers is not None:
            self._workers.close()

    async def run_call(
        self, call: ToolCall, *, timeout_s: float | None = None, begin: Begin | None = None
    ) -> ToolResult:
        """Run one call.

        Args:
            call: name and argument text as the model sent them.
            timeout_s: seconds that the function may run, without it as the job says; waiting for a process or thread
                does not count.
            begin: awaited when the function is sure to run next: its arguments are right, its place is free. What it
                raises comes out.

        Returns:
            The result as text (a str as it is, None as "", everything else as JSON with exact integers), or an error.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        tool = self._tools.get(call.name)
        if tool is None:
            return error_result(_unknown(call.name, self._tools))
        try:
            checked = check_arguments(tool.parameters, call.arguments, coerce=self._coerce)
        except ArgumentFault as fault:
            return error_result(f"invalid arguments: {fault}")
        if self._workers is not None and not tool.quick:
            result = await self._contained(tool, checked.values, timeout_s, begin)
        else:
            result = await self._here(tool, checked.values, timeout_s, begin)
        return result or error_result(f"{tool.name} did not finish within {describe(timeout_s)}")

    def coerced(self, call: ToolCall) -> tuple[str, ...]:
        """Which arguments of this call are accepted only because the job coerces, by place; it runs nothing."""
        tool = self._tools.get(call.name)
        if tool is None or not self._coerce:
            return ()
        try:
            return check_arguments(tool.parameters, call.arguments, coerce=True).coerced
        except ArgumentFault:
            return ()

    async def run_calls(self, calls: Sequence[ToolCall], *, timeout_s: float | None = None) -> list[ToolResult]:
        """Run the calls of one turn at the same time; return one result for each, in the order of the calls."""
        results: dict[int, ToolResult] = {}

        async def run(index: int, call: ToolCall) -> None:
            results[index] = await self.run_call(call, timeout_s=timeout_s)

        async with anyio.create_task_group() as group:
            for index, call in enumerate(calls):
                group.start_soon(run, index, call)
        return [results[index] for index in range(len(calls))]

    async def _contained(
        self, tool: Tool, arguments: dict[str, Any], timeout_s: float, begin: Begin | None
    ) -> ToolResult | None:
        """Run a tool in a worker process, which makes its own objects of the values; None when its time ran out."""
        from batch.tools.worker import WorkerFault, WorkerGone  # noqa: PLC0415  as in `_pool`, where it was imported

        assert self._workers is not None
        sent = msgspec.json.encode(arguments)
        try:
            raw = await self._workers.run(tool.name, sent, timeout_s=timeout_s, begin=begin)
        except (WorkerFault, WorkerGone) as error:  # there is no process, or it is gone
            return error_result(str(error))
        return None if raw is None else finished(raw)

    async def _here(
        self, tool: Tool, arguments: dict[str, Any], timeout_s: float, begin: Begin | None
    ) -> ToolResult | None:
        """Run a tool in this process; None when its time ran out."""
        try:
            if tool.is_async:
                if begin is not None:
                    await begin()
                return await self._loops.run(functools.partial(_await, tool, arguments), timeout_s=timeout_s)
            run = functools.partial(_call, tool, arguments)
            return await self._threads.run(run, timeout_s=timeout_s, begin=begin)
        except (
            PoolFull,
            LoopsLost,
            LoopClosed,
            RuntimeError,
        ) as error:  # RuntimeError: the system gives no more threads
            return error_result(str(error))


def _pool(tools: ToolSet, confinement: Confinement | None) -> ToolWorkers | None:
    """The worker processes; None when everything runs in this process."""
    if confinement is None or all(tool.quick for tool in tools):
        return None
    if tools.origin is None:
        why = "functions that were given as such cannot be imported by a worker process; put them into a tools file"
        logger().warning("tools_not_contained", tools=list(tools.names), why=why)
        return None
    from batch.tools.workers import ToolWorkers  # noqa: PLC0415  a run without tools does not pay for it

    return ToolWorkers(tools.origin, confinement)


def _call(tool: Tool, arguments: dict[str, Any]) -> ToolResult:
    """Run a plain function, in a thread of the pool."""
    try:
        returned = tool.function(**build_arguments(tool.parameters, arguments))
        return finished(of_value(returned, name=tool.name))
    except BaseException as error:  # noqa: BLE001  whatever a tool raises belongs to its row; this is no main thread
        return finished(of_error(error))


async def _await(tool: Tool, arguments: dict[str, Any]) -> ToolResult:
    """Run an async function, in a loop of `ToolLoops`."""
    try:
        returned = await tool.function(**build_arguments(tool.parameters, arguments))
        return finished(of_value(returned, name=tool.name))
    except BaseException as error:  # noqa: BLE001  as in `_call`; the loop is the tools' own
        return finished(of_error(error))


def _unknown(name: str, tools: ToolSet) -> str:
    names = tools.names[:_SHOWN_NAMES]
    there_are = f"there are: {', '.join(names)}" if names else "there are none"
    more = len(tools.names) - len(names)
    return f"no tool is called '{name[:64]}'; {there_are}" + (f" and {more} more" if more else "")
