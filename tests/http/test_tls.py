"""TLS under the keep-alive transport: trust, failed and hanging handshakes, nothing sent without one."""

from __future__ import annotations

import socket
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
from tests.support.sockets import Counts, serving
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


@pytest.mark.parametrize(
    ("alert", "permanent"), [(70, True), (40, True), (112, True), (71, True), (80, False), (90, False)]
)
async def test_a_handshake_that_never_comes_about_is_told_from_one_that_failed_now(alert: int, permanent: bool) -> None:
    """FIELD 47: 15 minutes of probing for a server of TLS 1.0; a server's own trouble (80) may pass."""

    async def refuse(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(bytes([21, 3, 1, 0, 2, 2, alert]))

    async with listening(refuse) as port:
        wire = Client(f"https://127.0.0.1:{port}", call_timeout_s=5)
        with pytest.raises(WireError, match=f"127.0.0.1:{port}") as caught:
            await wire.exchange(POST)
        assert (caught.value.sent, caught.value.permanent, caught.value.wrong_address) == (False, permanent, False)
        await wire.aclose()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_wants_a_certificate_of_ours_is_no_call_that_may_be_billed(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, version: ssl.TLSVersion
) -> None:
    """FIELD 47: under TLS 1.3 it says so only after the request left; every call was possibly billed and sent again."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = _server_tls(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version

    def serve(line: socket.socket, counts: Counts) -> None:
        safe = context.wrap_socket(line, server_side=True, do_handshake_on_connect=False)
        with safe:
            try:
                safe.do_handshake()
                counts.requests += 1
            except ssl.SSLError:
                while socket.socket.recv(safe, 65536):  # closed unread, the line would be reset and the alert lost
                    pass

    with serving(serve) as (url, counts):
        wire = Client(url.replace("http://", "https://"), call_timeout_s=5)
        with pytest.raises(WireError, match="127.0.0.1:") as caught:
            await wire.exchange(POST)
        assert (caught.value.sent, caught.value.permanent) == (False, True), str(caught.value)
        assert not counts.requests
        await wire.aclose()


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), httpx.ProxyError("no")])
async def test_an_error_of_a_connection_names_host_and_port_whoever_opened_it(error: httpx.TransportError) -> None:
    """FIELD 47: "All connection attempts failed", through a proxy."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    wire = Client("https://provider.example/v1", call_timeout_s=5, transport=httpx.MockTransport(fail))
    with pytest.raises(WireError, match=rf"no connection to provider\.example:443: {error}"):
        await wire.exchange(POST)
    await wire.aclose()


async def test_a_refused_port_is_told_in_the_words_of_the_system() -> None:
    """FIELD 47: "[Errno 111] Connect call failed ('127.0.0.1', 1)"."""
    wire = Client("http://127.0.0.1:1/v1", call_timeout_s=5)
    with pytest.raises(WireError, match="^no connection to 127.0.0.1:1: Connection refused$"):
        await wire.exchange(POST)
    await wire.aclose()
