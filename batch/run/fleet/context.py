"""What an attempt needs in a run with workers: the same as ever, with the exchanges made by them.

Owns what follows when a worker is lost with calls: each keeps a slot for as long as the provider may still work on it,
and an answer that comes after all is booked as a further record of its call, which changes no row.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import anyio
import msgspec

from batch.core.clock import Clock
from batch.core.errors import StorageError
from batch.core.logs import logger
from batch.core.records import Accepted, Failure, Incoming, Outgoing, Reply
from batch.http.client import Client
from batch.http.wirelog import WireLog
from batch.job.providers import ProviderSpec
from batch.ledger.late import late_call
from batch.limits.lease import Lease
from batch.limits.limiter import Limiter
from batch.providers.registry import Endpoint
from batch.providers.stream import Stream
from batch.run.fleet.crew import LOOK_S, Crew, WorkerLost
from batch.run.fleet.messages import Done, Hello
from batch.run.fleet.remote import FarClient, FarStream
from batch.submit.attempt import CallContext
from batch.submit.books import Books
from batch.submit.call_ids import LATE, CallIds
from batch.submit.policy import Policy
from batch.submit.results import masked_result, record_of
from batch.submit.rows import OpenCall, Row

UNKNOWN_S: Final = 30.0
"""How long an exchange is believed to take at most while none was answered."""


class _Lost(msgspec.Struct, eq=False):
    """A call whose worker is lost."""

    row: Row
    call: OpenCall
    slot: Lease
    """Of the provider, which may still work on it."""


class FleetContext(CallContext):
    """The context of a run with workers.

    Args:
        fleet: how many workers, and the job's own providers.
        policy: as for `CallContext`, like all that follow.
        endpoint: where requests go, and how they are written.
        books: where calls are booked.
        limiter: when they may leave.
        clock: for every time in the books.
        ids: for new calls.
        wire_log: is told of every exchange.
    """

    streams: type[Stream] = FarStream

    def __init__(
        self,
        fleet: tuple[int, dict[str, ProviderSpec]],
        policy: Policy,
        endpoint: Endpoint,
        *,
        books: Books,
        limiter: Limiter,
        clock: Clock,
        ids: CallIds,
        wire_log: WireLog | None = None,
    ) -> None:
        workers, tables = fleet
        hello = Hello(
            0,
            policy.provider,
            {name: keyless(table) for name, table in tables.items()},
            endpoint.base_url,
            policy.call_timeout_s,
            policy.first_chunk_timeout_s,
            policy.idle_timeout_s,
            keep_raw=wire_log is not None,
        )
        self.crew = Crew(workers, hello, clock=clock, late=self._late)
        self._lost: dict[int, _Lost] = {}
        super().__init__(
            policy,
            endpoint.dialect,
            endpoint.base_url,
            books=books,
            limiter=limiter,
            clock=clock,
            ids=ids,
            wire_log=wire_log,
        )

    def client_for(self, base_url: str | None) -> Client:
        """The client for a base URL, whose exchanges are made by the workers."""
        where = base_url or self.base_url
        if where not in self._clients:
            self._clients[where] = FarClient(where, self.crew, call_timeout_s=self.policy.call_timeout_s)
        return self._clients[where]

    async def carry(self, row: Row, call: OpenCall, outgoing: Outgoing, stream: Stream | None) -> Incoming:
        """Have a worker send one request, and wait for its answer.

        Args:
            row: whose call it is.
            call: the call; the limits have let it go just now.
            outgoing: the request.
            stream: takes an answer in pieces.

        Raises:
            WireError: there is no whole answer.
        """
        try:
            return await super().carry(row, call, outgoing, stream)
        except WorkerLost as lost:
            # Before the call is booked, so that its slot is never free in between.
            slot = self.limiter.adopt(call.model)
            if call.lease.place is not None:
                slot.put(call.lease.place)
            self._lost[lost.ticket] = _Lost(row, call, slot)
            self.crew.start(self._free_later, slot, call.started)
            raise

    async def _free_later(self, slot: Lease, left_at: float) -> None:
        """Keep a slot for as long as exchanges of this run take at most, as far as is known by then."""
        while slot.open:
            most_s = min(self.crew.longest_s or UNKNOWN_S, self.policy.call_timeout_s)
            left_s = left_at + most_s - self.clock.monotonic()
            if left_s <= 0:
                slot.release()
            else:
                await self.clock.sleep(min(left_s, LOOK_S))

    def _late(self, ticket: int, done: Done) -> None:
        """A worker whose epoch is over reports what came of one of its calls."""
        lost = self._lost.pop(ticket, None)
        if lost is None:
            return
        lost.slot.release()
        result = self._read(lost.call, done)
        if isinstance(result, Reply):
            self.crew.start(self._book_late, lost, result)
        elif isinstance(result, Accepted):
            logger().warning("task_came_late", row_id=lost.call.row_id, task_id=result.task_id)

    def _read(self, call: OpenCall, done: Done) -> Reply | Accepted | Failure | None:
        if done.stream is not None:
            return None if done.stream.reply is None else masked_result(done.stream.reply)
        if done.incoming is None:
            return None
        dialect = (call.target or self.target).dialect
        if call.lane == "task":
            return masked_result(dialect.read_submit(done.incoming))
        return masked_result(dialect.read_chat(done.incoming))

    async def _book_late(self, lost: _Lost, reply: Reply) -> None:
        row, call, target = lost.row, lost.call, lost.call.target or self.target
        number, _ = self.ids.new()
        late = msgspec.structs.replace(call, number=number, call_id=f"{call.call_id}{LATE}")
        record = record_of(
            late,
            reply,
            provider=self.policy.provider,
            prices=target.prices,
            now_us=self.clock.now_us(),
            now=self.clock.monotonic(),
            asked_tier=row.request.parameters.get("service_tier"),
        )
        record = msgspec.structs.replace(record, counted=False, endpoint=target.name)
        with anyio.CancelScope(shield=True), suppress(StorageError):  # the ledger itself ends the run
            await self.ledger.execute(late_call(row.pending, number, record))
        self._books.totals.add_call(record)
        logger().warning("answer_came_late", row_id=call.row_id, call_id=call.call_id)
        if self.observer is not None:
            self.observer.booked(row, record)


def keyless(table: ProviderSpec) -> ProviderSpec:
    """A provider's table without what says where its key is, and what it costs."""
    return msgspec.structs.replace(table, api_key_env=None, key_file=None, key_command=(), price=())
