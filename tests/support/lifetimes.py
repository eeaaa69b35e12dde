"""One row through its whole life: the real workers, ledger and rules against a scripted provider, to be killed anywhere.

A `Life` keeps every record that was queued in the ledger, in order. A kill is a prefix of them: the ledger commits whole
groups of the queue, first in, first out, so every state a killed process can leave behind is such a prefix.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import anyio
import msgspec

from batch.core.clock import HandClock
from batch.core.errors import BatchError, WireError
from batch.core.records import Incoming, Lane, Message, Outcome, Outgoing, RowRequest, ToolCall
from batch.http.client import Client
from batch.labels.tries import LabelRules
from batch.ledger.effects import EffectsReader
from batch.ledger.group import Group, Written
from batch.ledger.group import Record as Named
from batch.ledger.queue import GroupQueue
from batch.ledger.reader import JournaledCall, LedgerReader
from batch.ledger.writer import Ledger
from batch.limits.limiter import Limiter
from batch.money.prices import Prices
from batch.prompts import steps
from batch.providers.base import Credentials
from batch.providers.glm import Glm
from batch.providers.services.bigmodel import GLM
from batch.run.conclusion import Settings
from batch.run.resume import DIED, Resumer
from batch.run.schedule import Schedule
from batch.run.state import RunState
from batch.run.tool_turns import ToolTurns
from batch.run.worker import Worker
from batch.submit.attempt import CallContext
from batch.submit.books import Books
from batch.submit.call_ids import CallIds
from batch.submit.evidence import Evidence
from batch.submit.overtime import Overtime
from batch.submit.policy import Policy
from batch.submit.results import STOPPED
from batch.submit.rows import Row
from batch.tools.execute import Executor
from batch.tools.registry import ToolSet
from tests.support.hand import by_hand
from tests.support.ledgers import admitted

Fault = Literal["refused", "busy", "reset", "unsent", "aborted", "odd", "task_failed"]
FIRST: list[Message] = [{"role": "user", "content": "go"}]
OURS = {DIED.code, STOPPED}
Record = tuple[Any, ...]


@dataclass
class Script:
    """What the provider does: for each turn the faults before its reply, then so many tool calls; then the end.

    After a turn without tool calls the user says the next of `later` messages, as long as there is one.
    """

    turns: list[tuple[list[Fault], int]]
    end: str = "stop"
    lane: Lane = "sync"
    polls: int = 1
    later: int = 0
    says: tuple[str, ...] = ()
    """What is said in each turn that asks for no tools, instead of its number."""
    labels: LabelRules | None = None
    anew: bool = False
    """Whether the row is asked anew for each sample, so that only the ledger tells which turn of its life it is."""
    stuck: bool = False
    """Whether the calls are the same in every turn, and none of them works."""

    @property
    def request(self) -> RowRequest:
        """What the row asks."""
        return RowRequest(
            FIRST, "glm-4", follow_ups=tuple({"role": "user", "content": f"more {n}"} for n in range(self.later))
        )


class Provider:
    """Answers by the script, like a client; keeps its tasks over our deaths."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.faults: Counter[int] = Counter()
        """Faults each turn has had in the life as it stands."""
        self.bought: dict[str, int] = {}
        """The turn of every reply that is billed, by call id."""
        self.asked: list[dict[str, Any]] = []
        self.ran: list[tuple[int, int]] = []
        self.turn_of: Callable[[str], int] = lambda _: 0
        self._tasks: dict[str, tuple[int, str, int]] = {}

    async def exchange(self, outgoing: Outgoing, *, stream: object = None) -> Incoming:
        await anyio.lowlevel.checkpoint()
        if outgoing.body is None:
            return self._polled(outgoing.path.rpartition("/")[2])
        body = json.loads(outgoing.body)
        turn = sum(message["role"] == "assistant" for message in body["messages"])
        if self.script.anew:
            turn = self.turn_of(body["request_id"])
        elif body["model"] != "glm-4":
            turn = len(self.script.says) - 1  # another model, which is spared what was said before
        self.asked.append(body)
        call_id = body["request_id"]
        fault = self._fault(turn)
        if fault in ("refused", "busy", "reset", "unsent"):
            self.faults[turn] += 1
            return self._refuse(fault)
        if outgoing.path.startswith("/async"):
            task = f"task-{len(self._tasks)}"
            self._tasks[task] = (turn, call_id, self.script.polls)
            self.bought[call_id] = turn
            return _json({"id": task, "task_status": "PROCESSING"})
        if fault is None:
            self.bought[call_id] = turn
        return self._answer(turn, fault)

    def _polled(self, task: str) -> Incoming:
        turn, call_id, left = self._tasks[task]
        self._tasks[task] = (turn, call_id, left - 1)
        if left > 0:
            return _json({"id": task, "task_status": "PROCESSING"})
        fault = self._fault(turn)
        if fault is not None:
            self.bought.pop(call_id, None)
        return self._answer(turn, fault)

    def _fault(self, turn: int) -> Fault | None:
        if turn >= len(self.script.turns):
            return None
        faults, had = self.script.turns[turn][0], self.faults[turn]
        return faults[had] if had < len(faults) else None

    def _refuse(self, fault: Fault) -> Incoming:
        if fault == "refused":
            return _json({"error": {"code": "1302", "message": "slow down"}}, 429)
        if fault == "busy":
            return _json({"error": {"code": "1234", "message": "try again"}}, 500)
        raise WireError("cut", kind="transport", sent=fault == "reset")

    def _answer(self, turn: int, fault: Fault | None) -> Incoming:
        if fault is not None:
            self.faults[turn] += 1
        if fault == "task_failed":
            return _json({"task_status": "FAIL", "error": {"code": "1234", "message": "no"}})
        ends = {"aborted": "network_error", "odd": "nobody knows"}
        if fault is not None:
            return _reply(None if fault == "odd" else f"broken {turn}", ends.get(fault, "network_error"))
        tools = self.script.turns[turn][1] if turn < len(self.script.turns) else 0
        if tools:
            return _reply(None, "tool_calls", [f"{0 if self.script.stuck else turn}.{index}" for index in range(tools)])
        says = self.script.says
        return _reply(says[turn] if turn < len(says) else f"answer {turn}", self.script.end)

    async def run_call(self, call: ToolCall, *, begin: object = None) -> SimpleNamespace:
        """The tools, in the same hands: the result depends on the call alone."""
        await anyio.lowlevel.checkpoint()
        turn, _, index = json.loads(call.arguments)["n"].partition(".")
        self.ran.append((int(turn), int(index)))
        return SimpleNamespace(content='{"error":"no"}' if self.script.stuck else f"found {turn}.{index}")

    def coerced(self, call: ToolCall) -> tuple[str, ...]:
        """The arguments of none were."""
        return ()


def _json(value: Any, status: int = 200) -> Incoming:
    return Incoming(status, {}, json.dumps(value).encode())


def _reply(content: str | None, finish: str, calls: list[str] | None = None) -> Incoming:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"id": f"c{n}", "type": "function", "function": {"name": "look", "arguments": json.dumps({"n": n})}}
            for n in calls
        ]
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    choice = {"index": 0, "finish_reason": finish, "message": message}
    return _json({"model": "glm-4", "request_id": "r", "usage": usage, "task_status": "SUCCESS", "choices": [choice]})


class KeepingQueue(GroupQueue):
    """A queue that remembers what was put into it, one entry for what is committed together."""

    def __init__(self) -> None:
        super().__init__()
        self.queued: list[Record] = []

    def put(self, records: Sequence[Written]) -> Group:
        self.queued.append(tuple(Named(*record) for record in records))
        return super().put(records)


class Keeping(Ledger):
    """A ledger that remembers what was queued."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._queue = kept = KeepingQueue()
        self.queued = kept.queued

    def turn_of(self, call_id: str) -> int:
        """The turn that a call was sent for."""
        sent = (row for records in self.queued for kind, row, _ in records if kind == "sent")
        return int(next(row[2] for row in sent if row[4] == call_id))


class Watch(RunState):
    """The state of a run of one row: the schedule ends with its outcome."""

    def __init__(self, limiter: Limiter, schedule: Schedule[Row]) -> None:
        super().__init__(limiter, schedule)
        self._end = schedule.end

    def row_settled(self, part: int, outcome: Outcome) -> None:
        super().row_settled(part, outcome)
        self._end("")

    def stop(self, reason: str, fault: BatchError | None = None) -> None:
        raise AssertionError(f"one row is no streak, and nobody refuses the key: {fault}")


class Life:
    """The life of row 0, from process to process."""

    def __init__(self, folder: Path, script: Script, *, max_turns: int = 6, max_attempts: int = 4) -> None:
        self.folder = folder
        self.provider = Provider(script)
        self.records: list[Record] = []
        self.rules = steps.Rules(max_turns=max_turns, tools=True, keep="turns", labels=script.labels)
        self.settings = Settings(
            lanes=(script.lane,), rules=self.rules, max_attempts=max_attempts, task_timeout_s=86_400.0
        )
        self.processes = 0
        self.died: Counter[int] = Counter()
        self._base = admitted(folder / "base.db", 1)

    @property
    def path(self) -> Path:
        return self.folder / f"ledger-{self.processes}.db"

    def kill(self, kept: int) -> None:
        """All that was queued after the first `kept` entries never was."""
        del self.records[kept:]

    def go_on(self) -> Outcome:
        """A new process over what is left, to the row's outcome."""
        self.processes += 1
        shutil.copy(self._base, self.path)
        return by_hand(self._process)

    def calls(self) -> list[JournaledCall]:
        with LedgerReader(self.path) as replay:
            return replay.calls_of(0)

    async def _process(self, clock: HandClock) -> Outcome:
        # No deadline here: while the ledger's thread works, the hand clock would jump to it.
        async with Keeping(self.path) as ledger:
            self.provider.turn_of = ledger.turn_of
            for records in self.records:
                ledger.record(*records)
            await ledger.committed()
            with EffectsReader(self.path) as replay:
                if not replay.outcomes(0):
                    await self._live(clock, ledger, replay)
                    await ledger.committed()
                (settled,) = replay.outcomes(0)
            self.records = ledger.queued
        assert settled.outcome is not None
        return settled.outcome

    async def _live(self, clock: HandClock, ledger: Keeping, replay: EffectsReader) -> None:
        self._count(replay)
        request = self.provider.script.request
        schedule: Schedule[Row] = Schedule(
            clock,
            open_limits={"": 2},
            model_of=lambda _: "",
            needs_slot=lambda row: row.call is None and row.replied is None,
        )
        limiter = Limiter(clock, concurrency=1)
        state = Watch(limiter, schedule)
        evidence = Evidence("http://127.0.0.1:1", b"", kept=None, keep=lambda _: None)
        books = Books(ledger, Prices.load(), state.totals, evidence, Overtime(replay, ledger))
        context = self._context(clock, books, limiter, replay)
        try:
            resumer = Resumer(replay, context, self.rules, lambda _: request)
            for pending in replay.open_rows():
                schedule.resume(resumer.rebuild(pending))
            schedule.add("", [Row(pending, request) for pending in replay.unsent(-1, 1)])
            tools = ToolTurns(cast("Executor", self.provider), ToolSet.empty(), ledger, reader=replay)
            worker = Worker(context, schedule, self.settings, tools=tools, state=state)
            async with anyio.create_task_group() as group:
                group.start_soon(schedule.keep_time)
                async with anyio.create_task_group() as crew:
                    crew.start_soon(worker.send, "")
                    crew.start_soon(worker.follow_up)
                group.cancel_scope.cancel()
            assert context.limiter.in_flight == 0
        finally:
            await context.aclose()

    def _context(self, clock: HandClock, books: Books, limiter: Limiter, replay: LedgerReader) -> CallContext:
        context = CallContext(
            Policy("glm", (), 600.0, asking=self.rules.labels.asking if self.rules.labels else None),
            Glm(GLM, Credentials("k"), clock=clock),
            "http://127.0.0.1:1/api/paas/v4",
            books=books,
            limiter=limiter,
            clock=clock,
            ids=CallIds("one row", replay.next_number("call")),
        )
        stand_in = cast("Client", self.provider)
        context.client = stand_in
        context.client_for = lambda base_url: stand_in  # type: ignore[method-assign]  # one provider for all addresses
        return context

    def _count(self, replay: LedgerReader) -> None:
        """What the provider has done to each turn in this life, and how often we died in it."""
        self.provider.faults.clear()
        replied = {turn for turn, idx, _ in replay.steps_of(0) if idx == -1}
        self.provider.ran.clear()
        finals: Counter[int] = Counter()
        for call in replay.calls_of(0):
            if call.record is not None and call.record.error_code not in OURS:
                finals[call.turn] += 1
        for turn, count in finals.items():
            self.provider.faults[turn] = count - (turn in replied)


def told(outcome: Outcome) -> dict[str, Any]:
    """What must not depend on how often we died."""
    shown = msgspec.structs.asdict(outcome)
    for name in ("sums", "settled_at_us", "latency_ms"):
        del shown[name]
    return {**shown, "turns": outcome.sums.turns, "tool_calls": outcome.sums.tool_calls}
