"""`batch.ledger.writer` over a disk that refuses: nothing acknowledged is lost, and nobody waits for ever."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import anyio
import apsw
import pytest

from batch.core.errors import StorageError
from batch.ledger.schema import connect
from batch.ledger.wal import why_not_trusted
from batch.ledger.writer import Ledger
from tests.support.ledgers import admitted, count, disk, read, without_sums
from tests.support.values import call, outcome
from tests.system.faults.disk import Disk, Fault, How, under


@pytest.fixture(autouse=True)
def pages_without_sums() -> Iterator[None]:
    """A disk in Python cannot write them."""
    with without_sums():
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return admitted(tmp_path / "ledger.db", 2_000)


def send(ledger: Ledger, number: int, work_id: int | None = None, *, turn: int = 0, attempt: int = 0) -> None:
    row = (number if work_id is None else work_id, turn, attempt)
    ledger.sent(number, row, f"pm-{number}", "sync", 1_000 + number)


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
                    await ledger.tidied()
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
            with anyio.fail_after(60):
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


@pytest.mark.parametrize("how", ["cut", "torn_cut"])
def test_what_was_acknowledged_survives_a_power_cut_at_any_write_or_sync(tmp_path: Path, how: How) -> None:
    """Only what was synced is there afterwards, or some of the rest in any order, torn at 512 bytes."""
    out = tmp_path / "out"
    original = admitted(tmp_path / "original.db", 100)
    lost_power = told = 0
    for kind in ("ledger.write", "ledger.sync", "ledger.truncate", "ledger.delete"):
        at = 0
        while True:
            # Every third write: a commit of five rows makes about ten.
            at += 3 if kind == "ledger.write" else 1
            for left in (out, Path(f"{out}.survived")):
                shutil.rmtree(left, ignore_errors=True)
            out.mkdir()
            shutil.copy(original, out / "ledger.db")
            acknowledged: list[int] = []

            async def run(acknowledged: list[int] = acknowledged) -> None:
                with anyio.fail_after(60), suppress(StorageError):
                    await history(out / "ledger.db", acknowledged, [])

            with under(Disk(out, Fault(kind, at, how))) as below:
                try:
                    anyio.run(run)
                except StorageError:
                    assert not acknowledged  # refused while it was opened
            if not below.is_cut:
                break
            survived = Path(f"{out}.survived") / "ledger.db"
            with closing(connect(survived)):
                pass
            assert read(survived, "PRAGMA integrity_check") == [("ok",)]
            promised = {n for group in acknowledged for n in range(group * 5, group * 5 + 5)}
            waiting = {row[0] for row in read(survived, "SELECT work FROM pending WHERE state=0")}
            assert not promised & waiting, f"{kind} {at}: acknowledged, and lost"
            assert count(survived, "calls") <= 5 * (len(acknowledged) // 5 + 1)
            lost_power += 1
            told += len(acknowledged)
    assert lost_power > 50
    assert told > 500


def test_a_ledger_that_does_not_sync_is_found_out(tmp_path: Path) -> None:
    """The cut has teeth: with synchronous=OFF it loses what was acknowledged."""
    out = tmp_path / "out"
    out.mkdir()
    admitted(out / "ledger.db", 100)
    acknowledged: list[int] = []

    async def run() -> None:
        async with Ledger(out / "ledger.db") as ledger:
            ledger._db.pragma("synchronous", "off")
            for number in range(30):
                send(ledger, number)
                with suppress(StorageError):
                    await ledger.committed()
                    acknowledged.append(number)

    with under(Disk(out, Fault("ledger.write", 60, "cut"))) as below:
        anyio.run(run)
    assert below.is_cut
    assert len(acknowledged) > 5
    assert count(Path(f"{out}.survived") / "ledger.db", "calls") == 0


async def test_a_broken_ledger_tells_the_event_loop_once_and_writes_nothing_more(path: Path) -> None:
    """The run is cut at once; what is queued later is refused at once."""
    told: list[int] = []
    with disk() as under:
        async with Ledger(path) as ledger:
            ledger.on_broken(lambda: told.append(threading.get_ident()))
            under.breaks(1, for_ever=False)
            with anyio.fail_after(60):
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


@pytest.mark.parametrize("how", ["once", "for_ever"])
def test_a_disk_that_takes_half_a_write_leaves_nothing_that_looks_like_damage(tmp_path: Path, how: How) -> None:
    """FIELD 1. The first write of a log begun anew was torn, and the folder was refused although nothing was lost."""
    out = tmp_path / "out"
    original = admitted(tmp_path / "original.db", 100)

    async def closed_cleanly() -> None:
        async with Ledger(original):
            pass

    anyio.run(closed_cleanly)  # its log begins anew
    for at in (*range(1, 20), *range(20, 200, 3)):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        shutil.copy(original, out / "ledger.db")

        async def run() -> None:
            with anyio.fail_after(60), suppress(StorageError):
                await history(out / "ledger.db", [], [])

        with (
            under(Disk(out, Fault("ledger.write", at, how, errno.ENOSPC, short=True))) as below,
            suppress(StorageError),
        ):
            anyio.run(run)
        assert why_not_trusted(out / "ledger.db") is None, at
        if not below.struck:
            break
    assert at > 30
