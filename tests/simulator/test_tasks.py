"""Chat tasks: submitted, polled, collected."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulator.conftest import HandClock, Sim, Start

SLOW = "[latency]\ntask_ms = [10000, 10000]\n"


def test_a_task_is_processing_until_its_time_and_then_succeeds_for_good(start: Start, clock: HandClock) -> None:
    """While it is worked on the model is null; afterwards every poll has the same whole answer."""
    sim = start(SLOW, clock)
    receipt = sim.submit("你好", request_id="call-000001").json()
    assert receipt == {
        "request_id": "call-000001",
        "id": receipt["id"],
        "model": "glm-4",
        "task_status": "PROCESSING",
    }
    waiting = {"id": receipt["id"], "request_id": "call-000001", "model": None, "task_status": "PROCESSING"}
    assert sim.poll(receipt["id"]).json() == waiting
    clock.move(9.9)
    assert sim.poll(receipt["id"]).json() == waiting
    clock.move(0.2)
    done = sim.poll(receipt["id"]).json()
    assert done["task_status"] == "SUCCESS"
    assert (done["id"], done["request_id"], done["model"]) == (receipt["id"], "call-000001", "glm-4")
    assert done["choices"] == sim.glm("你好").json()["choices"]
    assert done["usage"]["prompt_tokens"] == 6
    assert sim.poll(receipt["id"]).json() == done


def test_ids_are_unique_opaque_and_made_when_none_is_given(sim: Sim) -> None:
    """Some request ids are negative, so that an id may hold a minus sign."""
    receipts = [sim.submit().json() for _ in range(40)]
    assert len({receipt["id"] for receipt in receipts}) == 40
    assert len({receipt["id"][:17] for receipt in receipts}) == 1
    assert any(receipt["request_id"].startswith("-") for receipt in receipts)
    assert any("-" in receipt["id"] for receipt in receipts)


def test_an_unknown_id_and_another_keys_id_are_400(sim: Sim) -> None:
    """A task belongs to the key that made it."""
    assert sim.poll("12345").status_code == 400
    task_id = sim.submit().json()["id"]
    sim.key = "writer.secret"
    answer = sim.poll(task_id)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "1214")


def test_tokens_stand_on_the_submit_once_the_task_has_succeeded(start: Start, clock: HandClock) -> None:
    """Before that, and on polls, nothing is billed; nobody needs to poll for it."""
    sim = start(SLOW, clock)
    task_id = sim.submit("你好").json()["id"]
    sim.poll(task_id)
    before = sim.books()
    assert [(record["route"], record["billed"], record["total_tokens"]) for record in before] == [
        ("submit", False, 0),
        ("poll", False, 0),
    ]
    clock.move(10)
    submit, poll = sim.books()
    assert (submit["billed"], submit["prompt_tokens"], poll["billed"]) == (True, 6, False)
    usage = sim.poll(task_id).json()["usage"]
    assert submit["total_tokens"] == usage["total_tokens"]
    assert submit["task_id"] == poll["task_id"] == task_id


def test_a_task_holds_its_place_until_it_ends_and_polls_take_none(start: Start, clock: HandClock) -> None:
    """Two tasks fill a limit of two, for chats as well; polling goes on."""
    sim = start(f"[limits]\nin_flight = 2\n{SLOW}chat_ms = [0, 0]", clock)
    first, _ = sim.submit().json()["id"], sim.submit()
    assert sim.submit().json()["error"]["code"] == "1302"
    assert sim.glm().status_code == 429
    assert sim.poll(first).status_code == 200
    clock.move(10)
    assert sim.glm().status_code == 200
    assert sim.judge()["max_in_flight"] == 3


def test_latency_is_drawn_by_seed_and_stretched_by_the_time_factor(start: Start, clock: HandClock) -> None:
    """One seed gives one latency; the factor and the tokens lengthen it."""

    def ready_after(scenario: str) -> float:
        sim = start(scenario, clock)
        task_id, waited = sim.submit().json()["id"], 0.0
        while sim.poll(task_id).json()["task_status"] == "PROCESSING":
            clock.move(0.01)
            waited += 0.01
        return waited

    usual = ready_after("[latency]\ntask_ms = [100, 300]")
    assert 0.1 <= usual <= 0.31
    assert ready_after("seed = 7\n[latency]\ntask_ms = [100, 300]") == usual
    assert ready_after("seed = 8\n[latency]\ntask_ms = [100, 300]") != usual
    assert abs(ready_after("time_factor = 2.0\n[latency]\ntask_ms = [100, 300]") - 2 * usual) < 0.03
    assert ready_after("[latency]\ntask_ms = [0, 0]\nper_token_ms = 10") > 0.1
