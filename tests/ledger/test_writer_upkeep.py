"""`batch.ledger.writer` keeps its own house: what was published is pruned, and the log stays small."""

from __future__ import annotations

import random
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio
import pytest

from batch.ledger import index, levels
from batch.ledger.pruning import PRUNE_ROWS, prune_slice
from batch.ledger.reader import LedgerReader
from batch.ledger.schema import connect
from batch.ledger.writer import CHECKPOINT_PAGES, Ledger
from tests.support.ledgers import admitted, count, read

PAGE = 4_096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return admitted(tmp_path / "ledger.db", 2_000)


def send(ledger: Ledger, number: int, work_id: int | None = None, *, turn: int = 0, attempt: int = 0) -> None:
    row = (number if work_id is None else work_id, turn, attempt)
    ledger.sent(number, row, f"pm-{number}", "sync", 1_000 + number)


def test_a_slice_of_pruning_takes_published_rows_and_all_that_is_theirs(path: Path) -> None:
    """And nothing of the others."""
    with closing(connect(path)) as db:
        for work_id in range(10):
            db.execute(
                "INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at) VALUES(?1,?1,0,0,'','',0)",
                (work_id,),
            )
            db.execute("INSERT INTO steps(work, turn, idx, value) VALUES(?,0,-1,x'00')", (work_id,))
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
        with anyio.fail_after(60):
            await ledger.tidied()
            await ledger.tidied()
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
        with LedgerReader(path) as replay, replay.snapshot():
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
    with LedgerReader(path) as replay:
        with replay.snapshot():
            assert replay.next_number("call") == 0
            async with Ledger(path) as ledger:
                send(ledger, 1)
            assert replay.next_number("call") == 0
        assert replay.next_number("call") == 2
    assert anyio.current_time() - begun < 3


@pytest.mark.parametrize("never_idle", [False, True])
async def test_full_levels_of_the_index_are_emptied_beside_other_work_and_all_at_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, never_idle: bool
) -> None:
    """Ids come in while calls are made; how many levels there are is told by nothing but how full the first is."""
    for name, most in (("ENTRIES", (100, 1_000)), ("SEEN", (100, 400))):
        monkeypatch.setattr(levels, name, getattr(levels, name)._replace(most=most))
    monkeypatch.setattr(levels, "_ALL", (levels.ENTRIES, levels.SEEN))
    monkeypatch.setattr(levels, "SLICE_ROWS", 50)
    async with Ledger(path) as ledger:
        for start in range(0, 2_000, 200):
            met = sorted((f"{n * 7_919 % 2_000:04}", 1, None) for n in range(start, start + 200))
            await ledger.execute(partial(index.meet, met=met))
            settled = [index.SettledRow(*row, 0, None) for row in sorted(ids(path, start, 200))]
            await ledger.execute(partial(index.learn_outcomes, settled=settled))
            for number in range(start, start + 200):
                send(ledger, number)
                if never_idle:
                    await ledger.committed()
        if not never_idle:
            with anyio.fail_after(60):
                while max(sizes(path, table)[0] for table in (levels.SEEN, levels.ENTRIES)) > 100:  # noqa: ASYNC110 - it tells nobody
                    await anyio.sleep(0.01)
        assert sizes(path, levels.SEEN)[0] < 500
        assert 0 < sizes(path, levels.SEEN)[1] <= 450
        await ledger.tidied()
        assert sizes(path, levels.ENTRIES) == [0, 0, 2_000]
    assert sum(sizes(path, levels.SEEN)) == count(path, "seen") == 2_000


async def test_at_the_end_the_index_comes_into_one_level_in_few_transactions(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: each waits for the disk, and a run of 200,000 rows has 200 slices to move by then."""
    monkeypatch.setattr(levels, "SLICE_ROWS", 10)
    async with Ledger(path) as ledger:
        settled = [index.SettledRow(*row, 0, None) for row in sorted(ids(path, 0, 1_000))]
        await ledger.execute(partial(index.learn_outcomes, settled=settled))
        before = ledger.commits
        await ledger.tidied()
        assert sizes(path, levels.ENTRIES) == [0, 0, 1_000]
        assert ledger.commits - before <= 25, "of 200 slices, for each row moves twice"


def ids(path: Path, first: int, rows: int) -> list[tuple[str, str, int]]:
    return list(read(path, f"SELECT row_id, variant, work FROM pending ORDER BY work LIMIT {rows} OFFSET {first}"))


def sizes(path: Path, table: levels.Levelled) -> list[int]:
    return [count(path, name) for name in table.tables]
