"""The far end of the seam, in this process: what is sent, what is not, and what is reported."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import anyio
import pytest

from batch.core.clock import HandClock
from batch.core.records import Accepted, Asks, Incoming, Processing, Reply, Usage
from batch.run.fleet import messages
from batch.run.fleet.line import FarSocket, Line
from batch.run.fleet.worker import READ_MAX, VALID_S, FarEnd
from tests.support.stub import Exchange, Stub, reply

CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}\n\n'
STREAM = CHUNK % (b"Good ", b"null") + CHUNK % (b"day", b'"stop"') + b"data: [DONE]\n\n"


class Near:
    """The other end of a line to a worker, and what came over it."""

    def __init__(self, clock: HandClock, stub: Stub) -> None:
        self.clock = clock
        self.url = stub.url
        self.done: dict[int, messages.Done] = {}
        self.said: dict[int, messages.Said] = {}
        self.stale: list[int] = []
        self.alive = 0
        self._came = anyio.Event()
        self.line = Line(self._told, lambda: None)

    def _told(self, message: bytes) -> None:
        told = messages.for_core(message)
        if isinstance(told, messages.Report):
            assert told.epoch == 4
            self.done |= {done.ticket: done for done in told.done}
            self.said |= {said.ticket: said for said in told.said}
            self.stale += told.stale
        else:
            self.alive += 1
        self._came.set()
        self._came = anyio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._came.wait()

    def say(self, message: messages.ToWorker) -> None:
        self.line.send(messages.encode(message))

    def errand(
        self,
        ticket: int,
        *,
        age_s: float = 0.0,
        url: str | None = None,
        streamed: bool = False,
        asks: Asks | None = None,
    ) -> messages.Errand:
        departed_at = self.clock.monotonic() - age_s
        headers = (("Content-Type", "application/json"),)
        where = url or self.url
        return messages.Errand(ticket, departed_at, where, "/chat/completions", headers, b"{}", streamed, asks)


def with_worker(
    test: Callable[[Near, Stub], Awaitable[None]],
    *,
    leaves: bool = False,
    provider: str = "openai",
    keep_raw: bool = True,
) -> None:
    """Run a test beside one worker, which is told to leave at the end unless the test has done so."""

    async def main() -> None:
        clock = HandClock()
        async with Stub() as stub, anyio.create_task_group() as group:
            near = Near(clock, stub)
            one, other = socket.socketpair()
            await near.line.open(one)
            group.start_soon(FarEnd(clock, FarSocket(other, clock)).work)
            near.say(messages.Hello(4, provider, {}, near.url, 30.0, 30.0, 30.0, keep_raw))
            await near.until(lambda: near.alive == 1)
            await test(near, stub)
            if not leaves:
                near.line.close()

    anyio.run(main)


def test_errands_are_made_and_reported_by_ticket() -> None:
    async def test(near: Near, stub: Stub) -> None:
        stub.answers = [reply(b'{"a": 1}')]
        near.say(messages.Take([near.errand(1), near.errand(2)]))
        await near.until(lambda: len(near.done) == 2)
        for done in near.done.values():
            assert isinstance(done.incoming, Incoming)
            assert (done.incoming.status, done.incoming.body, done.fault, done.stream) == (200, b'{"a": 1}', None, None)
        assert len(stub.exchanges) == 2

    with_worker(test)


CHAT = b'{"choices":[{"message":{"content":"Good day"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2,'
CHAT += b'"completion_tokens":3,"total_tokens":5}}'
TASK = b'{"id":"t-1","request_id":"r","model":"glm-4","task_status":"PROCESSING"}'


def test_answers_are_read_where_they_arrive() -> None:
    """As what they were asked for; the core gets no bytes, and of the headers those that still count."""

    async def test(near: Near, stub: Stub) -> None:
        head = ["x-request-id: r-9", "x-ratelimit-limit-requests: 7", "server: s"]
        stub.answers = [reply(CHAT, *head), reply(TASK), reply(TASK), reply(CHAT)]
        wanted: list[Asks] = ["chat", "submit", "poll", "poll"]
        for ticket, asks in enumerate(wanted, 1):
            near.say(messages.Take([near.errand(ticket, asks=asks)]))
            await near.until(lambda ticket=ticket: ticket in near.said)  # type: ignore[misc]  # a default binds it
        chat, submitted, polled, ended = (messages.result_of(near.said[ticket]) for ticket in (1, 2, 3, 4))
        assert near.said[1].headers == {"x-request-id": "r-9", "x-ratelimit-limit-requests": "7"}
        assert isinstance(chat, Reply)
        assert (chat.content, chat.usage) == ("Good day", Usage(2, 3, 5))
        assert submitted == Accepted(task_id="t-1", request_id="r", model="glm-4")
        assert isinstance(polled, Processing)
        assert ended == chat
        assert near.done == {}

    with_worker(test, provider="glm", keep_raw=False)


@pytest.mark.parametrize(
    ("answer", "asks", "keep_raw"),
    [
        (reply(b'{"error":{"code":"1302","message":"slow down"}}', status="429 Too Many Requests"), "chat", False),
        (reply(b'{"error":{"code":"1113","message":"no money"}}'), "chat", False),
        (reply(b"<html>"), "chat", False),
        (reply(CHAT.ljust(READ_MAX + 1)), "chat", False),
        (reply(CHAT), None, False),
        (reply(CHAT), "chat", True),
    ],
)
def test_what_is_no_answer_or_wanted_as_bytes_goes_to_the_core_as_it_came(
    answer: bytes, asks: Asks | None, keep_raw: bool
) -> None:
    async def test(near: Near, stub: Stub) -> None:
        stub.answers = [answer]
        near.say(messages.Take([near.errand(1, asks=asks)]))
        await near.until(lambda: 1 in near.done)
        incoming = near.done[1].incoming
        assert incoming is not None
        assert answer.endswith(incoming.body)
        assert incoming.body
        assert near.said == {}

    with_worker(test, provider="glm", keep_raw=keep_raw)


def test_an_errand_that_has_waited_too_long_is_not_sent() -> None:
    async def test(near: Near, stub: Stub) -> None:
        near.say(messages.Take([near.errand(1, age_s=VALID_S + 0.001), near.errand(2, age_s=VALID_S)]))
        await near.until(lambda: bool(near.stale) and 2 in near.done)
        assert (near.stale, list(near.done), len(stub.exchanges)) == ([1], [2], 1)

    with_worker(test)


def test_an_errand_that_is_taken_back_is_not_reported() -> None:
    async def test(near: Near, stub: Stub) -> None:
        stub.answers = [Exchange.hang, reply(b"{}")]
        near.say(messages.Take([near.errand(1)]))
        while not stub.exchanges:
            await anyio.lowlevel.checkpoint()
        near.say(messages.Cancel([1, 99]))
        near.say(messages.Take([near.errand(2)]))
        await near.until(lambda: 2 in near.done)
        assert list(near.done) == [2]

    with_worker(test)


def test_what_goes_wrong_is_reported_as_it_would_be_raised() -> None:
    async def test(near: Near, stub: Stub) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
            stub.answers = [Exchange.reset]
            near.say(messages.Take([near.errand(1, url=url), near.errand(2)]))
            await near.until(lambda: len(near.done) == 2)
        refused, broken = near.done[1].fault, near.done[2].fault
        assert refused is not None
        assert broken is not None
        assert (refused.kind, refused.sent, broken.kind, broken.sent) == ("transport", False, "transport", True)

    with_worker(test)


def test_a_stream_is_put_together_where_it_arrives() -> None:
    async def test(near: Near, stub: Stub) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(STREAM)
        stub.answers = [head + STREAM, reply(b'{"error": {"message": "no"}}', status="400 Bad Request")]
        near.say(messages.Take([near.errand(1, streamed=True)]))
        await near.until(lambda: 1 in near.done)
        end = near.done[1].stream
        assert end is not None
        assert end.reply is not None
        assert (end.reply.content, end.reply.finish_reason, end.received) == ("Good day", "stop", STREAM)
        near.say(messages.Take([near.errand(2, streamed=True)]))
        await near.until(lambda: 2 in near.done)
        refused = near.done[2]
        assert refused.incoming is not None
        assert (refused.incoming.status, refused.stream) == (400, None)

    with_worker(test)


def test_a_whole_stream_is_reported_like_an_answer_with_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says goes over once and in the same form, so that it is masked once; a broken one is still a stream."""
    bodies: list[bytes] = []
    encode = messages.encode

    def kept(message: messages.ToCore) -> bytes:
        bodies.append(encode(message))
        return bodies[-1]

    monkeypatch.setattr(messages, "encode", kept)

    async def test(near: Near, stub: Stub) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nx-request-id: r-9\r\nserver: s\r\n"
        size = b"Content-Length: %d\r\n\r\n"
        broken = CHUNK % (b"Good ", b"null")
        stub.answers = [head + size % len(STREAM) + STREAM, head + size % len(broken) + broken]
        near.say(messages.Take([near.errand(1, streamed=True)]))
        await near.until(lambda: 1 in near.said)
        said = near.said[1]
        assert said.reply is not None
        assert (said.reply.content, said.reply.message) == ("Good day", {"role": "assistant", "content": "Good day"})
        assert (said.headers, said.stream) == ({"x-request-id": "r-9"}, messages.StreamEnd(None, None, 0, 0))
        assert b"".join(bodies).count(b"Good day") == 1
        near.say(messages.Take([near.errand(2, streamed=True)]))
        await near.until(lambda: 2 in near.done)
        end = near.done[2].stream
        assert end is not None
        assert (end.reply, end.failure is None) == (None, False)

    with_worker(test, keep_raw=False)


def test_told_to_leave_it_ends_with_what_is_under_way_and_takes_nothing_more() -> None:
    async def test(near: Near, stub: Stub) -> None:
        gate = anyio.Event()

        async def late(exchange: Exchange) -> None:
            await gate.wait()
            await exchange.write(reply(b"{}"))

        stub.answers = [late]
        near.say(messages.Take([near.errand(1)]))
        while not stub.exchanges:
            await anyio.lowlevel.checkpoint()
        near.say(messages.Leave())
        near.say(messages.Take([near.errand(2)]))
        await near.until(lambda: near.stale == [2])
        gate.set()
        await near.until(lambda: 1 in near.done)

    with_worker(test, leaves=True)  # its task ends by itself


@pytest.mark.parametrize("under_way", [False, True])
def test_without_a_core_it_ends_at_once(under_way: bool) -> None:
    async def test(near: Near, stub: Stub) -> None:
        stub.answers = [Exchange.hang]
        if under_way:
            near.say(messages.Take([near.errand(1)]))
            while not stub.exchanges:
                await anyio.lowlevel.checkpoint()

    with_worker(test)
