"""What holds for every test: which are fast, and that each takes away what it started."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog
import uvloop

from batch.core import logs
from tests.support import leftovers, signalling

HERE = Path(__file__).parent
SLOW_FOLDERS = ("system",)
SLOW_FIXTURES = {"start", "simulator", "shell", "alone", "certificate"}
"""A simulator's server, the command as a process, and what a program makes."""

MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 2 << 30

if MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
    # Folders of tests in memory: nothing here asks whether a disk keeps what was synced, which a simulated one does
    # (tests/system/faults), but every commit would wait for a real one.
    room = os.statvfs(MEMORY)
    if room.f_bavail * room.f_frsize >= ENOUGH_BYTES and not room.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# What jobs of one user share is not that of whoever runs the tests, and each worker has its own.
os.environ["PROMPTMILL_STATE"] = tempfile.mkdtemp(prefix="promptmill-state-")
os.environ["PROMPTMILL_CONFIG"] = f"{os.environ['PROMPTMILL_STATE']}/no-config"
atexit.register(shutil.rmtree, os.environ["PROMPTMILL_STATE"], ignore_errors=True)

# How long an example takes says how busy the machine is, and nothing about the code.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")
leftovers.watch()
signalling.unshield()
uvloop.new_event_loop().close()  # the first one of a process opens a pipe for all that follow


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow by where it stands and by what it asks for; a module or a test may say so itself."""
    for item in items:
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if folder in SLOW_FOLDERS or SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Half a million objects of modules and tests stay to the end; every later collection leaves them alone."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """At its end the interpreter wants to see them all."""
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A fast test, its fixtures included, starts no process and no server."""
    leftovers.is_fast("slow" not in item.keywords)
    try:
        return (yield)
    finally:
        leftovers.is_fast(False)


@pytest.fixture
def unasked_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log lines as in a program of somebody else's that begins now, whatever an earlier test has set up or told."""
    structlog.reset_defaults()
    monkeypatch.setattr(logs, "_quiet", logs._for_programs())
    of_pytest = [handler for handler in logging.root.handlers if type(handler).__module__.startswith("_pytest")]
    monkeypatch.setattr(logging.root, "handlers", of_pytest)


@pytest.fixture(autouse=True, scope="module")
def _module_leaves_nothing_behind() -> Iterator[None]:
    """A module whose fixtures leave a process, a thread or a file open fails itself, not the next one."""
    leftovers.forget()
    before = leftovers.held()
    yield
    _nothing_left(before, "this module")


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """A test that leaves a process, a thread or a file open fails itself, not its neighbour."""
    before = leftovers.held()
    yield
    _nothing_left(before, "this test")


def _nothing_left(before: leftovers.Held, who: str) -> None:
    if found := leftovers.left(before):
        told = str(found)
        leftovers.end(found)
        pytest.fail(f"{who} left behind: {told}", pytrace=False)
