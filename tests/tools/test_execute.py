"""Running tools: whatever they do, there is a content for the model and the row goes on."""

import asyncio
import enum
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from batch.core import redaction
from batch.core.records import ToolCall
from batch.tools.content import MAX_CONTENT, ToolResult
from batch.tools.execute import Executor
from batch.tools.registry import ToolSet, tool


class Colour(str, enum.Enum):  # noqa: UP042  the old form is the awkward one
    RED = "red"


@dataclass
class Point:
    x: int


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def executor(*functions: Callable[..., Any], threads: int = 8) -> Executor:
    """An executor over these functions."""
    return Executor(ToolSet.of([tool(function) for function in functions]), threads=threads)


def call(name: str, arguments: str = "") -> ToolCall:
    """A call as a model sends it."""
    return ToolCall("call_1", name, arguments)


def error(result: ToolResult) -> str:
    """The error the model is told of."""
    assert result.failed
    said = json.loads(result.content)
    assert list(said) == ["error"]
    return str(said["error"])


async def returned(value: Any) -> ToolResult:
    """What becomes of a return value, the same from a plain and from an async function."""

    def plain() -> Any:
        """Return it."""
        return value

    async def later() -> Any:
        """Return it."""
        await anyio.lowlevel.checkpoint()
        return value

    one, two = await executor(plain, later).run_calls([call("plain"), call("later")])
    assert one.failed == two.failed
    assert one.content.replace("plain", "later") == two.content
    return one


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("as it is", "as it is"),
        ('{"not": parsed', '{"not": parsed'),
        ("天气\x00 晴", "天气\x00 晴"),
        ("\ud83d half", "\ufffd half"),
        (None, ""),
        ("", ""),
        (0, "0"),
        (True, "true"),
        (53195444847186410, "53195444847186410"),
        (2**64 + 1, "18446744073709551617"),
        (10**4000, "1" + "0" * 4000),
        (0.1, "0.1"),
        ({"b": 1, "a": [2**70, None]}, '{"b":1,"a":[1180591620717411303424,null]}'),
        ([Point(1)], '[{"x":1}]'),
        ((1, 2), "[1,2]"),
        (Decimal("1.10"), '"1.10"'),
        (Colour.RED, "red"),
        ({"北京": "晴"}, '{"北京":"晴"}'),
    ],
)
async def test_a_return_value_becomes_its_text(value: Any, content: str) -> None:
    """Text stays text, nothing is empty, the rest is JSON with exact integers."""
    assert await returned(value) == ToolResult(content, failed=False)


NAN: Any = float("nan")


@pytest.mark.parametrize("value", [NAN, float("inf"), [1, {"a": float("-inf")}], Point(NAN)])
async def test_a_value_that_is_no_number_is_an_error_and_not_null(value: Any) -> None:
    """An encoder that writes null for NaN would tell the model something false."""
    assert "returned NaN or infinity" in error(await returned(value))


@pytest.mark.parametrize("value", [object(), [10**5000], [object()], {(1, 2): 3}, lambda: 1])
async def test_a_value_without_json_form_is_an_error(value: Any) -> None:
    """A file handle or a query object returned by mistake does not end the row."""
    assert "cannot be written as JSON" in error(await returned(value))


async def test_a_value_that_contains_itself_is_an_error() -> None:
    """No recursion without end."""
    loop: list[Any] = []
    loop.append(loop)
    assert "RecursionError" in error(await returned(loop))


@pytest.mark.parametrize("char", ["x", "好", "🙂"])
async def test_a_long_result_is_cut_at_a_whole_character_with_a_mark(char: str) -> None:
    """It would be billed again in every later turn of the row."""
    text = char * (MAX_CONTENT + 1)
    result = await returned(text)
    assert not result.failed
    assert MAX_CONTENT - 4 <= len(result.content.encode()) <= MAX_CONTENT
    assert result.content.startswith(char * 1000)
    assert result.content.endswith(f"\n[cut: too long, {len(text.encode())} bytes]")
    exact = await returned("x" * MAX_CONTENT)
    assert exact.content == "x" * MAX_CONTENT


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (ValueError(), "ValueError"),
        (ValueError("a\x1b[31mred\x00\nline\u0085"), "ValueError: a [31mred  line"),
        (ValueError("\ud800"), "ValueError:"),
        (ValueError("x" * 10_000), "ValueError: " + "x" * 1988 + "…"),
        (SystemExit(1), "SystemExit: 1"),
        (RecursionError("deep"), "RecursionError: deep"),
        (StopIteration(3), "StopIteration: 3"),
        (TimeoutError("mine"), "TimeoutError: mine"),
        (asyncio.CancelledError("mine"), "CancelledError: mine"),
        (Unprintable(), "Unprintable: its message cannot be read"),
        (ExceptionGroup("two", [ValueError("a"), ValueError("b")]), "ExceptionGroup: two (2 sub-exceptions)"),
    ],
)
async def test_what_a_tool_raises_is_told_by_type_and_message(raised: BaseException, says: str) -> None:
    """No traceback, no control characters, no crash, whether the function is plain or async."""

    def plain() -> None:
        """Fail."""
        raise raised

    async def later() -> None:
        """Fail."""
        raise raised

    results = await executor(plain, later).run_calls([call("plain"), call("later")])
    expected = {says, says.replace("StopIteration: 3", "RuntimeError: coroutine raised StopIteration")}
    assert {error(result) for result in results} <= expected


async def test_a_keyboard_interrupt_inside_a_plain_tool_is_its_own_matter() -> None:
    """A thread of ours is not where Ctrl-C arrives."""

    def plain() -> None:
        """Fail."""
        raise KeyboardInterrupt

    assert error(await executor(plain).run_call(call("plain"))) == "KeyboardInterrupt"


async def test_an_unknown_tool_is_answered_with_the_names_there_are() -> None:
    """Models invent functions; told the names, they mend it."""

    def add(a: int) -> int:
        """Add."""
        return a

    def sub(a: int) -> int:
        """Subtract."""
        return a

    assert error(await executor(add, sub).run_call(call("x"))) == "no tool is called 'x'; there are: add, sub"
    assert error(await Executor(ToolSet.empty()).run_call(call("x\x07"))) == "no tool is called 'x '; there are none"


async def test_bad_arguments_are_told_and_the_function_does_not_run() -> None:
    """The content is what the model needs to repair the call."""
    ran = []

    def add(a: int) -> int:
        """Add."""
        ran.append(a)
        return a

    result = await executor(add).run_call(call("add", '{"a": "2"}'))
    assert error(result) == "invalid arguments: parameter 'a': Expected `int`, got `str`"
    assert ran == []


async def test_results_of_parallel_calls_stand_in_the_order_of_the_calls() -> None:
    """The first call ends last here; both really run at the same time."""
    started = threading.Barrier(2, timeout=60)
    second_done = threading.Event()

    def first() -> str:
        """Wait for the other."""
        started.wait()
        second_done.wait(60)
        return "1"

    def second() -> str:
        """End at once."""
        started.wait()
        second_done.set()
        return "2"

    results = await executor(first, second).run_calls([call("first"), call("second")])
    assert [result.content for result in results] == ["1", "2"]
    assert await executor(first).run_calls([]) == []


async def test_no_more_plain_functions_run_at_once_than_there_are_threads() -> None:
    """The bound holds under a burst, and threads are used again: three meet at a time, a fourth never comes."""
    lock = threading.Lock()
    meeting = threading.Barrier(3, timeout=60)
    running, peak, names = 0, 0, set()

    def work() -> None:
        """Count itself."""
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
            names.add(threading.get_ident())
        meeting.wait()
        with lock:
            running -= 1

    results = await executor(work, threads=3).run_calls([call("work")] * 39)
    assert all(result == ToolResult("") for result in results)
    assert peak == 3
    assert len(names) == 3


async def test_a_plain_tool_that_overruns_is_given_up_and_its_place_is_free() -> None:
    """With one thread the next call would wait for ever otherwise."""
    release = threading.Event()

    def hang() -> None:
        """Hang."""
        release.wait(120)

    def fine() -> str:
        """Work."""
        return "fine"

    runner = executor(hang, fine, threads=1)
    try:
        assert error(await runner.run_call(call("hang"), timeout_s=0.02)) == "hang did not finish within 0.0 s"
        assert await runner.run_call(call("fine")) == ToolResult("fine")
    finally:
        release.set()


async def test_too_many_calls_that_never_return_end_in_refusal_until_they_do() -> None:
    """Threads cannot be stopped, so their number is bounded."""
    release, ended = threading.Event(), threading.Semaphore(0)

    def hang() -> str:
        """Hang."""
        release.wait(120)
        ended.release()
        return "done"

    runner = executor(hang, threads=1)
    for _ in range(4):
        assert "did not finish" in error(await runner.run_call(call("hang"), timeout_s=0.3))
    assert "4 earlier calls did not return" in error(await runner.run_call(call("hang")))
    release.set()
    for _ in range(4):
        assert ended.acquire(timeout=60)
    with anyio.fail_after(60):
        while runner._threads.lost:
            await anyio.lowlevel.checkpoint()
    assert await runner.run_call(call("hang")) == ToolResult("done")


async def test_an_async_tool_that_overruns_is_cancelled() -> None:
    """Its own cleaning up runs."""
    cleaned = []

    async def hang() -> None:
        """Hang."""
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append(True)

    assert "did not finish" in error(await executor(hang).run_call(call("hang"), timeout_s=0.5))
    assert cleaned == [True]


@pytest.mark.parametrize("kind", ["plain", "later"])
async def test_cancelling_the_run_goes_through_a_running_tool(kind: str) -> None:
    """A second Ctrl-C is not held up by a tool, nor taken for the tool's own error."""
    release, begun = threading.Event(), anyio.Event()
    loop = asyncio.get_running_loop()

    def plain() -> None:
        """Hang."""
        loop.call_soon_threadsafe(begun.set)
        release.wait(120)

    async def later() -> None:
        """Hang."""
        loop.call_soon_threadsafe(begun.set)
        await anyio.sleep_forever()

    finished = []
    try:
        async with anyio.create_task_group() as group:

            async def run() -> None:
                finished.append(await executor(plain, later).run_call(call(kind)))

            group.start_soon(run)
            with anyio.fail_after(60):
                await begun.wait()
            group.cancel_scope.cancel()
    finally:
        release.set()
    assert finished == []


async def test_a_plain_function_that_hands_back_a_coroutine_is_an_error() -> None:
    """A decorator that hides `async def`; without this the coroutine is never awaited."""

    async def inner() -> int:
        return 1

    def outer() -> Any:
        """Forget to await."""
        return inner()

    assert "returned a coroutine" in error(await executor(outer).run_call(call("outer")))


@pytest.mark.slow
def test_a_tool_that_never_returns_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    """Threads of the usual kind are joined at exit: the finished command would hang."""
    program = tmp_path / "program.py"
    program.write_text(
        "import anyio, threading\n"
        "from batch.core.records import ToolCall\n"
        "from batch.tools.execute import Executor\n"
        "from batch.tools.registry import ToolSet, tool\n"
        "@tool\ndef hang() -> None:\n    threading.Event().wait()\n"
        "async def main():\n"
        "    result = await Executor(ToolSet.of([hang])).run_call(ToolCall('1', 'hang', ''), timeout_s=0.05)\n"
        "    print(result.failed)\n"
        "anyio.run(main)\n"
    )
    root = Path(__file__).parents[2]
    command, environment = [sys.executable, str(program)], {"PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


@pytest.mark.parametrize("form", [str, str.upper, lambda key: "".join(f"\\u{ord(char):04x}" for char in key)])
async def test_a_key_that_a_tool_finds_goes_neither_to_the_model_nor_into_the_journal(
    form: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 18. In a result, in a value, in an error, and across the place where either is cut."""
    monkeypatch.setattr(redaction, "process", redaction.Masker())
    secret = "Zq7kPw3mVx9tRb2c"
    redaction.hide(secret)
    told = form(secret)
    results = [f"env: {told}", {"key": [told], told: 1}, "x" * (MAX_CONTENT - 60) + told * 9]
    faults = [ValueError(told), KeyError({told: 1}), RuntimeError("x" * 1_980 + told)]

    async def give(number: int) -> Any:
        """Give one of them."""
        return results[number]

    def fail(number: int) -> None:
        """Raise one of them."""
        raise faults[number]

    calls = [call(name, f'{{"number": {number}}}') for name in ("give", "fail") for number in range(3)]
    said = [one.content for one in await executor(give, fail).run_calls([*calls, call(f"tool {told}")])]
    assert all(told not in text and told[:8] not in text for text in said[:-1]), said
    assert [redaction.MASK in text for text in said[:-1]] == [True, True, True, True, True, False]
