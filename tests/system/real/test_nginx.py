"""The gateway that most services stand behind: nginx with TLS in front of the simulator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.simulator.conftest import Sim
from tests.support.wire_fixtures import _no_proxy, certificate
from tests.system.real.conftest import missing
from tests.system.real.nginx import Nginx, nginx, program
from tests.system.runs.conftest import Make, Mill, make, start

__all__ = ["_no_proxy", "certificate", "make", "start"]

pytestmark = pytest.mark.timeout(120)
FIVE = "keepalive_requests 5; keepalive_timeout 1s;"
GZIP = "gzip on; gzip_types application/json; gzip_min_length 1; gzip_proxied any;"
PAUSE = '''
import random
import anyio
from batch import tool


@tool(quick=True)
async def add(a: float, b: float) -> float:
    """Add two numbers.

    Args:
        a: the first number.
        b: the number to add.
    """
    await anyio.sleep(random.uniform(0.2, 1.2))
    return a + b
'''
"""A tool that takes about as long as the gateway keeps an idle connection; in the run's own process, where all rows wait
at the same time, so that many connections are used again just as they close."""

Before = Callable[..., Nginx]


@pytest.fixture
def before(tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Before]:
    """Puts an nginx before the simulator of a job, whose base URL it becomes."""
    if program() is None:
        missing("nginx")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with ExitStack() as stack:

        def begin(mill: Mill, **directives: str) -> Nginx:
            assert isinstance(mill.sim, Sim)
            begun: AbstractContextManager[Nginx] = nginx(
                tmp_path / f"nginx-{mill.folder.name}", mill.sim.port, certificate, **directives
            )
            gateway = stack.enter_context(begun)
            mill.url = gateway.url
            return gateway

        yield begin


@pytest.mark.parametrize(("lane", "rows"), [("sync", 1_000), ("stream", 1_000), ("task", 300)])
def test_a_gateway_that_closes_after_five_requests_costs_no_call(
    make: Make, before: Before, lane: str, rows: int
) -> None:
    """Every row once, no call in doubt; answers are packed, five requests leave on a connection and never six."""
    mill = make("gzip = true\n", lane=lane)
    gateway = before(mill, http=f"{FIVE} {GZIP}")
    mill.questions(rows)
    report = mill.run()
    assert (report.exit_code, report.state) == (0, "finished")
    mill.check_table(rows)
    assert set(mill.one("status")) == {"ok"}
    mill.check_books(at_risk=1)
    log = gateway.log()
    assert max(Counter(entry.connection for entry in log).values()) == 5
    assert {entry.status for entry in log} == {200}
    if lane != "stream":
        assert sum(entry.gzip_ratio > 0 for entry in log) >= rows, "nothing was packed"


def test_connections_that_close_just_as_they_are_used_again_cost_no_call(make: Make, before: Before) -> None:
    """At most one call in a thousand is in doubt where each pause is as long as the gateway's patience."""
    mill = make("[latency]\nchat_ms = [400, 400]\n")
    gateway = before(mill, http="keepalive_timeout 1s;")
    mill.tools = PAUSE
    mill.limits = {"concurrency": 200}
    mill.write([{"n": n, "question": f"What is {n} plus {n + 1}?"} for n in range(200)])
    report = mill.run()
    assert (report.exit_code, report.state) == (0, "finished")
    mill.check_table(200)
    assert set(mill.one("tool_calls")) == {1}
    mill.check_books(at_risk=1)
    log = gateway.log()
    ended = {(entry.connection, entry.number): entry.ended_s for entry in log}
    # An answer takes 0.4 s: so long a connection had been idle when it was used again.
    idle = [at - ended[line, number - 1] - 0.4 for (line, number), at in ended.items() if number > 1]
    assert max(idle) > 0.15, "no connection was used again after a pause"


def test_a_body_that_the_gateway_refuses_is_one_failed_row(make: Make, before: Before) -> None:
    """413 with an HTML page, said before the body was read: for good, not tried again; the others are answered."""
    mill = make()
    before(mill, http="client_max_body_size 100k;")
    records = mill.questions(20)
    records[7]["question"] = "large " * 300_000
    mill.write(records)
    report = mill.run()
    assert (report.exit_code, report.state) == (1, "finished")
    mill.check_table(20)
    rows = mill.results("n, status, error_kind, retryable, calls")
    assert [row for row in rows if row[1] != "ok"] == [(7, "failed", "too_large", False, 1)]
    assert "413" in mill.one("error_message")[7]
    mill.check_books()


@pytest.mark.parametrize("status", [503, 429])
def test_rows_that_the_gateway_turns_away_are_asked_again(make: Make, before: Before, status: int) -> None:
    """`limit_req` says 503 unless told otherwise, with an HTML page and no time to wait."""
    mill = make()
    http = f"limit_req_zone $server_port zone=all:1m rate=10r/s; limit_req_status {status};"
    gateway = before(mill, http=http, location="limit_req zone=all burst=5 nodelay;")
    mill.questions(30)
    report = mill.run()
    assert (report.exit_code, report.state) == (0, "finished")
    mill.check_table(30)
    assert set(mill.one("status")) == {"ok"}
    mill.check_books()
    assert {entry.status for entry in gateway.log()} == {200, status}


@pytest.mark.parametrize("lane", ["sync", "stream"])
def test_what_the_gateway_gives_up_on_is_in_doubt_and_every_row_has_an_outcome(
    make: Make, before: Before, lane: str
) -> None:
    """504 after three seconds: the service may still answer and bill, so the call is unknown; the row may be tried again."""
    slow = '[[fault]]\nbehaviour = 43\nseconds = 12.0\nrows = ["number 3.", "number 7."]\n'
    mill = make(slow, lane=lane)
    gateway = before(mill, location="proxy_read_timeout 3s;")
    mill.limits = {"concurrency": 8, "max_attempts": 2}
    mill.questions(20)
    report = mill.run()
    assert (report.exit_code, report.state) == (1, "finished")
    mill.check_table(20)
    rows = mill.results("n, status, error_kind, retryable, calls, unknown_calls, total_tokens, cost")
    assert [row for row in rows if row[1] != "ok"] == [(n, "failed", "server", False, 2, 2, None, None) for n in (3, 7)]
    assert Counter(entry.status for entry in gateway.log()) == {200: 18, 504: 4}
    mill.check_books(at_risk=4)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_gateway_that_redirects_stops_the_run_and_the_message_names_the_address(
    make: Make, before: Before, status: int
) -> None:
    """The key and the prompt go nowhere else; with the address mended the same command answers every row."""
    mill = make()
    assert mill.sim is not None
    there = f"http://127.0.0.1:{mill.sim.port}"
    gateway = before(mill, location=f"return {status} {there}$request_uri;")
    mill.questions(100)
    code, said = mill.command()
    assert code == 6, said
    assert f"{there}/api/paas/v4/chat/completions" in said
    assert len(gateway.log()) <= 32, "rows were burnt on an address that answers nobody"
    assert mill.books() == []
    mill.url = there
    assert mill.run().exit_code == 0
    mill.check_table(100)
    assert set(mill.one("status")) == {"ok"}
    mill.check_books()
