"""Faults in their exact form, and who is struck."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from batch.simulator.faults.register import BEHAVIOURS
from tests.simulator.filed import DIALECTS, Desk
from tests.simulator.struck import ADD, fault, raw

if TYPE_CHECKING:
    from tests.simulator.conftest import HandClock, Sim, Start


def test_18_is_a_429_without_a_header(start: Start) -> None:
    """The body is the recorded one; nothing is billed."""
    sim = start(fault(18))
    answer = sim.glm()
    assert answer.status_code == 429
    assert answer.content == b'{"error":{"code":"1302","message":"Rate limit reached for requests"}}'
    assert "retry-after" not in answer.headers
    assert sim.openai().json()["error"]["code"] == "rate_limit_exceeded"
    assert sim.submit().status_code == 429
    for record in sim.books():
        assert (record["billed"], record["total_tokens"], record["cost"], record["fault"]) == (False, 0, "0", 18)


@pytest.mark.parametrize(("more", "seconds"), [({}, "2"), ({"seconds": 7}, "7")])
def test_19_is_a_429_with_retry_after_in_seconds(start: Start, more: dict[str, int], seconds: str) -> None:
    """Two seconds unless the scenario says otherwise."""
    sim = start(fault(19, **more))
    for answer in (sim.glm(), sim.openai(), sim.submit()):
        assert (answer.status_code, answer.headers["retry-after"]) == (429, seconds)


def test_28_goes_through_the_server_errors(start: Start) -> None:
    """Four attempts of one conversation see four statuses, each with its own body."""
    sim = start(fault(28, first=4))
    answers = [sim.glm() for _ in range(5)]
    codes = {answer.status_code: answer.json()["error"]["code"] for answer in answers[:4]}
    assert codes == {500: "1200", 502: "1230", 503: "1230", 504: "1234"}
    assert answers[4].status_code == 200
    types = {answer.status_code: answer.json()["error"]["type"] for answer in (sim.openai() for _ in range(4))}
    assert types == {500: "server_error", 502: "server_error", 503: "service_unavailable_error", 504: "server_error"}


def test_28_may_be_told_its_status(start: Start) -> None:
    """An option fixes what would go round."""
    sim = start(fault(28, status=503))
    assert {sim.glm().status_code for _ in range(4)} == {503}


@pytest.mark.parametrize(
    "path", ["/api/paas/v4/chat/completions", "/api/paas/v4/async/chat/completions", "/v1/chat/completions"]
)
def test_33_resets_before_the_headers_and_bills_nothing(start: Start, path: str) -> None:
    """Not one byte, a real RST, no task made, no status in the books."""
    sim = start(fault(33))
    assert raw(sim, path, "sk-a.b") == (b"", True)
    (record,) = sim.until_books(1)
    assert (record["status"], record["billed"], record["delivered"], record["task_id"]) == (0, False, False, None)
    with pytest.raises(httpx.ReadError):
        sim.glm()


def test_34_resets_in_the_middle_of_the_body_and_bills(start: Start) -> None:
    """Headers that promise more than came, a part of the JSON, then RST; the work was done."""
    sim = start(fault(34))
    read, reset = raw(sim)
    head, _, body = read.partition(b"\r\n\r\n")
    assert reset
    assert head.startswith(b"HTTP/1.1 200")
    promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < promised
    assert body.startswith(b'{"choices"')
    (record,) = sim.until_books(1)
    assert (record["status"], record["billed"], record["delivered"], record["fault"]) == (200, True, False, 34)
    assert record["total_tokens"] > 0


def test_34_on_a_poll_leaves_the_task_to_be_polled_again(start: Start) -> None:
    """The route narrows the fault; the second poll has the answer."""
    sim = start(fault(34, route="poll", first=1))
    task_id = sim.submit().json()["id"]
    with pytest.raises(httpx.ReadError):
        sim.poll(task_id)
    assert sim.poll(task_id).json()["task_status"] == "SUCCESS"
    assert [record["billed"] for record in sim.until_books(3)] == [True, False, False]


def test_48_spoils_the_usage_and_the_books_keep_the_truth(start: Start) -> None:
    """Missing, null, zero and a wrong total come in turn; text and bill are as ever."""
    sim = start(fault(48))
    bodies = [sim.glm().json() for _ in range(4)]
    forms = []
    for body in bodies:
        usage = body.get("usage", "missing")
        forms.append(usage if usage is None or usage == "missing" else usage["total_tokens"])
        assert body["choices"][0]["message"]["content"]
    (true_total,) = {record["total_tokens"] for record in sim.books()}
    assert sorted(map(str, forms)) == sorted(["missing", "None", "0", str(true_total + 7)])
    assert all(record["billed"] for record in sim.books())


@pytest.mark.parametrize(
    ("form", "usage"),
    [("null", None), ("zero", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})],
)
def test_48_may_be_told_its_form_and_strikes_tasks(start: Start, form: str, usage: Any) -> None:
    """A task's result is spoilt at its submission, so all polls agree."""
    sim = start(fault(48, form=form, route="submit"))
    task_id = sim.submit().json()["id"]
    assert sim.poll(task_id).json()["usage"] == usage
    assert "prompt_tokens" in sim.glm().json()["usage"]
    assert sim.books()[0]["total_tokens"] > 0


def test_56_makes_the_task_and_loses_the_answer(start: Start) -> None:
    """The client knows no id; the task succeeds and is billed, so a second submit pays twice."""
    sim = start(fault(56, first=1))
    assert raw(sim, "/api/paas/v4/async/chat/completions") == (b"", True)
    lost = sim.until_books(1)[0]
    assert (lost["status"], lost["billed"], lost["delivered"], lost["fault"]) == (0, True, False, 56)
    sim.key = "a.b"
    assert sim.poll(lost["task_id"]).json()["task_status"] == "SUCCESS"
    assert sim.submit("hello").status_code == 200
    assert [record["billed"] for record in sim.books() if record["route"] == "submit"] == [True, True]


def test_58_leaves_the_task_processing_for_ever_and_unbilled(start: Start, clock: HandClock) -> None:
    """After a year it is still there, still holding its place."""
    sim = start("[limits]\nin_flight = 1\n" + fault(58), clock)
    task_id = sim.submit().json()["id"]
    clock.move(365 * 86_400)
    assert sim.poll(task_id).json()["task_status"] == "PROCESSING"
    assert sim.submit().status_code == 429
    assert not any(record["billed"] for record in sim.books())


def test_58_may_give_its_place_back(start: Start, clock: HandClock) -> None:
    """With hold_seconds the provider forgets it at last, as providers do."""
    sim = start("[limits]\nin_flight = 1\n" + fault(58, hold_seconds=5), clock)
    sim.submit()
    clock.move(5)
    assert sim.submit().status_code == 200


def test_rows_strike_conversations_by_text_and_by_number(start: Start) -> None:
    """A text is looked for in user messages, a number counts distinct conversations by first arrival."""
    sim = start(fault(18, rows=["urgent", 2], route="chat"))
    assert sim.glm("one").status_code == 200
    assert sim.glm("one").status_code == 200
    assert sim.glm("two").status_code == 429
    assert sim.glm("three").status_code == 200
    assert sim.glm("this is urgent").status_code == 429
    assert sim.glm("two").status_code == 429
    assert sim.submit("two").status_code == 200


def test_first_strikes_the_first_attempts_of_each_conversation(start: Start) -> None:
    """Rows and first combine: two refusals for the named row, none for others."""
    sim = start(fault(18, rows=["a"], first=2))
    assert [sim.glm("a").status_code for _ in range(4)] == [429, 429, 200, 200]
    assert sim.glm("b").status_code == 200
    sim.reset()
    assert sim.glm("a").status_code == 429


def test_a_rate_falls_on_the_same_rows_in_any_order(start: Start) -> None:
    """The coin is a function of seed, behaviour, conversation and attempt; the share is near the rate."""
    rows = [f"row {number}" for number in range(150)]

    def struck(scenario: str, order: list[str]) -> set[str]:
        sim = start(scenario)
        return {row for row in order if sim.glm(row).status_code == 429}

    forwards = struck("seed = 7\n" + fault(18, rate=0.2), rows)
    assert 15 <= len(forwards) <= 45
    assert struck("seed = 7\n" + fault(18, rate=0.2), rows[::-1]) == forwards
    assert struck("seed = 8\n" + fault(18, rate=0.2), rows) != forwards
    assert struck("seed = 7\n" + fault(18, rate=0.0), rows) == set()


def test_two_entries_of_one_behaviour_fall_independently(start: Start) -> None:
    """With one coin for both, the second entry would never strike first."""
    sim = start(fault(28, rate=0.3, status=500) + fault(28, rate=0.3, status=504))
    statuses = [sim.glm(f"row {number}").status_code for number in range(100)]
    assert statuses.count(500) > 15
    assert statuses.count(504) > 10


def test_every_applied_fault_is_listed(start: Start) -> None:
    """Number, route and caller's id say which request it was; a reset forgets them."""
    sim = start(fault(18, rows=["b"]) + fault(48, form="null"))
    sim.glm("a", request_id="call-a")
    sim.glm("b", request_id="call-b")
    listed = [(one["behaviour"], one["route"], one["client_call_id"]) for one in sim.faults()]
    assert listed == [(48, "chat", "call-a"), (18, "chat", "call-b")]
    assert [one["id"] for one in sim.faults()] == [record["id"] for record in sim.books()]
    sim.reset()
    assert sim.faults() == []


SMALL: dict[int, dict[str, Any]] = {
    43: {"seconds": 0.01},
    44: {"gap_s": 1},  # byte by byte would be a million writes where another fault makes a large answer
    52: {"megabytes": 1},
    54: {"megabytes": 1},
    67: {"at": 4},
}


def everywhere(sim: Sim, rows: int) -> list[httpx.Response]:
    """Chats in both dialects, with tools and without, whole and streamed, tasks, polls, files and batches.

    What was cut off is left out.
    """
    answers: list[httpx.Response] = []
    desks = [Desk(sim, dialect) for dialect in DIALECTS]
    for number in range(rows):
        asks = [
            partial(sim.glm, f"row {number}"),
            partial(sim.glm, f"What is {number} + 4?", tools=[ADD]),
            partial(sim.openai, f"What is {number} + 4?", tools=[ADD]),
            partial(sim.glm, f"row {number}", stream=True),
            partial(sim.openai, f"What is {number} + 4?", tools=[ADD], stream=True),
            partial(sim.submit, f"row {number}"),
            *[partial(sim.poll, sim.app.provider.tasks.latest("reader") or "1")] * 3,
            *[partial(desk.upload, desk.lines(3, tools=[ADD])) for desk in desks],
            *[partial(_batched, desk) for desk in desks],
            *[partial(desk.ask, "GET", "/batches/batch_1") for desk in desks],
            *[partial(desk.ask, "GET", "/files/file-1/content") for desk in desks],
        ]
        for ask in asks:
            with suppress(httpx.TransportError, httpx.DecodingError):
                answers.append(ask())
    return answers


def _batched(desk: Desk) -> httpx.Response:
    """A batch of the file that was uploaded last."""
    files = [file.id for file in desk.sim.app.provider.files if file.purpose == "batch"]
    return desk.create(files[-1] if files else "file-1")


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_no_fault_breaks_the_server_itself(start: Start, clock: HandClock, behaviour: int) -> None:
    """On every route where it may strike, in every form in turn: what goes wrong is what was asked for."""
    routes = BEHAVIOURS[behaviour].allowed
    sim = start("".join(fault(behaviour, route=route, **SMALL.get(behaviour, {})) for route in routes), clock)
    answers = everywhere(sim, 6)
    assert not [answer for answer in answers if answer.text == "Internal Server Error"]
    assert sim.faults()
    asked = {one["route"] for one in sim.faults()}
    assert asked <= set(routes)
    assert sim.http.get("/_sim/judge", params={"from": 0}).status_code == 200


def test_all_faults_at_once_leave_the_server_standing(start: Start, clock: HandClock) -> None:
    """A tenth of each: most requests are struck by several."""
    sim = start("".join(fault(number, rate=0.1, **SMALL.get(number, {})) for number in BEHAVIOURS), clock)
    answers = everywhere(sim, 60)
    assert not [answer for answer in answers if answer.text == "Internal Server Error"]
    assert len({one["behaviour"] for one in sim.faults()}) > 30
    for record in sim.books():
        assert record["billed"] == (record["total_tokens"] > 0)
