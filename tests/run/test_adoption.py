"""`batch.run.adoption`: saved task ids are collected smoothly, however many there are, and new work goes on beside them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import anyio
import pytest

from batch.core.clock import HandClock
from batch.core.records import Incoming, Outgoing, RowRequest
from batch.labels.samples import NO_SAMPLES
from batch.ledger.saved import SavedReader
from batch.ledger.writer import Ledger
from batch.limits.limiter import Limiter
from batch.money.prices import Prices
from batch.prompts import steps
from batch.providers.base import Credentials
from batch.providers.glm import Glm
from batch.providers.services.bigmodel import GLM
from batch.run.adoption import IN_HAND, Adoption
from batch.run.conclusion import Settings
from batch.run.resume import Beside, Resumer
from batch.run.schedule import Schedule
from batch.run.state import RunState
from batch.run.worker import Worker
from batch.submit.attempt import CallContext
from batch.submit.books import Books
from batch.submit.call_ids import CallIds
from batch.submit.evidence import Evidence
from batch.submit.overtime import Overtime
from batch.submit.policy import Policy
from batch.submit.rows import Row
from tests.support.hand import by_hand
from tests.support.ledgers import admitted

ASKED = RowRequest([{"role": "user", "content": "go"}], "glm-4")
DONE = {
    "model": "glm-4",
    "request_id": None,
    "task_status": "SUCCESS",
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
}


class Provider:
    """Has every task done, and says when it was asked for which."""

    def __init__(self, clock: HandClock, schedule: Schedule[Row]) -> None:
        self.clock = clock
        self.schedule = schedule
        self.asked: list[float] = []
        self.tasks: Counter[str] = Counter()
        self.bought: list[float] = []

    async def exchange(self, outgoing: Outgoing, *, stream: object = None) -> Incoming:
        await anyio.lowlevel.checkpoint()
        if outgoing.body is not None:
            self.bought.append(self.clock.monotonic())
            return Incoming(200, {}, json.dumps({**DONE, "task_status": None}).encode())
        self.asked.append(self.clock.monotonic())
        self.tasks[outgoing.path.rpartition("/")[2]] += 1
        return Incoming(200, {}, json.dumps(DONE).encode())


async def collected(clock: HandClock, path: Path, saved: int, new: int, *, concurrency: int) -> tuple[Provider, int]:
    """What the provider was asked by a run over a ledger with saved ids, and the most rows in memory at one time."""
    async with Ledger(path) as ledger:
        for work in range(saved):
            ledger.sent(work, (work, 0, 0), f"c{work}", "task", clock.now_us() - 60_000_000)
            ledger.accepted(work, f"task-{work}", "http://127.0.0.1:1/api/paas/v4")
            if work % 1_000 == 0:
                await ledger.committed()
        await ledger.committed()
        with SavedReader(path) as reader:
            schedule: Schedule[Row] = Schedule(
                clock,
                open_limits={"glm-4": 2 * concurrency},
                model_of=lambda row: row.request.model,
                needs_slot=lambda row: row.call is None and row.replied is None,
            )
            limiter = Limiter(clock, concurrency=concurrency)
            state = RunState(limiter, schedule)
            evidence = Evidence("http://127.0.0.1:1", b"", kept=None, keep=lambda _: None)
            books = Books(ledger, Prices.load(), state.totals, evidence, Overtime(reader, ledger))
            context = CallContext(
                Policy("glm", (), 600.0),
                Glm(GLM, Credentials("k"), clock=clock),
                "http://127.0.0.1:1/api/paas/v4",
                books=books,
                limiter=limiter,
                clock=clock,
                ids=CallIds("r", reader.next_number("call")),
            )
            provider = Provider(clock, schedule)
            context.client_for = lambda _: provider  # type: ignore[method-assign, assignment, return-value]  # stands in for the network
            context.client = provider  # type: ignore[assignment]  # the same
            rules = steps.Rules(max_turns=1, tools=False)
            beside = Beside(lambda _: "glm-4", lambda _: NO_SAMPLES)
            resumer = Resumer(reader, context, rules, lambda _: ASKED, beside=beside)
            adoption = Adoption(reader, resumer, context, schedule=schedule, state=state)
            state.restore(reader.unsettled_by_part(), {}, planned=0)
            await adoption.begin()
            assert (limiter.in_flight, context.tasks, schedule.open) == (saved, saved, saved)
            schedule.add("glm-4", [Row(pending, ASKED) for pending in reader.unsent(-1, new)])
            schedule.end("glm-4")
            settings = Settings(lanes=("sync",), rules=rules, max_attempts=2, task_timeout_s=86_400.0)
            worker = Worker(context, schedule, settings, tools=None, state=state)
            most = 0

            async def watch() -> None:
                nonlocal most
                while True:
                    most = max(most, context.tasks - len(adoption._left))
                    await clock.sleep(0.05)

            async with anyio.create_task_group() as group:
                group.start_soon(schedule.keep_time)
                group.start_soon(adoption.run)
                group.start_soon(watch)
                async with anyio.create_task_group() as crew:
                    crew.start_soon(worker.send, "glm-4")
                    for _ in range(8):
                        crew.start_soon(worker.follow_up)
                group.cancel_scope.cancel()
            assert (limiter.in_flight, context.tasks, schedule.open) == (0, 0, 0)
            assert state.totals.rows_ok == saved + new
        await ledger.committed()
    return provider, most


@pytest.mark.slow
def test_a_restart_with_many_saved_ids_asks_for_each_once_at_an_even_pace(tmp_path: Path) -> None:
    """2,500 ids: no second sees more than two hundred polls and some, and few of the rows are in memory."""
    path = admitted(tmp_path / "ledger.db", 2_510)
    provider, most = by_hand(lambda clock: collected(clock, path, 2_500, 10, concurrency=50))
    assert set(provider.tasks.values()) == {1}
    assert len(provider.tasks) == 2_500
    begun = provider.asked[0]
    seconds = Counter(int(at - begun) for at in provider.asked)
    assert max(seconds.values()) <= 330, "the first hundred are taken up at once"
    assert most <= IN_HAND + 50


def test_new_rows_are_sent_as_soon_as_fewer_tasks_are_open_than_the_limit_allows(tmp_path: Path) -> None:
    """Not only when the last saved id is collected; and never above the limit."""
    path = admitted(tmp_path / "ledger.db", 520)
    provider, _ = by_hand(lambda clock: collected(clock, path, 500, 20, concurrency=300))
    assert len(provider.bought) == 20
    assert provider.bought[0] < provider.asked[-1]
    assert sum(at < provider.bought[0] for at in provider.asked) > 500 - 300 - 1
