"""Runs that are stopped by a person while the object store does not answer."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batch.core.errors import EXIT_INTERRUPTED
from tests.support.halfway import Halfway, halfway
from tests.support.seaweed import Seaweed
from tests.system.kills.stage import expected_answers, simulator
from tests.system.stores.stage import StoreStage

ROWS = 36


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("sim"), "time_factor = 0.2\n") as address:
        yield address


@pytest.fixture
def way(seaweed: Seaweed) -> Iterator[Halfway]:
    with halfway(seaweed.url) as made:
        yield made


def told(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """Wait until a run with `--log-format json` says this."""
    assert process.stderr is not None
    for line in process.stderr:
        found: dict[str, Any] = json.loads(line)
        if found["event"] == event:
            return found
    raise AssertionError(f"it ended without {event}")


@pytest.mark.parametrize("silent", [True, False])
def test_who_is_waited_for_is_said_and_a_second_signal_ends_it_at_once(
    silent: bool, tmp_path: Path, url: str, seaweed: Seaweed, way: Halfway
) -> None:
    """Ours: signals counted for nothing then. The same command goes on when the store is back; nothing is bought twice.

    The store takes requests and never answers them, or refuses them.
    """
    stage = StoreStage(tmp_path / "job", url, "sync", rows=ROWS, rows_per_part=12, store=seaweed, url_of_store=way.url)
    run = stage.start(None, "--log-format", "json")
    told(run, "part_published")
    if silent:
        way.held.set()
    else:
        way.refuse = 1_000_000
    run.send_signal(signal.SIGINT)
    said = told(run, "store_awaited")
    assert stage.place in said["object"]
    assert "a second Ctrl-C ends this at once" in said["why"]
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=100)  # a request alone would take 120 s
    assert run.returncode == EXIT_INTERRUPTED
    way.held.clear()
    way.released.set()
    way.refuse = 0
    stage.finish()
    stage.fetch()
    stage.verify(expected_answers(tmp_path / "calm", url, "sync", ROWS))
    stage.verify_books()


def test_one_signal_still_waits_for_what_is_published(tmp_path: Path, url: str, seaweed: Seaweed, way: Halfway) -> None:
    """A store that comes back in time gets all that was settled."""
    stage = StoreStage(tmp_path / "job", url, "sync", rows=ROWS, rows_per_part=12, store=seaweed, url_of_store=way.url)
    run = stage.start(None, "--log-format", "json")
    told(run, "part_published")
    way.refuse = 1_000_000
    run.send_signal(signal.SIGINT)
    told(run, "store_awaited")
    way.refuse = 0
    run.communicate(timeout=100)
    assert run.returncode == EXIT_INTERRUPTED
    stage.finish()
    stage.fetch()
    stage.verify_books()
