"""`batch.core.process`: streams that are missing, and what a signal does from the first moment to the last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batch.core import process

ROOT = Path(__file__).resolve().parents[2]


def python(program: str, *words: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """A program in an interpreter of its own, started by a shell."""
    line = f'{before} exec "$0" -c "$1" {" ".join(words)}'
    command = ["sh", "-c", line, sys.executable, program]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)


STREAMS = """
import os, sys
from batch.core import process
process.open_streams()
mine = [os.open(os.devnull, os.O_RDONLY), *os.pipe()]
assert min(mine) > 2, mine
print("out", flush=True)
print("err", file=sys.stderr, flush=True)
assert sys.stdin.read() == ""
os.write(int(sys.argv[1]), b"done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_opened_on_nothing(closed: str, tmp_path: Path) -> None:
    """FIELD 42. The next file that is opened takes none of the three numbers; what is still open says what it said."""
    told = tmp_path / "told"
    done = python(STREAMS, "9", f"9>{told}", "</dev/null" if "<" not in closed else "", closed)
    assert (done.returncode, told.read_text()) == (0, "done"), done.stderr
    assert done.stdout == ("" if ">&-" in closed.split() else "out\n")
    assert done.stderr == ("" if "2>&-" in closed else "err\n")


SIGNALS = """
import os, signal, sys
from batch.core import process
number = int(sys.argv[1])
process.take_signals()
if sys.argv[2] == "loading":
    os.kill(os.getpid(), number)
process.loaded()
try:
    os.kill(os.getpid(), number)
    print("ignored")
except KeyboardInterrupt:
    print("interrupted")
with process.heard_by(lambda: print("heard")):
    os.kill(os.getpid(), number)
process.ends_with(3)
os.kill(os.getpid(), number)
print("spared", flush=True)
os.kill(os.getpid(), number)
print("over", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", process.SIGNALS)
def test_a_signal_means_what_the_process_is_doing(number: signal.Signals) -> None:
    """FIELD 43. While it loads: exit 4; at work: what the work says; once the code is known: that code, whenever it comes."""
    done = python(SIGNALS, str(int(number)), "loading")
    assert (done.returncode, done.stdout, done.stderr) == (4, "", "promptmill: interrupted.\n")
    done = python(SIGNALS, str(int(number)), "later")
    assert (done.returncode, done.stdout, done.stderr) == (3, "interrupted\nheard\nspared\n", "")
    name = number.name.removeprefix("SIG")
    done = python(SIGNALS, str(int(number)), "loading", before=f"trap '' {name};")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ignored\nspared\nover\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("number", process.SIGNALS)
def test_a_process_that_a_tool_forked_can_be_ended(number: signal.Signals) -> None:
    """FIELD 43. `multiprocessing.Process.terminate()` in a tool: the child has our handler, and is not us."""
    program = (
        "import os, signal, sys, time\nfrom batch.core import process\nprocess.take_signals()\nprocess.loaded()\n"
        "with process.heard_by(lambda: print('heard')):\n"
        "    ready, tell = os.pipe()\n    child = os.fork()\n"
        "    if not child: os.write(tell, b'.'); time.sleep(60)\n"
        "    os.read(ready, 1)\n    os.kill(child, int(sys.argv[1]))\n    print(-os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert python(program, str(int(number))).stdout == f"{int(number)}\n"


@pytest.mark.slow
def test_quit_stays_what_the_system_makes_of_it() -> None:
    """FIELD 43. SIGQUIT is for a process that does not listen any more."""
    program = f"import os, signal\nfrom batch.core import process\nprocess.take_signals()\nos.kill(os.getpid(), {int(signal.SIGQUIT)})"
    assert python(program, before="ulimit -c 0;").returncode == -signal.SIGQUIT


@pytest.mark.slow
def test_threads_share_two_pools_of_memory() -> None:
    """Where the C library has pools for threads at all; it tells of them itself."""
    program = (
        "import ctypes, sys, threading\nfrom batch.core import process\n"
        "if sys.argv[1] == 'shared': process.share_memory()\n"
        "told = getattr(ctypes.CDLL(None), 'malloc_stats', None)\nif told is None: sys.exit(9)\n"
        "meet = threading.Barrier(9)\n"
        "def work():\n    kept = [bytes(2_000) for _ in range(2_000)]\n    meet.wait()\n    meet.wait()\n"
        "threads = [threading.Thread(target=work) for _ in range(8)]\n"
        "for one in threads: one.start()\n"
        "meet.wait()\ntold()\nmeet.wait()\n"
        "for one in threads: one.join()\n"
    )
    alone, shared = python(program, "alone"), python(program, "shared")
    if alone.returncode == 9:
        pytest.skip("this C library tells nothing of its pools")
    assert (alone.returncode, shared.returncode) == (0, 0)
    assert shared.stderr.count("Arena ") <= 2 < alone.stderr.count("Arena ")


def test_a_listener_leaves_the_handlers_of_its_host_as_they_were() -> None:
    """FIELD 43. From Python, promptmill is a guest in somebody else's process, and ends nothing but its run."""
    before = [signal.getsignal(number) for number in process.SIGNALS]
    heard = []
    with process.heard_by(lambda: heard.append(1)):
        for number in process.SIGNALS:
            os.kill(os.getpid(), number)
        while len(heard) < 3:
            pass  # Python hears a signal some instructions after it came
    process.ends_with(0)
    assert [signal.getsignal(number) for number in process.SIGNALS] == before
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
