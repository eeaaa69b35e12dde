"""A run whose lock in the store is taken from it, and machines that want it at the same moment."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from batch.core.clock import HandClock
from batch.core.errors import EXIT_STORAGE, StorageError
from batch.core.places import Place
from batch.input import stores
from batch.job.job import Job
from batch.output import lease
from batch.output.lease import SILENT_S, HeldElsewhere, ObjectLease
from batch.output.objects import Objects
from batch.run.command import Report, run
from tests.support.seaweed import BUCKET, Seaweed
from tests.system.kills.stage import simulator
from tests.system.stores.stage import StoreStage


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("sim"), "[latency]\nchat_ms = [200, 300]\n") as address:
        yield address


@pytest.fixture(autouse=True)
def no_client_of_another_store() -> Iterator[None]:
    stores._system.cache_clear()
    yield
    stores._system.cache_clear()


async def test_a_run_that_was_taken_over_stops_and_says_by_whom(
    tmp_path: Path, url: str, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends nothing more, ends with 5, and leaves the lock to the other one."""
    monkeypatch.setattr(lease, "RENEWED_S", 0.05)
    stage = StoreStage(tmp_path / "job", url, "sync", rows=400, rows_per_part=40, store=seaweed)
    environ = {**stage.environ(), "ZHIPUAI_API_KEY": f"{stage.key_id}.SecretSecret1234"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    reports: list[Report] = []

    async def at_work() -> None:
        reports.append(await run(Job.load(stage.folder), environ=environ))

    name = f"{stage.name}/out/.lock"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(at_work)
        await to_thread.run_sync(first_part, seaweed, stage)
        held = json.loads(await to_thread.run_sync(seaweed.read, name))
        other = held | {"owner": "another", "host": "elsewhere", "process": 7}
        await to_thread.run_sync(seaweed.write, name, json.dumps(other).encode())
    (report,) = reports
    assert report.exit_code == EXIT_STORAGE
    assert isinstance(report.fault, StorageError)
    assert "process 7 on elsewhere has taken over this output" in str(report.fault)
    assert json.loads(seaweed.read(name))["owner"] == "another"
    assert 0 < report.totals.rows < stage.rows


def first_part(store: Seaweed, stage: StoreStage) -> None:
    """Wait until the store has a part of the table."""
    while not store.names(f"{stage.name}/out/results"):
        time.sleep(0.05)


def test_of_many_that_want_a_silent_lock_one_gets_it(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store decides by its conditions, whoever was first."""
    for name, value in seaweed.environ.items():
        monkeypatch.setenv(name, value)
    place, clock = Place("s3", BUCKET, f"race-{uuid.uuid4().hex}"), HandClock()
    objects = [Objects(place, clock) for _ in range(9)]
    ObjectLease(objects[0], lambda: "dead", clock=clock).acquire()
    clock.advance(2 * SILENT_S)
    start, won = threading.Barrier(8), list[str]()

    def want(number: int) -> None:
        wanted = ObjectLease(objects[number], lambda: f"machine {number}", clock=HandClock(1.0, clock.now_us()))
        start.wait()
        try:
            wanted.acquire()
        except HeldElsewhere:
            return
        won.append(f"machine {number}")

    threads = [threading.Thread(target=want, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in objects:
        each.close()
    assert len(won) == 1
    assert json.loads(seaweed.read(f"{place.key}/.lock"))["owner"] == won[0]
