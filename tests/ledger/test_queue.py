"""`batch.ledger.queue`: few large commits instead of many small ones, and nobody who waits is forgotten."""

from __future__ import annotations

import threading
from pathlib import Path

import anyio
import apsw
import pytest

from batch.ledger.group import GROUP_RECORDS, Record
from batch.ledger.queue import GroupQueue
from batch.ledger.writer import Ledger
from tests.support.ledgers import admitted, count

RECORD = Record("noted", ("key", "value"), 5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return admitted(tmp_path / "ledger.db", 200)


def send(ledger: Ledger, number: int) -> None:
    ledger.sent(number, (number, 0, 0), f"pm-{number}", "sync", 1_000 + number)


async def held(ledger: Ledger, group: anyio.abc.TaskGroup) -> threading.Event:
    """Keep the writer busy until the event that is given back is set."""
    entered, free = threading.Event(), threading.Event()

    def hold(_: apsw.Connection) -> None:
        entered.set()
        assert free.wait(120)

    group.start_soon(ledger.execute, hold)
    await anyio.to_thread.run_sync(entered.wait)
    return free


async def test_rows_that_go_on_in_one_tick_share_a_commit(path: Path) -> None:
    """Forty rows woken together were once seven commits: the first of them did not wait for the others."""
    woken = anyio.Event()

    async def row(ledger: Ledger, number: int) -> None:
        await woken.wait()
        send(ledger, number)
        await ledger.committed()
        assert count(path, "calls") == 40

    async with Ledger(path) as ledger:
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(row, ledger, number)
            await anyio.wait_all_tasks_blocked()
            woken.set()
        assert ledger.commits == 1


async def test_what_comes_while_a_group_is_written_makes_one_group(path: Path) -> None:
    """However many ticks the disk takes."""
    async with Ledger(path) as ledger, anyio.create_task_group() as group:
        free = await held(ledger, group)
        for number in range(50):
            send(ledger, number)
            await anyio.lowlevel.checkpoint()
        free.set()
        await ledger.committed()
        assert ledger.commits == 2
    assert count(path, "calls") == 50


async def test_who_gives_up_waiting_does_not_take_the_others_with_him(path: Path) -> None:
    """A stop cancels one sender; the group is written all the same, and the others are told."""
    told: list[str] = []

    async def wait(ledger: Ledger, name: str, scope: anyio.CancelScope) -> None:
        with scope:
            await ledger.committed()
            told.append(name)

    async with Ledger(path) as ledger, anyio.create_task_group() as group:
        scopes = {name: anyio.CancelScope() for name in ("first", "second", "third")}
        free = await held(ledger, group)
        send(ledger, 1)
        for name, scope in scopes.items():
            group.start_soon(wait, ledger, name, scope)
        await anyio.wait_all_tasks_blocked()
        scopes["second"].cancel()
        free.set()
    assert sorted(told) == ["first", "third"]
    assert count(path, "calls") == 1


async def test_groups_are_handed_over_one_at_a_time_and_in_their_order() -> None:
    """A full group and what follows it are two; the second is not to be had before the first is written."""
    queue = GroupQueue()
    queue.start()
    first = queue.put([RECORD] * GROUP_RECORDS)
    second = queue.put([RECORD])
    assert queue.take(wait=False) is None, "the tick is not over"
    await anyio.lowlevel.checkpoint()
    assert queue.take(wait=False) is first
    assert queue.take(wait=False) is None
    assert queue.put([RECORD]) is second, "it grows meanwhile"
    queue.written()
    assert (first.done, second.done) == (True, False)
    assert queue.take(wait=False) is second
    assert queue.put([RECORD]) not in (first, second), "nothing joins a group that is being written"


async def test_a_queue_is_closed_when_all_of_it_is_written() -> None:
    """Also what is queued by those who were woken by the last group."""
    queue, taken = GroupQueue(), []
    queue.start()

    def write() -> None:
        while (group := queue.take(wait=True)) is not None:
            taken.append(group)
            anyio.from_thread.run_sync(queue.written)

    async def late() -> None:
        await queue.done()
        queue.put([RECORD])

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, write)
        queue.put([RECORD])
        group.start_soon(late)
        await anyio.wait_all_tasks_blocked()
        await queue.close()
    assert len(taken) == 2
    assert all(group.done for group in taken)
