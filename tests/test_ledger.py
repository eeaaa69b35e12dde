"""`batch.ledger`: what was acknowledged is durable, in order, whole or not at all; and nobody waits on a broken one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import apsw
import msgspec
import pytest

from batch.errors import OutputError, StorageError
from batch.ledger import CHECKPOINT_PAGES, GROUP_BYTES, GROUP_RECORDS, PRUNE_ROWS, Ledger, prune_slice
from batch.ledgerfile import APPLICATION_ID, SCHEMA_VERSION, connect
from batch.records import Call, Outcome
from batch.replay import Replay
from tests.ledgers import admit, admitted, count, disk, fingerprint, read
from tests.values import call, outcome, unknown

ROOT = Path(__file__).resolve().parents[1]
PAGE = 4_096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return admitted(tmp_path / "ledger.db", 2_000)


def send(ledger: Ledger, number: int, work: int | None = None, *, turn: int = 0, attempt: int = 0) -> None:
    row = (number if work is None else work, turn, attempt)
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
        assert self._free.wait(30)

    def free(self) -> None:
        self._free.set()


# -- durable and in order -----------------------------------------------------------------------------------------------


async def test_what_was_committed_is_seen_by_another_connection(path: Path) -> None:
    """A reader of its own, the moment `committed` has returned, and no timer in between."""
    record = call(1, task_id="t")
    async with Ledger(path) as ledger:
        with anyio.fail_after(10):
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
        with anyio.fail_after(5):
            await ledger.committed()
        assert ledger.commits == 0


async def test_leaving_commits_what_is_queued(path: Path) -> None:
    """A clean stop loses nothing, awaited or not."""
    async with Ledger(path) as ledger:
        for number in range(1_500):
            send(ledger, number)
    assert count(path, "calls") == 1_500


def test_a_commit_that_was_acknowledged_survives_sigkill(path: Path) -> None:
    """The process prints what it was told is durable and dies in the middle of the next."""
    program = (
        "import anyio, pathlib, sys\n"
        "from batch.ledger import Ledger\n"
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
        process.wait(10)
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
        with anyio.fail_after(10):
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
        ledger.sent(1, (1, 0, 0), object(), "sync", 1)  # type: ignore[arg-type]
        with anyio.fail_after(10):
            with pytest.raises(StorageError):
                await ledger.committed()
            with pytest.raises(StorageError):
                await ledger.execute(lambda _: None)
    assert count(path, "calls") == 0


# -- what belongs together ------------------------------------------------------------------------------------------------


async def test_the_end_of_a_call_and_what_follows_from_it_are_one_commit(path: Path) -> None:
    """A kill between them would leave a paid answer without its row; every committed state has both or neither."""
    states: set[tuple[int, int, int, int]] = set()
    stop = threading.Event()

    def watch() -> None:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            while not stop.is_set():
                states.add(
                    next(
                        db.execute(
                            "SELECT (SELECT count(*) FROM calls WHERE record IS NOT NULL), (SELECT count(*) FROM steps), "
                            "(SELECT count(*) FROM held), (SELECT count(*) FROM pending WHERE state=1)"
                        )
                    )
                )

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        async with Ledger(path) as ledger:
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
            send(ledger, number, work=7, attempt=number)
            ledger.accepted(number, f"task-{number}", base_url)
            ledger.closed(number, unknown(number), outcome=(7, outcome()), hold=True)
        await ledger.committed()
        await ledger.execute(lambda db: db.execute("UPDATE pending SET state=2 WHERE work=7"))
        await ledger.pruned()
    assert read(path, "SELECT * FROM held") == [("row-7", "", fingerprint(7), "task-2", "https://b", "pm-2", 2, 1_002)]
    assert count(path, "calls") == 0


async def test_a_call_closed_without_a_record_is_forgotten(path: Path) -> None:
    """An old task id that brought nothing is in the book as `unknown` already."""
    async with Ledger(path) as ledger:
        send(ledger, 1)
        send(ledger, 2)
        ledger.closed(1, None)
        await ledger.committed()
    assert read(path, "SELECT call FROM calls") == [(2,)]


# -- a disk that refuses -----------------------------------------------------------------------------------------------------


async def history(path: Path, acknowledged: list[int], waiters: list[str]) -> None:
    """A hundred records of rows that are sent and settled, in groups of five with five waiters each."""
    async with Ledger(path) as ledger:

        async def wait(group_number: int) -> None:
            try:
                await ledger.committed()
                acknowledged.append(group_number)
                waiters.append("told")
            except StorageError:
                waiters.append("refused")

        for group_number in range(20):
            for number in range(group_number * 5, group_number * 5 + 5):
                send(ledger, number)
                ledger.closed(number, call(number), outcome=(number, outcome(f"answer {number}")))
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(wait, group_number)
            if group_number == 10:
                try:
                    await ledger.execute(lambda db: db.execute("UPDATE pending SET state=2 WHERE work < 20"))
                    await ledger.pruned()
                    waiters.append("told")
                except StorageError as exc:
                    waiters.append("refused")
                    assert exc.exit_code == 5
                    assert str(path) in str(exc)


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
def test_wherever_a_write_is_refused_nothing_acknowledged_is_lost_and_nobody_hangs(
    tmp_path: Path, for_ever: bool
) -> None:
    """Every write and every sync of a run, one after the other; then the disk is mended and the ledger opened again."""
    original = admitted(tmp_path / "original.db", 100)
    path = tmp_path / "ledger.db"
    refused_at, fail_at = [], 0
    while True:
        fail_at += 3 if for_ever else 1
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        shutil.copy(original, path)
        acknowledged: list[int] = []
        waiters: list[str] = []

        async def run(acknowledged: list[int] = acknowledged, waiters: list[str] = waiters) -> None:
            with anyio.fail_after(10):
                await history(path, acknowledged, waiters)

        with disk() as under:
            under.breaks(fail_at, for_ever=for_ever)
            try:
                anyio.run(run)
            except StorageError:
                assert not acknowledged  # refused while it was opened
                waiters.append("refused")

        promised = {n for group in acknowledged for n in range(group * 5, group * 5 + 5)}
        settled = {row[0] for row in read(path, "SELECT work FROM pending WHERE state=1")}
        gone = set(range(20)) - {row[0] for row in read(path, "SELECT work FROM pending")}
        assert promised <= settled | gone | {row[0] for row in read(path, "SELECT work FROM pending WHERE state=2")}
        assert settled | gone >= set(range(max(settled | gone, default=-1) + 1)) - set(range(20))
        assert read(path, "PRAGMA integrity_check") == [("ok",)]
        with closing(connect(path)):
            pass
        if "refused" in waiters:
            refused_at.append(fail_at)
            first = waiters.index("refused")
            assert set(waiters[first:]) == {"refused"}
        if not under.failed:
            break
    assert fail_at > 60
    assert len(refused_at) > (15 if for_ever else 40)


async def test_a_broken_ledger_tells_the_event_loop_once_and_writes_nothing_more(path: Path) -> None:
    """The run is cut at once; what is queued later is refused at once."""
    told: list[int] = []
    with disk() as under:
        async with Ledger(path) as ledger:
            ledger.on_broken(lambda: told.append(threading.get_ident()))
            under.breaks(1, for_ever=False)
            with anyio.fail_after(10):
                for number in range(3):
                    send(ledger, number)
                    with pytest.raises(StorageError, match="Free space or mend the disk"):
                        await ledger.committed()
                with pytest.raises(StorageError):
                    await ledger.execute(lambda _: pytest.fail("written after all"))
                await anyio.wait_all_tasks_blocked()
            assert isinstance(ledger.broken, StorageError)
            assert isinstance(ledger.broken.__cause__, apsw.Error)
    assert told == [threading.get_ident()]
    assert count(path, "calls") == 0


async def test_a_disk_too_full_to_fold_the_log_in_does_not_spoil_the_end(path: Path) -> None:
    """All is durable in the log; the next opening reads it as it is."""
    with disk() as under:
        async with Ledger(path) as ledger:
            send(ledger, 1)
            await ledger.committed()
            under.breaks(1, for_ever=True)
        assert under.failed > 0
    assert count(path, "calls") == 1


# -- housekeeping -------------------------------------------------------------------------------------------------------------


def test_a_slice_of_pruning_takes_published_rows_and_all_that_is_theirs(path: Path) -> None:
    """And nothing of the others."""
    with closing(connect(path)) as db:
        for work in range(10):
            db.execute(
                "INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at) VALUES(?1,?1,0,0,'','',0)",
                (work,),
            )
            db.execute("INSERT INTO steps(work, turn, idx, value) VALUES(?,0,-1,x'00')", (work,))
        db.execute("UPDATE pending SET state=2 WHERE work < 5 OR work >= 10")
        slices = 0
        while prune_slice(db):
            slices += 1
        assert slices == -(-1_995 // PRUNE_ROWS)
        for table in ("pending", "calls", "steps"):
            assert list(db.execute(f"SELECT work FROM {table} ORDER BY work")) == [(n,) for n in range(5, 10)]
        assert not prune_slice(db)


async def test_what_a_killed_run_left_published_is_pruned_without_being_asked(path: Path) -> None:
    """In slices between commits, while rows go on."""
    with closing(connect(path)) as db:
        db.execute("UPDATE pending SET state=2 WHERE work >= 100")
    async with Ledger(path) as ledger:
        for number in range(100):
            send(ledger, number)
            await ledger.committed()
        with anyio.fail_after(10):
            await ledger.pruned()
            await ledger.pruned()
    assert count(path, "pending") == 100


async def test_the_log_stays_small_however_much_is_written(path: Path) -> None:
    """50 MB in a stream that never pauses; the log is folded in as it goes."""
    log = Path(f"{path}-wal")
    largest, chance = 0, random.Random(1)
    async with Ledger(path) as ledger:
        for turn in range(400):
            for idx in range(4):
                ledger.step(turn % 500, turn, idx, chance.randbytes(32 * 1_024))
            await ledger.committed()
            largest = max(largest, log.stat().st_size)
    assert CHECKPOINT_PAGES * PAGE < largest < 80e6
    assert not log.exists() or log.stat().st_size == 0
    assert count(path, "steps") == 1_600


async def test_a_reader_that_holds_on_does_not_stop_the_writer(path: Path) -> None:
    """The log grows as long as somebody reads an old moment; nothing breaks, and later it is folded in."""
    async with Ledger(path) as ledger:
        with Replay(path) as replay, replay.snapshot():
            assert replay.next_number("call") == 0
            for number in range(300):
                send(ledger, number)
                ledger.step(number, 0, 0, bytes(64 * 1_024))
                await ledger.committed()
            assert replay.next_number("call") == 0
        assert ledger.broken is None
    assert count(path, "calls") == 300


async def test_a_reader_that_holds_on_does_not_hold_up_the_end(path: Path) -> None:
    """Somebody looks into the ledger with a tool of his own and forgets it open."""
    begun = anyio.current_time()
    with Replay(path) as replay:
        with replay.snapshot():
            assert replay.next_number("call") == 0
            async with Ledger(path) as ledger:
                send(ledger, 1)
            assert replay.next_number("call") == 0
        assert replay.next_number("call") == 2
    assert anyio.current_time() - begun < 3


# -- opening --------------------------------------------------------------------------------------------------------------------


def test_a_new_ledger_is_durable_before_anything_else(tmp_path: Path) -> None:
    """WAL, synchronous=FULL, our application id, so that `file` knows whose database it is."""
    path = tmp_path / "ledger.db"
    with closing(connect(path)) as db:
        assert db.pragma("journal_mode") == "wal"
        assert db.pragma("synchronous") == 2
        assert db.pragma("application_id") == APPLICATION_ID
        assert db.pragma("user_version") == SCHEMA_VERSION
        admit(db, 3)
    with closing(connect(path)) as db:
        assert next(db.execute("SELECT count(*) FROM pending")) == (3,)


def foreign(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as db:
        db.execute("CREATE TABLE mine(x)")


def newer(path: Path) -> None:
    with closing(connect(path)) as db:
        db.pragma("user_version", SCHEMA_VERSION + 1)


def noise(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(10_000))


def folder(path: Path) -> None:
    path.mkdir()


def cut(path: Path) -> None:
    admitted(path, 2_000)
    with path.open("r+b") as file:
        file.truncate(5_000)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (foreign, OutputError, "not a ledger of promptmill"),
        (newer, OutputError, "newer promptmill"),
        (noise, StorageError, "cannot be opened"),
        (folder, StorageError, "cannot be opened"),
        (cut, StorageError, "cannot be opened"),
    ],
)
def test_a_file_that_is_no_ledger_of_ours_is_refused_untouched(
    tmp_path: Path, make: Callable[[Path], None], error: type[Exception], text: str
) -> None:
    """Another program's database must not get our tables; a newer one's must not be written by us."""
    path = tmp_path / "ledger.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(error, match=text) as caught:
        connect(path)
    assert str(path) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    """What a kill in the first moment of the first run leaves."""
    path = tmp_path / "ledger.db"
    path.touch()
    with closing(connect(path)) as db:
        admit(db, 1)
    assert count(path, "pending") == 1


def test_a_ledger_on_a_full_disk_is_not_half_made(tmp_path: Path) -> None:
    """Wherever the disk refuses, the next opening makes it whole."""
    for fail_at in range(1, 100):
        path = tmp_path / f"{fail_at}.db"
        with disk() as under:
            under.breaks(fail_at, for_ever=True)
            try:
                db = connect(path)
                under.mended()
                db.close()
            except StorageError as exc:
                assert exc.exit_code == 5
        with closing(connect(path)) as db:
            admit(db, 1)
        if not under.failed:
            return
    pytest.fail("opening a ledger takes a hundred writes")
