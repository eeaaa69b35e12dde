"""Running a tool call: its result becomes the content of a tool message, and so does everything that goes wrong.

Owns the limits of a call (time, threads, size of the result) and the texts of errors, which the model reads and can act
on: `{"error": "…"}`. No exception comes out, whatever the model or the tool does. It knows no conversation and no
ledger.

Plain functions run in threads (`threads`), async ones in event loops of their own (`loops`), so what they do to "the"
loop and "all" tasks reaches neither the run nor its other calls. What this cannot do, because tools run in this
process: a function that overruns its time is given up, not stopped; one that ends the process ends the run; memory is
not bounded.
"""

from __future__ import annotations

import functools
import inspect
import math
import unicodedata
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from batch.core.canonical import without_surrogates
from batch.core.clock import describe
from batch.core.errors import BatchError
from batch.core.redaction import masked, redact
from batch.tools.arguments import ArgumentFault, build_arguments, check_arguments
from batch.tools.exact import as_builtin
from batch.tools.loops import LoopClosed, LoopsLost, ToolLoops
from batch.tools.threads import PoolFull, ToolThreads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch.core.records import ToolCall
    from batch.tools.registry import Tool, ToolSet

MAX_CONTENT: Final = 64 * 1024
"""The largest content in bytes of UTF-8; it is billed again in every later turn of the row."""
MAX_ERROR: Final = 2_000
_SHOWN_NAMES: Final = 20
Begin = Callable[[], Awaitable[None]]
_ERROR_BEGINS: Final = '{"error":"'


class ToolResult(msgspec.Struct, frozen=True):
    """What goes back to the model; `failed` means that the content is an error and not a result."""

    content: str
    failed: bool = False


def failed(content: str) -> bool:
    """Whether this content, which the model got from a tool, is an error and no result; one that a tool made counts."""
    if not content.startswith(_ERROR_BEGINS):
        return False
    try:
        return msgspec.json.decode(content, type=dict[str, Any]).keys() == {"error"}
    except msgspec.MsgspecError:
        return False


class ResultFault(BatchError):
    """A tool returned a value that JSON has no form for."""


class Executor:
    """Runs the tool calls of one run.

    Args:
        tools: the tools of the job.
        threads: how many plain functions may run at a time; async functions are not limited.
        coerce: accept arguments of a wrong type that can only mean one thing: "2" for an integer.
    """

    def __init__(self, tools: ToolSet, *, threads: int = 8, coerce: bool = False) -> None:
        self._tools = tools
        self._coerce = coerce
        self._threads: ToolThreads[ToolResult] = ToolThreads(threads)
        self._loops: ToolLoops[ToolResult] = ToolLoops()

    def close(self) -> None:
        """End the event loops of async tools; calls under way are cancelled. Waits for nothing."""
        self._loops.close()

    async def run_call(self, call: ToolCall, *, timeout_s: float = 60.0, begin: Begin | None = None) -> ToolResult:
        """Run one call.

        Args:
            call: name and argument text as the model sent them.
            timeout_s: seconds that the function may run; waiting for a thread does not count.
            begin: awaited when the function is sure to run next: its arguments are right, its place is free. What it
                raises comes out.

        Returns:
            The result as text (a str as it is, None as "", everything else as JSON with exact integers), or an error.
        """
        tool = self._tools.get(call.name)
        if tool is None:
            return _error(_unknown(call.name, self._tools))
        try:
            checked = check_arguments(tool.parameters, call.arguments, coerce=self._coerce)
        except ArgumentFault as fault:
            return _error(f"invalid arguments: {fault}")
        result = await self._run(tool, checked.values, timeout_s, begin)
        return result or _error(f"{tool.name} did not finish within {describe(timeout_s)}")

    def coerced(self, call: ToolCall) -> tuple[str, ...]:
        """Which arguments of this call are accepted only because the job coerces, by place; it runs nothing."""
        tool = self._tools.get(call.name)
        if tool is None or not self._coerce:
            return ()
        try:
            return check_arguments(tool.parameters, call.arguments, coerce=True).coerced
        except ArgumentFault:
            return ()

    async def run_calls(self, calls: Sequence[ToolCall], *, timeout_s: float = 60.0) -> list[ToolResult]:
        """Run the calls of one turn at the same time; return one result for each, in the order of the calls."""
        results: dict[int, ToolResult] = {}

        async def run(index: int, call: ToolCall) -> None:
            results[index] = await self.run_call(call, timeout_s=timeout_s)

        async with anyio.create_task_group() as group:
            for index, call in enumerate(calls):
                group.start_soon(run, index, call)
        return [results[index] for index in range(len(calls))]

    async def _run(
        self, tool: Tool, arguments: dict[str, Any], timeout_s: float, begin: Begin | None
    ) -> ToolResult | None:
        """Run a tool; return its result, or None when its time ran out."""
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
            return _error(str(error))


def _call(tool: Tool, arguments: dict[str, Any]) -> ToolResult:
    """Run a plain function, in a thread of the pool."""
    try:
        returned = tool.function(**build_arguments(tool.parameters, arguments))
        return ToolResult(_cut(render(returned, name=tool.name)))
    except BaseException as error:  # noqa: BLE001  whatever a tool raises belongs to its row; this is no main thread
        return _failed(error)


async def _await(tool: Tool, arguments: dict[str, Any]) -> ToolResult:
    """Run an async function, in a loop of `ToolLoops`."""
    try:
        returned = await tool.function(**build_arguments(tool.parameters, arguments))
        return ToolResult(_cut(render(returned, name=tool.name)))
    except BaseException as error:  # noqa: BLE001  as in `_call`; the loop is the tools' own
        return _failed(error)


def render(result: Any, *, name: str) -> str:
    """The return value of a tool as the text of its message.

    Raises:
        ResultFault: JSON has no form for the value: NaN, infinity, an unknown class, an integer of more than 4,300
            digits.
    """
    if isinstance(result, str):
        # Of an Enum this is its value, of any other subclass of str the bare text.
        text: str = without_surrogates(str.__str__(result))
        return text
    if result is None:
        return ""
    if inspect.iscoroutine(result):
        result.close()
        raise ResultFault(f"{name} returned a coroutine; its outermost function must be an async def")
    try:
        plain = msgspec.to_builtins(result, enc_hook=as_builtin)
        if not _finite(plain):
            raise ResultFault(f"{name} returned NaN or infinity, which is no JSON")
        return msgspec.json.encode(plain).decode()
    except (TypeError, ValueError, RecursionError, NotImplementedError) as error:
        raise ResultFault(f"{name} returned what cannot be written as JSON: {_tell(error)}") from error


def _finite(value: Any) -> bool:
    """Whether there is no NaN and no infinity in a value: msgspec would write them as null without an error."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return all(map(_finite, value)) if isinstance(value, list | tuple) else True


def _error(text: str) -> ToolResult:
    return ToolResult(msgspec.json.encode({"error": _clean(text)}).decode(), failed=True)


def _failed(error: BaseException) -> ToolResult:
    if isinstance(error, ArgumentFault):
        return _error(f"invalid arguments: {error}")
    return _error(str(error) if isinstance(error, ResultFault) else _tell(error))


def _tell(error: BaseException) -> str:
    """An exception as text: its type and message, without a traceback, which would show our files to the model."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001  an exception class may fail at this too
        text = "its message cannot be read"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _unknown(name: str, tools: ToolSet) -> str:
    names = tools.names[:_SHOWN_NAMES]
    there_are = f"there are: {', '.join(names)}" if names else "there are none"
    more = len(tools.names) - len(names)
    return f"no tool is called '{name[:64]}'; {there_are}" + (f" and {more} more" if more else "")


def _clean(text: str) -> str:
    """The text made safe to log and to send: no keys, controls and lone surrogates become spaces, its end is cut."""
    text = redact(text)  # before it is cut: a piece of a key would not be known as one
    shown = text[:MAX_ERROR] + "…" if len(text) > MAX_ERROR else text
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(" " if unicodedata.category(char) in {"Cc", "Cs"} else char for char in shown).strip()


def _cut(content: str) -> str:
    """A result without our keys, which a tool finds in the environment, and not too long."""
    content = masked(content)
    if len(content) * 4 <= MAX_CONTENT:
        return content
    encoded = content.encode()
    if len(encoded) <= MAX_CONTENT:
        return content
    mark = f"\n[cut: too long, {len(encoded)} bytes]"
    return encoded[: MAX_CONTENT - len(mark)].decode("utf-8", "ignore") + mark
