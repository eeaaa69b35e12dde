"""What the environment says of the way out: proxies, the hosts they are not for, and certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from batch.core.errors import RefusedToStart, WireError
from batch.core.records import Outgoing
from batch.http import environment
from batch.http.client import Client
from tests.support.stub import Stub

POST = Outgoing("/chat", (), b"{}")

PROXY = "http://127.0.0.1:1"
GARBAGE = "-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n"


@pytest.fixture(autouse=True)
def _usual_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine of the tests trusts."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("10.0.0.0/8", "https://10.1.2.3/v1"),
        ("localhost, 192.168.0.0/16 ,.corp", "https://192.168.7.7:8443"),
        ("10.1.2.3", "https://10.1.2.3:8443/v1"),
        ("10.1.2.3:8443", "https://10.1.2.3:8443/v1"),
        ("fd00::/8", "https://[fd12::1]/v1"),
        ("::1", "https://[::1]"),
        ("[::1]:8443", "https://[::1]:8443"),
        ("corp.example", "https://llm.corp.example"),
        (".corp.example", "https://corp.example"),
        ("*.corp.example", "https://LLM.corp.example"),
        ("corp.example:443", "https://llm.corp.example:443"),
        ("a.example b.example", "https://b.example"),
        ("*", "https://10.1.2.3"),
    ],
)
def test_no_proxy_exempts_a_host(no_proxy: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 44. A network (CIDR) as well as an address, a name, a domain, with a port or without, as curl and Go read it."""
    monkeypatch.setenv("https_proxy", PROXY)
    assert environment.proxy_for(url) == PROXY
    monkeypatch.setenv("no_proxy", no_proxy)
    assert environment.proxy_for(url) is None


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("10.0.0.0/8", "https://11.1.2.3"),
        ("10.0.0.0/8", "https://ten.example"),
        ("10.1.2.3:8443", "https://10.1.2.3:8444"),
        ("0.1.2.3", "https://10.1.2.3"),
        ("fd00::/8", "https://10.1.2.3"),
        ("corp.example", "https://notcorp.example"),
        ("10.0.0.0/99,/,:,[", "https://10.1.2.3"),
        (" , ", "https://10.1.2.3"),
    ],
)
def test_no_proxy_exempts_nobody_else(no_proxy: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 44. What is no address, no network and no name exempts nobody."""
    monkeypatch.setenv("https_proxy", PROXY)
    monkeypatch.setenv("no_proxy", no_proxy)
    assert environment.proxy_for(url) == PROXY


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("what", ["missing", "folder", "empty", "garbage"])
def test_certificates_that_are_not_there_are_refused_by_the_name_of_the_variable(
    name: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 44. conda sets SSL_CERT_FILE to a file that another environment had."""
    place = tmp_path / "cacert.pem"
    if what == "folder":
        place.mkdir()
    elif what != "missing":
        place.write_text(GARBAGE if what == "garbage" else "")
    monkeypatch.setenv(name, str(place))
    environment.check("http://10.1.2.3/v1")  # nobody asks for a certificate there
    if (name, what) == ("SSL_CERT_DIR", "folder"):
        environment.check("https://10.1.2.3/v1")
        return
    with pytest.raises(RefusedToStart, match=rf"^{name} = {place}: .+ unset it") as refused:
        environment.check("https://10.1.2.3/v1")
    assert refused.value.exit_code == 2
    monkeypatch.setenv("http_proxy", "https://127.0.0.1:1")  # the proxy shows one
    with pytest.raises(RefusedToStart, match=name):
        environment.check("http://10.1.2.3/v1")


async def test_certificates_that_went_away_stop_the_run_and_send_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 44. A task may wait at an https address that the job itself has left."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    wire = Client("https://127.0.0.1:1/v1", call_timeout_s=5)
    with pytest.raises(WireError, match="SSL_CERT_FILE") as caught:
        await wire.exchange(POST)
    assert (caught.value.sent, caught.value.permanent) == (False, True)
    await wire.aclose()


@asynccontextmanager
async def tunnels(tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A proxy that makes the tunnels it is asked for."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            target.write(data)
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        there, out = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            for source, target in ((reader, out), (there, writer)):
                group.create_task(copy(source, target))

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


async def test_a_bad_certificate_behind_a_proxy_is_told_as_without_one(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 44. Host, port, reason and way out; that there is a proxy on the way, too, for it may show one of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with Stub(tls=context) as stub, tunnels() as proxy:
        told = []
        for through in ("", proxy):
            monkeypatch.setenv("https_proxy", through)
            wire = Client(stub.url, call_timeout_s=5)
            with pytest.raises(WireError) as caught:
                await wire.exchange(POST)
            await wire.aclose()
            assert (caught.value.permanent, caught.value.sent, caught.value.wrong_address) == (True, False, False)
            told.append(str(caught.value))
        assert f"127.0.0.1:{port_of(stub.url)} shows a certificate that is not trusted: self-signed" in told[0]
        assert told[0].endswith("(set SSL_CERT_FILE for a private authority)")
        assert told[1] == f"{told[0]} (through the proxy {proxy})"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        wire = Client(stub.url, call_timeout_s=5)
        assert (await wire.exchange(POST)).status == 200
        await wire.aclose()


async def test_a_proxy_with_a_bad_certificate_is_named_itself_and_may_be_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 44. Whose certificate it is; SSL_CERT_FILE counts for the proxy as for the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with Stub(tls=context) as stub, tunnels(context) as proxy:
        monkeypatch.setenv("https_proxy", proxy)
        wire = Client(stub.url, call_timeout_s=5)
        with pytest.raises(WireError, match=rf"^127.0.0.1:{port_of(proxy)} shows a certificate") as caught:
            await wire.exchange(POST)
        assert not caught.value.sent
        await wire.aclose()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        wire = Client(stub.url, call_timeout_s=5)
        assert (await wire.exchange(POST)).status == 200
        await wire.aclose()


@pytest.mark.parametrize(
    ("code", "way_out"), [(18, "SSL_CERT_FILE"), (62, "base_url"), (64, "base_url"), (10, "clock")]
)
def test_the_way_out_fits_what_is_wrong_with_a_certificate(code: int, way_out: str) -> None:
    """FIELD 44. Another authority helps neither against a wrong name nor against a certificate that is too old."""
    error = ssl.SSLCertVerificationError(1, "no")
    error.verify_code, error.verify_message = code, "no good"
    assert way_out in environment.untrusted("llm.example", 443, error)
    assert environment.untrusted("llm.example", 443, error).startswith("llm.example:443 shows")
