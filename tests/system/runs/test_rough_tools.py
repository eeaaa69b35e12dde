"""Async tools that do to their event loop, and to all tasks in it, what they should not: one failed call each."""

from __future__ import annotations

import json

import pytest

from tests.system.runs.conftest import Mill

TOOLS = '''
import asyncio
import time

from batch import tool


async def child():
    raise SystemExit(3)


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    loop = asyncio.get_running_loop()
    if a == 0:
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)
    elif a == 1:
        loop.stop()
        await asyncio.sleep(0)
    elif a == 2:
        loop.close()
    elif a == 3:
        loop.stop()
        loop.call_soon(loop.close)
        await asyncio.sleep(0)
    elif a == 4:
        raise SystemExit(3)
    elif a == 5:
        raise KeyboardInterrupt
    elif a == 6:
        raise asyncio.CancelledError
    elif a == 7:
        raise GeneratorExit
    elif a == 8:
        asyncio.current_task().cancel()
        await asyncio.sleep(0)
    elif a == 9:
        await asyncio.create_task(child())
    elif a == 10:
        raise BaseExceptionGroup("all", [KeyboardInterrupt(), SystemExit(1)])
    elif a == 11:
        loop.call_soon(loop.stop)
        loop.set_exception_handler(None)
        loop.default_exception_handler = None
    await asyncio.sleep(0.001)
    return a + b
'''


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_what_an_async_tool_does_to_its_event_loop_ends_no_run(lane: str, mill: Mill) -> None:
    """FIELD 26. Cancelling all tasks, stopping and closing the loop, leaving by SystemExit: its own call's matter."""
    mill.lane = lane
    mill.tools = TOOLS
    mill.limits = {"concurrency": 4}
    mill.write([{"n": n, "question": f"What is {n} plus 1?"} for n in range(14)])
    report = mill.run()
    assert report.exit_code == 0, report
    mill.check_table(14)
    mill.check_books()
    contents = [json.loads(messages)[1]["content"] for messages in mill.one("messages")]
    assert contents[12:] == ["13", "14"], "a call that did nothing of the kind"
    for n, content in enumerate(contents[:12]):
        assert content == str(n + 1) or content.startswith('{"error":'), (n, content)
    failed = {n for n, content in enumerate(contents) if content.startswith('{"error":')}
    assert failed >= {2, 4, 5, 6, 7, 8, 9, 10}
