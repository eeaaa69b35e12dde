"""No row gets the answer of another: what a server says unasked, and whenever, costs its connection and nothing else."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from pathlib import Path

import anyio
import pytest

from batch.core.errors import WireError
from batch.core.records import Outgoing
from batch.http import reuse
from batch.http.client import Client
from batch.http.connection import Connection
from tests.support.sockets import Counts, asked, serving
from tests.support.stub import Exchange, Stub, reply

POST = Outgoing("/chat", (), b'{"a":1}')
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n"
LIE = reply(b'"a lie"')
LEFT_OVER = [
    *(b"H", b"HTTP/1.1 200", b"0", b"{}", b"\0", b" ", b"\r\n", b"\n\n", b"\r\nH", b"0\r\n\r\n", b"x" * 70_000),
    *(LIE, b"\r\n" + LIE, LIE[:-3], b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n", LIE * 3),
]


@pytest.mark.parametrize(
    "first", [reply(b"1"), CHUNKED, b"HTTP/1.1 204 No Content\r\n\r\n"], ids=["length", "chunks", "204"]
)
async def test_nothing_that_follows_an_answer_becomes_part_of_the_next(first: bytes, stub: Stub) -> None:
    """In the packet of the answer, or so soon after it that the next request is on its way."""
    for left_over in LEFT_OVER:
        for split in (False, True):

            async def answer(exchange: Exchange, split: bool = split, left_over: bytes = left_over) -> None:
                await exchange.write(first if split else first + left_over)
                if split:
                    await exchange.write(left_over)

            stub.answers = [answer, reply(b'"mine"')]
            wire = Client(stub.url, call_timeout_s=20)
            assert (await wire.exchange(POST)).body in (b"1", b"")
            for _ in range(2):
                assert (await wire.exchange(POST)).body == b'"mine"', (left_over, split)
            await wire.aclose()


class Talker:
    """A server that says something more on its first connection, after its first answer, when it is told to."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self.go = threading.Event()

    def __call__(self, line: socket.socket, counts: Counts) -> None:
        first = counts.connections == 1
        with line if self._context is None else self._context.wrap_socket(line, server_side=True) as safe:
            while asked(safe, counts):
                safe.sendall(reply(b'"mine"'))
                if first:
                    self.go.wait(60)
                    safe.sendall(LIE)
                    first = False


def said(wire: Client, talker: Talker) -> Connection:
    """Have it say more while the event loop stands still: it lies in the socket of the connection that is kept."""
    assert wire._own is not None
    (connection,) = wire._own._shared.open
    assert connection.transport is not None
    talker.go.set()
    watch = select.poll()
    watch.register(connection.transport.get_extra_info("socket").fileno(), select.POLLIN)
    assert watch.poll(60_000)
    wire._own._whole.habit.answered()  # a server that is known to keep connections: the next call takes one at once
    return connection


@pytest.mark.parametrize("how", ["kernel", "poll", "tls"])
async def test_what_came_before_the_request_was_written_is_not_its_answer(
    how: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the kernel tells how much has come, or only that something has; and under TLS, where it counts the packed."""
    context = None
    if how == "tls":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    if how == "poll":
        monkeypatch.setattr(reuse, "_TCP_INFO", None)
    talker = Talker(context)
    with serving(talker) as (url, counts):
        wire = Client(url.replace("http:", "https:") if how == "tls" else url, call_timeout_s=20)
        await wire.exchange(POST)
        connection = said(wire, talker)
        states = [connection.closed]
        assert (await wire.exchange(POST)).body == b'"mine"'
        assert [*states, connection.closed] == [False, True]
        assert counts.connections == 2
        await wire.aclose()


async def test_what_came_before_the_request_arrived_is_not_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers has received something: where the kernel knows that it has not, that is no answer."""
    talker = Talker()
    with serving(talker) as (url, _):
        wire = Client(url, call_timeout_s=20)
        await wire.exchange(POST)
        connection = said(wire, talker)
        assert connection._acked is not None
        before = connection._acked + connection._sent
        nothing_new = (True, before, 0)
        monkeypatch.setattr(reuse, "look", lambda _: nothing_new)  # the way there takes longer than here
        monkeypatch.setattr(Connection, "usable", lambda _: True)  # as if it had come a moment later
        with pytest.raises(WireError, match="no answer to it") as caught:
            await wire.exchange(POST)
        assert (caught.value.kind, caught.value.sent) == ("transport", True)
        await wire.aclose()


async def test_of_two_answers_at_once_on_a_kept_connection_none_is_taken(stub: Stub) -> None:
    """The first may be that of the request before. On a new connection it is surely ours."""
    stub.answers = [reply(b"1"), reply(b"2") + reply(b"3"), reply(b"4")]
    wire = Client(stub.url, call_timeout_s=20)
    assert (await wire.exchange(POST)).body == b"1"
    with pytest.raises(WireError, match="second answer") as caught:
        await wire.exchange(POST)
    assert (caught.value.kind, caught.value.sent) == ("bad_payload", True)
    assert (await wire.exchange(POST)).body == b"4"
    assert stub.connections == 2
    await wire.aclose()


async def test_many_calls_at_once_get_each_its_own_answer(stub: Stub) -> None:
    """Answers name their request; some are followed by more, some connections are closed, some calls are cancelled."""

    async def answer(exchange: Exchange) -> None:
        number = int(exchange.body)
        own = reply(exchange.body)
        if number % 7 == 0:
            await exchange.write(own + LIE)
        elif number % 7 == 1:
            await exchange.write(own)
            await exchange.write(LIE)
        elif number % 7 == 2:
            await exchange.write(reply(exchange.body, "Connection: close"))
        elif number % 7 == 3:
            await exchange.write(own)
            await exchange.close()
        else:
            await exchange.write(own[:20])
            await anyio.lowlevel.checkpoint()
            await exchange.write(own[20:])

    stub.answers = [answer]
    wire = Client(stub.url, call_timeout_s=20)
    wrong: list[tuple[int, bytes]] = []
    numbers = iter(range(400))

    async def work() -> None:
        for number in numbers:
            with anyio.move_on_after(0.0 if number % 11 == 0 else 60):
                try:
                    body = (await wire.exchange(Outgoing("/chat", (), b"%d" % number))).body
                except WireError:
                    continue
                if body != b"%d" % number:
                    wrong.append((number, body))

    async with anyio.create_task_group() as group:
        for _ in range(16):
            group.start_soon(work)
    await wire.aclose()
    assert wrong == []
