"""The near end of the seam: what looks like a client and like a stream, while a worker makes the exchange.

Owns which exchanges the core makes itself all the same: those of whoever takes the pieces of an answer in a way of its
own, very large ones, and all of them once there are no workers any more. It books nothing.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from batch.core.records import Failure, Incoming, Outgoing, Reply
from batch.http.client import Client
from batch.providers.stream import Stream
from batch.run.fleet.crew import Crew, NotTaken, WorkerLost
from batch.run.fleet.messages import StreamEnd

LARGEST: Final = 8 << 20
"""Bytes of a request that is handed to a worker; copying a larger one costs more than sending it."""


class FarStream(Stream):
    """A stream that a worker puts together; one that the core has to take itself is like any other.

    A whole one comes as an answer that was read: then nothing of it is taken here but its times.
    """

    _end: StreamEnd | None = None

    def ended(self, end: StreamEnd) -> None:
        """What it came to is known."""
        self._end = end
        self.taken = end.reply is not None or end.failure is not None

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

    def exchange(self, outgoing: Outgoing, *, stream: Any = None) -> Coroutine[Any, Any, Incoming]:
        """Send one request and return its whole answer, whatever its status; see `Client`.

        Raises:
            WireError: there is no whole answer; `WorkerLost` when its worker is gone.
        """
        body, crew = outgoing.body, self._crew
        if crew.given_up or not (stream is None or isinstance(stream, FarStream)):
            return super().exchange(outgoing, stream=stream)
        if body is None:
            return self._ask(outgoing)
        if len(body) > LARGEST:
            return super().exchange(outgoing, stream=stream)
        return crew.carry(outgoing, self.base_url, None if stream is None else stream.ended)

    async def _ask(self, outgoing: Outgoing) -> Incoming:
        """Send what buys nothing, such as a poll: when its worker is lost or late, another one sends it."""
        while not self._crew.given_up:
            with suppress(WorkerLost, NotTaken):
                return await self._crew.carry(outgoing, self.base_url)
        return await super().exchange(outgoing)
