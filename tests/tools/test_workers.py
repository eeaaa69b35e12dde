"""Worker processes: what a tool does there reaches neither the run nor the next call, and no process is left of it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from batch.core.errors import StorageError
from batch.core.records import ToolCall
from batch.tools import confinement, orphans, serving
from batch.tools.confinement import Confinement
from batch.tools.content import MAX_CONTENT, ToolResult
from batch.tools.execute import Executor
from batch.tools.registry import ToolSet, tool
from batch.tools.worker import Worker
from tests.support.contained import HEAD, ask, contained, pid_of, wait_until_gone

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LONGER = (0.5, 2.0, 8.0, 32.0)
"""Time limits, until a tool on a busy machine has come as far as it has to."""
LIMITED = """
import os, resource, subprocess
from batch.tools import orphans, serving
if os.getuid() == 0:
    try:
        os.setuid(54_321)
    except OSError:
        pass
before, _ = resource.getrlimit(resource.RLIMIT_NPROC)
used = orphans.tasks_of(os.getuid()) if os.getuid() else 0
serving.limit_processes()
subprocess.run(["true"], check=True)
print(before, resource.getrlimit(resource.RLIMIT_NPROC)[0], used)
"""
PID = '''
@tool
def pid() -> int:
    """Its process."""
    return os.getpid()
'''


def error(result: ToolResult) -> str:
    """The error the model is told of."""
    assert result.failed, result
    return str(json.loads(result.content)["error"])


async def pids(executor: Executor) -> int:
    """The process that took a call."""
    return int((await ask(executor, "pid")).content)


# -- what goes there and comes back ---------------------------------------------------------------------------------


async def test_a_call_runs_in_a_process_of_another_session_which_takes_the_next_one_too(tmp_path: Path) -> None:
    """Ctrl-C at the terminal does not reach it, and the time to start it is paid once."""
    with contained(tmp_path, PID) as executor:
        first, second = await pids(executor), await pids(executor)
        assert first == second != os.getpid()
        assert os.getsid(first) == first != os.getsid(0)


async def test_arguments_are_built_in_the_worker_and_integers_stay_exact(tmp_path: Path) -> None:
    """A class of the tools file is that of the worker's own module, and a number of any size arrives as it was sent."""
    source = '''
from dataclasses import dataclass

@dataclass
class Point:
    x: int
    inner: "Point | None" = None

@dataclass
class Place:
    x: int
    name: str

@tool
def show(place: Place, many: list[Place], size: int) -> dict:
    """Show it."""
    return {"is": isinstance(place, Place), "all": all(type(one) is Place for one in many), "x": place.x, "size": size}
'''
    big = 7**200
    text = json.dumps({"place": {"x": big, "name": "北"}, "many": [{"x": 1, "name": "a"}], "size": -big})
    with contained(tmp_path, source) as executor:
        result = await ask(executor, "show", text)
        assert json.loads(result.content) == {"is": True, "all": True, "x": big, "size": -big}
        wrong = error(await ask(executor, "show", text.replace('"size"', '"big"')))
        assert "unknown parameter 'big'" in wrong


async def test_arguments_are_judged_once_and_coerced_before_they_go_there(tmp_path: Path) -> None:
    """A worker builds what was accepted here; a class that refuses its values is told as wrong arguments."""
    source = """
from dataclasses import dataclass
from decimal import Decimal

@dataclass
class Share:
    part: float

    def __post_init__(self):
        if self.part > 1:
            raise ValueError("more than all")

@tool
def show(n: int, x: float, price: Decimal, share: Share) -> str:
    return f"{n!r} {isinstance(x, float)} {x} {price!r} {share.part}"
"""
    text = f'{{"n": "2", "x": {10**20 + 1}, "price": 0.10, "share": {{"part": 0.5}}}}'
    with contained(tmp_path, source) as executor:
        assert "Expected `int`, got `str`" in error(await ask(executor, "show", text))
        coercing = Executor(executor._tools, executor._workers._confinement, coerce=True)  # type: ignore[union-attr]  # it has them
        try:
            told = await ask(coercing, "show", text)
            assert told.content == f"2 True {10**20 + 1} Decimal('0.10') 0.5"
            assert coercing.coerced(ToolCall("1", "show", text)) == ("n",)
            refused = await ask(coercing, "show", text.replace("0.5", "2"))
            assert error(refused) == "invalid arguments: parameter 'share': ValueError: more than all"
        finally:
            coercing.close()


async def test_what_has_to_be_known_before_a_call_is_done_when_its_process_waits_for_it(tmp_path: Path) -> None:
    """Not when its arguments are wrong, not while other calls have the processes; when that fails, nothing is run."""
    source = f"""
{PID}
@tool
def wait(name: str) -> str:
    tell(name + ".began")
    while not os.path.exists(name):
        time.sleep(0.005)
    return name
"""
    begun: list[str] = []

    async def run(name: str, arguments: str) -> ToolResult:
        async def begin() -> None:
            assert not (tmp_path / f"{name}.began").exists()
            begun.append(name)
            if name == "broken":
                raise StorageError("the disk is full")

        return await executor.run_call(ToolCall("1", "wait", arguments), begin=begin)

    with contained(tmp_path, source, workers=1) as executor:
        before = await pids(executor)
        assert "missing parameter" in error(await run("wrong", "{}"))
        assert begun == []
        async with anyio.create_task_group() as group:
            group.start_soon(run, "first", '{"name": "first"}')
            await anyio.to_thread.run_sync(pid_of, tmp_path / "first.began")
            group.start_soon(run, "second", '{"name": "second"}')
            (tmp_path / "second").touch()
            await anyio.wait_all_tasks_blocked()
            assert begun == ["first"], "the only process has a call"
            (tmp_path / "first").touch()
        assert begun == ["first", "second"]
        with pytest.raises(StorageError):
            await run("broken", '{"name": "broken"}')
        assert not (tmp_path / "broken.began").exists()
        assert await pids(executor) == before, "nothing has reached it"


async def test_fifty_calls_at_a_time_share_few_processes_and_come_back_in_their_order(tmp_path: Path) -> None:
    """Never more processes than there may be; each takes one call at a time."""
    source = '''
busy = 0

@tool
def twice(n: int) -> str:
    """Double it."""
    global busy
    busy += 1
    time.sleep(0.001)
    busy -= 1
    return f"{2 * n} {os.getpid()} {busy}"
'''
    with contained(tmp_path, source, workers=3) as executor:
        calls = [ToolCall(str(n), "twice", f'{{"n": {n}}}') for n in range(50)]
        told = [result.content.split() for result in await executor.run_calls(calls)]
    assert [int(double) for double, _, _ in told] == [2 * n for n in range(50)]
    assert 1 <= len({process for _, process, _ in told}) <= 3
    assert {busy for _, _, busy in told} == {"0"}


async def test_async_tools_share_the_one_loop_of_their_worker_until_a_tool_stops_it(tmp_path: Path) -> None:
    """What a client keeps belongs to its loop; a stopped one is left with all that waits in it, and the worker too."""
    source = '''
import asyncio
kept = []

@tool
async def same() -> bool:
    """Compare."""
    await asyncio.sleep(0)
    kept.append(asyncio.get_running_loop())
    return kept[0] is kept[-1]

@tool
async def stop() -> None:
    """Stop it."""
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)

@tool
async def exit_child() -> None:
    """Leave it from a child task."""
    async def leave():
        raise SystemExit(3)
    await asyncio.create_task(leave())
'''
    with contained(tmp_path, source, workers=1) as executor:
        assert [(await ask(executor, "same")).content for _ in range(2)] == ["true", "true"]
        for name in ("stop", "exit_child"):
            assert (await ask(executor, name)).failed
            assert [(await ask(executor, "same")).content for _ in range(2)] == ["true", "true"]


async def test_of_a_result_of_100_megabytes_this_process_sees_only_what_it_keeps(tmp_path: Path) -> None:
    """The worker cuts it."""
    source = '''
@tool
def big() -> str:
    """Return much."""
    return "x" * 100_000_000
'''
    with contained(tmp_path, source) as executor:
        await ask(executor, "big")
        tracemalloc.start()
        try:
            result = await ask(executor, "big")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(result.content) == MAX_CONTENT
    assert result.content.endswith("\n[cut: too long, 100000000 bytes]")
    assert peak < 2_000_000


async def test_arguments_of_many_megabytes_arrive(tmp_path: Path) -> None:
    """More than a socket takes at once."""
    source = '''
@tool
def length(text: str) -> int:
    """Count."""
    return len(text)
'''
    with contained(tmp_path, source) as executor:
        assert (await ask(executor, "length", json.dumps({"text": "x" * 20_000_000}))).content == "20000000"


async def test_a_file_that_is_edited_while_the_run_is_on_changes_no_tool_of_it(tmp_path: Path) -> None:
    """A worker that is started later has what the run began with."""
    source = (
        PID
        + '''
@tool
def die() -> None:
    """Die."""
    os._exit(1)
'''
    )
    with contained(tmp_path, source, workers=1) as executor:
        first = await pids(executor)
        (tmp_path / "tools.py").write_text("no Python", encoding="utf-8")
        await ask(executor, "die")
        assert await pids(executor) != first


# -- what a tool does to its process --------------------------------------------------------------------------------


async def test_a_tool_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    """A child, and an orphan in a session of its own; the next call is answered."""
    source = (
        PID
        + '''
@tool
def hang() -> None:
    """Hang."""
    leave_two("hang")
    tell("hang")
    stay()
'''
    )
    with contained(tmp_path, source) as executor:
        for seconds in LONGER:
            began = time.monotonic()
            assert "hang did not finish within" in error(await ask(executor, "hang", timeout_s=seconds))
            assert time.monotonic() - began >= seconds
            if (tmp_path / "hang").exists():
                break
        wait_until_gone(*(pid_of(tmp_path / name) for name in ("hang", "hang-child", "hang-orphan")))
        assert await pids(executor)


async def test_what_outlives_its_call_is_ended_and_the_worker_with_it(tmp_path: Path) -> None:
    """The result counts; nothing runs on behind it."""
    source = (
        PID
        + '''
@tool
def leave() -> int:
    """Leave two."""
    leave_two("leave")
    return os.getpid()
'''
    )
    with contained(tmp_path, source) as executor:
        result = await ask(executor, "leave")
        assert not result.failed
        wait_until_gone(int(result.content), *(pid_of(tmp_path / name) for name in ("leave-child", "leave-orphan")))
        assert await pids(executor) != int(result.content)


async def test_a_tool_that_returns_twice_because_it_forked_has_one_result(tmp_path: Path) -> None:
    """The copy of the worker does not speak for it."""
    source = '''
@tool
def fork(number: int) -> str:
    """Fork."""
    child = os.fork()
    if child == 0:
        tell(f"copy-{number}")
        if number == 1:
            raise ValueError("the copy")
        return "the copy"
    os.waitpid(child, 0)
    return "the first"
'''
    with contained(tmp_path, source, workers=1) as executor:
        for number in (0, 1, 2):
            assert (await ask(executor, "fork", f'{{"number": {number}}}')).content == "the first"
            wait_until_gone(pid_of(tmp_path / f"copy-{number}"))


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL"),
        ("os.abort()", "was ended by SIGABRT"),
        ("ctypes.string_at(0)", "was ended by SIGSEGV"),
        ("signal.raise_signal(50)", "was ended by signal 50"),
        ("os._exit(7)", "ended by itself with exit code 7"),
        ("os.closerange(0, 1000)", "ended by itself with exit code 3"),
        ("os.closerange(0, 1000); stay()", "closed the connection of its process"),
        ("os.killpg(0, signal.SIGTERM); stay()", "was ended by SIGTERM"),
        ("os.kill(os.getppid(), signal.SIGTERM); os._exit(9)", "exit code 9"),
        ("[os.write(fd, b'\\xff' * 64) for fd in sockets()]; stay()", "wrote into the connection"),
        ("[os.write(fd, b'\\0\\0\\0\\x04junk') for fd in sockets()]; stay()", "wrote into the connection"),
    ],
)
async def test_a_worker_that_dies_is_an_error_that_says_how(
    what: str, says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, unasked_logs: None
) -> None:
    """And the next call has another one."""
    source = f'''
def sockets():
    return [int(name) for name in os.listdir("/proc/self/fd") if "socket:" in read(name)]

def read(name):
    try:
        return os.readlink(f"/proc/self/fd/{{name}}")
    except OSError:
        return ""

@tool
def die() -> None:
    """Die."""
    {what}
{PID}'''
    with contained(tmp_path, source, workers=1) as executor:
        first = await pids(executor)
        told = error(await ask(executor, "die"))
        assert told.startswith("die did not return: ")
        assert says in told
        assert (
            len([line for line in caplog.messages if line.startswith("tool_process_ended") and "tool=die" in line]) == 1
        )
        assert await pids(executor) != first
        wait_until_gone(first)


async def test_a_tool_that_kills_its_keeper_leaves_no_process_either(tmp_path: Path) -> None:
    """They are found by a mark in their environment."""
    source = (
        PID
        + '''
@tool
def orphan_all() -> None:
    """Kill the keeper."""
    leave_two("left")
    os.kill(os.getppid(), signal.SIGKILL)
    stay()
'''
    )
    with contained(tmp_path, source) as executor:
        assert "together with the one that watches over it" in error(await ask(executor, "orphan_all"))
        wait_until_gone(*(pid_of(tmp_path / name) for name in ("left-child", "left-orphan")))
        assert await pids(executor)


async def test_a_tool_that_stops_its_keeper_is_ended_all_the_same(tmp_path: Path) -> None:
    """A stopped keeper ends nothing: it is ended itself, and then the rest."""
    source = (
        PID
        + '''
@tool
def stop() -> None:
    """Stop the keeper."""
    leave_two("stopped")
    os.kill(os.getppid(), signal.SIGSTOP)
    tell("stopper")
    stay()
'''
    )
    with contained(tmp_path, source) as executor:
        for seconds in LONGER:
            assert "did not finish" in error(await ask(executor, "stop", timeout_s=seconds))
            if (tmp_path / "stopper").exists():
                break
        wait_until_gone(*(pid_of(tmp_path / name) for name in ("stopper", "stopped-child", "stopped-orphan")))
        assert await pids(executor)


async def test_a_tool_with_too_many_processes_is_ended_with_all_of_them(tmp_path: Path) -> None:
    """Before its time is up, also those in sessions of their own; so one that forks on and on cannot fill the machine."""
    source = f"""
{PID}
@tool
def crowd(many: int) -> str:
    for number in range(many):
        if os.fork() == 0:
            if number % 2:
                os.setsid()
            stay()
    tell("full")
    stay()

@tool
def few(many: int) -> int:
    running = [subprocess.Popen(["sleep", "0.3"]) for _ in range(many)]
    return sum(process.wait() for process in running)
"""
    with contained(tmp_path, source, workers=1, processes=40) as executor:
        assert (await ask(executor, "few", '{"many": 30}')).content == "0"
        before = await pids(executor)
        mark = executor._workers._all[0]._mark  # type: ignore[union-attr]  # it has them
        began = time.monotonic()
        result = await ask(executor, "crowd", '{"many": 100}')
        assert error(result) == "crowd did not return: it had too many processes, and was ended with all of them"
        assert time.monotonic() - began < confinement.TIMEOUT_S / 2
        assert orphans._marked(f"{orphans.MARK}={mark}".encode()) == []
        assert await pids(executor) != before


def test_where_the_system_counts_them_processes_are_bounded_beside_those_there_are() -> None:
    """For root it does not, and nothing is set; a user who has more than is seen from here may start some all the same."""
    said = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    before, after, used = map(int, said.stdout.split())
    if used == 0:
        assert after == before, "root"
    else:
        assert after == used + serving.MORE_TASKS or after == before < used + serving.MORE_TASKS


async def test_memory_that_is_not_there_is_an_error_and_the_process_is_replaced(tmp_path: Path) -> None:
    """What a tool keeps of it would be missing to the next call."""
    source = (
        PID
        + '''
kept = []

@tool
def eat() -> None:
    """Eat."""
    while True:
        kept.append(bytearray(10_000_000))
'''
    )
    with contained(tmp_path, source, memory=150_000_000, workers=1) as executor:
        first = await pids(executor)
        assert error(await ask(executor, "eat")) == "MemoryError"
        assert await pids(executor) != first


async def test_open_files_are_bounded(tmp_path: Path) -> None:
    """One that leaks them does not take those of the machine."""
    source = '''
@tool
def leak() -> None:
    """Leak."""
    found = []
    while True:
        found.append(open("/dev/null"))
'''
    with contained(tmp_path, source, open_files=50) as executor:
        assert "Too many open files" in error(await ask(executor, "leak"))


async def test_processor_time_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For what computes in many threads; each call has its own allowance."""
    source = (
        PID
        + '''
@tool
def burn(seconds: float) -> str:
    """Burn."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return "burnt"
'''
    )
    monkeypatch.setattr(confinement, "CPU_PER_SECOND", 0)
    with contained(tmp_path, source, workers=1) as executor:
        first = await pids(executor)
        for _ in range(2):
            assert (await ask(executor, "burn", '{"seconds": 0.8}')).content == "burnt"
        assert await pids(executor) == first
        assert "too much processor time" in error(await ask(executor, "burn", '{"seconds": 30}'))


def test_the_processor_time_of_a_call_is_counted_from_what_its_limit_counts() -> None:
    """By ticks of the clock, which on a busy machine run ahead of what `getrusage` says."""
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    usage = resource.getrusage(resource.RUSAGE_SELF)
    assert serving._processor_s() >= usage.ru_utime + usage.ru_stime > 0
    if sys.platform == "linux":
        assert serving._processor_s() >= time.clock_gettime(serving._TICKS_OF_THIS_PROCESS) - 0.05 > 0


async def test_what_belongs_to_the_process_is_put_back_after_a_call(tmp_path: Path) -> None:
    """Working folder, environment and umask: a tool that changes them harms only itself."""
    source = '''
def state():
    return [os.getcwd(), sorted(os.environ.items()), os.umask(0o22), os.getpid()]

@tool
def look() -> list:
    """Look."""
    return state()

@tool
def change() -> list:
    """Change it."""
    os.chdir("/")
    os.environ["NEW"] = "1"
    del os.environ["PATH"]
    os.umask(0o777)
    return state()
'''
    with contained(tmp_path, source, workers=1) as executor:
        before = json.loads((await ask(executor, "look")).content)
        changed = json.loads((await ask(executor, "change")).content)
        after = json.loads((await ask(executor, "look")).content)
    assert before[0] == str(tmp_path)
    assert changed[0] == "/"
    assert ["NEW", "1"] in changed[1]
    assert after == before


@pytest.mark.parametrize("what", ["sys.stdout.close()", "os.close(1)"])
async def test_what_cannot_be_put_back_costs_the_process(what: str, tmp_path: Path) -> None:
    """The next call finds a whole one."""
    source = f'''
@tool
def spoil() -> int:
    """Spoil it."""
    {what}
    return os.getpid()

@tool
def say() -> int:
    """Print and return."""
    print("x", flush=True)
    return os.getpid()
'''
    with contained(tmp_path, source, workers=1) as executor:
        spoilt = await ask(executor, "spoil")
        said = await ask(executor, "say")
    assert not spoilt.failed
    assert not said.failed
    assert said.content != spoilt.content


async def test_what_a_tool_prints_goes_nowhere_and_it_reads_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Stdout is for data; a megabyte of it does not stand in the way of the answer."""
    source = '''
@tool
def talk() -> str:
    """Talk."""
    for stream in (sys.stdout, sys.stderr):
        print("x" * 1_000_000, file=stream, flush=True)
    os.write(1, b"raw")
    os.system("echo shell; echo shell >&2")
    return repr(sys.stdin.read())
'''
    with contained(tmp_path, source) as executor:
        assert (await ask(executor, "talk")).content == "''"
    assert capfd.readouterr() == ("", "")


async def test_a_worker_sees_no_file_that_this_process_has_open(tmp_path: Path) -> None:
    """Not even one that was meant for children."""
    source = '''
@tool
def files() -> list:
    """List them."""
    return sorted(os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd"))
'''
    with (tmp_path / "secret").open("w") as ours, contained(tmp_path, source) as executor:
        os.set_inheritable(ours.fileno(), True)
        found = json.loads((await ask(executor, "files")).content)
    assert not [name for name in found if "secret" in name]
    assert len([name for name in found if "socket:" in name]) == 1


async def test_a_worker_that_dies_between_two_calls_is_replaced(tmp_path: Path) -> None:
    """No row pays for what the one before it left ticking."""
    source = (
        PID
        + '''
@tool
def tick() -> int:
    """Die later."""
    def end():
        while not os.path.exists("now"):
            time.sleep(0.005)
        os._exit(1)
    threading.Thread(target=end, daemon=True).start()
    return os.getpid()
'''
    )
    with contained(tmp_path, source, workers=1) as executor:
        first = int((await ask(executor, "tick")).content)
        (tmp_path / "now").touch()
        keeper = executor._workers._all[0]._process  # type: ignore[union-attr]  # there is one
        await anyio.to_thread.run_sync(keeper.wait)
        assert await pids(executor) != first


# -- what this process does meanwhile -------------------------------------------------------------------------------


async def test_nothing_that_waits_for_a_process_does_so_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting, loading, ending: all in threads, so the run's other calls go on."""
    where: list[int] = []

    def watched(owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def call(*args: Any, **how: Any) -> Any:
            where.append(threading.get_ident())
            return real(*args, **how)

        monkeypatch.setattr(owner, name, call)

    for owner, name in ((subprocess.Popen, "wait"), (Worker, "_spawn"), (Worker, "_greet"), (orphans, "kill_marked")):
        watched(owner, name)
    source = (
        PID
        + '''
@tool
def hang() -> None:
    """Hang."""
    stay()

@tool
def die() -> None:
    """Die."""
    leave_two("die")
    os.kill(os.getppid(), signal.SIGKILL)
    stay()
'''
    )
    with contained(tmp_path, source) as executor:
        await ask(executor, "hang", timeout_s=0.1)
        await ask(executor, "die")
        await pids(executor)
        assert len(where) > 5
        assert threading.get_ident() not in where


async def test_cancelling_the_run_ends_the_call_and_its_process(tmp_path: Path) -> None:
    """The second Ctrl-C is not held up."""
    source = '''
@tool
def hang() -> None:
    """Hang."""
    leave_two("hang")
    stay()
'''
    with contained(tmp_path, source) as executor:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, executor, "hang")
            left = [await anyio.to_thread.run_sync(pid_of, tmp_path / f"hang-{name}") for name in ("child", "orphan")]
            group.cancel_scope.cancel()
        wait_until_gone(*left)


async def test_closing_ends_idle_workers_and_those_at_work(tmp_path: Path) -> None:
    """When the run is over nothing of it is left."""
    source = (
        PID
        + '''
@tool
def hang() -> None:
    """Hang."""
    leave_two("hang")
    stay()
'''
    )
    with contained(tmp_path, source) as executor:
        idle = await pids(executor)
        async with anyio.create_task_group() as group:
            group.start_soon(ask, executor, "hang")
            left = [await anyio.to_thread.run_sync(pid_of, tmp_path / f"hang-{name}") for name in ("child", "orphan")]
            executor.close()
        wait_until_gone(idle, *left)
        assert "the run is over" in error(await ask(executor, "pid"))


def test_when_the_run_is_killed_its_workers_end_with_all_they_started(tmp_path: Path) -> None:
    """Kill -9 leaves no time for anything: they see that nobody holds the other end any more."""
    (tmp_path / "tools.py").write_text(
        HEAD + '@tool\ndef hang() -> None:\n    """Hang."""\n    tell("hang")\n    leave_two("hang")\n    stay()\n'
    )
    program = (
        "import anyio, sys\nfrom pathlib import Path\nfrom batch.core.records import ToolCall\n"
        "from batch.tools.confinement import Confinement\nfrom batch.tools.execute import Executor\n"
        "from batch.tools.registry import ToolSet\nfolder = Path(sys.argv[1])\n"
        "executor = Executor(ToolSet.load(folder / 'tools.py'), Confinement(folder=folder))\n"
        "anyio.run(executor.run_call, ToolCall('1', 'hang', ''))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT) as process:
        left = [pid_of(tmp_path / name) for name in ("hang", "hang-child", "hang-orphan")]
        process.kill()
    wait_until_gone(*left)


# -- where it is not used -------------------------------------------------------------------------------------------


async def test_quick_tools_stay_in_this_process_and_start_none(tmp_path: Path) -> None:
    """Plain and async, beside others that do not."""
    source = (
        PID
        + '''
@tool(quick=True)
def here() -> int:
    """Its process."""
    return os.getpid()

@tool(quick=True)
async def here_too() -> int:
    """Its process."""
    return os.getpid()
'''
    )
    with contained(tmp_path, source) as executor:
        assert [(await ask(executor, name)).content for name in ("here", "here_too")] == [str(os.getpid())] * 2
        assert executor._workers is not None
        assert executor._workers._all == []
        assert await pids(executor) != os.getpid()


async def test_functions_that_were_given_as_such_run_here_which_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, unasked_logs: None
) -> None:
    """A closure of a notebook cannot be imported by another process."""

    @tool
    def inline() -> int:
        """Its process."""
        return os.getpid()

    executor = Executor(ToolSet.of([inline]), Confinement(folder=tmp_path))
    results = [await ask(executor, "inline") for _ in range(2)]
    assert {result.content for result in results} == {str(os.getpid())}
    assert [line.split(" why=")[0] for line in caplog.messages] == ["tools_not_contained tools=['inline']"]


@pytest.mark.parametrize(
    ("source", "limits", "says"),
    [
        ("raise KeyError('DATABASE_URL')", {}, "cannot load the tools: tools.py:"),
        ("if os.getpid() != {pid}: os._exit(4)", {}, "did not load the tools, but its process ended by itself"),
        ("kept = bytearray(200_000_000)", {"memory": 60_000_000}, "MemoryError"),
        ("", {"folder": Path("/nowhere")}, "No such file or directory"),
    ],
)
async def test_tools_that_do_not_load_in_a_worker_are_an_error_that_says_why(
    source: str, limits: dict[str, Any], says: str, tmp_path: Path
) -> None:
    """Nobody waits for a process that never comes up."""
    (tmp_path / "tools.py").write_text(HEAD + PID, encoding="utf-8")
    tools = ToolSet.load(tmp_path / "tools.py")
    assert tools.origin is not None
    text = HEAD + PID + source.replace("{pid}", str(os.getpid())) + "\n"
    tools.origin = type(tools.origin)(tools.origin.path, text.encode())
    executor = Executor(tools, Confinement(**{"folder": tmp_path, **limits}))
    try:
        assert says in error(await ask(executor, "pid"))
    finally:
        executor.close()


async def test_without_an_interpreter_to_start_it_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where Python is part of another program."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with contained(tmp_path, PID) as executor:
        assert "no worker process can be started" in error(await ask(executor, "pid"))


def test_a_run_without_tools_loads_none_of_it() -> None:
    """Nor does `--help`."""
    program = (
        "import sys, batch.run.command, batch.plan.preflight\n"
        "names = ['workers', 'worker', 'serving', 'worker_main', 'orphans', 'shipped', 'folder']\n"
        "print([name for name in names if f'batch.tools.{name}' in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
