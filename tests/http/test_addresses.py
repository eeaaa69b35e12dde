"""A host with several addresses: a dead one costs a moment, not the call. On asyncio and on uvloop."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohappyeyeballs import AddrInfoType

from batch.core.errors import WireError
from batch.core.records import Outgoing
from batch.http import dial
from batch.http.client import Client
from tests.support.stub import Stub

GET = Outgoing("/models", ())
Address = tuple[str, int]


@pytest.fixture
def silent() -> Iterator[Address]:
    """An address that answers nothing at all: the queue of its listener is full, so the kernel drops what comes."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()


@pytest.fixture
def closed() -> Iterator[Address]:
    """An address where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()


def resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: Address) -> None:
    """Let every name stand for these addresses, in this order."""

    async def resolve(host: str, port: int) -> Sequence[AddrInfoType]:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for address in addresses]

    monkeypatch.setattr(dial, "_resolve", resolve)


def address_of(stub: Stub) -> Address:
    parts = urlsplit(stub.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@pytest.mark.parametrize("dead", ["silent", "closed"])
async def test_a_dead_first_address_costs_a_moment(
    stub: Stub, dead: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 44. The next address is tried beside a silent one, at once after one that refuses; nothing is sent twice."""
    resolves_to(monkeypatch, request.getfixturevalue(dead), address_of(stub))
    wire = Client(stub.url, call_timeout_s=60)
    began = time.monotonic()
    assert (await wire.exchange(GET)).status == 200
    assert time.monotonic() - began < 30
    assert (stub.connections, len(stub.exchanges)) == (1, 1)
    await wire.aclose()


async def test_a_silent_first_address_does_not_keep_tls_from_its_host(
    silent: Address, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 44. The certificate is checked against the name, whichever address answered."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with Stub(tls=context) as stub:
        resolves_to(monkeypatch, silent, address_of(stub))
        wire = Client(stub.url, call_timeout_s=5)
        assert (await wire.exchange(GET)).status == 200
        await wire.aclose()


async def test_a_name_is_looked_up_by_the_system(stub: Stub) -> None:
    """`localhost` is two addresses on most machines, and the server listens on one of them."""
    wire = Client(f"http://localhost:{address_of(stub)[1]}", call_timeout_s=5)
    assert (await wire.exchange(GET)).status == 200
    await wire.aclose()


async def test_when_no_address_answers_nothing_was_sent(
    silent: Address, closed: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal of all is told at once with each reason, silence when its time is over."""
    resolves_to(monkeypatch, closed, ("127.0.0.1", 1))
    wire = Client("http://many.invalid:80", call_timeout_s=2.0)
    with pytest.raises(WireError, match=r"no connection to many\.invalid:80: .*") as refused:
        await wire.exchange(GET)
    resolves_to(monkeypatch, silent, closed)
    with pytest.raises(WireError, match=r"no connection to many\.invalid:80 within 2 s") as late:
        await wire.exchange(GET)
    assert [(e.value.kind, e.value.sent) for e in (refused, late)] == [("transport", False), ("timeout", False)]
    await wire.aclose()


async def test_small_packets_are_not_held_back(stub: Stub) -> None:
    """A socket that we opened ourselves is set up like one of the loop's own: without Nagle's delay."""
    wire = Client(stub.url, call_timeout_s=5)
    assert wire._own is not None
    connection = await wire._own._dialer.connect(wire._own._shared)
    assert connection.transport is not None
    raw = connection.transport.get_extra_info("socket")
    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await wire.aclose()
