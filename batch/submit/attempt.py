"""One attempt of one turn, whatever the lane: lease, journal, send, close the books, release.

Owns the order of these steps, which is the promise: a call is in the ledger before its first byte leaves, its final
record is queued before its slot is given back, and between a reply and its record there is no place where a cancel
can fall. The lanes (`direct`, `task`) say only what is sent and read. What follows from a result is `conversation`' and
`retry`'s.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import anyio
import msgspec

from batch.core import failpoints
from batch.core.clock import MICROSECONDS, Clock
from batch.core.errors import WireError
from batch.core.records import (
    NO_USAGE,
    NOTHING,
    Accepted,
    Call,
    Failure,
    Incoming,
    Lane,
    Outgoing,
    Reply,
    Request,
    Sums,
)
from batch.http import headers
from batch.http.client import Client
from batch.ledger.writer import Ledger
from batch.limits.limiter import Lease, Limiter
from batch.limits.tokens import TokenWeight
from batch.money.prices import Prices
from batch.prompts.conversation import Conversation
from batch.providers.base import Dialect
from batch.providers.stream import Stream
from batch.submit.results import STOPPED, cleaned, failure_of, observation_of, state_of
from batch.submit.retry import History


class Row:
    """One open row: where it stands in its conversation and what it has cost. One worker at a time has it."""

    __slots__ = (
        "call",
        "conversation",
        "fault",
        "history",
        "next_attempt",
        "part",
        "replied",
        "request",
        "row_id",
        "row_number",
        "sums",
        "tool_results",
        "variant",
        "weight",
        "work_id",
    )

    def __init__(self, work_id: int, row_id: str, variant: str, *, row_number: int, part: int) -> None:
        self.work_id = work_id
        self.row_id = row_id
        self.variant = variant
        self.row_number = row_number
        self.part = part
        self.request = NOTHING
        self.conversation: Conversation = Conversation(messages=(), first=0)
        self.history = History()
        self.next_attempt = 0
        self.sums = Sums()
        self.weight: TokenWeight | None = None
        """What the next turn counts for under a token limit; None while there is none."""
        self.call: OpenCall | None = None
        """The task of this row that the provider holds, to be polled."""
        self.replied: Reply | None = None
        """The reply whose tool calls are to be run."""
        self.fault: str | None = None
        """Why the row cannot be asked after all."""
        self.tool_results: dict[int, str] = {}
        """Results of those calls that were journaled before a crash, by place in the turn."""


class OpenCall:
    """A call between its `sent` record and its final one."""

    __slots__ = (
        "attempt",
        "base_url",
        "call_id",
        "exchange_began",
        "first_chunk_ms",
        "lane",
        "late",
        "lease",
        "longest_gap_ms",
        "model",
        "number",
        "polls",
        "request_id",
        "row_id",
        "sent_at_us",
        "started",
        "task_id",
        "turn",
    )

    def __init__(self, number: int, call_id: str, *, turn: int, attempt: int, lane: Lane, lease: Lease) -> None:
        self.number = number
        self.call_id = call_id
        self.turn = turn
        self.attempt = attempt
        self.lane: Lane = lane
        self.lease = lease
        self.sent_at_us = 0
        self.started = 0.0
        self.exchange_began = 0.0
        """When its last exchange began, a poll too."""
        self.task_id: str | None = None
        self.base_url: str | None = None
        self.request_id: str | None = None
        self.polls = 0
        self.late = False
        self.first_chunk_ms: int | None = None
        self.longest_gap_ms: int | None = None
        self.row_id = ""
        self.model = ""


class Policy(msgspec.Struct, frozen=True):
    """What of the job every request of it shares."""

    provider: str
    tools: tuple[dict[str, object], ...]
    call_timeout_s: float
    first_chunk_timeout_s: float = 300.0
    idle_timeout_s: float = 60.0


NEVER_LEFT: Final = Failure(
    kind="transport", verdict="retry", code=STOPPED, sent=False, answered=False, message="cancelled before it left"
)
CUT_SHORT: Final = Failure(
    kind="transport", verdict="retry", code=STOPPED, sent=True, answered=False, message="cancelled before an answer"
)


class CallContext:
    """What an attempt needs: the books, the limits, the client and the dialect of one run."""

    def __init__(
        self,
        policy: Policy,
        dialect: Dialect,
        base_url: str,
        *,
        ledger: Ledger,
        limits: Limiter,
        prices: Prices,
        clock: Clock,
        first_call: int,
    ) -> None:
        self.policy = policy
        self.dialect = dialect
        self.base_url = base_url
        self.ledger = ledger
        self.limits = limits
        self.prices = prices
        self.clock = clock
        self._next_call = first_call
        # Unique by the process and counted inside it: a random id for each call would cost as much as encoding its
        # body.
        self._prefix = secrets.token_hex(8)
        self._clients: dict[str, Client] = {}
        self.client = self.client_for(base_url)
        self.on_call: Callable[[Call], None] = lambda _: None
        self.on_exchange: Callable[[OpenCall, Outgoing, Incoming | Failure, bytes], None] | None = None
        """Told of every exchange, polls too, with what came of it, and with what came of an answer that failed."""

    def request(self, row: Row) -> Request:
        """What the next turn of this row asks."""
        return Request(
            model=row.request.model,
            messages=list(row.conversation.messages),
            parameters=row.request.parameters,
            tools=self.policy.tools,
        )

    def weigh(self, row: Row) -> float | None:
        """Note what the next turn counts for; the token limit when it alone is surely larger than the whole of it."""
        estimator = self.limits.estimator
        if not self.limits.counts_tokens or estimator is None:
            return None
        row.weight = estimator.of(row.conversation.messages, row.request.parameters)
        return self.limits.exceeds_limit(row.weight)

    async def open(self, row: Row, lane: Lane) -> OpenCall:
        """Take a slot, put the call into the ledger, and return when its bytes may leave.

        Raises:
            LimiterClosed: the run takes no new sends.
            StorageError: the ledger cannot be written.
        """
        lease = await self.limits.acquire(row.work_id, row.weight)
        call = OpenCall(
            self._next_call,
            f"pm-{self._prefix}-{self._next_call}",
            turn=row.conversation.turn,
            attempt=row.next_attempt,
            lane=lane,
            lease=lease,
        )
        call.row_id = row.row_id
        call.model = row.request.model
        self._next_call += 1
        row.next_attempt += 1
        call.sent_at_us = self.clock.now_us()
        self.ledger.sent(call.number, (row.work_id, call.turn, call.attempt), call.call_id, lane, call.sent_at_us)
        try:
            await self.ledger.committed()
            await self.limits.reacquire_if_stale(lease)
        except anyio.get_cancelled_exc_class():
            self.close(row, call, NEVER_LEFT)
            raise
        call.started = self.clock.monotonic()
        return call

    async def exchange(
        self, row: Row, call: OpenCall, outgoing: Outgoing, *, stream: Stream | None = None
    ) -> Incoming | Failure:
        """Send and read one answer, or have `stream` take it. A cancel closes the call as `unknown` on its way out."""
        result: Incoming | Failure = CUT_SHORT
        call.exchange_began = self.clock.monotonic()
        try:
            result = cleaned(await self.client.exchange(outgoing, on_sent=_left, stream=stream))
        except WireError as exc:
            result = failure_of(exc)
        except anyio.get_cancelled_exc_class():
            if stream is None or not stream.complete:  # else it is an answer, and the next await will know of the stop
                _time(call, stream)
                self.close(row, call, CUT_SHORT)
                self._tell(call, outgoing, CUT_SHORT, stream)
                raise
        _time(call, stream)
        self._tell(call, outgoing, result, stream)
        if isinstance(result, Incoming) and (said := headers.limit_headers(result.headers)) is not None:
            self.limits.observe_headers(said)
        return result

    def _tell(self, call: OpenCall, outgoing: Outgoing, result: Incoming | Failure, stream: Stream | None) -> None:
        """Write the exchange down, if that is wanted: of a stream the bytes as they came, however it ended."""
        if self.on_exchange is None:
            return
        received = b"" if stream is None else stream.received
        if received and isinstance(result, Incoming):
            result, received = Incoming(result.status, result.headers, received), b""
        self.on_exchange(call, outgoing, result, received)

    def client_for(self, base_url: str | None) -> Client:
        """The client for a base URL: the job's own, or the one stored with a saved id."""
        where = base_url or self.base_url
        if where not in self._clients:
            self._clients[where] = Client(where, call_timeout_s=self.policy.call_timeout_s)
        return self._clients[where]

    async def aclose(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.aclose()

    def record(self, call: OpenCall, result: Reply | Failure) -> Call:
        """The final record of a call, priced."""
        now = self.clock.now_us()
        reply = result if isinstance(result, Reply) else None
        failure = result if isinstance(result, Failure) else None
        state = state_of(result)
        usage = reply.usage if reply is not None else (NO_USAGE if state != "unknown" else None)
        cost, currency, price_id = self._cost(call, reply, usage_known=usage is not None)
        return Call(
            client_call_id=call.call_id,
            turn=call.turn,
            attempt=call.attempt,
            provider=self.policy.provider,
            lane=call.lane,
            state=state,
            model_asked=call.model,
            sent_at_us=call.sent_at_us,
            http_status=200 if reply is not None else failure.http_status if failure else None,
            error_kind=failure.kind if failure else None,
            error_code=failure.code if failure else None,
            model_served=reply.model if reply else None,
            service_tier=reply.service_tier if reply else None,
            request_id=(reply.request_id if reply else failure.request_id if failure else None) or call.request_id,
            task_id=call.task_id,
            usage=usage,
            finish_reason=reply.finish_reason if reply else None,
            cost=cost,
            currency=currency,
            price_id=price_id,
            answered_at_us=now if state != "unknown" and not (failure and not failure.sent) else None,
            wait_ms=call.lease.wait_ms,
            latency_ms=(now - call.sent_at_us) // 1000 if state != "unknown" else None,
            first_chunk_ms=call.first_chunk_ms,
            polls=call.polls,
            longest_gap_ms=call.longest_gap_ms,
        )

    def close(self, row: Row, call: OpenCall, failure: Failure) -> Call:
        """Book a call that brought no reply, and give its slot back."""
        record = self.record(call, failure)
        self.ledger.closed(call.number, record)
        self.booked(row, call, record, failure)
        return record

    def booked(self, row: Row, call: OpenCall, record: Call, result: Reply | Failure) -> None:
        """After the final record was queued: count it and free the slot. No await may stand before this."""
        row.sums.add(record)
        self.on_call(record)
        call.lease.release(observation_of(result), record.usage)

    def forget(self, call: OpenCall) -> None:
        """An old task id brought nothing; it is in the book as `unknown` already."""
        self.ledger.closed(call.number, None)
        call.lease.release()

    def overdue(self, call: OpenCall, seconds: float) -> bool:
        """Whether a task was submitted more than `seconds` ago, by the wall: it may have been in another process."""
        return self.clock.now_us() - call.sent_at_us > seconds * MICROSECONDS

    def _cost(
        self, call: OpenCall, reply: Reply | None, *, usage_known: bool
    ) -> tuple[int | None, str | None, str | None]:
        """Cost, currency and price id; a refused call costs nothing in no currency at all."""
        if reply is None:
            return (None, None, None) if not usage_known else (0, None, None)
        day = datetime.fromtimestamp(call.sent_at_us / MICROSECONDS, tz=UTC).date()
        price = self.prices.find(self.policy.provider, reply.model or call.model, day)
        if price is None and reply.model:
            price = self.prices.find(self.policy.provider, call.model, day)
        if price is None or reply.usage is None:
            return None, price.currency if price else None, price.id if price else None
        return price.cost(reply.usage), price.currency, price.id


def accepted_of(call: OpenCall, accepted: Accepted, base_url: str) -> None:
    """Note the task id on the open call."""
    call.task_id = accepted.task_id
    call.request_id = accepted.request_id
    call.base_url = base_url


def _time(call: OpenCall, stream: Stream | None) -> None:
    """Note the times of a stream, whole or not."""
    if stream is not None:
        call.first_chunk_ms = stream.first_chunk_ms
        call.longest_gap_ms = stream.longest_gap_ms


def _left() -> None:
    failpoints.hit("sent.left")
