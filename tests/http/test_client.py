"""The client: decompression, foreign transports, proxies, the translation of errors."""

from __future__ import annotations

import gzip
import traceback
import tracemalloc
import zlib
from collections.abc import Callable

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core import failpoints
from batch.core.errors import RefusedToStart, WireError
from batch.core.records import Incoming, Outgoing
from batch.core.redaction import Secret
from batch.http.client import Client
from batch.http.transport import Transport
from tests.support.stub import Exchange, Stub, reply

POST = Outgoing("/chat", (("Authorization", "Bearer k.s"),), b"{}")
TEXT = '{"a": "你好"}'.encode()


async def through(handler: Callable[[httpx.Request], httpx.Response], **options: int) -> Incoming:
    """One exchange over httpx's mock transport."""
    wire = Client("http://host/base/", call_timeout_s=5, transport=httpx.MockTransport(handler), **options)
    try:
        return await wire.exchange(POST)
    finally:
        await wire.aclose()


async def encoded(body: bytes, coding: str, cap: int = 1 << 20) -> bytes:
    """`body` as it arrives under a Content-Encoding; the stream keeps httpx from decoding for itself."""

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Encoding": coding}, stream=httpx.ByteStream(body))

    return (await through(handler, max_body_bytes=cap)).body


def _gzip(data: bytes) -> bytes:
    """Without the time, which would make every process name its tests otherwise."""
    return gzip.compress(data, mtime=0)


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (_gzip(TEXT), "gzip"),
        (_gzip(TEXT), "GZIP"),
        (_gzip(TEXT[:3]) + _gzip(TEXT[3:]), "x-gzip"),
        (_gzip(TEXT) + b"\0\0\0", "gzip"),
        (zlib.compress(TEXT), "deflate"),
        (_raw_deflate(TEXT), "deflate"),
        (_gzip(zlib.compress(TEXT)), "deflate, gzip"),
        (TEXT, "identity"),
        (TEXT, "gzip"),
        (TEXT, "deflate"),
    ],
)
async def test_every_encoding_we_ask_for_and_a_false_label_give_the_same_text(body: bytes, coding: str) -> None:
    """A gzip label on a plain body is a proxy's work and is taken as plain."""
    assert await encoded(body, coding) == TEXT


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (_gzip(TEXT)[:-9], "gzip"),
        (_gzip(TEXT)[:12] + b"\xff" * 20, "gzip"),
        (zlib.compress(TEXT)[:-5], "deflate"),
        (b"\xff\xfe\xfd", "deflate"),
        (TEXT, "br"),
    ],
)
async def test_damaged_or_foreign_encodings_end_in_bad_payload(body: bytes, coding: str) -> None:
    """The answer came, so it may have been billed."""
    with pytest.raises(WireError) as caught:
        await encoded(body, coding)
    assert (caught.value.kind, caught.value.sent) == ("bad_payload", True)


async def test_a_gzip_bomb_ends_in_bad_payload_in_bounded_memory() -> None:
    """200 MB of zeros in 200 kB never exist."""
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    tracemalloc.start()
    with pytest.raises(WireError, match="unpacks to more than") as caught:
        await encoded(bomb, "gzip", cap=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.kind == "bad_payload"
    assert peak < 8 << 20


@given(st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_whatever_bytes_come_as_gzip_the_end_is_bytes_or_wire_error(data: bytes) -> None:
    """No foreign exception leaves the client."""
    kinds: list[str] = []

    async def main() -> None:
        for coding in ("gzip", "deflate"):
            for body in (data, b"\x1f\x8b\x08\0" + data, gzip.compress(data)[:-1]):
                try:
                    await encoded(body, coding)
                except WireError as error:
                    kinds.append(error.kind)

    anyio.run(main)
    assert set(kinds) <= {"bad_payload"}


async def test_any_httpx_transport_can_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """MockTransport sees an ordinary request; that it left is known all the same."""
    seen: list[httpx.Request] = []
    told: list[str] = []
    monkeypatch.setattr(failpoints, "hit", told.append)

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(429, headers=[("Retry-After", "1"), ("retry-after", "2")], json={"error": {}})

    wire = Client("http://host/base/", call_timeout_s=5, transport=httpx.MockTransport(handler))
    incoming = await wire.exchange(POST)
    assert (incoming.status, incoming.headers["retry-after"]) == (429, "1")
    assert str(seen[0].url) == "http://host/base/chat"
    assert seen[0].content == b"{}"
    assert told == ["sent.left"]


@pytest.mark.parametrize(
    ("error", "kind", "sent"),
    [
        (httpx.ConnectError("x"), "transport", False),
        (httpx.ConnectTimeout("x"), "timeout", False),
        (httpx.PoolTimeout("x"), "timeout", False),
        (httpx.ProxyError("x"), "transport", False),
        (httpx.ReadTimeout("x"), "timeout", True),
        (httpx.WriteError("x"), "transport", True),
        (httpx.ReadError(""), "transport", True),
        (httpx.RemoteProtocolError("x"), "transport", True),
    ],
)
async def test_every_transport_error_becomes_a_wire_error(error: httpx.TransportError, kind: str, sent: bool) -> None:
    """`sent` is False only for what cannot happen after the first byte."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(WireError) as caught:
        await through(handler)
    assert (caught.value.kind, caught.value.sent) == (kind, sent)
    assert str(caught.value)


async def test_a_foreign_transport_is_under_the_cap_and_the_deadline_too(stub: Stub) -> None:
    """Httpx's own timeouts are per read; a drip must not outlive the call."""

    async def drip(exchange: Exchange) -> None:
        await exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while True:
            await exchange.write(b"x")
            await anyio.sleep(0.01)

    for cap, kind in ((4, "bad_payload"), (1 << 20, "timeout")):
        stub.answers = [drip]
        wire = Client(stub.url, call_timeout_s=1.5, transport=httpx.AsyncHTTPTransport(), max_body_bytes=cap)
        with pytest.raises(WireError) as caught:
            await wire.exchange(POST)
        assert (caught.value.kind, caught.value.sent) == (kind, True)
        await wire.aclose()


async def test_a_proxy_of_the_environment_is_used(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY: the proxy gets the absolute address, and it counts as sent."""
    stub.answers = [reply(b"via proxy")]
    monkeypatch.setenv("http_proxy", stub.url.removesuffix("/base"))
    wire = Client("http://far.example/base", call_timeout_s=5)
    assert (await wire.exchange(POST)).body == b"via proxy"
    assert stub.exchanges[0].head.startswith(b"POST http://far.example/base/chat HTTP/1.1\r\n")
    await wire.aclose()


async def test_a_proxy_that_refuses_the_tunnel_means_not_sent(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """CONNECT carries nothing of ours, above all no key."""
    stub.answers = [reply(b"", status="403 Forbidden")]
    monkeypatch.setenv("https_proxy", stub.url.removesuffix("/base"))
    wire = Client("https://far.example/base", call_timeout_s=5)
    with pytest.raises(WireError) as caught:
        await wire.exchange(POST)
    assert not caught.value.sent
    assert stub.exchanges[0].head.startswith(b"CONNECT far.example:443")
    assert b"Bearer" not in stub.exchanges[0].head
    await wire.aclose()


@pytest.mark.parametrize("no_proxy", ["far.example", "*", ".example"])
async def test_no_proxy_brings_the_fast_transport_back(no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY by name, star and domain."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", no_proxy)
    wire = Client("https://far.example/base", call_timeout_s=5)
    assert isinstance(wire._own, Transport)


def test_an_unusable_proxy_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Better than sending past the proxy."""
    monkeypatch.setenv("https_proxy", "ftp://127.0.0.1:1")
    with pytest.raises(RefusedToStart, match="HTTPS_PROXY"):
        Client("https://far.example/base", call_timeout_s=5)


@pytest.mark.parametrize("proxy", ["ftp://me:K3yOfMine@h:1", "http://me:K3y/OfMine@h:1", "socks9://me:K3yOfMine@h"])
def test_an_unusable_proxy_is_refused_without_its_password(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a URL parser says of an address may hold a part of it."""
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(RefusedToStart, match="HTTPS_PROXY") as caught:
        Client("https://far.example/base", call_timeout_s=5)
    assert "OfMine" not in str(caught.value)
    assert "K3y" not in str(caught.value)


async def test_redirects_are_not_followed(stub: Stub) -> None:
    """The key goes to no second host."""
    stub.answers = [reply(b"", "Location: http://127.0.0.1:1/", status="307 Temporary Redirect")]
    wire = Client(stub.url, call_timeout_s=5)
    assert (await wire.exchange(POST)).status == 307
    assert len(stub.exchanges) == 1
    await wire.aclose()


async def test_a_traceback_with_locals_of_a_broken_exchange_shows_no_key(stub: Stub) -> None:
    """Error trackers send the locals of every frame; the request's own bytes are none of them."""
    secret = Secret("Bearer Zq7kPw3mVx9tRb2c")
    stub.answers = [Exchange.reset]
    client = Client(stub.url, call_timeout_s=5)
    with pytest.raises(WireError) as caught:
        await client.exchange(Outgoing("/chat", (("Authorization", secret),), b"{}"))
    await client.aclose()
    found = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    text = "".join(found.format())
    assert "transport.py" in text
    assert "Zq7kPw3mVx9tRb2c" not in text
