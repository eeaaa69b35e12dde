"""Batches of a provider in health: made, asked for, cancelled, collected; the same in both dialects but for their forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.simulator.conftest import HandClock, Start
from tests.simulator.filed import DIALECTS, SLOW, Desk
from tests.simulator.struck import fault

Open = Callable[..., Desk]


@pytest.fixture(params=DIALECTS)
def opened(request: pytest.FixtureRequest, start: Start, clock: HandClock) -> Open:
    """Opens the desk of a simulator by hand-moved time, in one dialect after the other."""
    return lambda scenario=SLOW: Desk(start(scenario, clock), request.param)


def test_a_batch_goes_through_its_statuses_and_its_lines_are_answered_by_custom_id(
    opened: Open, clock: HandClock
) -> None:
    """Each line is answered as the same request would be by itself, and in another order than it was sent."""
    desk = opened()
    made = desk.made(desk.lines(40), metadata={"run": "r1"})
    assert (made["status"], made["object"], made["endpoint"]) == ("validating", "batch", desk.url)
    assert made["metadata"] == {"run": "r1"}
    seen = []
    for seconds in (0, 11, 40, 41, 9):
        clock.move(seconds)
        seen.append(desk.batch(made["id"]))
    statuses = [batch["status"] for batch in seen]
    assert statuses == ["validating", "in_progress", "in_progress", "finalizing", "completed"]
    assert not seen[3]["output_file_id"]
    assert 5 < seen[2]["request_counts"]["completed"] < 35
    done = seen[4]
    assert done["request_counts"] == {"total": 40, "completed": 40, "failed": 0}
    assert not done["error_file_id"]
    lines = desk.content(done["output_file_id"])
    ids = [line["custom_id"] for line in lines]
    assert sorted(ids) == [f"call-{n:06d}" for n in range(40)]
    assert ids != sorted(ids)
    said = next(line for line in lines if line["custom_id"] == "call-000007")["response"]
    alone = (desk.sim.glm if desk.glm else desk.sim.openai)("row 7", model=desk.model).json()
    assert said["status_code"] == 200
    assert said["body"]["choices"] == alone["choices"]
    assert said["body"]["usage"] == alone["usage"]


def test_a_glm_batch_has_its_traps(start: Start, clock: HandClock) -> None:
    """Milliseconds that are rounded later, null and empty ids, null counts, the batch's id on every line."""
    desk = Desk(start(SLOW, clock), "glm")
    clock.now += 0.123
    file = desk.upload(desk.lines(2)).json()
    assert set(file) == {"id", "object", "bytes", "created_at", "fileName", "purpose"}
    made = desk.create(file["id"], completion_window=None).json()
    assert made["created_at"] == round(clock.wall() * 1000)
    assert (made["output_file_id"], made["error_file_id"]) == (None, None)
    waiting = desk.batch(made["id"])
    assert waiting["created_at"] == made["created_at"] // 1000 * 1000
    assert file["created_at"] == int(clock.wall())
    assert (waiting["output_file_id"], waiting["error_file_id"]) == ("", "")
    assert waiting["request_counts"] == {"total": None, "completed": None, "failed": None}
    clock.move(100)
    done = desk.batch(made["id"])
    assert done["error_file_id"] == ""
    assert done["completed_at"] == int(clock.wall()) * 1000
    for line in desk.content(done["output_file_id"]):
        assert set(line) == {"response", "custom_id", "id"}
        assert line["id"] == made["id"]
        assert line["response"]["body"]["request_id"] == line["custom_id"]
    assert desk.ask("GET", f"/files/{file['id']}/content").status_code == 404  # deleted by itself


def test_a_glm_input_file_stays_when_it_is_told_to(start: Start, clock: HandClock) -> None:
    """`auto_delete_input_file` is true unless the request says otherwise."""
    desk = Desk(start(SLOW, clock), "glm")
    made = desk.made(desk.lines(1), auto_delete_input_file=False)
    clock.move(100)
    assert desk.batch(made["id"])["status"] == "completed"
    assert len(desk.content(made["input_file_id"])) == 1


def test_an_openai_batch_has_seconds_and_ids_of_its_own_on_each_line(start: Start, clock: HandClock) -> None:
    """And model, usage and expiry; files that are not there are null."""
    desk = Desk(start(SLOW, clock), "openai")
    made = desk.made(desk.lines(3))
    assert (made["created_at"], made["expires_at"]) == (int(clock.wall()), int(clock.wall()) + 86_400)
    assert (made["output_file_id"], made["model"]) == (None, desk.model)
    clock.move(100)
    done = desk.batch(made["id"])
    lines = desk.content(done["output_file_id"])
    assert len({line["id"] for line in lines}) == 3
    assert all(set(line) == {"id", "custom_id", "response", "error"} and line["error"] is None for line in lines)
    assert done["usage"]["total_tokens"] == sum(line["response"]["body"]["usage"]["total_tokens"] for line in lines)
    assert desk.ask("GET", f"/files/{made['input_file_id']}").json()["filename"] == "input.jsonl"


def test_every_line_is_booked_at_half_the_price_when_its_time_has_come(opened: Open, clock: HandClock) -> None:
    """Also when nobody has asked for the batch; delivered is what was downloaded."""
    desk = opened()
    made = desk.made(desk.lines(5))
    assert desk.booked() == []
    clock.move(100)
    booked = desk.booked()
    assert sorted(record["client_call_id"] for record in booked) == [f"call-{n:06d}" for n in range(5)]
    for record in booked:
        assert (record["status"], record["billed"], record["delivered"]) == (200, True, False)
        assert (record["service_tier"], record["batch_id"], record["model"]) == ("batch", made["id"], desk.model)
        rates = (5, 5) if desk.glm else (Decimal("0.15"), Decimal("0.6"))
        full = record["prompt_tokens"] * rates[0] + record["completion_tokens"] * rates[1]
        assert Decimal(record["cost"]) == Decimal(full) / 2 / 1_000_000
    desk.content(desk.batch(made["id"])["output_file_id"])
    assert all(record["delivered"] for record in desk.booked())


def test_a_line_that_is_wrong_fails_alone_in_the_error_file(opened: Open, clock: HandClock) -> None:
    """What its body lacks is found when it is worked on; it is not billed."""
    desk = opened()
    made = desk.made([*desk.lines(3), desk.line("bad", temperature="warm"), desk.line("streamed", stream=True)])
    clock.move(100)
    done = desk.batch(made["id"])
    assert done["request_counts"] == {"total": 5, "completed": 3, "failed": 2}
    failed = desk.content(done["error_file_id"])
    assert {line["custom_id"] for line in failed} == {"bad", "streamed"}
    assert all(line["response"]["status_code"] == 400 and line["response"]["body"]["error"] for line in failed)
    assert [record["billed"] for record in desk.booked() if record["status"] == 400] == [False, False]
    assert len(desk.ids(done["output_file_id"])) == 3


LINES: dict[str, Any] = {
    "invalid_json_line": b"{not json",
    "missing_required_parameter": {"custom_id": "x", "method": "POST", "url": "/v4/chat/completions"},
    "invalid_method": {"method": "GET"},
    "invalid_url": {"url": "/v1/embeddings"},
    "duplicate_custom_id": {"custom_id": "call-000000"},
    "mismatched_model": {"body": {"model": "another", "messages": []}},
}


@pytest.mark.parametrize("code", LINES)
def test_a_file_that_is_not_in_order_fails_with_the_number_of_the_line(
    opened: Open, clock: HandClock, code: str
) -> None:
    """Nothing of it is done or billed."""
    desk = opened()
    spoilt = LINES[code]
    if isinstance(spoilt, dict):
        whole = spoilt if code == "missing_required_parameter" else {**desk.line("other"), **spoilt}
        spoilt = json.dumps(whole).encode()
    data = json.dumps(desk.line("call-000000")).encode() + b"\n\n" + spoilt + b"\n"
    made = desk.made(data)
    assert desk.batch(made["id"])["status"] == "validating"
    clock.move(11)
    failed = desk.batch(made["id"])
    assert failed["status"] == "failed"
    assert failed["failed_at"]
    (error,) = failed["errors"]["data"]
    assert (error["code"], error["line"]) == (code, 3)
    assert error["message"]
    clock.move(100)
    assert desk.booked() == []


def test_an_empty_file_and_one_with_too_many_lines_fail_as_a_whole(opened: Open, clock: HandClock) -> None:
    """Without a line's number."""
    desk = opened(SLOW + "[batches]\nlines = 2\n")
    made = [desk.made(b"\n"), desk.made(desk.lines(3))]
    clock.move(11)
    errors = [desk.batch(batch["id"])["errors"]["data"][0] for batch in made]
    assert [(error["code"], error["line"]) for error in errors] == [("empty_file", None), ("too_many_tasks", None)]


def test_a_cancelled_batch_delivers_and_bills_what_was_done(opened: Open, clock: HandClock) -> None:
    """`cancelling` at once, `cancelled` a little later."""
    desk = opened()
    made = desk.made(desk.lines(40))
    clock.move(50)
    assert desk.ask("POST", f"/batches/{made['id']}/cancel").json()["status"] == "cancelling"
    clock.move(11)
    done = desk.batch(made["id"])
    assert done["status"] == "cancelled"
    assert done["cancelled_at"] > done["cancelling_at"]
    answered = desk.ids(done["output_file_id"])
    assert 5 < len(answered) < 35
    assert done["request_counts"]["completed"] == len(answered)
    assert sorted(record["client_call_id"] for record in desk.booked()) == sorted(answered)
    again = desk.ask("POST", f"/batches/{made['id']}/cancel")
    assert again.status_code == (400 if desk.glm else 409)


def test_a_batch_that_is_cancelled_before_it_begins_does_nothing(opened: Open, clock: HandClock) -> None:
    """It has no files, and nothing is billed."""
    desk = opened()
    made = desk.made(desk.lines(3))
    assert desk.ask("POST", f"/batches/{made['id']}/cancel").json()["status"] == "cancelling"
    clock.move(100)
    done = desk.batch(made["id"])
    assert (done["status"], bool(done["output_file_id"])) == ("cancelled", False)
    assert desk.booked() == []


def test_a_batch_that_takes_too_long_expires_with_what_was_done(opened: Open, clock: HandClock) -> None:
    """OpenAI says of each line that was not come to that it expired; GLM says nothing of it."""
    desk = opened(SLOW + "[batches]\nwindow_s = 50\n")
    made = desk.made(desk.lines(40))
    clock.move(51)
    done = desk.batch(made["id"])
    assert done["status"] == "expired"
    answered = desk.ids(done["output_file_id"])
    assert 5 < len(answered) < 35
    assert len(desk.booked()) == len(answered)
    if desk.glm:
        assert done["error_file_id"] == ""
        return
    late = desk.content(done["error_file_id"])
    assert len(late) == 40 - len(answered)
    assert all(line["response"] is None and line["error"]["code"] == "batch_expired" for line in late)


def test_a_list_begins_with_the_newest_and_goes_on_behind_an_id(opened: Open) -> None:
    """Files and batches; a key sees its own only."""
    desk = opened()
    made = [desk.made(desk.lines(1))["id"] for _ in range(5)]
    first = desk.ask("GET", "/batches", params={"limit": 2}).json()
    assert [batch["id"] for batch in first["data"]] == made[:2:-1]
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, made[4], made[3])
    rest = desk.ask("GET", "/batches", params={"limit": 100, "after": made[3]}).json()
    assert ([batch["id"] for batch in rest["data"]], rest["has_more"]) == (made[2::-1], False)
    assert desk.ask("GET", "/batches", params={"limit": 101}).status_code == 400
    assert desk.ask("GET", "/batches", params={"after": "nobody"}).status_code == 400
    files = desk.ask("GET", "/files", params={"limit": 3, "purpose": "batch", "order": "asc"}).json()
    assert (len(files["data"]), files["has_more"]) == (3, True)
    desk.key = "writer.secret" if desk.glm else "sk-writer-of-the-tests"
    assert desk.ask("GET", "/batches").json()["data"] == []
    assert desk.ask("GET", f"/batches/{made[0]}").status_code == 404


def test_a_queue_that_is_full_has_room_again_when_a_batch_has_ended(opened: Open, clock: HandClock) -> None:
    """GLM refuses the creation with HTTP 429; OpenAI makes the batch, and it fails."""
    desk = opened(SLOW + "[batches]\nenqueued_lines = 5\n")
    desk.made(desk.lines(3))
    file_id = desk.upload(desk.lines(3)).json()["id"]
    refused = desk.create(file_id)
    if desk.glm:
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "1303")
    else:
        clock.move(11)
        failed = desk.batch(refused.json()["id"])
        (error,) = failed["errors"]["data"]
        assert (failed["status"], error["code"], error["line"]) == ("failed", "request_limit_exceeded", None)
    clock.move(100)
    made = desk.create(file_id).json()
    clock.move(100)
    assert desk.batch(made["id"])["status"] == "completed"


def test_what_is_enqueued_is_counted_in_tokens_too(start: Start, clock: HandClock) -> None:
    """As OpenAI says it: the code, the limit, and that batches must end first."""
    desk = Desk(start(SLOW + "[batches]\nenqueued_tokens = 10\n", clock), "openai")
    made = desk.made(desk.lines(20))
    clock.move(11)
    (error,) = desk.batch(made["id"])["errors"]["data"]
    assert error["code"] == "token_limit_exceeded"
    assert "Limit: 10 enqueued tokens" in error["message"]


WRONG: list[dict[str, Any]] = [
    {"input_file_id": None},
    {"input_file_id": "nobody"},
    {"endpoint": "/v4/embeddings"},
    {"completion_window": "12h"},
    {"metadata": "text"},
    {"metadata": {"k" * 65: "v"}},
    {"metadata": {"k": "v" * 513}},
    {"metadata": {f"k{n}": "v" for n in range(17)}},
]


@pytest.mark.parametrize("more", WRONG)
def test_a_creation_that_is_not_in_order_is_refused(opened: Open, more: dict[str, Any]) -> None:
    """No batch is made."""
    desk = opened()
    file_id = desk.upload(desk.lines(1)).json()["id"]
    refused = desk.create(**{"file_id": file_id, **more})
    assert refused.status_code in (400, 404)
    assert refused.json()["error"]["message"]
    assert desk.ask("GET", "/batches").json()["data"] == []


def test_a_file_that_is_too_large_is_refused(opened: Open) -> None:
    """GLM has a status of its own for it."""
    desk = opened("[batches]\nfile_bytes = 100\n")
    refused = desk.upload(desk.lines(2))
    assert refused.status_code == (435 if desk.glm else 413)
    assert desk.ask("GET", "/files").json()["data"] == []


def test_an_upload_that_is_no_form_or_lacks_a_field_is_refused(opened: Open) -> None:
    """JSON, a form without a purpose, and one that was cut off."""
    desk = opened()
    assert desk.ask("POST", "/files", json={"purpose": "batch"}).status_code == 400
    assert desk.ask("POST", "/files", files={"file": ("a", b"x")}).status_code == 400
    cut = b'--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch'
    headers = {"Authorization": f"Bearer {desk.key}", "Content-Type": "multipart/form-data; boundary=edge"}
    answer = desk.sim.http.post(f"{desk.prefix}/files", content=cut, headers=headers)
    assert answer.status_code == 400


def test_a_deleted_file_is_gone(opened: Open) -> None:
    """And so is its content."""
    desk = opened()
    file_id = desk.upload(desk.lines(1)).json()["id"]
    assert desk.ask("DELETE", f"/files/{file_id}").json() == {"id": file_id, "object": "file", "deleted": True}
    assert desk.ask("GET", f"/files/{file_id}/content").status_code == 404
    assert desk.ask("DELETE", f"/files/{file_id}").status_code == 404


def test_a_reset_forgets_the_books_and_not_the_batches(opened: Open, clock: HandClock) -> None:
    """What was booked before is not marked as delivered later."""
    desk = opened()
    made = desk.made(desk.lines(3))
    clock.move(100)
    assert len(desk.booked()) == 3
    desk.sim.reset()
    assert len(desk.ids(desk.batch(made["id"])["output_file_id"])) == 3
    assert desk.booked() == []


def test_two_servers_give_different_ids(start: Start) -> None:
    """A client that finds an id of a server that is no more must not find another's batch under it."""
    first, second = (Desk(start("", clock), "openai") for clock in (HandClock(), _later()))
    assert first.upload(first.lines(1)).json()["id"] != second.upload(second.lines(1)).json()["id"]


def _later() -> HandClock:
    clock = HandClock()
    clock.move(5)
    return clock


def test_calls_are_limited_as_if_there_were_no_batches(start: Start, clock: HandClock) -> None:
    """Lines have a queue of their own: they take no place in flight, and the judge does not see them."""
    desk = Desk(start("[limits]\nin_flight = 1\nrpm = 2\n" + SLOW, clock), "glm")
    desk.made(desk.lines(20))
    clock.move(100)
    assert len(desk.booked()) == 20
    assert desk.sim.glm().status_code == 200
    assert desk.sim.judge()["requests"] == 1


def test_lines_are_struck_by_faults_of_calls(opened: Open, clock: HandClock) -> None:
    """Refusals go to the error file; a changed answer is an answer."""
    desk = opened(fault(28, route="line", rows=["row 1"]) + fault(48, route="line", rows=["row 2"], form="null") + SLOW)
    made = desk.made(desk.lines(4))
    clock.move(100)
    done = desk.batch(made["id"])
    assert desk.ids(done["error_file_id"]) == ["call-000001"]
    (failed,) = desk.content(done["error_file_id"])
    assert failed["response"]["status_code"] in (500, 502, 503, 504)
    answered = {line["custom_id"]: line["response"]["body"] for line in desk.content(done["output_file_id"])}
    assert answered["call-000002"]["usage"] is None
    assert {(record["client_call_id"], record["fault"]) for record in desk.booked()} == {
        ("call-000000", None),
        ("call-000001", 28),
        ("call-000002", 48),
        ("call-000003", None),
    }
    assert {one["behaviour"] for one in desk.sim.faults()} == {28, 48}


class LookedAt(HandClock):
    """A clock that goes on by itself at one look: some seconds pass between that one and the one before.

    Attributes:
        looks: how many there were since it was set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.looks, self._jumps_at, self._seconds = 0, -1, 0.0

    def jump(self, at: int, seconds: float) -> None:
        """Begin to count, and go on by so many seconds at the look of this number, from 0; -1 for none."""
        self.looks, self._jumps_at, self._seconds = 0, at, seconds

    def monotonic(self) -> float:
        if self.looks == self._jumps_at:
            self.now += self._seconds
        self.looks += 1
        return self.now


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_batch_that_ends_while_it_is_asked_for_never_has_ended_without_its_files(
    start: Start, dialect: str, listed: bool
) -> None:
    """At whichever look at the clock of a request its time is over, it is told as it stood before or with its files."""
    clock = LookedAt()
    desk = Desk(start(SLOW, clock), dialect)

    def told(batch_id: str) -> dict[str, Any]:
        data = desk.ask("GET", "/batches").json()["data"] if listed else [desk.batch(batch_id)]
        return next(batch for batch in data if batch["id"] == batch_id)

    statuses, look, looks = set(), 0, 1
    while look < looks:
        made = desk.made(desk.lines(2))
        clock.move(99)
        clock.jump(look, 2)
        batch = told(made["id"])
        looks, look = clock.looks, look + 1
        statuses.add(batch["status"])
        assert (batch["status"] == "completed") == bool(batch["output_file_id"]), f"look {look} of {looks}: {batch}"
        clock.move(2)
        told(made["id"])
    assert statuses == {"finalizing", "completed"}
    assert looks > 1
