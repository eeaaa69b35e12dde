"""`batch.plan.doctor_provider`: what one unpaid request tells of key, address, clock and models, over real sockets."""

from __future__ import annotations

import json
import re
import shlex
import ssl
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path

import pytest

from batch.core.clock import Clock
from batch.job.job import InputSpec, Job, ModelSpec, PromptSpec
from batch.plan.addressing import endpoint_of
from batch.plan.doctor import AREAS, Finding
from batch.plan.doctor_provider import of_provider
from tests.support.stub import Stub, reply
from tests.support.wire_fixtures import _no_proxy, anyio_backend, certificate, stub

__all__ = ["_no_proxy", "anyio_backend", "certificate", "stub"]
pytestmark = pytest.mark.anyio
KEY = "0123456789abcdef0123456789abcdef.Zq7kPw3mVx9tRb2c"
ENVIRON = {"ZAI_API_KEY": KEY, "OPENAI_API_KEY": "sk-Jh4wQz8nTd1yLs6vKe3m"}
MODELS = json.dumps({"object": "list", "data": [{"id": "glm-4"}, {"id": "gpt-5-mini"}]}).encode()


def job(url: str, *, provider: str = "glm", model: str = "glm-4") -> Job:
    return Job(
        folder=Path("/nowhere"),
        name="tickets",
        input=InputSpec(path="rows.jsonl"),
        prompt=PromptSpec(user="{{ q }}"),
        model=ModelSpec(provider=provider, name=model, base_url=url),
    )


async def told(asked: Job, environ: Mapping[str, str] = ENVIRON) -> dict[str, Finding]:
    """The last finding of each area; none of them has the key in it."""
    found = [finding async for finding in of_provider(asked, endpoint_of(asked, environ), Clock())]
    assert {finding.area for finding in found} <= set(AREAS)
    assert not any(key in f"{finding.text}{finding.way_out}" for finding in found for key in environ.values())
    return {finding.area: finding for finding in found}


def error(code: str, message: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": message}}).encode()


@pytest.mark.parametrize("provider", ["glm", "openai"])
async def test_a_list_of_models_says_that_all_is_well(provider: str, stub: Stub) -> None:
    """One GET with the key, and nothing that could be billed."""
    stub.answers = [reply(MODELS, f"Date: {formatdate(usegmt=True)}")]
    found = await told(job(stub.url, provider=provider, model="glm-4"))
    assert {area: finding.state for area, finding in found.items()} == dict.fromkeys(
        ("name", "connection", "clock", "answer", "model"), "ok"
    )
    [exchange] = stub.exchanges
    assert exchange.head.startswith(b"GET /base/models HTTP/1.1\r\n")
    assert b"authorization: bearer" in exchange.head.lower()
    assert exchange.body == b""


async def test_a_model_that_is_not_listed_is_worth_a_look(stub: Stub) -> None:
    """A spelling mistake is found before the first row; some lists leave models out, so it stops nothing."""
    stub.answers = [reply(MODELS)]
    found = await told(job(stub.url, model="glm-44"))
    assert (found["model"].state, "glm-44" in found["model"].text) == ("look", True)
    assert "clock" not in found


@pytest.mark.parametrize(("provider", "variable"), [("glm", "ZAI_API_KEY"), ("openai", "OPENAI_API_KEY")])
async def test_a_wrong_key_is_named_by_its_variable(provider: str, variable: str, stub: Stub) -> None:
    """Set-up 2 of ten."""
    stub.answers = [reply(error("1002", "token illegal"), status="401 Unauthorized")]
    found = (await told(job(stub.url, provider=provider)))["key"]
    assert found.state == "stop"
    assert found.text.startswith(f"{variable} is refused.")
    assert "not the key of this provider" in found.way_out


@pytest.mark.slow
async def test_an_expired_certificate_is_said_with_both_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set-up 3 of ten: it must be renewed, or the clock is wrong."""
    both = made(tmp_path, "190101000000Z", "200101000000Z")
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)
    async with Stub(tls=context) as server:
        found = (await told(job(server.url)))["connection"]
    assert found.state == "stop"
    assert "certificate has expired" in found.text
    assert "renewed, or the clock of this machine be set" in found.text


@pytest.mark.slow
@pytest.mark.parametrize(("days", "state"), [(3, "look"), (300, "ok")])
async def test_a_certificate_that_ends_soon_is_worth_a_look(
    days: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the night on which it has ended."""
    ends = datetime.fromtimestamp(Clock().now_us() / 1e6, tz=UTC) + timedelta(days=days)
    both = made(tmp_path, "240101000000Z", f"{ends:%y%m%d%H%M%S}Z")
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)
    async with Stub(tls=context) as server:
        server.answers = [reply(MODELS)]
        found = await told(job(server.url))
    assert (found["answer"].state, found["TLS"].state) == ("ok", state)
    assert found["TLS"].text.startswith("TLSv1.")
    assert f"{ends:%b}" in found["TLS"].text


def made(folder: Path, begins: str, ends: str) -> Path:
    """A certificate for 127.0.0.1 that is valid between two times, and its key, in one file."""
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\nserial = serial\nnew_certs_dir = .\ndefault_md = sha256\n"
        "policy = p\ncopy_extensions = copy\n[p]\ncommonName = supplied\n"
    )
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01\n")
    asking = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out asked.csr -subj /CN=stub"
    signing = "ca -batch -config ca.cnf -selfsign -keyfile key.pem -in asked.csr -out cert.pem -notext"
    for line in (
        f"{asking} -addext subjectAltName=IP:127.0.0.1",
        f"{signing} -startdate {begins} -enddate {ends}",
    ):
        subprocess.run(["openssl", *shlex.split(line)], cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    return both


@pytest.mark.parametrize("answer", [None, reply(b"", status="407 Proxy Authentication Required")])
async def test_a_proxy_that_refuses_is_named_with_its_variables(
    answer: bytes | None, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set-up 4 of ten: nobody listens there, or it lets nobody through; its password is not shown."""
    stub.answers = [answer or b""]
    port = stub.url.split(":")[2].split("/")[0] if answer else "9"
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:Pass1234word@127.0.0.1:{port}")
    found = (await told(job("https://api.example.invalid/v4")))["proxy"]
    assert found.state == "stop"
    assert f"127.0.0.1:{port}" in found.text
    assert "Pass1234word" not in found.text
    assert "HTTPS_PROXY" in found.way_out
    assert "NO_PROXY" in found.way_out


@pytest.mark.parametrize(("seconds", "state"), [(86_400, "stop"), (-86_400, "stop"), (120, "look"), (5, "ok")])
async def test_a_clock_that_differs_from_the_provider_is_told(seconds: int, state: str, stub: Stub) -> None:
    """Set-up 5 of ten: a day off, either way."""
    stub.answers = [reply(MODELS, f"Date: {formatdate(Clock().now_us() / 1e6 + seconds, usegmt=True)}")]
    found = (await told(job(stub.url)))["clock"]
    assert found.state == state
    if state == "stop":
        assert re.match("is (24 h 00|23 h 59) min ", found.text)
        assert ("behind" if seconds > 0 else "ahead of") in found.text
        assert "timedatectl" in found.way_out


@pytest.mark.parametrize("page", [b"<html>404</html>", b"{}"])
async def test_an_address_at_which_nothing_is_served_comes_with_the_likelier_one(page: bytes, stub: Stub) -> None:
    """Set-up 9 of ten; asked by a chat request without a model, once there was no list of models."""
    stub.answers = [reply(page, status="404 Not Found")]
    found = (await told(job(stub.url)))["connection"]
    assert found.state == "stop"
    assert "is not that of a chat service" in found.text
    assert "/api/paas/v4 is meant" in found.way_out
    assert [exchange.head.split(b" ")[0] for exchange in stub.exchanges] == [b"GET", b"POST"]
    assert stub.exchanges[1].body == b"{}"


async def test_a_name_that_nobody_knows_is_told_before_anything_else() -> None:
    """Set-up 10 of ten: no DNS, or a typing mistake in the name."""
    found = await told(job("https://no-such-host.invalid/api/paas/v4"))
    assert list(found) == ["name"]
    assert found["name"].state == "stop"
    assert "no-such-host.invalid cannot be looked up" in found["name"].text
    assert "resolv.conf" in found["name"].way_out


@pytest.mark.parametrize(
    "none",
    [
        reply(b"{}", status="404 Not Found"),
        reply(b'{"code":500,"msg":"404 NOT_FOUND","success":false}'),
    ],
)
async def test_a_server_without_a_list_that_refuses_a_request_without_a_model_is_well(none: bytes, stub: Stub) -> None:
    """An own server, or Z.ai's way to say that a path is not there: the key was checked, and nothing billed."""
    stub.answers = [
        none,
        reply(error("1214", "model is missing"), status="400 Bad Request"),
    ]
    found = (await told(job(stub.url)))["answer"]
    assert (found.state, "refused a request without one" in found.text) == ("ok", True)


@pytest.mark.parametrize(
    ("status", "body", "state", "way_out"),
    [
        ("429 Too Many Requests", error("1113", "in arrears"), "stop", "Put money"),
        ("503 Service Unavailable", b"busy", "look", "Try again later"),
    ],
)
async def test_other_refusals_are_told_as_what_they_are(
    status: str, body: bytes, state: str, way_out: str, stub: Stub
) -> None:
    """No money stops a run; a busy provider does not."""
    stub.answers = [reply(body, status=status)]
    found = (await told(job(stub.url)))["answer"]
    assert found.state == state, found
    assert found.way_out.startswith(way_out)


async def test_nobody_at_the_address_is_told_with_what_starts_the_simulator() -> None:
    """Of the simulator the command, of others the network."""
    for provider, way_out in (("simulator", "promptmill simulate --port 9"), ("glm", "firewall")):
        found = (await told(job("http://127.0.0.1:9", provider=provider)))["connection"]
        assert found.state == "stop"
        assert "refused" in found.text.lower()
        assert way_out in found.way_out
