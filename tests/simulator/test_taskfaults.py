"""Faults of tasks and their polls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.struck import fault

if TYPE_CHECKING:
    from tests.simulator.conftest import HandClock, Start

SLOW = "[latency]\ntask_ms = [10000, 10000]\n"


def test_57_gives_two_tasks_one_id(start: Start) -> None:
    """Each receipt repeats its own request id; the poll tells of the first task, and both are billed."""
    sim = start(fault(57, rows=["second"]))
    first = sim.submit("first", request_id="call-000001").json()
    second = sim.submit("the second", request_id="call-000002").json()
    assert first["id"] == second["id"]
    assert (first["request_id"], second["request_id"]) == ("call-000001", "call-000002")
    assert sim.poll(second["id"]).json()["request_id"] == "call-000001"
    submits = [record for record in sim.books() if record["route"] == "submit"]
    assert [(record["billed"], record["fault"]) for record in submits] == [(True, None), (True, 57)]
    assert len({record["task_id"] for record in submits}) == 2


def test_57_needs_a_task_before_it(start: Start) -> None:
    """The first task of a key has its own id, whatever the scenario says."""
    sim = start(fault(57))
    sim.submit()
    assert sim.faults() == []
    sim.key = "writer.secret"
    task_id = sim.submit().json()["id"]
    assert sim.poll(task_id).status_code == 200


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"form": "bare"}, None),
        ({"form": "object"}, {"code": "1301"}),
        ({"form": "object", "code": 1200}, {"code": "1200", "message": "API调用失败"}),
        ({"form": "string", "code": "1200"}, "API调用失败"),
    ],
)
def test_59_ends_as_fail_and_is_not_billed(start: Start, clock: HandClock, more: dict[str, Any], error: Any) -> None:
    """HTTP 200 with the two ids, the status and at most an error; its place in flight ends with it."""
    sim = start("[limits]\nin_flight = 1\n" + fault(59, **more, rows=["bad"]) + SLOW, clock)
    task_id = sim.submit("bad", request_id="call-000001").json()["id"]
    assert sim.poll(task_id).json()["task_status"] == "PROCESSING"
    clock.move(10)
    answer = sim.poll(task_id)
    body = answer.json()
    assert answer.status_code == 200
    assert (body["id"], body["request_id"], body["task_status"]) == (task_id, "call-000001", "FAIL")
    assert set(body) - {"error"} == {"id", "request_id", "task_status"}
    said = body.get("error")
    assert error == said or error.items() <= said.items()
    assert sim.submit("good").status_code == 200
    assert not sim.books()[0]["billed"]


def test_59_goes_through_its_forms(start: Start) -> None:
    """Bare, object and text in turn from attempt to attempt."""
    sim = start(fault(59))
    bodies = [sim.poll(sim.submit().json()["id"]).json() for _ in range(3)]
    assert {type(body.get("error")) for body in bodies} == {type(None), dict, str}


def test_60_does_not_know_the_id(start: Start) -> None:
    """400 with 1214, or 404, in turn; the task is billed all the same."""
    sim = start(fault(60))
    task_id = sim.submit().json()["id"]
    answers = {answer.status_code: answer for answer in (sim.poll(task_id) for _ in range(2))}
    assert answers[400].json()["error"]["code"] == "1214"
    assert answers[404].json() == {"code": 404, "msg": "404 NOT_FOUND", "success": False}
    assert sim.books()[0]["billed"]
    assert start(fault(60, form=404)).poll("1").status_code == 400, "an id that never was is no fault"


def test_60_may_forget_a_result_after_a_time(start: Start, clock: HandClock) -> None:
    """Kept for five seconds after the task ended, then gone for good."""
    sim = start(fault(60, after_seconds=5, form="404") + SLOW, clock)
    task_id = sim.submit().json()["id"]
    seen = []
    for _ in range(4):
        seen.append(sim.poll(task_id).status_code)
        clock.move(5)
    assert seen == [200, 200, 200, 404]


def test_61_goes_back_from_success_to_processing(start: Start) -> None:
    """The first success is the true one."""
    sim = start(fault(61, form="regress"))
    task_id = sim.submit().json()["id"]
    states = [sim.poll(task_id).json()["task_status"] for _ in range(3)]
    assert states == ["SUCCESS", "PROCESSING", "PROCESSING"]


def test_61_succeeds_without_choices(start: Start) -> None:
    """A SUCCESS that holds nothing."""
    sim = start(fault(61, form="no_choices"))
    body = sim.poll(sim.submit().json()["id"]).json()
    assert body["task_status"] == "SUCCESS"
    assert "choices" not in body


@pytest.mark.parametrize(("form", "status", "code"), [("server_error", 500, "1230"), ("rate_limited", 429, "1302")])
def test_61_refuses_a_poll_and_answers_the_next(start: Start, form: str, status: int, code: str) -> None:
    """The task is none the worse for it."""
    sim = start(fault(61, form=form, first=2))
    task_id = sim.submit().json()["id"]
    answers = [sim.poll(task_id) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert answers[0].json()["error"]["code"] == code
    assert answers[2].json()["choices"]
    assert sim.books()[0]["billed"]
