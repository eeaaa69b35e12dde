"""An address that is not the service's at all: another protocol listens there. The run says so, and fails no row."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.scripted import page, reply, scripted
from tests.support.sockets import Counts, asked, serving
from tests.support.stub import reply as http
from tests.support.wire_fixtures import certificate
from tests.system.runs.conftest import Mill

__all__ = ["certificate"]

ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
NGINX = b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"


def saying(data: bytes) -> Callable[[socket.socket, Counts], None]:
    def serve(line: socket.socket, counts: Counts) -> None:
        asked(line, counts)
        line.sendall(data)

    return serve


def stops(folder: Path, url: str, lane: str, *named: str) -> None:
    """The run at this address stops, names it and the way out, and books nothing; mended, every row is answered."""
    with scripted(lambda _: reply()) as right:
        mill = Mill(folder, url, provider="openai", lane=lane)
        mill.limits = {"concurrency": 4, "max_attempts": 3, "call_timeout_s": 20}
        mill.questions(20)
        report = mill.run()
        assert (report.state, report.exit_code) == ("provider", 6)
        said = str(report.fault)
        for text in (f"{url}/v1", "base_url", *named):
            assert text in said
        assert (report.totals.rows, report.totals.unknown) == (0, 0)
        mill.url = right.url
        assert mill.run().exit_code == 0
        assert mill.one("status") == ["ok"] * 20
        assert mill.calls("count(*)", "state = 'unknown'") == [(0,)]


@pytest.mark.parametrize("lane", ["sync", "stream"])
@pytest.mark.parametrize(
    ("said", "named"),
    [
        (ALERT, "https://"),
        (http(NGINX, "Content-Type: text/html", status="400 Bad Request"), "https://"),
        (b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", "https://"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "not HTTP"),
    ],
    ids=["alert", "nginx", "Go", "ssh", "HTTP/2"],
)
def test_what_is_no_service_at_all_stops_the_run_and_fails_no_row(
    tmp_path: Path, said: bytes, named: str, lane: str
) -> None:
    """FIELD 14: http on a TLS port: rows failed for good with HTTP 400, or every call was possibly billed."""
    with serving(saying(said)) as (url, counts):
        stops(tmp_path, url, lane, named)
    assert counts.requests <= 8


@contextmanager
def tls(certificate: Path) -> Iterator[str]:
    """A server that drops whoever does not begin with a handshake, without a word, as OpenSSL's do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(line: socket.socket, counts: Counts) -> None:
        with context.wrap_socket(line, server_side=True) as safe:
            safe.recv(1)

    with serving(serve) as (url, _):
        yield url


@pytest.mark.parametrize("lane", ["sync", "stream"])
def test_a_tls_port_that_closes_without_a_word_is_known_by_its_handshake(
    tmp_path: Path, certificate: Path, lane: str
) -> None:
    """FIELD 14: vLLM and uvicorn with a certificate: every call was possibly billed, minutes of probing."""
    with tls(certificate) as url:
        stops(tmp_path, url, lane, "https://")


@pytest.mark.parametrize("lane", ["sync", "stream"])
def test_https_on_a_port_for_http_stops_the_run_at_once(tmp_path: Path, lane: str) -> None:
    """FIELD 14: "no connection: WRONG_VERSION_NUMBER", 15 minutes of probing."""
    with scripted(lambda _: page(400)) as server:
        stops(tmp_path, server.url.replace("http://", "https://"), lane, "http://")
        assert server.seen == []


def test_where_others_are_answered_what_is_no_http_is_that_rows_failure_and_worth_another_try(tmp_path: Path) -> None:
    """FIELD 14: something on the way, for one row; the run goes on, and the row comes again."""

    def serve(line: socket.socket, counts: Counts) -> None:
        data = b""
        while b"number" not in data or not data.endswith(b"}"):
            data += line.recv(65536)
        bad = b"number 5." in data
        line.sendall(ALERT if bad else http(reply()[2], "Connection: close"))

    with serving(serve) as (url, _):
        mill = Mill(tmp_path, url, provider="openai")
        mill.limits = {"concurrency": 1, "max_attempts": 3}
        mill.questions(8)
        report = mill.run()
        assert (report.state, report.exit_code) == ("finished", 1)
        assert mill.query(f"SELECT n, retryable FROM '{mill.out}/results/*.parquet' WHERE status = 'failed'") == [
            (5, True)
        ]
        assert json.loads((mill.out / "status.json").read_text("utf-8"))
