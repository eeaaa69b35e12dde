"""The near end of the seam: what looks like a client and like a stream, while a worker makes the exchange.

Owns which exchanges the core makes itself all the same: those of whoever takes the pieces of an answer in a way of its
own, very large ones, and all of them once there are no workers any more. It books nothing.
"""

from __future__ import annotations

from typing import Any, Final

from batch.core.errors import WireError
from batch.core.records import Failure, Incoming, Outgoing, Reply
from batch.http.client import Client
from batch.providers.stream import Stream
from batch.run.fleet.crew import Crew, WorkerLost
from batch.run.fleet.messages import Done, StreamEnd

LARGEST: Final = 8 << 20
"""Bytes of a request that is handed to a worker; copying a larger one costs more than sending it."""


class FarStream(Stream):
    """A stream that a worker puts together; one that the core has to take itself is like any other."""

    _end: StreamEnd | None = None

    def ended(self, end: StreamEnd) -> None:
        """What it came to is known."""
        self._end, self.taken = end, True

    def end(self, *, clean: bool) -> Reply | Failure:
        """The reply or the failure that it was."""
        if self._end is None:
            return super().end(clean=clean)
        result = self._end.failure if self._end.reply is None else self._end.reply
        assert result is not None
        return result

    @property
    def received(self) -> bytes:
        """The bytes as they came, for the wire log."""
        return super().received if self._end is None else self._end.received

    @property
    def first_chunk_ms(self) -> int | None:
        """Milliseconds from the request to the first chunk."""
        return super().first_chunk_ms if self._end is None else self._end.first_chunk_ms

    @property
    def longest_gap_ms(self) -> int | None:
        """The longest silence after it."""
        return super().longest_gap_ms if self._end is None else self._end.longest_gap_ms


class FarClient(Client):
    """A client whose exchanges are made by workers.

    Args:
        base_url: where all of them go.
        crew: has the workers.
        call_timeout_s: of the exchanges that it makes itself.
    """

    def __init__(self, base_url: str, crew: Crew, *, call_timeout_s: float) -> None:
        super().__init__(base_url, call_timeout_s=call_timeout_s)
        self._crew = crew

    async def exchange(self, outgoing: Outgoing, *, stream: Any = None) -> Incoming:
        """Send one request and return its whole answer, whatever its status; see `Client`.

        A poll whose worker is lost is made by another one: it buys nothing.

        Raises:
            WireError: there is no whole answer; `WorkerLost` when its worker is gone.
        """
        own = stream is not None and not isinstance(stream, FarStream)
        size = 0 if outgoing.body is None else len(outgoing.body)
        while not (own or size > LARGEST or self._crew.given_up):
            try:
                done = await self._crew.carry(outgoing, self.base_url, streamed=stream is not None)
            except WorkerLost:
                if outgoing.body is not None:
                    raise
                continue
            if isinstance(stream, FarStream) and done.stream is not None:
                stream.ended(done.stream)
            return answer_of(done)
        return await super().exchange(outgoing, stream=stream)


def answer_of(done: Done) -> Incoming:
    """The answer to an errand.

    Raises:
        WireError: there is none, or not a whole one.
    """
    if done.incoming is not None:
        return done.incoming
    fault = done.fault
    assert fault is not None
    raise WireError(
        fault.text,
        kind=fault.kind,
        sent=fault.sent,
        permanent=fault.permanent,
        wrong_address=fault.wrong_address,
    )
