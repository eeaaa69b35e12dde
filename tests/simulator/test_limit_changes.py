"""Limits that change while they are in force, and what was used of them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.simulator.conftest import HandClock, Sim, Start

TASKS = "[latency]\ntask_ms = [10000, 10000]\nchat_ms = [0, 0]\n"


def use(sim: Sim, **window: float) -> list[dict[str, Any]]:
    """What the judge says was used."""
    answer = sim.http.get("/_sim/judge", params=window)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["use"]
    return found


def accepted(sim: Sim, number: int, start: int = 0) -> int:
    return sum(sim.submit(f"row {row}").status_code == 200 for row in range(start, start + number))


def test_the_places_in_flight_change_at_their_time(start: Start, clock: HandClock) -> None:
    """Seconds count from the first request; who is in work stays, who comes is measured by the new limit."""
    sim = start(f"[limits]\nin_flight = 3\n[[limits.change]]\nafter_s = 5\nin_flight = 1\n{TASKS}", clock)
    clock.move(100)
    assert accepted(sim, 5) == 3
    clock.move(5)
    assert accepted(sim, 1) == 0
    clock.move(5)
    assert accepted(sim, 5) == 1


def test_a_limit_may_rise_for_one_model_alone(start: Start, clock: HandClock) -> None:
    """Its other limits stay as they were, and so do those of other models."""
    change = "[[limits.change]]\nafter_s = 0\nmodel = 'GLM-4'\nin_flight = 2\n"
    sim = start(f"[limits]\nin_flight = 1\nrpm = 5\n{change}{TASKS}", clock)
    assert accepted(sim, 3) == 2
    assert [sim.submit(f"row {n}", model="glm-4-air").status_code for n in range(2)] == [200, 429]
    clock.move(10)
    answers = [sim.glm(f"row {n}") for n in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert answers[3].json()["error"]["code"] == "1303"


def test_a_bucket_goes_on_with_its_level_at_another_rate(start: Start, clock: HandClock) -> None:
    """Nothing is given for the change itself: the bucket fills faster from then on."""
    sim = start("[limits]\nrpm = 6\nburst_s = 10\n[[limits.change]]\nafter_s = 30\nrpm = 600\n", clock)
    assert [sim.openai(f"{n}").status_code for n in range(2)] == [200, 429]
    clock.move(30)
    answer = sim.openai("a")
    assert (answer.status_code, answer.headers["x-ratelimit-limit-requests"]) == (200, "600")
    assert sim.openai("b").status_code == 429
    clock.move(1)
    assert [sim.openai(f"c{n}").status_code for n in range(11)] == [200] * 10 + [429]


def test_a_limit_may_appear_and_a_reset_takes_it_back(start: Start, clock: HandClock) -> None:
    """After a reset time starts again with the next first request."""
    sim = start("[[limits.change]]\nafter_s = 10\ntpm = 60\n[limits]\nburst_s = 60\n", clock)
    assert [sim.openai(max_tokens=60).status_code for _ in range(3)] == [200] * 3
    clock.move(10)
    assert [sim.openai(max_tokens=60).status_code for _ in range(2)] == [200, 429]
    sim.reset()
    clock.move(60)
    assert [sim.openai(max_tokens=60).status_code for _ in range(3)] == [200] * 3
    clock.move(10)
    assert [sim.openai(max_tokens=60).status_code for _ in range(2)] == [200, 429]


def test_places_in_work_add_up_over_any_stretch_of_time(start: Start, clock: HandClock) -> None:
    """Three tasks of ten seconds, two seconds apart: a share is what was used by what was allowed."""
    sim = start(f"[limits]\nin_flight = 3\n[[limits.change]]\nafter_s = 12\nin_flight = 1\n{TASKS}", clock)
    clock.move(1000)
    for number in range(3):
        sim.submit(f"row {number}")
        clock.move(2)
    clock.move(100)

    def places(begin: float, end: float) -> tuple[float, float]:
        (lane,) = use(sim, **{"from": begin, "to": end})
        return lane["in_flight_seconds"], lane["allowed"]["in_flight_seconds"]

    assert places(0, 14) == pytest.approx((30, 12 * 3 + 2 * 1))
    assert places(0, 100) == pytest.approx((30, 36 + 88))
    assert places(4, 10) == pytest.approx((18, 18))
    assert places(11, 13) == pytest.approx((1 + 2, 3 + 1))
    assert places(20, 30) == pytest.approx((0, 10))
    (lane,) = use(sim, **{"from": 4, "to": 10})
    assert lane["average_in_flight"] == pytest.approx(3)


def test_a_place_still_held_counts_up_to_now(start: Start, clock: HandClock) -> None:
    """The end of the window may lie ahead: then it is now."""
    sim = start(TASKS, clock)
    sim.submit()
    clock.move(4)
    (lane,) = use(sim, to=50)
    assert lane["in_flight_seconds"] == pytest.approx(4)
    sim.reset()
    clock.move(1)
    sim.submit("another")
    clock.move(2)
    (lane,) = use(sim, **{"from": 0})
    assert lane["in_flight_seconds"] == pytest.approx(4), "two tasks for two seconds"


def test_requests_and_tokens_of_a_stretch_are_those_admitted(start: Start, clock: HandClock) -> None:
    """Refused requests use nothing; what was charged and what was billed stand side by side."""
    sim = start("[limits]\nrpm = 2\ntpm = 1000\n", clock)
    assert [sim.openai(f"{n}", max_tokens=100).status_code for n in range(3)] == [200, 200, 429]
    clock.move(30)
    total = sim.openai("later", max_tokens=200).json()["usage"]["total_tokens"]
    clock.move(30)
    (early,), (late,) = use(sim, to=30), use(sim, **{"from": 30, "to": 60})
    assert (early["requests"], early["charged_tokens"]) == (2, 200)
    assert (late["requests"], late["charged_tokens"], late["billed_tokens"]) == (1, 200, total)
    assert early["allowed"] == {"in_flight_seconds": None, "requests": 1.0, "charged_tokens": 500.0}
    assert (early["key_id"][:3], early["model"]) == ("sk-", "gpt-5-mini")
    billed = sum(record["total_tokens"] for record in sim.books())
    assert early["billed_tokens"] + late["billed_tokens"] == billed


def test_tasks_are_billed_at_their_submission_once_they_have_succeeded(start: Start, clock: HandClock) -> None:
    """The stretch is that of the submit; before the end there is nothing to bill."""
    sim = start(TASKS, clock)
    sim.submit()
    clock.move(5)
    assert use(sim, to=1)[0]["billed_tokens"] == 0
    clock.move(5)
    assert use(sim, to=1)[0]["billed_tokens"] == sim.books()[0]["total_tokens"] > 0


def test_chats_at_work_add_up_too(start: Start) -> None:
    """Six chats of a tenth of a second each, however they overlap."""
    sim = start("[latency]\nchat_ms = [100, 100]\n")
    threads = [threading.Thread(target=sim.glm, args=(f"row {n}",)) for n in range(6)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (lane,) = use(sim, **{"from": 0})
    assert 0.59 <= lane["in_flight_seconds"] <= 6 * (time.monotonic() - began)


def test_the_judge_says_nothing_of_use_unless_asked_and_refuses_a_wrong_stretch(sim: Sim) -> None:
    """Adding up takes time with many requests; nobody asked, nobody waits."""
    assert use(sim, to=5) == []
    sim.glm()
    assert "use" not in sim.judge()
    for window, said in (
        ({"from": "x"}, "from=x"),
        ({"to": "-1"}, "to=-1"),
        ({"from": "5", "to": "5"}, "to=5: must be"),
    ):
        answer = sim.http.get("/_sim/judge", params=window)
        assert (answer.status_code, answer.json()["error"].startswith(said)) == (400, True), answer.text
