"""`batch.run.batching`: which runs have stages for batches, though their lane may be another."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batch.core.clock import HandClock
from batch.input.batches import Position
from batch.job.options import RunOptions
from batch.ledger import waves
from batch.ledger.orphans import LOST
from batch.ledger.schema import connect
from batch.ledger.totals import Planned, Totals
from batch.ledger.waves import COLLECTED, CREATED
from batch.limits.limiter import Limiter
from batch.money.prices import Prices
from batch.plan import preflight
from batch.plan.continuation import RunStart
from batch.run.batching import Between, bulk_of
from batch.run.bulk import Bulk
from batch.run.calling import context_of
from batch.submit.books import Books
from batch.submit.call_ids import CallIds
from batch.submit.evidence import Evidence
from tests.ledger.test_waves import WAVE, change
from tests.support.jobtext import SOUND, load

NOTHING: Any = None
START = RunStart("20261121T020000123Z-a1b2", "new", Position(), Planned(), fresh=True)
AWAY = msgspec.structs.replace(WAVE, state=CREATED, batch_id="b")


class Folder:
    """A job's folder with a ledger, in which a run is about to begin."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tickets.jsonl").write_text('{"body": "hello"}\n', encoding="utf-8")
        self.ledger = load(root, SOUND).output.path / "ledger.db"
        self.ledger.parent.mkdir(parents=True)
        with closing(connect(self.ledger)):
            pass

    async def stages(self, text: str = SOUND, options: RunOptions = RunOptions()) -> Bulk | None:
        """What the run has for batches; it ends at once."""
        environ = {"ZHIPUAI_API_KEY": "id123456.secret456789"}
        checked = preflight.check_job(load(self.root, text), environ)
        clock = HandClock()
        evidence = Evidence("http://x", b"", kept=None, keep=lambda _: None)
        context, _ = context_of(
            checked,
            START,
            options,
            books=Books(NOTHING, Prices.load(), Totals(), evidence, NOTHING),
            limiter=Limiter(clock, concurrency=2),
            clock=clock,
            ids=CallIds("a", 0),
        )
        try:
            with ExitStack() as stack:
                beside = Between(NOTHING, NOTHING, context, NOTHING, NOTHING)
                return bulk_of(checked, START, options, stack, beside=beside)
        finally:
            await context.aclose()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


BULK = SOUND.replace('name = "glm-4"', 'name = "glm-4-plus"\nlane = "bulk"')
ELSEWHERE = SOUND.replace('provider = "glm"', 'provider = "vllm"\nbase_url = "http://127.0.0.1:1/v1"')


async def test_a_run_of_another_lane_has_nothing_to_do_with_batches(folder: Folder) -> None:
    assert await folder.stages() is None


@pytest.mark.parametrize("lane", ['"bulk"', '["bulk", "sync"]'])
async def test_a_run_whose_first_lane_is_bulk_makes_batches(folder: Folder, lane: str) -> None:
    """Nothing is decided by time there."""
    made = await folder.stages(BULK.replace('"bulk"', lane))
    assert made is not None
    assert (made.auto, made.decided) == (None, None)


async def test_a_run_of_another_lane_collects_what_is_at_the_provider(folder: Folder) -> None:
    """Not what was collected."""
    change(folder.ledger, waves.build(AWAY, []), waves.advance(AWAY))
    assert await folder.stages() is not None
    change(folder.ledger, waves.advance(msgspec.structs.replace(AWAY, state=COLLECTED)))
    assert await folder.stages() is None


async def test_a_run_after_a_lost_ledger_looks_for_batches_where_there_can_be_some(folder: Folder) -> None:
    """A provider that takes no batch files has none of ours."""
    with closing(connect(folder.ledger)) as db:
        db.execute("INSERT INTO meta(key, value) VALUES(?, 1)", (LOST,))
    assert await folder.stages() is not None
    assert await folder.stages(ELSEWHERE) is None
