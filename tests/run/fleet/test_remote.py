"""What looks like a client and like a stream: which exchanges workers make, and which the core makes itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from batch.core.clock import Clock
from batch.core.errors import WireError
from batch.core.records import Incoming, Outgoing, Reply
from batch.providers.registry import dialect
from batch.providers.stream import Stream
from batch.run.fleet.crew import Crew, NotTaken, WorkerLost
from batch.run.fleet.messages import Hello, StreamEnd
from batch.run.fleet.remote import LARGEST, FarClient, FarStream
from tests.support.stub import Stub, reply

HELLO = Hello(0, "openai", {}, "http://h/v1", 5.0, 5.0, 5.0, False)
FAR = Incoming(200, {}, b"far")
NEAR = b"near"
REPLY = Reply(content="x", finish_reason="stop")


class Carrier(Crew):
    """A crew that answers at once what a test says, and counts."""

    def __init__(self, *results: Incoming | StreamEnd | WireError) -> None:
        super().__init__(1, HELLO, clock=Clock())
        self.results = list(results)
        self.streamed: list[bool] = []

    async def carry(
        self, outgoing: Outgoing, base_url: str, streamed: Callable[[StreamEnd], None] | None = None
    ) -> Incoming:
        assert (outgoing.path, base_url.startswith("http://127.0.0.1:")) == ("/chat", True)
        self.streamed.append(streamed is not None)
        await anyio.lowlevel.checkpoint()
        result = self.results.pop(0)
        if isinstance(result, WireError):
            raise result
        if isinstance(result, Incoming):
            return result
        assert streamed is not None
        streamed(result)
        return FAR


def with_client(carrier: Carrier, test: Callable[[FarClient, Stub], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Stub() as stub:
            stub.answers = [reply(NEAR)]
            client = FarClient(stub.url, carrier, call_timeout_s=30.0)
            try:
                await test(client, stub)
            finally:
                await client.aclose()

    anyio.run(main)


def stream_of(kind: type[Stream]) -> Stream:
    spoken, _ = dialect("openai", base_url="http://h/v1", key="k")
    return kind(spoken.folding(), Clock(), first_s=5.0, idle_s=5.0)


def test_a_request_goes_to_a_worker() -> None:
    async def test(client: FarClient, stub: Stub) -> None:
        assert await client.exchange(Outgoing("/chat", (), b"{}")) == FAR
        assert stub.exchanges == []

    with_client(Carrier(FAR), test)


def test_a_call_whose_worker_is_lost_is_lost_and_a_poll_is_made_by_another() -> None:
    async def test(client: FarClient, _: Stub) -> None:
        with pytest.raises(WorkerLost):
            await client.exchange(Outgoing("/chat", (), b"{}"))
        assert await client.exchange(Outgoing("/chat", ())) == FAR

    with_client(Carrier(WorkerLost(1, "died"), WorkerLost(2, "died"), FAR), test)


def test_what_no_worker_took_in_time_asks_the_limits_again_but_for_a_poll_which_has_none() -> None:
    async def test(client: FarClient, _: Stub) -> None:
        with pytest.raises(NotTaken):
            await client.exchange(Outgoing("/chat", (), b"{}"))
        assert await client.exchange(Outgoing("/chat", ())) == FAR

    with_client(Carrier(NotTaken(), NotTaken(), FAR), test)


def test_a_very_large_request_goes_from_the_core() -> None:
    async def test(client: FarClient, _: Stub) -> None:
        assert (await client.exchange(Outgoing("/chat", (), b" " * (LARGEST + 1)))).body == NEAR
        assert (await client.exchange(Outgoing("/chat", (), b" " * LARGEST))) == FAR

    with_client(Carrier(FAR), test)


def test_without_workers_the_core_makes_all_exchanges() -> None:
    carrier = Carrier()
    carrier.given_up = True

    async def test(client: FarClient, _: Stub) -> None:
        for body in (b"{}", None):
            assert (await client.exchange(Outgoing("/chat", (), body))).body == NEAR

    with_client(carrier, test)


def test_a_stream_has_what_a_worker_made_of_it_and_others_are_taken_here() -> None:
    carrier = Carrier(StreamEnd(REPLY, None, 7, 9, b"raw"))

    async def test(client: FarClient, _: Stub) -> None:
        far = stream_of(FarStream)
        await client.exchange(Outgoing("/chat", (), b"{}"), stream=far)
        assert (far.taken, far.end(clean=True)) == (True, REPLY)
        assert (far.first_chunk_ms, far.longest_gap_ms, far.received) == (7, 9, b"raw")
        near = stream_of(Stream)
        assert (await client.exchange(Outgoing("/chat", (), b"{}"), stream=near)).body == NEAR
        assert carrier.streamed == [True]

    with_client(carrier, test)


def test_a_whole_stream_comes_as_an_answer_and_leaves_its_times() -> None:
    async def test(client: FarClient, _: Stub) -> None:
        far = stream_of(FarStream)
        assert await client.exchange(Outgoing("/chat", (), b"{}"), stream=far) == FAR
        assert (far.taken, far.first_chunk_ms, far.longest_gap_ms) == (False, 7, 9)

    with_client(Carrier(StreamEnd(None, None, 7, 9)), test)


def test_a_far_stream_that_the_core_takes_itself_is_like_any_other() -> None:
    data = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    far, near = stream_of(FarStream), stream_of(Stream)
    for stream in (far, near):
        assert stream.head(200, [])
        assert stream.feed(data)
    assert far.end(clean=True) == near.end(clean=True)
    assert (far.received, far.first_chunk_ms, far.longest_gap_ms) == (b"", 0, 0)
