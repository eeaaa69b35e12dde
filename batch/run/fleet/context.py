"""What an attempt needs in a run with workers: the same as ever, with the exchanges made by them.

Owns which client makes the exchanges of a run with workers, and that a call whose worker is lost goes to `lost`.
"""

from __future__ import annotations

from batch.core.clock import Clock
from batch.core.errors import WireError
from batch.core.records import Call, Failure
from batch.http.client import Client
from batch.http.wirelog import WireLog
from batch.job.providers import ProviderSpec
from batch.limits.limiter import Limiter
from batch.providers.registry import Endpoint
from batch.providers.stream import Stream
from batch.run.fleet.crew import Crew, WorkerLost
from batch.run.fleet.lost import LostCalls
from batch.run.fleet.messages import Found, Hello, keyless
from batch.run.fleet.remote import FarClient, FarStream
from batch.run.fleet.transport import Begin
from batch.submit.attempt import CallContext
from batch.submit.books import Books
from batch.submit.call_ids import CallIds
from batch.submit.policy import Policy
from batch.submit.rows import OpenCall, Row


class FleetContext(CallContext):
    """The context of a run with workers.

    Args:
        fleet: how many workers, the job's own providers, and what starts a worker.
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
        fleet: tuple[int, dict[str, ProviderSpec], Begin],
        policy: Policy,
        endpoint: Endpoint,
        *,
        books: Books,
        limiter: Limiter,
        clock: Clock,
        ids: CallIds,
        wire_log: WireLog | None = None,
    ) -> None:
        workers, tables, begin = fleet
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
        self.crew = Crew(workers, hello, clock=clock, late=self._late, begin=begin)
        self._lost = LostCalls(self, self.crew, counted=self._count)
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

    def unanswered(self, row: Row, call: OpenCall, error: WireError) -> Failure:
        """What a call came to whose exchange brought no whole answer; a lost one keeps a slot.

        Args:
            row: whose call it is.
            call: the call.
            error: what its worker said, or that its worker is lost.
        """
        if isinstance(error, WorkerLost):
            self._lost.add(error.ticket, row, call)
        return super().unanswered(row, call, error)

    def _late(self, found: Found) -> None:
        """A worker whose epoch is over reports what came of one of its calls."""
        self._lost.came(found)

    def _count(self, row: Row, record: Call) -> None:
        """A further record of a call is in the book."""
        self._books.totals.add_call(record)
        if self.observer is not None:
            self.observer.booked(row, record)
