"""The keep-alive transport against a raw-socket server, on asyncio and on uvloop."""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import ExitStack, suppress

import anyio
import anyio.lowlevel
import pytest

from batch.core import failpoints, openfiles
from batch.core.errors import WireError
from batch.core.records import Outgoing
from batch.http import shelf, urls
from batch.http.client import Client
from batch.http.faults import NotConnected
from batch.http.head import Heads
from batch.http.transport import Transport
from tests.support.stub import Exchange, Stub, reply

POST = Outgoing("/chat", (("Authorization", "Bearer k.s"),), b'{"a":1}')


def client(stub: Stub, deadline: float = 5.0, cap: int = 1 << 20) -> Client:
    return Client(stub.url, call_timeout_s=deadline, max_body_bytes=cap)


async def failure(stub: Stub, deadline: float = 5.0, cap: int = 1 << 20) -> WireError:
    """The error one exchange ends with."""
    wire = client(stub, deadline, cap)
    with pytest.raises(WireError) as caught:
        await wire.exchange(POST)
    await wire.aclose()
    return caught.value


async def test_one_connection_carries_many_requests(stub: Stub) -> None:
    """Keep-alive: a handshake per request would cost five times the request."""
    wire = client(stub)
    for _ in range(20):
        assert (await wire.exchange(POST)).status == 200
    assert stub.connections == 1
    await wire.aclose()


async def test_the_request_on_the_wire_is_complete_and_has_no_double_slash(stub: Stub) -> None:
    """Method, joined path, Host, length, key and body arrive as they must."""
    wire = Client(stub.url + "/", call_timeout_s=5)
    await wire.exchange(POST)
    await wire.exchange(Outgoing("/async-result/a%2Fb", ()))
    first, second = stub.exchanges
    assert first.head.startswith(b"POST /base/chat HTTP/1.1\r\n")
    assert second.head.startswith(b"GET /base/async-result/a%2Fb HTTP/1.1\r\n")
    assert b"Content-Length" not in second.head
    assert first.head.count(b"Host: 127.0.0.1:") == 1
    assert b"Accept-Encoding: gzip, deflate\r\n" in first.head
    assert b"User-Agent: promptmill/" in first.head
    assert b"Authorization: Bearer k.s\r\n" in first.head
    assert first.body == b'{"a":1}'
    await wire.aclose()


async def test_as_many_connections_as_calls_in_flight_and_no_more(stub: Stub) -> None:
    """Two waves of eight use the same eight connections."""
    started = anyio.Semaphore(0)
    release = anyio.Event()

    async def hold(exchange: Exchange) -> None:
        started.release()
        await release.wait()
        await exchange.write(reply(b"{}"))

    stub.answers = [hold]
    wire = client(stub)
    for _ in range(2):
        release = anyio.Event()
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(wire.exchange, POST)
            for _ in range(8):
                await started.acquire()
            release.set()
    assert stub.connections == 8
    await wire.aclose()


async def test_that_it_left_is_known_once_and_before_the_answer(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies between the two has sent, and says so."""
    events: list[str] = []
    monkeypatch.setitem(failpoints.armed, "sent.left", 1)
    monkeypatch.setattr(failpoints, "hit", events.append)

    async def answer(exchange: Exchange) -> None:
        events.append("answer")
        await exchange.write(reply(b"{}"))

    stub.answers = [answer]
    wire = client(stub)
    await wire.exchange(POST)
    assert events == ["sent.left", "answer"]
    await wire.aclose()


async def test_nobody_listening_is_not_sent() -> None:
    """A refused connection is free to repeat."""
    wire = Client("http://127.0.0.1:1/base", call_timeout_s=5)
    with pytest.raises(WireError, match=r"no connection to 127\.0\.0\.1:1") as caught:
        await wire.exchange(POST)
    assert (caught.value.kind, caught.value.sent) == ("transport", False)
    await wire.aclose()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example"])
async def test_a_name_that_does_not_resolve_is_not_sent(host: str) -> None:
    """DNS failure and a name no DNS can have."""
    wire = Client(f"http://{host}/base", call_timeout_s=5)
    with pytest.raises(WireError) as caught:
        await wire.exchange(POST)
    assert (caught.value.kind, caught.value.sent) == ("transport", False)
    await wire.aclose()


async def _reset(exchange: Exchange) -> None:
    await exchange.reset()


async def _close(exchange: Exchange) -> None:
    await exchange.close()


async def _reset_in_the_body(exchange: Exchange) -> None:
    await exchange.write(reply(b'{"choices": []}')[:-4])
    await exchange.reset()


async def _short_body(exchange: Exchange) -> None:
    await exchange.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a":')
    await exchange.close()


async def _cut_chunk(exchange: Exchange) -> None:
    await exchange.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n')
    await exchange.close()


async def _cut_head(exchange: Exchange) -> None:
    await exchange.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    await exchange.close()


@pytest.mark.parametrize("fault", [_reset, _close, _reset_in_the_body, _short_body, _cut_chunk, _cut_head])
async def test_a_connection_lost_after_the_request_may_have_been_billed(stub: Stub, fault: object) -> None:
    """Reset, end of file and short bodies: sent, kind transport."""
    stub.answers = [fault]  # type: ignore[list-item]  # one of the faults above
    error = await failure(stub)
    assert (error.kind, error.sent) == ("transport", True)


async def test_a_reused_connection_that_dies_unanswered_is_reported_and_not_resent(stub: Stub) -> None:
    """The keep-alive race: the server may have processed it, so only the caller may send again."""
    stub.answers = [reply(b"{}"), _close, reply(b"{}")]
    wire = client(stub)
    await wire.exchange(POST)
    with pytest.raises(WireError, match="idle") as caught:
        await wire.exchange(POST)
    assert caught.value.sent
    assert len(stub.exchanges) == 2
    assert (await wire.exchange(POST)).status == 200
    await wire.aclose()


async def test_idle_connections_that_the_server_closed_are_not_used(stub: Stub) -> None:
    """A restarted server costs a new connection, not a failed call."""
    wire = client(stub)
    await wire.exchange(POST)
    stub.drop()
    await anyio.wait_all_tasks_blocked()
    await wire.exchange(POST)
    assert stub.connections == 2
    await wire.aclose()


async def test_idle_connections_are_dropped_after_their_time(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection unused for longer than services keep it is a trap."""
    monkeypatch.setattr(shelf, "IDLE_S", 0.0)
    wire = client(stub)
    await wire.exchange(POST)
    await wire.exchange(POST)
    assert stub.connections == 2
    await wire.aclose()


async def test_an_answer_that_nobody_waits_for_never_reaches_the_next_call(stub: Stub) -> None:
    """A cancelled exchange takes its connection with it."""
    arrived = anyio.Event()

    async def late(exchange: Exchange) -> None:
        arrived.set()
        await exchange.hang()

    stub.answers = [late, reply(b'"mine"')]
    wire = client(stub)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wire.exchange, POST)
        await arrived.wait()
        tasks.cancel_scope.cancel()
    assert (await wire.exchange(POST)).body == b'"mine"'
    assert [exchange.connection for exchange in stub.exchanges] == [1, 2]
    await wire.aclose()


async def test_a_second_answer_to_one_request_ends_the_connection(stub: Stub) -> None:
    """Else it would be read as the answer to the next call."""
    stub.answers = [reply(b"1") + reply(b"2"), reply(b"3")]
    wire = client(stub)
    assert (await wire.exchange(POST)).body == b"1"
    assert (await wire.exchange(POST)).body == b"3"
    assert stub.connections == 2
    await wire.aclose()


async def test_an_unasked_answer_on_an_idle_connection_ends_it(stub: Stub) -> None:
    """The same, arriving later."""
    stub.answers = [reply(b"1"), reply(b"3")]
    wire = client(stub)
    await wire.exchange(POST)
    await stub.exchanges[0].write(reply(b"2"))
    with anyio.fail_after(60):
        while not stub.closed:
            await anyio.lowlevel.checkpoint()
    assert (await wire.exchange(POST)).body == b"3"
    await wire.aclose()


async def test_connection_close_is_obeyed(stub: Stub) -> None:
    """A server that says close gets no second request on that connection."""
    stub.answers = [reply(b"1", "Connection: close"), reply(b"2")]
    wire = client(stub)
    assert (await wire.exchange(POST)).body == b"1"
    assert (await wire.exchange(POST)).body == b"2"
    assert stub.connections == 2
    await wire.aclose()


async def test_a_body_that_ends_with_the_connection_is_whole(stub: Stub) -> None:
    """No Content-Length and no chunks is legal HTTP/1.1."""

    async def until_close(exchange: Exchange) -> None:
        await exchange.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[1,")
        await exchange.write(b"2]")
        await exchange.close()

    stub.answers = [until_close]
    wire = client(stub)
    assert (await wire.exchange(POST)).body == b"[1,2]"
    await wire.aclose()


async def test_answers_in_chunks_with_trailers_and_one_byte_at_a_time(stub: Stub) -> None:
    """Framing is the parser's, whatever the packets; trailers are no headers."""

    async def drip(exchange: Exchange) -> None:
        text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n[1,\r\n2\r\n2]\r\n0\r\nX-T: v\r\n\r\n"
        for number in range(len(text)):
            await exchange.write(text[number : number + 1])
            await anyio.lowlevel.checkpoint()

    stub.answers = [drip]
    wire = client(stub)
    for _ in range(2):
        incoming = await wire.exchange(POST)
        assert incoming.body == b"[1,2]"
        assert "x-t" not in incoming.headers
    assert stub.connections == 1
    await wire.aclose()


async def test_interim_answers_are_skipped(stub: Stub) -> None:
    """100 and 103 come before the real one and their headers are not its headers."""
    stub.answers = [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\nRetry-After: 9\r\n\r\n" + reply(b"ok")
    ]
    wire = client(stub)
    for _ in range(2):
        incoming = await wire.exchange(POST)
        assert (incoming.status, incoming.body) == (200, b"ok")
        assert "retry-after" not in incoming.headers
    assert stub.connections == 1
    await wire.aclose()


async def test_header_names_are_lower_case_and_the_first_of_a_repeated_one_counts(stub: Stub) -> None:
    """A flood of 200 rate headers is taken; `Retry-After` twice means the first."""
    stub.answers = [reply(b"{}", "RETRY-after: 1", "Retry-After: 7", *(f"X-Rate-{n}: {n}" for n in range(200)))]
    wire = client(stub)
    headers = (await wire.exchange(POST)).headers
    assert headers["retry-after"] == "1"
    assert headers["x-rate-199"] == "199"
    await wire.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"x" * 5000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"400\r\n" + b"x" * 1024 + b"\r\n" + b"400\r\n" + b"x" * 99,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 600 + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 60_000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"<html>not http</html>",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
    ],
    ids=["length", "chunks", "until-close", "header", "headers", "interim", "ssh", "html", "upgrade", "two-lengths"],
)
async def test_what_is_no_answer_or_too_large_ends_in_bad_payload(stub: Stub, answer: bytes) -> None:
    """Caps on body, head and framing; the connection is not used again."""
    stub.answers = [answer]
    error = await failure(stub, cap=1000)
    assert (error.kind, error.sent) == ("bad_payload", True)


async def test_a_server_that_never_answers_ends_in_timeout(stub: Stub) -> None:
    """The request left, so it may have been processed."""

    async def silence(exchange: Exchange) -> None:
        await exchange.hang()

    stub.answers = [silence]
    error = await failure(stub, deadline=1.0)
    assert (error.kind, error.sent) == ("timeout", True)


async def test_the_deadline_is_for_the_whole_answer(stub: Stub) -> None:
    """A byte now and then does not extend it."""

    async def drip(exchange: Exchange) -> None:
        await exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while True:
            await exchange.write(b"x")
            await anyio.sleep(0.01)

    stub.answers = [drip]
    error = await failure(stub, deadline=1.0)
    assert (error.kind, error.sent) == ("timeout", True)


async def test_an_early_answer_to_a_large_request_is_taken_and_the_connection_is_not(stub: Stub) -> None:
    """The rest of a half-written request must not be read as the next one."""
    big = Outgoing("/chat", (), b"x" * 30_000_000)
    wire = client(stub, deadline=10)
    stub.answers = [reply(b"1"), reply(b"2")]
    stub.impatient = True
    assert (await wire.exchange(big)).body == b"1"
    stub.impatient = False
    assert (await wire.exchange(POST)).body == b"2"
    await wire.aclose()


async def test_closing_the_client_ends_calls_in_flight(stub: Stub) -> None:
    """Every waiter is answered on every path."""
    arrived = anyio.Event()
    errors: list[WireError] = []

    async def hold(exchange: Exchange) -> None:
        arrived.set()
        await exchange.hang()

    async def call() -> None:
        try:
            await wire.exchange(POST)
        except WireError as error:
            errors.append(error)

    stub.answers = [hold]
    wire = client(stub)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await arrived.wait()
        await wire.aclose()
    assert [(error.kind, error.sent) for error in errors] == [("transport", True)]


async def test_a_line_break_in_a_header_is_refused_before_sending(stub: Stub) -> None:
    """Nobody smuggles a header through a call id."""
    wire = client(stub)
    with pytest.raises(WireError, match="line break") as caught:
        await wire.exchange(Outgoing("/chat", (("X-Client-Request-Id", "a\r\nX: y"),), b"{}"))
    assert not caught.value.sent
    assert not stub.exchanges
    await wire.aclose()


async def test_idle_connections_make_room_when_no_more_files_may_be_open(simulator: str) -> None:
    """FIELD 41. And with none idle the call is told why it did not leave; it is asked again like any other."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    url = urls.parse(simulator.rstrip("/"))
    near, far = (Transport(url, connect_s=5, answer_s=5, max_body_bytes=1 << 20) for _ in range(2))
    request = Heads(url).sealed(Outgoing("/_sim/books", ()), plain=False)
    assert (await near.exchange(request)).status == 200
    near._whole.habit.closed(0.0, asyncio.get_running_loop().time())  # so that the idle one is not used again
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (openfiles.used() + 2, limits[1]))
        with suppress(OSError):
            while True:
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(NotConnected, match=r"no connection to .* too many files are open\. Raise"):
            await far.exchange(request)
        assert (await near.exchange(request)).status == 200
    for wire in (near, far):
        await wire.aclose()
