"""A hostile server over real sockets: one documented error kind, within the time limit, in bounded memory."""

from __future__ import annotations

import gzip
import json
import ssl
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest

from batch.core.errors import WireError
from batch.core.records import Failure, Outgoing, Reply
from batch.http import parsing
from batch.http.client import Client
from batch.http.headers import limit_headers, retry_after
from batch.providers import openai
from batch.providers.base import Credentials
from batch.providers.glm import Glm
from batch.providers.openai import OpenAI
from batch.providers.services import bigmodel
from tests.support.stub import Exchange, Stub, reply

POST = Outgoing("/chat", (("Authorization", "Bearer id.Vb6nMq2wEr8tYu3i"),), b"{}")
GLM = Glm(bigmodel.GLM, Credentials("id.Vb6nMq2wEr8tYu3i"))
OPENAI = OpenAI(openai.OPENAI, Credentials("sk-Vb6nMq2wEr8tYu3i"))
GOOD = {
    "id": "1",
    "request_id": "r",
    "model": "glm-4",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
TEXT = json.dumps(GOOD).encode()


@asynccontextmanager
async def client(url: str, deadline: float = 2.0, cap: int = 1 << 20) -> AsyncIterator[Client]:
    """A client that is closed in the end."""
    wire = Client(url, call_timeout_s=deadline, max_body_bytes=cap)
    try:
        yield wire
    finally:
        await wire.aclose()


async def outcome(stub: Stub, answer: bytes | Callable[[Exchange], Awaitable[None]], deadline: float = 2.0) -> Any:
    """What becomes of one exchange: an `Incoming` or a `WireError`."""
    stub.answers = [answer]
    async with client(stub.url, deadline) as wire:
        try:
            return await wire.exchange(POST)
        except WireError as error:
            return error


# -- redirects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("body", [b"<html>moved</html>", b"", b"{}", TEXT])
async def test_a_redirect_never_carries_the_key_anywhere(stub: Stub, status: int, body: bytes) -> None:
    """A second listener gets no connection at all, and the row one error that says where it points."""
    async with Stub() as other:
        for target in (other.url, other.url.replace("127.0.0.1", "localhost"), "//127.0.0.1:1/x", "/elsewhere"):
            stub.answers = [reply(body, f"Location: {target}", status=f"{status} Moved")]
            async with client(stub.url) as wire:
                incoming = await wire.exchange(POST)
            for dialect in (GLM, OPENAI):
                failure = dialect.read_chat(incoming)
                assert isinstance(failure, Failure)
                assert (failure.kind, failure.verdict, failure.code) == ("bad_request", "once", "redirect")
                assert target in failure.message
            assert isinstance(GLM.read_submit(incoming), Failure)
            poll = GLM.read_poll(incoming)
            assert isinstance(poll, Failure)
            assert (poll.kind, poll.verdict) == ("server", "retry"), "the task is not over"
        assert (other.connections, other.exchanges) == (0, [])
    assert len(stub.exchanges) == 4


# -- wrong lengths -----------------------------------------------------------------------------------------------------


async def _then_close(data: bytes, exchange: Exchange) -> None:
    await exchange.write(data)
    await exchange.close()


CUT = {
    "length longer than the body": b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + TEXT,
    "chunk longer than its data": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + TEXT,
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "no end of the head": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("case", CUT)
async def test_a_body_shorter_than_promised_may_have_been_billed(stub: Stub, case: str) -> None:
    """`transport`, sent, not answered: the call is unknown."""
    error = await outcome(stub, partial(_then_close, CUT[case]))
    assert isinstance(error, WireError)
    assert (error.kind, error.sent, error.permanent) == ("transport", True, False)


LIES = {
    "not a chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk shorter than its data": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "an endless chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "a length of 40 digits": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n{}",
    "a length above the cap": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b" " * 2_000_000,
    "another protocol": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "the preface of HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "TLS on a plain port": b"\x15\x03\x01\x00\x02\x02\x28",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "a status of no number": b"HTTP/1.1 OK\r\n\r\n",
    "a header of no name": b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
    "a NUL in a header": b"HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("case", LIES)
async def test_what_is_no_http_ends_in_bad_payload_and_costs_the_connection(stub: Stub, case: str) -> None:
    """At once, without waiting for a deadline; the next call has a connection of its own."""
    stub.answers = [LIES[case], reply(TEXT)]
    begin = time.monotonic()
    async with client(stub.url, 60) as wire:
        with pytest.raises(WireError) as caught:
            await wire.exchange(POST)
        assert (caught.value.kind, caught.value.sent) == ("bad_payload", True)
        assert (await wire.exchange(POST)).body == TEXT
    assert stub.connections == 2
    assert time.monotonic() - begin < 30


async def test_a_body_longer_than_promised_is_cut_there_and_never_reaches_the_next_call(stub: Stub) -> None:
    """What is cut is no JSON, so it is a bad payload; the rest goes with the connection."""
    stub.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + TEXT, reply(TEXT)]
    async with client(stub.url) as wire:
        cut = await wire.exchange(POST)
        assert cut.body == TEXT[:20]
        failure = GLM.read_chat(cut)
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.verdict, failure.answered) == ("bad_payload", "once", False)
        assert (await wire.exchange(POST)).body == TEXT
    assert stub.connections == 2


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_a_body_where_none_may_be_is_not_taken_for_the_next_answer(stub: Stub, status: str) -> None:
    """204 has no body, whatever follows it."""
    stub.answers = [f"HTTP/1.1 {status}\r\n\r\n".encode() + TEXT, reply(TEXT)]
    async with client(stub.url) as wire:
        empty = await wire.exchange(POST)
        assert empty.body == b""
        assert isinstance(GLM.read_chat(empty), Failure)
        assert (await wire.exchange(POST)).body == TEXT
    assert stub.connections == 2


async def test_interim_answers_without_end_are_an_attack(stub: Stub) -> None:
    """A few are skipped, a megabyte of them ends the call."""
    few = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5
    incoming = await outcome(stub, few + reply(TEXT))
    assert incoming.body == TEXT
    assert "link" not in incoming.headers
    error = await outcome(stub, b"HTTP/1.1 100 Continue\r\n\r\n" * 60_000)
    assert isinstance(error, WireError)
    assert error.kind == "bad_payload"


# -- types and encodings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["text/plain", "application/octet-stream", "text/html", "garbage/;;=", None])
async def test_good_json_is_taken_under_any_type(stub: Stub, named: str | None) -> None:
    """The label does not matter."""
    incoming = await outcome(stub, reply(TEXT, *([f"Content-Type: {named}"] if named else [])))
    found = GLM.read_chat(incoming)
    assert isinstance(found, Reply)
    assert found.content == "hello"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_bomb_ends_in_bad_payload_in_bounded_memory(stub: Stub, coding: str) -> None:
    """300 MB in 300 kB over the wire: what is held stays near the cap."""
    packer = zlib.compressobj(9, wbits=31 if coding == "gzip" else 15)
    bomb = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    more = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb += 299 * more  # each needs nothing of those before; the sum at the end would be wrong, and nobody gets there
    answer = reply(bomb, f"Content-Encoding: {coding}")
    tracemalloc.start()
    error = await outcome(stub, answer)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(error, WireError)
    assert (error.kind, error.sent) == ("bad_payload", True)
    assert peak < 8 << 20, peak


async def test_codings_without_end_are_not_unpacked_for_ever(stub: Stub) -> None:
    """A hundred layers of gzip: three are more than anybody sends."""
    body = TEXT
    for _ in range(100):
        body = gzip.compress(body)
    incoming = await outcome(stub, reply(body, "Content-Encoding: " + ", ".join(["gzip"] * 100)))
    assert isinstance(GLM.read_chat(incoming), Failure)


# -- floods ------------------------------------------------------------------------------------------------------------


async def test_two_hundred_rate_headers_are_taken_and_the_first_valid_wait_counts(stub: Stub) -> None:
    """Odd case, repeats, garbage first."""
    flood = [f"X-RateLimit-Odd-{number}: {number}" for number in range(200)]
    waits = ["Retry-after: soon", "RETRY-AFTER: 7", "retry-after: 30", "Retry-After-Ms: never", "retry-after-MS: 2500"]
    limits = ["X-RateLimit-LIMIT-requests: 60", "x-ratelimit-limit-requests: 99", "X-Should-Retry: true"]
    answer = reply(b'{"error":{"code":"1302","message":"slow"}}', *waits, *flood, *limits, status="429 Too Many")
    incoming = await outcome(stub, answer)
    assert (incoming.headers["retry-after"], incoming.headers["retry-after-ms"]) == ("7", "2500")
    assert retry_after(incoming.headers, 0) == 2.5
    failure = GLM.read_chat(incoming)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.verdict, failure.retry_after_s) == ("rate_limit", "retry", 2.5)
    found = limit_headers(incoming.headers)
    assert found is not None
    assert found.limit_requests == 60


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"y" * 70_000 + b"\r\n",
        b"".join(b"X-%d: %s\r\n" % (number, b"y" * 500) for number in range(140)),
        b"".join(b"X-%d: y\r\n" % number for number in range(600)),
        b"Set-Cookie: a=b\r\n" * 100_000,
    ],
    ids=["one long", "64 kB in all", "600 headers", "without end"],
)
async def test_a_flood_of_headers_ends_in_bad_payload_in_bounded_memory(stub: Stub, head: bytes) -> None:
    """64 kB or 512 headers are the most there can be."""
    answer = b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 2\r\n\r\n{}"
    tracemalloc.start()
    error = await outcome(stub, answer)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(error, WireError)
    assert (error.kind, error.sent) == ("bad_payload", True)
    assert peak < len(answer) + (4 << 20), peak


async def test_a_head_that_never_ends_is_cut_off_at_its_limit(stub: Stub) -> None:
    """The server would send for ever; the client stops it after 64 kB."""
    told = 0

    async def endless(exchange: Exchange) -> None:
        nonlocal told
        await exchange.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            await exchange.write(b"X-A: " + b"b" * 1000 + b"\r\n")
            told += 1000
            await anyio.lowlevel.checkpoint()

    error = await outcome(stub, endless)
    assert isinstance(error, WireError)
    assert error.kind == "bad_payload"
    assert told < 20_000_000


async def test_many_large_answers_at_once_are_held_to_a_common_limit(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cap of one answer times the calls in flight would be all the memory there is."""
    monkeypatch.setattr(parsing, "HELD_MAX", 1 << 20)
    hold = anyio.Event()

    async def large(exchange: Exchange) -> None:
        await exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 400001\r\n\r\n" + b" " * 400_000)
        await hold.wait()
        await exchange.write(b" ")

    stub.answers = [large]
    results: list[int | str] = []

    async def one(wire: Client) -> None:
        try:
            results.append(len((await wire.exchange(POST)).body))
        except WireError as error:
            results.append(error.kind)
            hold.set()

    async with client(stub.url, 5) as wire:
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(one, wire)
        assert results.count("bad_payload") >= 1
        assert results.count(400_001) >= 1
        assert set(results) == {"bad_payload", 400_001}
        stub.answers = [reply(b" " * 1_000_000)]
        for _ in range(3):
            assert len((await wire.exchange(POST)).body) == 1_000_000, "nothing of what is over is still counted"


# -- time --------------------------------------------------------------------------------------------------------------


async def _drip(exchange: Exchange) -> None:
    await exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    for _ in range(500):
        await exchange.write(b" ")
        await anyio.sleep(0.05)


async def _drip_head(exchange: Exchange) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}":
        await exchange.write(bytes([byte]))
        await anyio.sleep(0.5)


@pytest.mark.parametrize("how", [_drip, _drip_head, Exchange.hang], ids=["drip", "drip of the head", "silence"])
async def test_slowness_of_any_kind_ends_at_the_deadline(stub: Stub, how: Any) -> None:
    """One byte now and then never makes a call longer; it may have been billed."""
    begin = time.monotonic()
    error = await outcome(stub, how, deadline=1.0)
    took = time.monotonic() - begin
    assert isinstance(error, WireError)
    assert (error.kind, error.sent) == ("timeout", True)
    assert 0.95 < took < 15, took


# -- who is there ------------------------------------------------------------------------------------------------------


async def test_a_name_without_an_address_is_not_sent_and_not_permanent() -> None:
    """DNS may be back in a moment: the retries of the row are its limit."""
    async with client("http://no-such-host.invalid/v1") as wire:
        with pytest.raises(WireError) as caught:
            await wire.exchange(POST)
    assert (caught.value.kind, caught.value.sent, caught.value.permanent) == ("transport", False, False)


@pytest.mark.parametrize("case", ["unknown authority", "another name"])
async def test_a_certificate_that_does_not_verify_is_permanent(
    case: str, certificate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for every row, so nobody tries it eight times; nothing was sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with Stub(tls=context) as stub:
        url = stub.url
        if case == "another name":
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            url = url.replace("127.0.0.1", "localhost")  # the certificate is for the address
        async with client(url) as wire:
            with pytest.raises(WireError, match="certificate") as caught:
                await wire.exchange(POST)
        assert (caught.value.kind, caught.value.sent, caught.value.permanent) == ("transport", False, True)
        assert not stub.exchanges


# -- idle connections --------------------------------------------------------------------------------------------------


async def test_an_idle_connection_whose_end_has_not_been_read_yet_is_not_used(stub: Stub) -> None:
    """The kernel knows of the FIN before the loop does: the call goes over a new connection and is billed once."""
    async with client(stub.url) as wire:
        await wire.exchange(POST)
        connections = list(wire._own._shared.open)  # type: ignore[union-attr]  # it is there by now
        assert len(connections) == 1
        transport = connections[0].transport
        assert transport is not None
        transport.pause_reading()  # as if the loop had not come round to it
        stub.drop()
        with anyio.fail_after(60):
            while connections[0].usable():
                await anyio.lowlevel.checkpoint()
        assert not connections[0].closed
        assert (await wire.exchange(POST)).status == 200
    assert (stub.connections, len(stub.exchanges)) == (2, 2)


@pytest.mark.parametrize(("told", "connections"), [("timeout=0", 2), ("timeout=60, max=9", 1), ("garbage", 1)])
async def test_a_server_that_tells_how_long_it_keeps_connections_is_believed(
    stub: Stub, told: str, connections: int
) -> None:
    """`Keep-Alive: timeout=5` means that after 4 s another one is opened."""
    stub.answers = [reply(b"{}", f"Keep-Alive: {told}")]
    async with client(stub.url) as wire:
        for _ in range(2):
            await wire.exchange(POST)
    assert stub.connections == connections
