"""What the provider refuses, and what the judge sees."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from batch.simulator.books.judge import most_in_window
from tests.simulator.conftest import Gate

if TYPE_CHECKING:
    from tests.simulator.conftest import HandClock, Sim, Start

SLOW = "[latency]\nchat_ms = [600, 600]\n"


@contextlib.contextmanager
def at_once(
    sim: Sim, number: int, path: str = "/api/paas/v4/chat/completions", key: str = "reader.secret"
) -> Iterator[list[socket.socket]]:
    """That many requests on connections of their own, sent, not read, and seen by the server."""
    body = json.dumps(sim.body("hello", "glm-4", {})).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    before = sim.judge()["requests"]
    with contextlib.ExitStack() as stack:
        opened = [
            stack.enter_context(socket.create_connection(("127.0.0.1", sim.port), timeout=30)) for _ in range(number)
        ]
        for connection in opened:
            connection.sendall(head.encode() + body)
        while sim.judge()["requests"] < before + number:
            pass
        yield opened


def test_more_than_the_limit_in_flight_is_refused_at_once_without_a_header(start: Start) -> None:
    """GLM answers 429/1302 while the others are still being worked on, and says nothing of when to return."""
    gate = Gate()
    sim = start(f"[limits]\nin_flight = 3\n{SLOW}", gate)
    with at_once(sim, 3) as opened:
        refused = sim.glm()
        gate.open()
        assert {connection.recv(4096)[:12] for connection in opened} == {b"HTTP/1.1 200"}
    assert refused.status_code == 429
    assert refused.json() == {"error": {"code": "1302", "message": "Rate limit reached for requests"}}
    assert not {"retry-after", "x-ratelimit-limit-requests"} & set(refused.headers)
    assert sim.glm().status_code == 200
    (lane,) = sim.judge()["lanes"]
    assert (lane["requests"], lane["max_in_flight"], lane["refused"]) == (5, 4, {"in_flight": 1})


def test_places_are_counted_for_each_key_and_model(start: Start) -> None:
    """One key's requests do not hold up another's, and a model may have its own limit."""
    sim = start(f'[limits]\nin_flight = 1\n[limits.models."glm-4-air"]\nin_flight = 5\n{SLOW}')
    with at_once(sim, 2) as opened:
        assert [sim.glm(model="glm-4-air").status_code, sim.glm(model="GLM-4-Air").status_code] == [200, 200]
        sim.key = "writer.secret"
        assert sim.glm().status_code == 200
        answers = sorted(connection.recv(12) for connection in opened)
    assert answers == [b"HTTP/1.1 200", b"HTTP/1.1 429"]
    assert sim.judge()["refused"] == {"in_flight": 1}


def test_a_client_that_leaves_frees_its_place_and_is_billed(start: Start) -> None:
    """The work goes on without it: billed, and not delivered."""
    sim = start("[limits]\nin_flight = 1\n[latency]\nchat_ms = [2500, 2500]")
    with at_once(sim, 1):
        assert sim.glm().status_code == 429
    while sim.glm().status_code == 429:
        pass  # until the server has seen the connection go, long before the answer would have been ready
    left = [record for record in sim.until_books(2) if record["status"] == 200]
    assert sorted(record["delivered"] for record in left) == [False, True]
    assert all(record["billed"] and record["total_tokens"] > 0 for record in left)


def test_too_many_requests_a_minute_are_1303_on_glm(start: Start, clock: HandClock) -> None:
    """Frequency is another code than concurrency, again without a header."""
    sim = start("[limits]\nrpm = 2", clock)
    answers = [sim.glm() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["error"]["code"] == "1303"
    assert "retry-after" not in answers[2].headers
    clock.move(30)
    assert sim.glm().status_code == 200


def test_a_full_openai_lane_is_rate_limit_exceeded_with_retry_after(start: Start) -> None:
    """The other dialect says when to come back."""
    sim = start("[limits]\nin_flight = 1\n[latency]\nchat_ms = [30000, 30000]\n")
    with at_once(sim, 1, "/v1/chat/completions", "sk-reader"):
        refused = sim.openai(model="glm-4")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "1"


def test_the_judge_slides_its_window_over_all_arrivals(start: Start, clock: HandClock) -> None:
    """Three at the end of one minute and three at the start of the next are six in a window."""
    sim = start("", clock)
    for _ in range(2):
        clock.move(29)
        for _ in range(3):
            sim.glm("hello", max_tokens=100)
    clock.move(31)
    sim.openai("hello", max_tokens=1)
    sim.poll("unknown")
    verdict = sim.judge(60)
    assert (verdict["requests"], verdict["max_requests"], verdict["polls"], verdict["max_polls"]) == (7, 6, 1, 1)
    assert verdict["max_tokens"] == 600
    assert sim.judge(29)["max_requests"] == 3
    assert sim.judge(29.001)["max_requests"] == 6
    assert [lane["max_requests"] for lane in verdict["lanes"]] == [6, 1]
    assert sim.http.get("/_sim/judge", params={"window": "soon"}).status_code == 400


def test_refused_and_bad_requests_are_judged_too(start: Start, clock: HandClock) -> None:
    """What left the client counts, whatever became of it."""
    sim = start("[limits]\nrpm = 1\n[[fault]]\nbehaviour = 18", clock)
    sim.glm(temperature=7)
    clock.move(60)
    sim.glm()
    sim.glm()
    sim.post("/api/paas/v4/chat/completions", {}, "bad")
    verdict = sim.judge()
    assert verdict["requests"] == 4
    assert verdict["refused"] == {"invalid": 1, "fault": 1, "rpm": 1, "auth": 1}


def test_the_most_in_flight_is_seen_without_any_limit(start: Start) -> None:
    """The judge counts what was open at one time, which nobody enforced."""
    gate = Gate()
    sim = start(SLOW, gate)
    with at_once(sim, 8) as opened:
        gate.open()
        assert {connection.recv(12) for connection in opened} == {b"HTTP/1.1 200"}
    verdict = sim.judge()
    assert (verdict["max_in_flight"], verdict["refused"]) == (8, {})
    sim.reset()
    assert sim.judge()["max_in_flight"] == 0


def test_many_clients_at_once_all_get_an_answer(sim: Sim) -> None:
    """Threads with a connection each, so that the server is not met one at a time only."""
    statuses: list[int] = []

    def ask(number: int) -> None:
        statuses.extend(sim.glm(f"row {number} {turn}").status_code for turn in range(10))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 80
    assert len(sim.books()) == 80


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=30),
    st.integers(1, 20),
)
def test_the_window_sum_is_that_of_all_windows(arrivals: list[tuple[int, int]], window: int) -> None:
    """The running sum equals the largest of all windows that begin at an arrival."""
    arrivals.sort()
    times, weights = [time for time, _ in arrivals], [weight for _, weight in arrivals]
    starts = [sum(weight for at, weight in arrivals if start <= at < start + window) for start in times]
    counts = [sum(1 for at in times if start <= at < start + window) for start in times]
    assert most_in_window(times, weights, window) == max(starts, default=0)
    assert most_in_window(times, None, window) == max(counts, default=0)
