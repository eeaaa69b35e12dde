"""Faults of the connection, seen from a bare socket."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.simulator.conftest import Gate
from tests.simulator.struck import CHAT, OPENAI_CHAT, SUBMIT, drained, fault, raw, request

if TYPE_CHECKING:
    from tests.simulator.conftest import HandClock, Sim, Start


def connected(sim: Sim) -> socket.socket:
    return socket.create_connection(("127.0.0.1", sim.port), timeout=30)


def answered(connection: socket.socket) -> bytes:
    """One whole answer, on a connection that stays open."""
    read = b""
    while b"\r\n\r\n" not in read:
        read += connection.recv(65536)
    head, _, body = read.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head


@pytest.mark.parametrize("path", [CHAT, OPENAI_CHAT])
def test_35_ends_before_the_promised_length_and_bills(start: Start, path: str) -> None:
    """A half of the JSON and then FIN, no reset: only the length tells."""
    sim = start(fault(35))
    read, reset = raw(sim, path, "sk-a.b")
    head, _, body = read.partition(b"\r\n\r\n")
    promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert not reset
    assert 0 < len(body) < promised
    (record,) = sim.until_books(1)
    assert (record["status"], record["billed"], record["delivered"], record["fault"]) == (200, True, False, 35)
    with pytest.raises(httpx.RemoteProtocolError):
        sim.glm()


def test_43_holds_back_the_first_byte_by_the_simulators_clock(start: Start, clock: HandClock) -> None:
    """Thirty seconds unless told otherwise, none of them real here; the answer is whole and billed."""
    sim = start(fault(43), clock)
    assert sim.glm().json()["choices"]
    assert sum(clock.slept) == pytest.approx(30)
    assert sim.books()[0]["billed"]
    clock.slept.clear()
    start(fault(43, seconds=320), clock).openai()
    assert sum(clock.slept) == pytest.approx(320)


def test_43_gives_up_on_a_client_that_left_and_bills_it(start: Start) -> None:
    """Nothing lies asleep for half a minute; the books say that nobody got the answer."""
    sim = start(fault(43, rows=["slow"]))
    with connected(sim) as connection:
        connection.sendall(request(sim, asked="slow"))
        while not sim.faults():
            pass
    (record,) = sim.until_books(1)
    assert (record["billed"], record["delivered"]) == (True, False)


def test_44_drips_byte_by_byte(start: Start, clock: HandClock) -> None:
    """The length is known from the start, and the body comes whole in the end."""
    sim = start(fault(44, interval_ms=200), clock)
    answer = sim.glm()
    assert answer.json()["choices"]
    assert clock.slept == [0.2] * (len(answer.content) - 1)
    assert sim.books()[0]["delivered"]


def test_44_really_takes_its_time(start: Start) -> None:
    """The head and a first byte are there long before the rest."""
    sim = start(fault(44, interval_ms=2000))
    with connected(sim) as connection:
        connection.sendall(request(sim))
        read = b""
        while not read.partition(b"\r\n\r\n")[2]:
            read += connection.recv(65536)
        assert read.partition(b"\r\n\r\n")[2] == b"{"
    assert not sim.until_books(1)[0]["delivered"]


def test_44_may_fall_silent_in_the_middle(start: Start) -> None:
    """Two halves with a pause between them."""
    sim = start(fault(44, gap_s=0.3))
    began = time.monotonic()
    assert sim.openai().json()["choices"]
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(("form", "reset"), [("fin", False), ("rst", True)])
def test_69_closes_a_used_connection_as_the_next_request_arrives(start: Start, form: str, reset: bool) -> None:
    """The first request on a connection is served; the second meets the end, unprocessed and unbilled."""
    sim = start(fault(69, form=form))
    with connected(sim) as connection:
        connection.sendall(request(sim, asked="one"))
        assert answered(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(request(sim, asked="two"))
        assert drained(connection) == (b"", reset)
    first, second = sim.until_books(2)
    assert (first["billed"], first["fault"]) == (True, None)
    assert (second["status"], second["billed"], second["total_tokens"], second["fault"]) == (0, False, 0, 69)


def test_69_makes_no_task(start: Start) -> None:
    """A submit that met the race was never taken."""
    sim = start(fault(69, route="submit"))
    with connected(sim) as connection:
        connection.sendall(request(sim))
        answered(connection)
        connection.sendall(request(sim, SUBMIT))
        drained(connection)
    assert sim.until_books(2)[1]["task_id"] is None


def test_67_drops_every_connection_at_the_nth_request_and_keeps_its_tasks(start: Start) -> None:
    """Idle ones and those at work alike; new ones are served, and old tasks are known."""
    sim = start(fault(67, at=3))
    sim.key = "a.b"
    task_id = sim.submit().json()["id"]
    with connected(sim) as idle, connected(sim) as last:
        idle.sendall(request(sim, asked="two"))
        answered(idle)
        last.sendall(request(sim, asked="three"))
        assert drained(last) == (b"", True)
        assert drained(idle) == (b"", True)
    assert sim.poll(task_id).json()["task_status"] == "SUCCESS"
    assert sim.glm().status_code == 200
    assert [one["behaviour"] for one in sim.faults()] == [67]
    assert [record["billed"] for record in sim.until_books(5)] == [True, True, False, False, True]


def test_67_loses_what_it_was_working_on(start: Start) -> None:
    """An answer that was not ready is neither sent nor billed, and its place is free."""
    gate = Gate()
    sim = start(fault(67, at=2) + "[limits]\nin_flight = 2\n[latency]\nchat_ms = [20000, 20000]\n", gate)
    with connected(sim) as working, connected(sim) as last:
        working.sendall(request(sim, asked="one"))
        while not sim.judge()["requests"]:
            pass
        last.sendall(request(sim, asked="two"))
        assert drained(working) == (b"", True)
    gate.open()
    records = sim.until_books(2)
    assert [(record["billed"], record["total_tokens"]) for record in records] == [(False, 0), (False, 0)]


def test_67_may_lose_its_tasks(start: Start, clock: HandClock) -> None:
    """Their ids are unknown, their places free; what had not ended is never billed."""
    slow = "[limits]\nin_flight = 3\n[latency]\ntask_ms = [10000, 10000]\nchat_ms = [0, 0]\n"
    sim = start(fault(67, at=3, store="lost") + slow, clock)
    done = sim.submit("one").json()["id"]
    clock.move(10)
    unfinished = sim.submit("two").json()["id"]
    with pytest.raises(httpx.TransportError):
        sim.submit("three")
    clock.move(60)
    assert [sim.poll(task).status_code for task in (done, unfinished)] == [400, 400]
    assert [record["billed"] for record in sim.books() if record["route"] == "submit"] == [True, False, False]
    assert [sim.submit(f"new {number}").status_code for number in range(4)] == [200, 200, 200, 429]


def test_67_may_stay_down_for_a_while(start: Start, clock: HandClock) -> None:
    """Every request is reset until the time is over."""
    sim = start(fault(67, at=1, down_s=20), clock)
    for _ in range(3):
        assert raw(sim) == (b"", True)
    clock.move(20)
    assert sim.glm().status_code == 200
    assert len(sim.faults()) == 3
