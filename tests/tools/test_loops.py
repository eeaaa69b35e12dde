"""Event loops for async tools: what one call does to its loop, its tasks or its time is its own matter."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from batch.core.records import ToolCall
from batch.tools import loops
from batch.tools.execute import Executor, ToolResult
from batch.tools.registry import ToolSet, tool

Deed = Callable[[asyncio.AbstractEventLoop], Awaitable[Any]]


def executor(deed: Deed) -> Executor:
    """With three tools: `fine`, `slow`, which is at work while the others are, and `rough`, which does the deed."""

    async def fine() -> str:
        """Work."""
        await asyncio.sleep(0)
        return "fine"

    async def slow() -> str:
        """Work for a while."""
        await asyncio.sleep(0.2)
        return "slow"

    async def rough() -> str:
        """Do it."""
        return str(await deed(asyncio.get_running_loop()))

    return Executor(ToolSet.of([tool(function) for function in (fine, slow, rough)]))


async def called(runner: Executor, name: str, timeout_s: float = 10.0) -> ToolResult:
    return await runner.run_call(ToolCall("1", name, ""), timeout_s=timeout_s)


async def cancels_all(_: asyncio.AbstractEventLoop) -> Any:
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0)


async def cancels_itself(_: asyncio.AbstractEventLoop) -> Any:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def stops(loop: asyncio.AbstractEventLoop) -> Any:
    loop.stop()
    await asyncio.sleep(0.01)
    return "went on"


async def closes(loop: asyncio.AbstractEventLoop) -> Any:
    loop.close()


async def a_child_exits(_: asyncio.AbstractEventLoop) -> Any:
    async def child() -> None:
        raise SystemExit(3)

    await asyncio.create_task(child())  # noqa: TID251  what a tool's author may write


def raises(error: BaseException) -> Deed:
    async def deed(_: asyncio.AbstractEventLoop) -> Any:
        raise error

    return deed


@pytest.mark.parametrize(
    "deed",
    [
        cancels_all,
        cancels_itself,
        stops,
        closes,
        a_child_exits,
        *map(raises, (SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit(), BaseException())),
    ],
)
async def test_a_rough_tool_is_one_call_and_the_calls_beside_and_after_it_go_on(deed: Deed) -> None:
    """FIELD 26. The run's own loop and tasks are not even in reach."""
    runner = executor(deed)
    before = asyncio.all_tasks()
    results: dict[str, ToolResult] = {}

    async def run(name: str) -> None:
        results[name] = await called(runner, name)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(run, "slow")
            await anyio.sleep(0.02)
            group.start_soon(run, "rough")
    assert results["slow"] == ToolResult("slow")
    assert results["rough"].failed is (deed not in (cancels_all, stops))
    assert await called(runner, "fine") == ToolResult("fine")
    assert asyncio.all_tasks() == before
    assert not any(task.cancelling() for task in before)


async def test_a_loop_that_is_closed_under_its_calls_fails_them_and_the_next_get_another() -> None:
    """FIELD 26. Stopped first, it can be closed."""

    class Closable(asyncio.SelectorEventLoop):
        """Its close comes between two rounds of `run_forever`, as a thread of the tool's may hit it."""

        def run_forever(self) -> None:
            super().run_forever()
            if stopped:
                self.close()

    stopped: list[bool] = []

    async def stop(loop: asyncio.AbstractEventLoop) -> Any:
        stopped.append(True)
        loop.stop()
        await asyncio.sleep(30)

    runner = executor(stop)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", Closable)
        with anyio.fail_after(60):
            said = await called(runner, "rough")
            stopped.clear()
            assert "closed by a tool" in said.content
            assert await called(runner, "fine") == ToolResult("fine")


async def test_a_tool_that_waits_for_ever_is_given_up_even_when_it_will_not_be_cancelled() -> None:
    """FIELD 26. From outside, by the clock of the run's loop."""
    release = threading.Event()

    async def deed(_: asyncio.AbstractEventLoop) -> Any:
        while not release.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue

    runner = executor(deed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loops, "END_S", 0.05)
        patch.setattr(loops, "LOST_MAX", 2)
        with anyio.fail_after(60):
            for _ in range(2):
                assert "did not finish within" in (await called(runner, "rough", 0.5)).content
            assert "earlier calls did not end" in (await called(runner, "rough")).content
            release.set()
            while (await called(runner, "fine")).failed:
                pass


async def test_a_tool_that_blocks_its_loop_holds_up_neither_the_run_nor_the_next_calls() -> None:
    """FIELD 26. The next ones get another loop; too many that block are told of, until they return."""
    release = threading.Event()

    async def deed(_: asyncio.AbstractEventLoop) -> Any:
        release.wait(100)
        return "late"

    runner = executor(deed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loops, "START_S", 0.5)  # a thread that is new may be held up
        patch.setattr(loops, "END_S", 0.01)
        try:
            with anyio.fail_after(60):
                for blocked in range(1, loops.LOOPS_MAX + 1):
                    assert "did not finish within" in (await called(runner, "rough", 0.5)).content
                    if blocked < loops.LOOPS_MAX:
                        assert await called(runner, "fine") == ToolResult("fine")
                assert "block their event loop" in (await called(runner, "fine")).content
                release.set()
                while (await called(runner, "fine")).failed:
                    pass
        finally:
            release.set()


async def test_calls_share_one_loop_and_it_ends_with_the_run() -> None:
    """A client that a tool keeps for all its calls belongs to one loop; no run leaves a thread behind."""
    seen = set()

    async def deed(loop: asyncio.AbstractEventLoop) -> Any:
        seen.add((id(loop), threading.get_ident()))
        await asyncio.sleep(0.01)

    for end in (Executor.close, lambda _: None):
        seen.clear()
        runner = executor(deed)
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(called, runner, "rough")
        assert len(seen) == 1
        [(_, thread)] = seen
        end(runner)
        del runner
        gc.collect()
        with anyio.fail_after(60):
            while any(one.ident == thread for one in threading.enumerate()):
                await anyio.lowlevel.checkpoint()
