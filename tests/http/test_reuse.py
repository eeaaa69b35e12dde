"""Connections that servers close: which are used again, and what is known of a request that met the end of one."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest

from batch.core.clock import Clock
from batch.core.errors import WireError
from batch.core.records import Outgoing
from batch.http import reuse
from batch.http.client import Client
from batch.http.connection import Connection
from batch.http.reuse import Habit
from batch.providers.stream import Stream
from tests.providers.test_folding import DONE, opened, said
from tests.support.sockets import Counts, asked, serving
from tests.support.stub import reply
from tests.support.wire_fixtures import when_sent

POST = Outgoing("/chat", (), b'{"a":1}')
SYNC = reply(b"{}", "Keep-Alive: timeout=5")
_FRAMES = said("a", "stop") + DONE
STREAM = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
    len(_FRAMES),
    _FRAMES,
)


def closing(delay_s: float, answer: bytes) -> Callable[[socket.socket, Counts], None]:
    """One answer a connection, without a word of it, and its end so long after."""

    def serve(line: socket.socket, counts: Counts) -> None:
        if asked(line, counts):
            line.sendall(answer)
            time.sleep(delay_s)

    return serve


def soon_for_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of the server that is held up closes late, and is not to be taken for one that closes what is idle."""
    monkeypatch.setattr(reuse, "SOON_S", 60.0)
    monkeypatch.setattr(reuse, "DISTRUST_S", 600.0)


async def calls(wire: Client, count: int, *, at_once: int, stream: bool) -> list[WireError]:
    """So many calls, each worker's next one as soon as its last is over; the errors they ended with."""
    errors: list[WireError] = []
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            try:
                await wire.exchange(POST, stream=taker() if stream else None)
            except WireError as error:
                errors.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(at_once):
            group.start_soon(work)
    return errors


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("delay_ms", [0, 5, 10])
@pytest.mark.parametrize("stream", [False, True], ids=["sync", "stream"])
async def test_a_server_that_closes_after_every_answer_is_not_sent_a_second_request(
    stream: bool, delay_ms: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 9: with 10 ms between answer and end 161 of 361 calls were possibly billed."""
    soon_for_a_busy_machine(monkeypatch)
    monkeypatch.setattr(reuse, "PROOF_S", 1.0)
    with serving(closing(delay_ms / 1000, STREAM if stream else SYNC)) as (url, counts):
        wire = Client(url, call_timeout_s=20)
        errors = await calls(wire, 120, at_once=at_once, stream=stream)
        await wire.aclose()
    # None, unless this machine is so busy that the server's thread comes to its close a second later.
    assert len(errors) <= (1 if stream else at_once)
    assert counts.requests == 120 - len(errors)


@pytest.mark.parametrize("stream", [False, True], ids=["sync", "stream"])
async def test_a_server_that_closes_after_a_while_costs_as_many_calls_as_tell_it(
    stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 9: later than it is waited for at first; a stream tries one connection at a time."""
    soon_for_a_busy_machine(monkeypatch)
    with serving(closing(0.15, STREAM if stream else SYNC)) as (url, _):
        wire = Client(url, call_timeout_s=20)
        errors = await calls(wire, 120, at_once=8, stream=stream)
        await wire.aclose()
    assert len(errors) <= (1 if stream else 8)
    assert all(error.sent for error in errors)


@pytest.mark.parametrize("stream", [False, True], ids=["sync", "stream"])
async def test_a_server_that_keeps_connections_has_them_used_again(stream: bool) -> None:
    """FIELD 9: the caution costs connections in the first moments, and none later."""

    def serve(line: socket.socket, counts: Counts) -> None:
        while asked(line, counts):
            line.sendall(STREAM if stream else SYNC)

    with serving(serve) as (url, counts):
        wire = Client(url, call_timeout_s=20)
        assert wire._own is not None
        while not (wire._own._whole.habit.trusted or wire._own._streamed.habit.trusted):
            assert await calls(wire, 8, at_once=8, stream=stream) == []
        before = counts.connections
        assert await calls(wire, 300, at_once=8, stream=stream) == []
        assert counts.connections == before
        await wire.aclose()


class Deaf:
    """A server that ends its first connection after one answer, when it is told to; it keeps all others."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._go, self._gone = threading.Event(), threading.Event()

    def __call__(self, line: socket.socket, counts: Counts) -> None:
        first = counts.connections == 1
        while asked(line, counts):
            line.sendall(self._answer)
            if first:
                self._go.wait(60)
                line.close()
                self._gone.set()
                return

    @contextmanager
    def gone(self, wire: Client) -> Iterator[None]:
        """It has ended the connection; the client does not look, and reads nothing until its next request has left."""
        assert wire._own is not None
        (connection,) = wire._own._shared.open
        assert connection.transport is not None
        connection.transport.pause_reading()
        self._go.set()
        assert self._gone.wait(60)
        real = Connection.send

        def send(line: Connection, *args: Any, **more: Any) -> None:
            real(line, *args, **more)
            if line is connection and line.transport is not None:
                line.transport.resume_reading()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Connection, "usable", lambda _: True)
            patch.setattr(Connection, "send", send)
            yield


def taker() -> Stream:
    return Stream(opened(), Clock(), first_s=20, idle_s=20)


@pytest.mark.parametrize("stream", [False, True], ids=["sync", "stream"])
async def test_a_request_that_the_server_had_no_ears_for_is_sent_on_another_connection(
    stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 9: the end of the line crossed it on the way, and says that nothing has arrived: nothing was bought."""
    deaf = Deaf(STREAM if stream else SYNC)
    sent: list[str] = []
    with serving(deaf) as (url, counts):
        wire = Client(url, call_timeout_s=60)
        await wire.exchange(POST, stream=taker() if stream else None)
        with deaf.gone(wire):
            again = taker() if stream else None
            when_sent(monkeypatch, lambda: sent.append("left"))
            assert (await wire.exchange(POST, stream=again)).status == 200
        await wire.aclose()
    assert (counts.requests, counts.connections) == (2, 2)
    assert sent == ["left", "left"]


@pytest.mark.parametrize("how", ["read, then closed", "received, not read, then closed", "reset"])
async def test_a_request_that_may_have_been_read_is_never_sent_again(how: str) -> None:
    """FIELD 9: what cannot be told stays unknown."""

    def serve(line: socket.socket, counts: Counts) -> None:
        assert asked(line, counts)
        line.sendall(SYNC)
        if how == "read, then closed":
            asked(line, counts)
            return
        line.recv(1, socket.MSG_PEEK)
        if how == "reset":
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with serving(serve) as (url, counts):
        wire = Client(url, call_timeout_s=60)
        await wire.exchange(POST)
        with pytest.raises(WireError, match="a connection that had been idle") as caught:
            await wire.exchange(POST)
        await wire.aclose()
    assert (caught.value.kind, caught.value.sent) == ("transport", True)
    assert counts.connections == 1


async def test_where_the_kernel_tells_nothing_nothing_is_taken_for_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 9: other systems; the call is unknown, as before."""
    monkeypatch.setattr(reuse, "_TCP_INFO", None)
    deaf = Deaf(SYNC)
    with serving(deaf) as (url, counts):
        wire = Client(url, call_timeout_s=60)
        await wire.exchange(POST)
        with deaf.gone(wire), pytest.raises(WireError, match="idle") as caught:
            await wire.exchange(POST)
        await wire.aclose()
    assert caught.value.sent
    assert counts.connections == 1


def test_what_is_learned_of_a_server() -> None:
    """FIELD 9: trust by a second answer, caution by one early end, distrust for half a minute by another."""
    habit, one, two = Habit(streamed=False), object(), object()
    assert habit.may_use(0.0, 0.0)
    assert habit.try_it(one, 0.0) == reuse.PROOF_S
    assert habit.may_use(0.0, 0.0), "others are tried beside it"
    habit.trial_over(one)
    habit.answered()
    assert habit.try_it(one, 0.0) == 0.0
    habit.closed(0.01, 10.0)
    assert habit.distrusted_until <= 10.0
    assert habit.try_it(one, 0.0) == reuse.PROOF_S
    assert not habit.may_use(1.0, 10.0), "one at a time now"
    habit.trial_over(two)
    assert not habit.may_use(1.0, 10.0)
    habit.trial_over(one)
    assert habit.may_use(1.0, 10.0)
    habit.closed(0.01, 11.0)
    assert habit.distrusted_until > 40.9
    assert not habit.may_use(1.0, 40.9)
    assert habit.distrusted_until <= 41.1
    habit.try_it(one, 1.0)
    habit.trial_over(one)
    habit.answered()
    assert habit.trusted


def test_a_server_that_closes_idle_connections_is_learned_too() -> None:
    """FIELD 9: nginx with `keepalive_timeout 2s` does not say so."""
    habit = Habit(streamed=False)
    habit.answered()
    habit.closed(2.0, 5.0)
    assert habit.trusted
    assert (habit.may_use(1.5, 9.0), habit.may_use(1.7, 9.0)) == (True, False)
