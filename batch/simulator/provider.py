"""The simulated provider: what happens to one request, from its arrival to its answer.

Owns the provider's state and that course, which is the same for both dialects.

Order of a chat or submit: credentials, route, body, limits, faults, work, bytes, books. What a dialect is (credentials,
checks, error texts, answer bodies, chunks) comes in as a `Dialect`; nothing here knows either wire form.
"""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakSet

import msgspec

from batch.simulator.batches.batch import Batches
from batch.simulator.batches.files import Files
from batch.simulator.books.books import Books, Entry
from batch.simulator.books.judge import Judge
from batch.simulator.call import Call, Dialect
from batch.simulator.chance import digest64, mixed
from batch.simulator.clock import Clock
from batch.simulator.dialects.stream import Stream
from batch.simulator.faults.behaviour import Fate, Scene, Strike
from batch.simulator.faults.register import BEHAVIOURS
from batch.simulator.faults.selector import FaultSelector
from batch.simulator.in_flight import IdsInWork
from batch.simulator.latency import Waits
from batch.simulator.limits import Limits, Refusal
from batch.simulator.models.completion import Ask, Usage
from batch.simulator.models.work import Model
from batch.simulator.scenario import Scenario
from batch.simulator.tasks import FAIL, PROCESSING, SUCCESS, Task, Tasks
from batch.simulator.wire import Line, Reply


class Provider:
    """Everything the simulator remembers, and what it does with a chat, a task or a poll."""

    def __init__(self, scenario: Scenario, clock: Clock) -> None:
        """Open with empty books."""
        self.scenario = scenario
        self.clock = clock
        self.books = Books()
        self.limits = Limits(
            scenario.limit,
            scenario.model_limits,
            scenario.burst_s,
            changes=scenario.limit_changes,
            time=clock.monotonic,
        )
        self.judge = Judge(self.limits)
        self.selector = FaultSelector(scenario.faults, scenario.seed)
        self.started = int(clock.wall() * 1000)
        self.tasks = Tasks(scenario.seed, self.started)
        self.files, self.batches = Files(), Batches()
        self.waits = Waits(scenario.latency, seed=scenario.seed, time_factor=scenario.time_factor, clock=clock)
        self._numbers = 0
        self.model = Model(scenario)
        self.in_work = IdsInWork(clock.monotonic)
        self._billed: dict[str, int] = {}
        # Only a restart needs to know all connections.
        self._lines: WeakSet[Line] | None = WeakSet() if any(f.behaviour == 67 for f in scenario.faults) else None
        self._restarted = -math.inf
        self._lives = 1

    def new_entry(self, dialect: str, route: str) -> Entry:
        """A record for a request that has just arrived."""
        self._numbers += 1
        return Entry(self._numbers, dialect, route, self.clock.wall())

    def reset(self) -> None:
        """Empty books, judge and fault counters, and begin anew with the changes of limits.

        Tasks and places in flight stay as they are, buckets too unless their limits had changed.
        """
        self.books.clear()
        self.judge.clear()
        self.selector.clear()
        self._billed.clear()

    async def chat(self, call: Call, dialect: Dialect, ask: Ask) -> Reply:
        """Serve a chat request, whole or as a stream; either way it is billed whole, whoever stays to read it.

        Args:
            call: the HTTP request.
            dialect: in which the answer is written.
            ask: what the request asks, read and checked.
        """
        admitted = self._admit(call, dialect, ask)
        if isinstance(admitted, Reply):
            return admitted
        entry, conversation, strikes = call.entry, *admitted
        refused = self.refused_by(call, strikes)
        if refused is not None:
            return refused
        completion, usage = self.model.work(entry.key_id, ask)
        life = self._lives
        latency = self.scenario.latency
        if ask.stream is None:
            await self.waits.wait(latency.chat_ms, conversation, completion.tokens)
        else:
            await self.waits.wait(latency.first_chunk_ms or latency.chat_ms, conversation, 0)
        if life != self._lives:
            return Reply(0, b"", cut=-1)  # the server went down over it: nothing was finished, nothing is billed
        self.bill(entry, usage)
        body = self.changed(call, strikes, dialect.answer(call, ask, completion, usage))
        reply = None if ask.stream is None else self._streamed(call, strikes, dialect.stream(ask, body), conversation)
        return self.wired(call, strikes, reply or Reply(200, msgspec.json.encode(body), (), dialect.content_type))

    def _streamed(self, call: Call, strikes: list[Strike], stream: Stream, conversation: int) -> Reply | None:
        """The stream as it leaves; None when a plain answer is sent in its place."""
        for strike in strikes:
            change = BEHAVIOURS[strike.fault.behaviour].stream
            after = stream if change is None else change(strike, stream)
            if after is not stream:
                self.applied(call, strike)
                stream = after
        if stream.plain:
            return None
        return stream.reply(self.waits.between_parts(stream.paced, conversation, call.entry.completion_tokens))

    async def submit(self, call: Call, dialect: Dialect, ask: Ask, receipt: dict[str, Any]) -> Reply:
        """Make a task of a request, under the call's `reply_id` and `request_id`.

        Args:
            call: the HTTP request.
            dialect: in which the result will be written.
            ask: what the request asks, read and checked.
            receipt: the body of the answer.
        """
        admitted = self._admit(call, dialect, ask)
        if isinstance(admitted, Reply):
            return admitted
        conversation, strikes = admitted
        refused = self.refused_by(call, strikes)
        if refused is not None:
            return refused
        task = call.entry.task = self._new_task(call, dialect, ask, conversation, strikes)
        if task.ready_at < math.inf and not task.failed:
            self._billed[task.key_id] = self._billed.get(task.key_id, 0) + task.prompt_tokens + task.completion_tokens
        await self.waits.wait(self.scenario.latency.submit_ms, conversation, 0)
        return self.wired(call, strikes, Reply(200, msgspec.json.encode(receipt), (), dialect.content_type))

    def _new_task(self, call: Call, dialect: Dialect, ask: Ask, conversation: int, strikes: list[Strike]) -> Task:
        completion, usage = self.model.work(call.entry.key_id, ask)
        seconds = self.waits.seconds(self.scenario.latency.task_ms, conversation, completion.tokens)
        now = self.clock.monotonic()
        fate = Fate(now, now + seconds, now + seconds)
        for strike in strikes:
            change = BEHAVIOURS[strike.fault.behaviour].task
            if change is not None:
                fate = change(strike, fate)
                self.applied(call, strike)
        if fate.failure is None:
            body = self.changed(call, strikes, dialect.answer(call, ask, completion, usage))
            body["task_status"] = SUCCESS
        else:
            body = {"id": call.reply_id, "request_id": call.request_id, "task_status": FAIL, **fate.failure}
        task = Task(
            id=call.reply_id,
            request_id=call.request_id,
            key_id=call.entry.key_id,
            model=ask.model,
            ready_at=fate.ready_at,
            result=msgspec.json.encode(body),
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
            conversation=conversation,
            rows=self.selector.rows_of(ask.model, ask.messages),
            failed=fate.failure is not None,
        )
        self.tasks.add(task)
        self._working_until(call.entry, fate.held_until)
        if call.place is not None:
            call.place.keep_until(fate.held_until)
        return task

    async def poll(self, call: Call, dialect: Dialect, task: Task, processing: dict[str, Any]) -> Reply:
        """Answer a poll of a task with its result, if there is one.

        Args:
            call: the HTTP request.
            dialect: in which refusals are written.
            task: the task asked for.
            processing: the body of the answer while there is no result.
        """
        call.entry.task, call.entry.model = task, task.model
        strikes = self.strikes_on(call, dialect, task.conversation, task.rows, task=task)
        refused = self.refused_by(call, strikes)
        if refused is not None:
            return refused
        await self.waits.wait(self.scenario.latency.poll_ms, task.conversation, 0)
        state, body = task.state(self.clock.monotonic()), task.result
        if state == PROCESSING:
            body = msgspec.json.encode(processing)
        elif state == SUCCESS:
            if any(BEHAVIOURS[strike.fault.behaviour].answer for strike in strikes):
                body = msgspec.json.encode(self.changed(call, strikes, msgspec.json.decode(body)))
            task.shown = True
        return self.wired(call, strikes, Reply(200, body, (), dialect.content_type))

    def invalid(self, call: Call, reason: str) -> None:
        """Count a chat or submit request that is refused before limits are asked: it was sent all the same."""
        entry = call.entry
        if entry.route not in ("chat", "submit"):
            return
        self.judge.arrived(entry.key_id, entry.model, call.arrived, 0)
        self.judge.refused(entry.key_id, entry.model, reason)
        if entry.key_id:
            self.limits.count_failed(entry.key_id, entry.model, self.clock.monotonic())

    def finished(self, call: Call) -> None:
        """Give back what a request held, now that it has had its answer, unless a task holds it."""
        call.line.watch(None)
        call.line.served += 1
        if call.place is not None:
            call.place.free()
        entry = call.entry
        if call.place is not None and entry.client_call_id is not None and entry.task is None:
            self.in_work.end(entry.key_id, entry.client_call_id)

    def _admit(self, call: Call, dialect: Dialect, ask: Ask) -> tuple[int, list[Strike]] | Reply:
        entry = call.entry
        entry.stream = ask.stream is not None
        charge = max(ask.max_tokens or 0, ask.prompt_tokens)
        self.judge.arrived(entry.key_id, ask.model, call.arrived, charge)
        place = self.limits.enter(entry.key_id, ask.model, charge, self.clock.monotonic())
        if isinstance(place, Refusal):
            self.judge.refused(entry.key_id, ask.model, place.kind)
            return dialect.refused(call, place)
        call.place = place
        call.line.watch(place.free)
        self._working_until(entry, None)
        conversation = digest64(msgspec.json.encode([ask.model, ask.messages]))
        if not self.scenario.faults:
            return conversation, []
        rows = self.selector.rows_of(ask.model, ask.messages)
        return conversation, self.strikes_on(call, dialect, conversation, rows, ask=ask)

    def strikes_on(
        self,
        call: Call,
        dialect: Dialect,
        conversation: int,
        rows: int,
        *,
        ask: Ask | None = None,
        task: Task | None = None,
    ) -> list[Strike]:
        """The faults that strike a request.

        Args:
            call: the HTTP request, or what stands for a line of a batch.
            dialect: in which it is written.
            conversation: 64 bits that stand for what it says.
            rows: what `FaultSelector.rows_of` said of it.
            ask: what it asks, if it is a call.
            task: the task that it asks for.
        """
        route, key_id = call.entry.route, call.entry.key_id
        if self._lines is not None and route != "line":
            self._lines.add(call.line)
        if not self.selector.meets(route):
            return []
        sent = call.headers.get(b"authorization")
        scene = Scene(
            now=self.clock.monotonic(),
            wall=self.clock.wall(),
            key_id=key_id,
            path=call.path,
            authorization=None if sent is None else sent.decode("latin-1"),
            reused=call.line.served > 0,
            billed=self._billed.get(key_id, 0),
            earlier=self.tasks.latest(key_id),
            restarted=self._restarted,
            ask=ask,
            task=task,
        )
        return self.selector.on(route, dialect.name, conversation, rows, scene)

    def _restart(self, store: str, line: Line) -> None:
        self._lives += 1
        self._restarted = self.clock.monotonic()
        if store == "lost":
            self.tasks.lose(self._restarted)
            self.batches.lose()
            self.limits.lose_tasks()
        for other in tuple(self._lines or ()):
            if other is not line:
                other.drop()

    def _working_until(self, entry: Entry, end: float | None) -> None:
        if self.scenario.refuse_duplicates and entry.client_call_id is not None:
            self.in_work.begin(entry.key_id, entry.client_call_id, end)

    def refused_by(self, call: Call, strikes: list[Strike]) -> Reply | None:
        """The answer of the first fault that refuses a request; None when none does."""
        for strike in strikes:
            refuse = BEHAVIOURS[strike.fault.behaviour].refuse
            reply = None if refuse is None else refuse(strike)
            if reply is not None:
                self.applied(call, strike)
                if call.entry.route in ("chat", "submit"):
                    self.judge.refused(call.entry.key_id, call.entry.model, "fault")
                if reply.restart:
                    self._restart(reply.restart, call.line)
                return reply
        return None

    def changed(self, call: Call, strikes: list[Strike], body: dict[str, Any]) -> dict[str, Any]:
        """An answer's body after the faults that change it."""
        for strike in strikes:
            change = BEHAVIOURS[strike.fault.behaviour].answer
            after = body if change is None else change(strike, body)
            if after is not body:
                self.applied(call, strike)
                body = after
        return body

    def wired(self, call: Call, strikes: list[Strike], reply: Reply) -> Reply:
        """A reply after the faults that change how it leaves."""
        for strike in strikes:
            change = BEHAVIOURS[strike.fault.behaviour].wire
            after = reply if change is None else change(strike, reply)
            if after is not reply:
                self.applied(call, strike)
                reply = after
        return reply

    def applied(self, call: Call, strike: Strike) -> None:
        """Log a fault that did its work on a request."""
        entry = call.entry
        entry.fault = entry.fault or strike.fault.behaviour
        self.selector.applied(strike, entry.number, entry.route, entry.client_call_id, self.clock.wall())

    def bill(self, entry: Entry, usage: Usage) -> None:
        """Write down what an answer is billed."""
        entry.billed = True
        self._billed[entry.key_id] = self._billed.get(entry.key_id, 0) + usage.total_tokens
        entry.prompt_tokens, entry.completion_tokens = usage.prompt_tokens, usage.completion_tokens
        entry.cached_tokens = usage.cached_tokens

    def hex_id(self, number: int) -> str:
        """Sixteen hexadecimal digits for a request's number, unlike those of its neighbours."""
        return f"{mixed(self.scenario.seed, number):016x}"
