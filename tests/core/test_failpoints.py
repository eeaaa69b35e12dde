"""`batch.core.failpoints`: a test can kill the process at every durable arrow, and nothing else ever does."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.core import failpoints

PACKAGE = Path(failpoints.__file__).parents[1]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm(None)


def killed(spec: str, passes: int) -> tuple[int, int]:
    """Return code and number of passes survived by a process armed with `spec`."""
    program = (
        "from batch.core import failpoints\n"
        f"for n in range({passes}):\n"
        "    print(n, flush=True)\n"
        "    failpoints.hit('run.closed')\n"
        "    failpoints.hit('tool.ran')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, failpoints.VARIABLE: spec},
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, len(done.stdout.split())


@pytest.mark.slow
def test_a_process_dies_by_sigkill_the_nth_time_it_passes_the_point() -> None:
    """No handler, no `finally`, no flush: what a power cut would leave."""
    assert killed("tool.ran:3", passes=5) == (-signal.SIGKILL, 3)


@pytest.mark.slow
def test_a_point_without_a_number_kills_the_first_time() -> None:
    """`name` alone means `name:1`."""
    assert killed("run.closed", passes=2) == (-signal.SIGKILL, 1)


def test_points_that_are_not_armed_let_everybody_pass() -> None:
    """Nothing is armed in production."""
    failpoints.arm(None)
    for name in failpoints.NAMES:
        failpoints.hit(name)
    failpoints.arm("tool.ran:2")
    failpoints.hit("run.closed")
    failpoints.hit("tool.ran")
    failpoints.arm("")
    failpoints.hit("tool.ran")


def test_a_point_nobody_knows_is_an_error() -> None:
    """Else a kill test with a slip in its name could not fail."""
    with pytest.raises(ValueError, match="tool.run"):
        failpoints.arm("tool.run")


def test_every_named_point_is_passed_somewhere_and_only_named_ones() -> None:
    """The kill test walks through `NAMES`; a point that is nowhere in the code would test nothing."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path.name != "failpoints.py")
    assert set(failpoints.NAMES) == {name for name in failpoints.NAMES if f'"{name}"' in text}
    assert set(re.findall(r'failpoints\.hit\("([^"]+)"\)', text)) <= set(failpoints.NAMES)
    assert len(set(failpoints.NAMES)) == len(failpoints.NAMES)
