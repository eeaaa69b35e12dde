"""`batch.run.calling`: a run makes its exchanges itself, unless it is to have several workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batch.core.clock import HandClock
from batch.input.batches import Position
from batch.job.options import RunOptions
from batch.ledger.totals import Planned, Totals
from batch.limits.limiter import Limiter
from batch.money.prices import Prices
from batch.plan import preflight
from batch.plan.continuation import RunStart
from batch.run.calling import context_of
from batch.run.fleet.context import FleetContext
from batch.submit.attempt import CallContext
from batch.submit.books import Books
from batch.submit.call_ids import CallIds
from batch.submit.evidence import Evidence
from tests.support.jobtext import SOUND, load

NOTHING: Any = None
EVIDENCE = Evidence("http://x", b"", kept=None, keep=lambda _: None)
BOOKS = Books(NOTHING, Prices.load(), Totals(), EVIDENCE, NOTHING)


def made(folder: Path, options: RunOptions, more: str = "") -> tuple[CallContext, Any]:
    """The context of a run over one ticket; nothing is booked in it."""
    (folder / "tickets.jsonl").write_text('{"body": "hello"}\n', encoding="utf-8")
    checked = preflight.check_job(load(folder, SOUND + more), {"ZHIPUAI_API_KEY": "id123456.secret456789"})
    checked.folder.prepare()
    clock = HandClock()
    start = RunStart("20261121T020000123Z-a1b2", "new", Position(), Planned(), fresh=True)
    limiter = Limiter(clock, concurrency=checked.job.limits.concurrency)
    return context_of(checked, start, options, books=BOOKS, limiter=limiter, clock=clock, ids=CallIds("a", 0))


async def test_a_run_without_workers_makes_its_calls_itself(tmp_path: Path) -> None:
    """With the address, the time limits and the rules of the job."""
    context, crew = made(tmp_path, RunOptions(), "[limits]\ncall_timeout_s = 77\n")
    assert (type(context), crew) == (CallContext, None)
    assert context.policy.call_timeout_s == 77
    assert context.base_url.startswith("https://open.bigmodel.cn")
    assert context.wire_log is None
    await context.aclose()


async def test_requests_are_written_down_where_that_is_asked_for(tmp_path: Path) -> None:
    context, _ = made(tmp_path, RunOptions(wire_log=True))
    assert context.wire_log is not None
    await context.aclose()


async def test_a_run_with_workers_hands_its_calls_to_them(tmp_path: Path) -> None:
    """By the same rules, which each of them is told; none has begun yet."""
    context, crew = made(tmp_path, RunOptions(workers=3), "[limits]\nconcurrency = 8\n")
    assert isinstance(context, FleetContext)
    assert crew is context.crew
    await context.aclose()


async def test_one_call_at_a_time_needs_no_worker(tmp_path: Path) -> None:
    context, crew = made(tmp_path, RunOptions(workers=4), "[limits]\nconcurrency = 1\n")
    assert (type(context), crew) == (CallContext, None)
    await context.aclose()
