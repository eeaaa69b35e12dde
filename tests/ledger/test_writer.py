"""`batch.ledger.writer`: what was acknowledged is durable, in order, whole or not at all; and nobody waits on a broken one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import apsw
import msgspec
import pytest

from batch.core.errors import StorageError
from batch.core.records import Call, Outcome
from batch.ledger.group import GROUP_BYTES, GROUP_RECORDS
from batch.ledger.reader import LedgerReader
from batch.ledger.writer import Ledger
from tests.support.ledgers import admitted, count, fingerprint, read
from tests.support.values import call, outcome, unknown

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return admitted(tmp_path / "ledger.db", 2_000)


def send(ledger: Ledger, number: int, work_id: int | None = None, *, turn: int = 0, attempt: int = 0) -> None:
    row = (number if work_id is None else work_id, turn, attempt)
    ledger.sent(number, row, f"pm-{number}", "sync", 1_000 + number)


class Held:
    """Keeps the writer thread busy inside a transaction until `free`, so that groups fill up behind it."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._free = threading.Event()

    async def begin(self, ledger: Ledger, group: anyio.abc.TaskGroup) -> None:
        group.start_soon(ledger.execute, self._wait)
        await anyio.to_thread.run_sync(self._entered.wait)

    def _wait(self, _: apsw.Connection) -> None:
        self._entered.set()
        assert self._free.wait(120)

    def free(self) -> None:
        self._free.set()


# -- durable and in order -----------------------------------------------------------------------------------------------


async def test_what_was_committed_is_seen_by_another_connection(path: Path) -> None:
    """A reader of its own, the moment `committed` has returned, and no timer in between."""
    record = call(1, task_id="t")
    async with Ledger(path) as ledger:
        with anyio.fail_after(60):
            send(ledger, 1, attempt=3)
            await ledger.committed()
            assert read(path, "SELECT call, work, turn, attempt, call_id, lane, sent_at, task, record FROM calls") == [
                (1, 1, 0, 3, "pm-1", "sync", 1_001, None, None)
            ]
            ledger.accepted(1, "task-1", "https://host/v4")
            await ledger.committed()
            assert read(path, "SELECT task, base_url FROM calls") == [("task-1", "https://host/v4")]
            ledger.closed(1, record, reply=(1, 0, b"reply"))
            ledger.step(1, 0, 0, b"result")
            await ledger.committed()
            assert read(path, "SELECT turn, idx, value FROM steps") == [(0, -1, b"reply"), (0, 0, b"result")]
            ledger.settled(1, outcome("yes"))
            await ledger.committed()
    (state, blob), (kept,) = (
        read(path, "SELECT state, outcome FROM pending WHERE work=1")[0],
        read(path, "SELECT record FROM calls")[0],
    )
    assert state == 1
    assert msgspec.msgpack.decode(blob, type=Outcome) == outcome("yes")
    assert msgspec.msgpack.decode(kept, type=Call) == record


async def test_nothing_queued_is_nothing_to_wait_for(path: Path) -> None:
    """`committed` on a new ledger returns at once."""
    async with Ledger(path) as ledger:
        with anyio.fail_after(60):
            await ledger.committed()
        assert ledger.commits == 0


async def test_leaving_commits_what_is_queued(path: Path) -> None:
    """A clean stop loses nothing, awaited or not."""
    async with Ledger(path) as ledger:
        for number in range(1_500):
            send(ledger, number)
    assert count(path, "calls") == 1_500


@pytest.mark.slow
def test_a_commit_that_was_acknowledged_survives_sigkill(path: Path) -> None:
    """The process prints what it was told is durable and dies in the middle of the next."""
    program = (
        "import anyio, pathlib, sys\n"
        "from batch.ledger.writer import Ledger\n"
        "async def main():\n"
        "    async with Ledger(pathlib.Path(sys.argv[1])) as ledger:\n"
        "        for n in range(2000):\n"
        "            ledger.sent(n, (n, 0, 0), f'pm-{n}', 'sync', n)\n"
        "            await ledger.committed()\n"
        "            print(n, flush=True)\n"
        "anyio.run(main)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 100:
                os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
    told = int(line)
    kept = [row[0] for row in read(path, "SELECT call FROM calls ORDER BY call")]
    assert kept == list(range(len(kept)))
    assert len(kept) > told


async def test_groups_are_written_in_the_order_they_were_queued(path: Path) -> None:
    """Every committed state is one that really was: the calls kept are always the first ones."""
    seen: list[tuple[int, int]] = []
    held = Held()

    def look(db: apsw.Connection) -> None:
        counted, highest = next(db.execute("SELECT count(*), coalesce(max(call), -1) FROM calls"))
        seen.append((int(counted), int(highest)))

    async with Ledger(path) as ledger, anyio.create_task_group() as group:
        await held.begin(ledger, group)
        for number in range(5):
            send(ledger, number)
        group.start_soon(ledger.execute, look)
        await anyio.wait_all_tasks_blocked()
        for number in range(5, 5 + GROUP_RECORDS + 10):
            send(ledger, number)
        group.start_soon(ledger.execute, look)
        await anyio.wait_all_tasks_blocked()
        send(ledger, 1_500)
        held.free()
        await ledger.committed()
    assert seen == [(5, 4), (GROUP_RECORDS + 15, GROUP_RECORDS + 14)]
    assert count(path, "calls") == GROUP_RECORDS + 16


async def test_a_slot_given_on_within_one_group_never_shows_two_open_calls(path: Path) -> None:
    """`closed` and the `sent` behind it may share a commit; a state with one call too many is never committed."""
    slots, open_calls, most = 4, 0, 0
    async with Ledger(path) as ledger:
        for number in range(400):
            if number >= slots:
                ledger.closed(number - slots, call(number - slots))
            send(ledger, number)
            if number % 7 == 0:
                await ledger.committed()
                open_calls = read(path, "SELECT count(*) FROM calls WHERE record IS NULL")[0][0]
                most = max(most, open_calls)
    assert most == slots


async def test_a_group_takes_no_more_than_its_share(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 1,024 records or 8 MB a commit, and what belongs together stays together."""
    written: list[tuple[int, int]] = []
    commit = Ledger._commit

    def watched(self: Ledger, group: Any) -> None:
        written.append((sum(map(len, group.rows.values())), group.bytes))
        commit(self, group)

    monkeypatch.setattr(Ledger, "_commit", watched)
    held = Held()
    async with Ledger(path) as ledger, anyio.create_task_group() as group:
        await held.begin(ledger, group)
        for number in range(1_500):
            send(ledger, number)
        for number in range(1_500):
            ledger.closed(number, call(number), reply=(number, 0, b"x" * 20), outcome=(number, outcome()))
        for number in range(20):
            ledger.step(number, 0, 0, b"x" * (1 << 20))
        ledger.step(99, 0, 0, b"x" * (GROUP_BYTES + 1))  # larger than any group: alone
        send(ledger, 1_500)
        held.free()
        await ledger.committed()
    assert written.pop(0) == (0, 0)
    assert max(records for records, _ in written) <= GROUP_RECORDS
    assert sorted(size for _, size in written)[:-1] <= [GROUP_BYTES] * len(written)
    assert [records for records, size in written if size > GROUP_BYTES] == [1]
    assert sum(records for records, _ in written) == 1_500 + 4_500 + 20 + 1 + 1
    assert len(written) < 15
    assert read(path, "SELECT count(*) FROM pending WHERE state=1") == [(1_500,)]


async def test_a_transaction_of_its_own_is_joined_by_nobody(path: Path) -> None:
    """Publication is one transaction: no stray record before it in there, none behind it."""
    held = Held()

    def fail(db: apsw.Connection) -> int:
        return int(next(db.execute("SELECT count(*) FROM calls"))[0])

    async with Ledger(path) as ledger, anyio.create_task_group() as group:
        await held.begin(ledger, group)
        results: list[int] = []

        async def look() -> None:
            results.append(await ledger.execute(fail))

        for number in range(3):
            group.start_soon(look)
            await anyio.wait_all_tasks_blocked()
            send(ledger, number)
        held.free()
        await ledger.committed()
    assert results == [0, 1, 2]
    assert ledger.commits == 7


async def test_a_change_that_fails_is_undone_and_told_to_its_caller_alone(path: Path) -> None:
    """A bug in one change must not leave half of it behind, nor the others waiting for ever."""

    def change(db: apsw.Connection) -> None:
        db.execute("DELETE FROM pending")
        raise LookupError("a bug")

    async with Ledger(path) as ledger:
        with anyio.fail_after(60):
            with pytest.raises(LookupError, match="a bug"):
                await ledger.execute(change)
            send(ledger, 1)
            await ledger.committed()
            assert await ledger.execute(lambda _: "alive") == "alive"
    assert count(path, "pending") == 2_000
    assert count(path, "calls") == 1


async def test_a_record_that_cannot_be_written_breaks_the_ledger_and_hangs_nobody(path: Path) -> None:
    """Not the disk but a bug of ours: everybody is told all the same."""
    async with Ledger(path) as ledger:
        ledger.sent(1, (1, 0, 0), object(), "sync", 1)  # type: ignore[arg-type]  # the bug
        with anyio.fail_after(60):
            with pytest.raises(StorageError):
                await ledger.committed()
            with pytest.raises(StorageError):
                await ledger.execute(lambda _: None)
    assert count(path, "calls") == 0


# -- what belongs together ------------------------------------------------------------------------------------------------


async def test_the_end_of_a_call_and_what_follows_from_it_are_one_commit(path: Path) -> None:
    """A kill between them would leave a paid answer without its row; every committed state has both or neither."""
    states: set[tuple[int, int, int, int]] = set()
    looked, stop = threading.Event(), threading.Event()
    sql = (
        "SELECT (SELECT count(*) FROM calls WHERE record IS NOT NULL), (SELECT count(*) FROM steps), "
        "(SELECT count(*) FROM held), (SELECT count(*) FROM pending WHERE state=1)"
    )

    def watch() -> None:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            last = False
            while not last:
                last = stop.is_set()
                states.add(next(db.execute(sql)))
                looked.set()

    watcher = threading.Thread(target=watch)
    async with Ledger(path) as ledger:
        watcher.start()
        try:
            assert looked.wait(60)
            for number in range(150):
                send(ledger, number)
                ledger.accepted(number, f"task-{number}", "https://host")
                ledger.closed(
                    number,
                    unknown(number),
                    reply=(number, 0, b"r"),
                    outcome=(number, outcome()),
                    hold=True,
                )
                await ledger.committed()
        finally:
            stop.set()
            watcher.join()
    assert all(len(set(state)) == 1 for state in states)
    assert len(states) > 1


async def test_an_id_that_is_held_outlives_its_row(path: Path) -> None:
    """Task, base URL and fingerprint, to be polled first when the row comes again; a newer one replaces it."""
    async with Ledger(path) as ledger:
        for number, base_url in ((1, "https://a"), (2, "https://b")):
            send(ledger, number, work_id=7, attempt=number)
            ledger.accepted(number, f"task-{number}", base_url)
            ledger.closed(number, unknown(number), outcome=(7, outcome()), hold=True)
        await ledger.committed()
        await ledger.execute(lambda db: db.execute("UPDATE pending SET state=2 WHERE work=7"))
        await ledger.tidied()
        assert count(path, "calls") == 2, "no call goes before it is in the book"
        await ledger.execute(lambda db: db.execute("UPDATE calls SET published=1 WHERE work=7"))
        await ledger.tidied()
    assert read(path, "SELECT * FROM held") == [("row-7", "", fingerprint(7), "task-2", "https://b", "pm-2", 2, 1_002)]
    assert count(path, "calls") == 0


async def test_a_row_whose_old_task_was_given_up_is_not_handed_out_a_second_time(path: Path) -> None:
    """An old bug: the feeder, looking between the end of the old call and the new one, sent the row twice."""
    async with Ledger(path) as ledger:
        send(ledger, 1, work_id=1)
        ledger.closed(1, None)
        await ledger.committed()
        with LedgerReader(path) as replay:
            assert 1 not in [row.work_id for row in replay.unsent(-1, 1_000)]
            assert [row.work_id for row in replay.open_rows()] == [1]
    assert read(path, "SELECT late, published FROM calls") == [(2, 0)]
