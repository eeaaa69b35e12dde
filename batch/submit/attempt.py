"""One attempt of one turn, whatever the lane: lease, journal, send, close the books, release.

Owns the order of these steps, which is the promise: a call is in the ledger before its first byte leaves, its final
record is queued before its slot is given back, and between a reply and its record there is no place where a cancel can
fall. The lanes say only what is sent and read. What follows from a result is said by `conversation` and `retry`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import anyio
import msgspec
from anyio import to_thread

from batch.core.clock import MICROSECONDS, Clock
from batch.core.errors import WireError
from batch.core.records import Accepted, Failure, Incoming, Lane, Outcome, Outgoing, Reply, Request
from batch.http import headers
from batch.http.client import Client
from batch.http.wirelog import WireLog
from batch.ledger.late import LATE
from batch.limits.lease import Lease
from batch.limits.limiter import Limiter
from batch.limits.outage import Observation
from batch.providers.base import Dialect
from batch.providers.stream import Stream
from batch.submit import afford
from batch.submit.books import Books
from batch.submit.call_ids import BEGINNING, CallIds
from batch.submit.observer import Observer
from batch.submit.policy import Policy
from batch.submit.results import CUT_SHORT, NEVER_LEFT, answered_for, failure_of, overdue, record_of
from batch.submit.retry import Decision
from batch.submit.rows import OpenCall, Row
from batch.submit.targets import Target

R = TypeVar("R", Reply, Accepted, Failure, Reply | Failure, Accepted | Failure)

_OURS, _THEIRS = headers.ECHOES
_encode_reply = msgspec.msgpack.Encoder().encode


class CallContext:
    """What an attempt needs: the books, the limits, the client and the dialect of one run.

    Args:
        policy: what of the job every request of it shares.
        dialect: how requests are written and answers read.
        base_url: where requests go.
        books: where calls are booked.
        limiter: when they may leave.
        clock: for every time in the books.
        ids: for new calls, and to know a reply that names another one.
        wire_log: is told of every exchange, polls too, with what came of it; None for no wire log.
    """

    streams: type[Stream] = Stream
    """Takes the answers that come in pieces."""

    def __init__(
        self,
        policy: Policy,
        dialect: Dialect,
        base_url: str,
        *,
        books: Books,
        limiter: Limiter,
        clock: Clock,
        ids: CallIds,
        wire_log: WireLog | None = None,
    ) -> None:
        self.policy = policy
        self.dialect = dialect
        self.base_url = base_url
        self.target = Target(dialect, base_url, books.prices, books.evidence)
        """Where calls go; the first of several."""
        self.targets: dict[str | None, Target] = {None: self.target}
        self.ledger = books.ledger
        self.limiter = limiter
        self.clock = clock
        self.evidence = books.evidence
        self.overtime = books.overtime
        self._books = books
        self.purse = books.purse
        self.prices = books.prices
        self.wire_log = wire_log
        self.learner = books.learner
        self.observer: Observer | None = None
        """Told of calls, polls and rows; None where nobody listens."""
        self.ids = ids
        self.tasks = 0
        """Tasks whose ids are saved and whose results have not come."""
        self._clients: dict[str, Client] = {}
        self.client = self.client_for(base_url)

    def spread(self, targets: Sequence[Target]) -> None:
        """Have calls go to several addresses, the first of which is its own; none leaves it with that."""
        if targets:
            self.target, self.targets = targets[0], {one.name: one for one in targets}

    def request(self, row: Row) -> Request:
        """What the next turn of this row asks."""
        conversation, asked = row.conversation, row.request
        escalated = conversation.tries.escalated
        messages = list(conversation.messages if escalated is None else conversation.sent)
        request = Request(escalated or asked.model, messages, asked.parameters, self.policy.tools)
        # What the user says next is not asked for a label yet.
        if self.policy.asking is not None and not conversation.follow_ups:
            return self.policy.asking.asked(request, late=bool(asked.follow_ups))
        return request

    def sending(self, row: Row) -> Request:
        """What the next turn of this row asks, now that it is sent: its answer may teach what it counts for."""
        request = self.request(row)
        row.size = None if self.learner is None else self.learner.size(request)
        return request

    def weigh(self, row: Row) -> tuple[float, str] | None:
        """Note what the next turn counts for; the token limit when it alone is surely larger than the whole of it."""
        model = row.model
        if not self.limiter.counts_tokens(model):
            return None
        row.weight = self.limiter.model(model).weight(row.conversation.sent, row.request.parameters)
        return self.limiter.exceeds_limit(model, row.weight)

    async def start_call(self, row: Row, lane: Lane) -> OpenCall:
        """Take a slot, put the call into the ledger, and return when its bytes may leave.

        Raises:
            BudgetReached: the call can come to more than the budget has left.
            LimiterClosed: the run takes no new sends.
            PurseClosed: likewise.
            StorageError: the ledger cannot be written, or what was spent today not be noted.
        """
        size = held = None
        if self.purse is not None:
            size, held, lease = await afford.afforded(self, row, lane, self.purse)
        else:
            lease = await self.limiter.acquire(row.model, row.work_id, row.weight)
        call = self.open_call(row, lane, lease)
        call.size, call.held = size, held
        afford.keep(self, call)
        try:
            await self.ledger.committed()
            if not lease.may_depart():
                await lease.depart()
        except anyio.get_cancelled_exc_class():
            self.book(row, call, NEVER_LEFT)
            raise
        self.leaves(row, call)
        return call

    def open_call(self, row: Row, lane: Lane, lease: Lease) -> OpenCall:
        """Put a call into the ledger; its bytes may leave once that is committed.

        Args:
            row: whose next turn it asks.
            lane: how it travels.
            lease: the slot it holds.
        """
        number, call_id = self.ids.new()
        conversation, attempt = row.conversation, row.next_attempt
        call = OpenCall(  # by place, once a call: a name costs more than its value
            number,
            call_id,
            row.pending.row_id,
            lease.model.name,
            conversation.turn,
            attempt,
            lane,
            lease,
            conversation.purpose(attempt),
            conversation.sampling.ended,
            self.clock.now_us(),
            lease.granted_at,
        )
        row.next_attempt = attempt + 1
        self.ledger.sent(number, (row.work_id, call.turn, attempt), call_id, lane, call.sent_at_us)
        if lease.place is not None:
            call.target = self.targets[lease.place.endpoint]
            call.base_url, row.endpoint = call.target.base_url, call.target.name
            self.ledger.goes_to(number, call.target.stored)
        return call

    def leaves(self, row: Row, call: OpenCall) -> None:
        """The bytes of a call leave now."""
        call.started = call.exchange_began = now = self.clock.monotonic()
        if row.left_at is None:
            row.left_at = now
        if row.open_since is None:
            row.open_since = now
            if row.scope is not None:
                row.scope.deadline = row.deadline_at

    async def exchange(
        self, row: Row, call: OpenCall, outgoing: Outgoing, *, stream: Stream | None = None
    ) -> Incoming | Failure:
        """Send and read one answer. A cancel closes the call as `unknown` on its way out.

        Args:
            row: whose call it is.
            call: open, its bytes may leave.
            outgoing: what is sent.
            stream: takes the answer piece by piece; None reads it whole.
        """
        result: Incoming | Failure = CUT_SHORT
        try:
            client = self.client if call.target is None else self.client_for(call.target.base_url)
            result = await client.exchange(outgoing, stream=stream)
        except WireError as exc:
            result = self.unanswered(row, call, exc)
        except anyio.get_cancelled_exc_class():
            if stream is None or not stream.complete:  # else it is an answer, and the next await will know of the stop
                call.take_times(stream)
                cut = overdue(row) if self.clock.monotonic() >= row.deadline_at else CUT_SHORT
                self.book(row, call, cut)
                self._tell(call, outgoing, cut, stream)
                raise
        if stream is not None:
            call.take_times(stream)
        if self.wire_log is not None:
            self._tell(call, outgoing, result, stream)
        if isinstance(result, Incoming) and result.headers:
            said = headers.limit_headers(result.headers)
            if said is not None:
                self.limiter.observe_headers(call.model, said, call.lease.place)
        return result

    def unanswered(self, _row: Row, _call: OpenCall, error: WireError) -> Failure:
        """What a call came to whose exchange brought no whole answer; nothing of it is booked yet."""
        return failure_of(error)

    def own(self, call: OpenCall, result: R, headers: Mapping[str, str]) -> R | Failure:
        """The result, unless it names another call of this folder: a proxy swapped two answers, and ours is unknown.

        Args:
            call: the call that was answered.
            result: what the dialect read; its `request_id` is what the service says it answers.
            headers: of the answer, names in lower case; some services echo our id there.
        """
        named = result.request_id, headers.get(_OURS), headers.get(_THEIRS)
        if call.call_id in named:
            return result
        for name in named:
            if name is not None and name.startswith(BEGINNING) and self.ids.names_another(call.call_id, name):
                return result if call.call_id.removesuffix(LATE) in named else answered_for(name, call.call_id)
        return result

    def _tell(self, call: OpenCall, outgoing: Outgoing, result: Incoming | Failure, stream: Stream | None) -> None:
        """Write the exchange down, if that is wanted: of a stream the bytes as they came, however it ended."""
        if self.wire_log is None:
            return
        received = b"" if stream is None else stream.received
        if received and isinstance(result, Incoming):
            result, received = Incoming(result.status, result.headers, received), b""
        self.wire_log(call, outgoing, result, received)

    def client_for(self, base_url: str | None) -> Client:
        """The client for a base URL: the job's own, or the one stored with a saved id."""
        where = base_url or self.base_url
        if where not in self._clients:
            self._clients[where] = Client(where, call_timeout_s=self.policy.call_timeout_s)
        return self._clients[where]

    async def aclose(self) -> None:
        """Close every connection, and the wire log when all that was handed over is written."""
        for client in self._clients.values():
            await client.aclose()
        if self.wire_log is not None:
            await to_thread.run_sync(self.wire_log.close)

    def book(
        self,
        row: Row,
        call: OpenCall,
        result: Reply | Failure,
        *,
        decision: Decision | None = None,
        reply: Reply | None = None,
        outcome: Outcome | None = None,
        hold: bool = False,
    ) -> None:
        """Close a call for good: its record and what follows from it in one commit, counted once, its slot given back.

        The only place that does, and nothing in it awaits, so no cancel falls between an answer and its record.

        Args:
            row: whose call it is.
            call: the call, open until now.
            result: what came of it.
            decision: what was decided after a failed attempt; None for one that we ended ourselves.
            reply: the reply to go on from, journaled when the conversation goes on.
            outcome: what the row settles with. Its sums are the row's own: this call is counted in them.
            hold: keep the task id beyond the row's outcome, to be polled first when the row comes again.
        """
        record = record_of(
            call,
            result,
            provider=self.policy.provider,
            prices=(target := call.target or self.target).prices,
            now_us=self.clock.now_us() if outcome is None else outcome.settled_at_us,
            now=self.clock.monotonic(),
            decision=decision,
            asked_tier=row.request.parameters.get("service_tier"),
        )
        if target.name is not None:
            record = msgspec.structs.replace(record, endpoint=target.name)
        if record.usage is None or self.purse is not None:
            record = afford.with_most(self, row, call, record)
        self.tasks -= call.task_id is not None
        observed: Observation = "answered" if isinstance(result, Reply) else "nothing"
        if isinstance(result, Reply):
            if call.model not in target.evidence.answered:
                target.evidence.record_answer(call.model)
            if self.overtime.counted:
                self.overtime.clear(row.pending)
        elif not hold:
            observed = self.overtime.observation_of(row.pending, result)
        row.sums.add(record)
        if row.size is not None and self.learner is not None:
            self.learner.answered(row.size, record)
            row.size = None
        step = None if reply is None else (row.work_id, call.turn, _encode_reply(reply))
        ended = None if outcome is None else (row.work_id, outcome)
        self.ledger.closed(call.number, record, reply=step, outcome=ended, hold=hold and not call.booked)
        if call.bound is not None:
            afford.forget(self, call)
        self._books.count(call, record)
        self.limiter.take_back(call.lease, observed, record.usage, "" if isinstance(result, Reply) else result.message)
        if self.observer is not None and not call.booked:
            self.observer.booked(row, record)

    def abandon(self, call: OpenCall) -> None:
        """Give up an old task or line of a batch that brought nothing; the book has it already."""
        self.tasks -= call.task_id is not None
        self.ledger.closed(call.number, None)
        if self.purse is not None and call.held is not None:
            self.purse.release(call.held)
        call.lease.release()

    def left_s(self, call: OpenCall, seconds: float) -> float:
        """How much is left of the seconds since a task was submitted, by the wall: it may have been another process."""
        return seconds - (self.clock.now_us() - call.sent_at_us) / MICROSECONDS
