"""TLS under the keep-alive transport: trust, failed and hanging handshakes, nothing sent without one."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from batch.core.errors import WireError
from batch.core.records import Outgoing
from batch.http.client import Client
from tests.support.stub import Stub, reply

POST = Outgoing("/chat", (("Authorization", "Bearer k.s"),), b'{"a":1}')


def _server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_tls_with_a_trusted_authority_works_and_is_kept_alive(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE is honoured, and an answer larger than one TLS record arrives whole."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with Stub(tls=_server_tls(certificate)) as stub:
        stub.answers = [reply(b"x" * 300_000)]
        wire = Client(stub.url, call_timeout_s=5)
        for _ in range(3):
            assert len((await wire.exchange(POST)).body) == 300_000
        assert stub.connections == 1
        await wire.aclose()


async def test_a_certificate_that_is_not_trusted_is_named_and_nothing_is_sent(certificate: Path) -> None:
    """The message says that it is the certificate, and the way out."""
    async with Stub(tls=_server_tls(certificate)) as stub:
        wire = Client(stub.url, call_timeout_s=5)
        with pytest.raises(WireError, match=r"certificate.*SSL_CERT_FILE") as caught:
            await wire.exchange(POST)
        assert (caught.value.kind, caught.value.sent) == ("transport", False)
        assert not stub.exchanges
        await wire.aclose()


@asynccontextmanager
async def listening(handle: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """A bare TCP listener; gives its port."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def test_a_server_without_tls_behind_an_https_address_gets_nothing() -> None:
    """A failed handshake is not sent."""

    async def plain(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(plain) as port:
        wire = Client(f"https://127.0.0.1:{port}", call_timeout_s=5)
        with pytest.raises(WireError) as caught:
            await wire.exchange(POST)
        assert (caught.value.kind, caught.value.sent) == ("transport", False)
        await wire.aclose()


async def test_a_handshake_that_hangs_is_a_timeout_and_not_sent() -> None:
    """The connect deadline covers TLS: a listener that accepts and stays silent."""

    async def silent(stream: SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with listening(silent) as port:
        wire = Client(f"https://127.0.0.1:{port}", call_timeout_s=0.1)
        with pytest.raises(WireError) as caught:
            await wire.exchange(POST)
        assert (caught.value.kind, caught.value.sent) == ("timeout", False)
        await wire.aclose()


async def test_a_port_without_tls_is_known_through_a_foreign_transport_too() -> None:
    """FIELD 14: a proxy's transport keeps OpenSSL's word in the chain of causes."""

    def refuse(request: httpx.Request) -> httpx.Response:
        cause = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
        cause.reason = "WRONG_VERSION_NUMBER"
        raise httpx.ConnectError("wrong", request=request) from cause

    wire = Client("https://provider.example/v1", call_timeout_s=5, transport=httpx.MockTransport(refuse))
    with pytest.raises(WireError, match="http://") as caught:
        await wire.exchange(Outgoing("/chat", (), b"{}"))
    assert (caught.value.sent, caught.value.wrong_address, caught.value.permanent) == (False, True, False)
    await wire.aclose()
