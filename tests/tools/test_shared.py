"""`batch.tools.shared`: results of pure tools, once for equal calls, in bounded memory."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from batch.core.records import ToolCall
from batch.tools.execute import ToolResult
from batch.tools.registry import Tool
from batch.tools.shared import SharedResults


def pure(version: str = "1") -> Tool:
    return Tool("look", version, len, is_async=False, parameters=(), schema={}, cache=True)


def call(arguments: str) -> ToolCall:
    return ToolCall("c", "look", arguments)


class Runs:
    """Runs that say in which order they came."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> ToolResult:
        self.count += 1
        found = self.count
        await anyio.lowlevel.checkpoint()
        return ToolResult(f"run {found}")


async def test_version_and_arguments_make_a_call_another_and_their_spelling_does_not() -> None:
    """1.0 is 1, and keys have no order."""
    shared, run = SharedResults(), Runs()
    assert (await shared.get(pure(), call('{"a": 1, "b": null}'), run)).content == "run 1"
    assert (await shared.get(pure(), call('{"b":null,"a":1.0}'), run)).content == "run 1"
    assert (await shared.get(pure(), call('{"a": 1}'), run)).content == "run 2"
    assert (await shared.get(pure("2"), call('{"a": 1}'), run)).content == "run 3"


async def test_memory_holds_the_latest_and_the_rest_is_asked_of_the_disk() -> None:
    """A result that fell out of memory is looked up, not run again."""
    kept: dict[str, str] = {}
    shared, run = SharedResults(kept=kept.get, keep=kept.__setitem__, most_bytes=120), Runs()
    for n in (1, 2, 3, 4, 3, 1, 2):
        assert (await shared.get(pure(), call(f'{{"n": {n}}}'), run)).content == f"run {n}"
    assert (run.count, len(kept)) == (4, 4)
    forgets = SharedResults(most_bytes=120)
    for n in (1, 2, 3, 4, 1):
        await forgets.get(pure(), call(f'{{"n": {n}}}'), run)
    assert run.count == 9


async def test_who_waited_for_a_run_that_failed_runs_by_itself_beside_the_others() -> None:
    """One after the other, the last of many would wait for all time limits in a row."""
    shared = SharedResults()
    at_once = most = 0

    async def fails() -> ToolResult:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await anyio.sleep(0.01)
        at_once -= 1
        return ToolResult("no", failed=True)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(shared.get, pure(), call("{}"), fails)
    assert most == 4, "the first alone, then the four that had waited for it"
