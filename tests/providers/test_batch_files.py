"""Batch files as both services write them, recorded and imagined; and against the simulator over sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.clock import Clock
from batch.core.records import Failure, Incoming, Reply, Request
from batch.http.client import Client
from batch.http.download import Download
from batch.providers import registry
from batch.providers.base import Dialect
from batch.providers.batch_files import Batch, BatchFiles, Line, absent
from batch.simulator.batches import multipart
from tests.simulator.conftest import GLM, OPENAI, HandClock, Sim, Start, start
from tests.simulator.filed import SLOW
from tests.simulator.struck import fault

__all__ = ["start"]

NAMES = ("glm", "openai")
ASK = Request(model="glm-4-plus", messages=[{"role": "user", "content": 'Say "你好"\n'}], parameters={"max_tokens": 9})


def spoken(name: str, base: str | None = None) -> tuple[Dialect, str]:
    return registry.dialect(name, base_url=base, key="id123456.secret456789")


def files(name: str) -> BatchFiles:
    return BatchFiles(spoken(name)[0])


both = pytest.mark.parametrize("name", NAMES)


def answer(value: Any, status: int = 200) -> Incoming:
    return Incoming(status, {}, value if isinstance(value, bytes) else json.dumps(value).encode())


def good(custom_id: str, **more: Any) -> dict[str, Any]:
    """A line as both services write it, but for what `more` changes."""
    body = {
        "id": "8685314030377838818",
        "model": "glm-4-plus",
        "created": 1716472886,
        "request_id": custom_id,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
    return {"id": "batch_1", "custom_id": custom_id, "response": {"status_code": 200, "body": body}, **more}


def read(name: str, line: Any) -> Line:
    found = files(name).read_line(line if isinstance(line, bytes) else json.dumps(line).encode())
    assert found is not None
    return found


# Writing


@both
def test_a_line_has_the_same_body_as_a_call_and_ends(name: str) -> None:
    """One line of JSON, whatever the prompt holds; the id is the custom id."""
    text = files(name).line(ASK, "call-1")
    assert text.endswith(b"}\n")
    assert text.count(b"\n") == 1
    line = json.loads(text)
    assert line == {
        "custom_id": "call-1",
        "method": "POST",
        "url": "/v4/chat/completions" if name == "glm" else "/v1/chat/completions",
        "body": json.loads(spoken(name)[0].chat(ASK, "call-1").body or b""),
    }
    assert line["body"]["messages"] == ASK.messages


@both
def test_an_upload_is_a_form_that_can_be_taken_apart_again(name: str) -> None:
    """Byte for byte, also where the file has what looks like a boundary."""
    data = b'--promptmill-\r\n{"a":1}\n'
    outgoing = files(name).upload("run-wave-1.jsonl", data)
    headers = dict(outgoing.headers)
    parts = multipart.fields(headers["Content-Type"].encode(), outgoing.body or b"")
    assert parts is not None
    assert (parts["purpose"].data, parts["file"].data, parts["file"].filename) == (b"batch", data, "run-wave-1.jsonl")
    assert headers["Authorization"].startswith("Bearer ")


@both
def test_calls_name_what_they_are_about(name: str) -> None:
    """Ids are foreign text and are escaped; only what changes something has a body."""
    writer = files(name)
    create = writer.create("file-1", {"wave": "3"})
    assert (create.path, json.loads(create.body or b"")["metadata"]) == ("/batches", {"wave": "3"})
    assert [writer.retrieve("a/b").path, writer.content("a?b").path] == ["/batches/a%2Fb", "/files/a%3Fb/content"]
    assert (writer.page().path, writer.page("b/1").path) == ("/batches?limit=100", "/batches?limit=100&after=b%2F1")
    assert (writer.cancel("x").path, writer.cancel("x").body) == ("/batches/x/cancel", b"")
    assert writer.retrieve("x").body is None


def test_a_service_without_batch_files_is_refused() -> None:
    """Whoever asks for them is told before anything is written."""
    with pytest.raises(ValueError, match="provider deepseek takes no batch files"):
        files("deepseek")


# Reading batches

RECORDED_GLM: dict[str, Any] = {
    "id": "batch_1793623747699552256",
    "object": "batch",
    "endpoint": "/v4/chat/completions",
    "input_file_id": "1716468180_59c7ca593a0b4384bfda9d85cc64181d",
    "completion_window": "24h",
    "status": "validating",
    "output_file_id": None,
    "error_file_id": "",
    "created_at": 1716468200026,
    "in_progress_at": None,
    "completed_at": None,
    "errors": None,
    "metadata": {"description": "job test"},
    "request_counts": {"completed": None, "failed": None, "total": None},
}


def test_a_recorded_glm_batch_is_read_with_all_its_traps() -> None:
    """Milliseconds, null and empty ids, null counts."""
    batch = files("glm").read_batch(answer(RECORDED_GLM))
    assert isinstance(batch, Batch)
    assert (batch.id, batch.status, batch.final) == ("batch_1793623747699552256", "validating", False)
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    assert (batch.total, batch.completed, batch.failed) == (None, None, None)
    assert batch.created_s == pytest.approx(1716468200.026)
    assert batch.metadata == {"description": "job test"}
    later = {**RECORDED_GLM, "status": "completed", "output_file_id": "f1", "completed_at": 1716473500000}
    done = files("glm").read_batch(answer(later))
    assert isinstance(done, Batch)
    assert (done.final, done.output_file_id, done.ended_s) == (True, "f1", 1716473500.0)


@both
@pytest.mark.parametrize(("moment", "seconds"), [(1716468200, 1716468200.0), ("1716468200", 1716468200.0), (0, None)])
def test_a_time_in_seconds_is_one(name: str, moment: Any, seconds: float | None) -> None:
    """And none at all is none."""
    batch = files(name).read_batch(answer({**RECORDED_GLM, "created_at": moment}))
    assert isinstance(batch, Batch)
    assert batch.created_s == seconds


@both
def test_flat_counts_and_flat_errors_are_read_too(name: str) -> None:
    """As GLM's schema has them, which is not as its service sends them."""
    flat = {"id": "b", "status": "failed", "total": 3, "completed": 1, "failed": 2}
    batch = files(name).read_batch(answer({**flat, "errors": [{"code": "x", "line": 7, "message": "bad"}]}))
    assert isinstance(batch, Batch)
    assert (batch.total, batch.completed, batch.failed) == (3, 1, 2)
    assert [(error.code, error.line, error.message) for error in batch.errors] == [("x", 7, "bad")]


@both
def test_a_new_status_is_work_in_progress_and_an_american_one_is_read(name: str) -> None:
    """Neither ends a batch by mistake."""
    states = {}
    for status in ("paused_for_review", "CANCELED", "Completed", "cancelling"):
        batch = files(name).read_batch(answer({"id": "b", "status": status}))
        assert isinstance(batch, Batch)
        states[batch.status] = batch.final
    assert states == {"paused_for_review": False, "cancelled": True, "completed": True, "cancelling": False}


@both
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"id":"b"}', b'{"status":"completed"}', b"null"])
def test_what_is_no_batch_is_a_failure(name: str, body: bytes) -> None:
    """It may have been made all the same, so nobody takes it for a refusal."""
    failure = files(name).read_batch(answer(body))
    assert isinstance(failure, Failure)
    assert not failure.answered


@both
def test_a_batch_that_is_not_known_is_told_from_a_wrong_address(name: str) -> None:
    """The service's own 404 is about the batch, another's about the path."""
    own = {"error": {"code": "1214" if name == "glm" else None, "message": "No such batch", "type": "x"}}
    known = files(name).read_batch(answer(own, 404))
    assert isinstance(known, Failure)
    assert (known.kind, known.verdict) == ("task", "once")
    page = files(name).read_batch(answer(b"<html>not found", 404))
    assert isinstance(page, Failure)
    assert page.kind != "task"


@both
def test_a_page_of_batches_says_whether_more_follow(name: str) -> None:
    """What cannot be read of it is left out; an empty page is the last one, whatever it says."""
    reader = files(name)
    page = reader.read_page(answer({"data": [RECORDED_GLM, {"id": 5}, None], "has_more": True}))
    assert not isinstance(page, Failure)
    assert ([batch.id for batch in page[0]], page[1]) == (["batch_1793623747699552256"], True)
    assert reader.read_page(answer({"data": [], "has_more": True})) == ([], False)
    assert isinstance(reader.read_page(answer({"object": "list"})), Failure)
    assert isinstance(reader.read_page(answer({"error": {"code": "1302", "message": "slow"}}, 429)), Failure)


@both
def test_an_upload_gives_an_id_or_a_reason(name: str) -> None:
    """GLM's 435 is a file that is too large."""
    reader = files(name)
    assert reader.read_upload(answer({"id": "file-1", "fileName": "a"})) == "file-1"
    assert isinstance(reader.read_upload(answer({"id": ""})), Failure)
    large = reader.read_upload(answer({"error": {"code": "435", "message": "too large"}}, 435))
    assert isinstance(large, Failure)
    assert large.kind == "too_large"


# Reading lines


@both
def test_a_line_is_read_as_the_answer_to_a_call(name: str) -> None:
    """Whatever else stands beside it; it is found by its custom id only."""
    for line in (good("call-1"), good("call-1", error=None, id="batch_req_9")):
        found = read(name, line)
        assert isinstance(found.result, Reply)
        assert (found.custom_id, found.result.content, found.result.finish_reason) == ("call-1", "hi", "stop")
        assert found.result.usage is not None
        assert found.result.usage.total_tokens == 7


@both
def test_a_request_id_with_a_counter_before_it_does_not_matter(name: str) -> None:
    """BigModel's own example has `615-request-1`."""
    line = good("request-1")
    line["response"]["body"]["request_id"] = "615-request-1"
    assert read(name, line).custom_id == "request-1"


ERROR = {"error": {"code": "1301", "message": "unsafe", "type": "content_filter"}}


@both
def test_a_line_that_failed_is_judged_by_its_status_and_code(name: str) -> None:
    """As the answer to a call would be."""
    found = read(name, good("c", response={"status_code": 400, "body": ERROR})).result
    assert isinstance(found, Failure)
    assert (found.http_status, found.answered) == (400, True)
    assert found.kind == "content_filter"
    busy = read(name, good("c", response={"status_code": 503, "body": {"error": {"message": "busy"}}})).result
    assert isinstance(busy, Failure)
    assert (busy.kind, busy.verdict) == ("server", "retry")


@both
@pytest.mark.parametrize("code", ["batch_expired", "batch_cancelled"])
def test_a_line_that_was_not_come_to_was_not_bought(name: str, code: str) -> None:
    """And may be asked again."""
    line = {"id": "r", "custom_id": "c", "response": None, "error": {"code": code, "message": "late"}}
    found = read(name, line).result
    assert isinstance(found, Failure)
    assert (found.kind, found.code, found.verdict, found.answered) == ("task", code, "retry", True)


@both
@pytest.mark.parametrize("more", [{"response": None, "error": "text"}, {"response": None}, {"response": {}}])
def test_a_line_without_an_answer_is_a_failure(name: str, more: dict[str, Any]) -> None:
    """With what it says, if it says anything."""
    found = read(name, {"custom_id": "c", **more}).result
    assert isinstance(found, Failure)
    assert found.kind == "task"
    assert ("text" in found.message) is (more.get("error") == "text")


@both
@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"id":"x"}', b'{"custom_id":""}', b'{"custom_id":null}'])
def test_a_line_that_nobody_can_place_is_none(name: str, text: bytes) -> None:
    """Cut in half, empty, without a custom id."""
    assert files(name).read_line(text) is None


@both
def test_a_status_that_is_a_text_or_missing_does_not_hide_an_answer(name: str) -> None:
    """What has choices was paid for."""
    for status in ("200", None):
        line = good("c")
        line["response"]["status_code"] = status
        assert isinstance(read(name, line).result, Reply)


def test_a_number_as_custom_id_is_its_digits() -> None:
    """Whatever a service makes of a text."""
    assert read("glm", {**good("x"), "custom_id": 53195444847186410}).custom_id == "53195444847186410"


# Lines that are not there

COUNTED = {"completed": 6, "failed": 1}


@pytest.mark.parametrize(
    ("status", "counts", "found", "code", "answered"),
    [
        ("expired", COUNTED, 7, "batch_expired", True),
        ("cancelled", COUNTED, 7, "batch_cancelled", True),
        ("expired", {}, 7, "batch_expired", True),
        ("expired", COUNTED, 5, "line_missing", False),
        ("completed", COUNTED, 7, "line_missing", False),
        ("failed", {}, 0, "batch_failed", True),
    ],
)
def test_a_line_that_is_missing_may_have_been_bought_or_not(
    status: str, counts: dict[str, int], found: int, code: str, answered: bool
) -> None:
    """Where a batch ended early and its counts agree, it was not; where more was done than is there, it may have been."""
    failure = absent(Batch(id="b", status=status, **counts), found=found, asked=10)  # type: ignore[arg-type]  # counts
    assert (failure.code, failure.answered, failure.verdict) == (code, answered, "retry")


@pytest.mark.parametrize(
    ("status", "members", "unwritten"),
    [
        ("completed", COUNTED, True),
        ("expired", COUNTED, True),
        ("completed", {**COUNTED, "output_file_id": "f"}, False),
        ("completed", {"completed": 0, "failed": 7}, False),
        ("completed", {}, False),
        ("failed", COUNTED, False),
        ("finalizing", COUNTED, False),
    ],
)
def test_answers_that_are_counted_and_in_no_file_are_known(
    status: str, members: dict[str, Any], unwritten: bool
) -> None:
    """Such a batch is asked for again before its answers are given up."""
    assert Batch(id="b", status=status, **members).unwritten is unwritten


# Anything at all

MEMBERS = [
    "id",
    "custom_id",
    "status",
    "response",
    "status_code",
    "body",
    "error",
    "errors",
    "data",
    "code",
    "line",
    "request_counts",
    "created_at",
    "metadata",
    "choices",
    "message",
    "has_more",
    "output_file_id",
    "total",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(MEMBERS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@both
@settings(max_examples=200, deadline=None)
@given(body=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60), status=st.integers(200, 599))
def test_nothing_that_a_server_sends_raises(name: str, body: bytes, status: int) -> None:
    """Whatever it is becomes a value or a failure."""
    reader, incoming = files(name), Incoming(status, {}, body)
    assert isinstance(reader.read_upload(incoming), str | Failure)
    batch = reader.read_batch(incoming)
    assert isinstance(batch, Batch | Failure)
    if isinstance(batch, Batch):
        assert isinstance(absent(batch, found=1, asked=2), Failure)
    assert isinstance(reader.read_page(incoming), tuple | Failure)
    assert isinstance(reader.read_refusal(incoming), Failure)
    assert isinstance(reader.read_line(body), Line | None)


@both
@settings(max_examples=100, deadline=None)
@given(content=st.text(), custom_id=st.text("abcdef0123456789-", min_size=1, max_size=64))
def test_whatever_is_asked_is_one_line_that_reads_back(name: str, content: str, custom_id: str) -> None:
    """A lone surrogate goes out as U+FFFD, as in any request."""
    request = Request(model="m", messages=[{"role": "user", "content": content}])
    text = files(name).line(request, custom_id)
    assert text.count(b"\n") == 1
    assert json.loads(text)["custom_id"] == custom_id


# Against the simulator

At = Callable[[Sim], tuple[BatchFiles, Client]]


@pytest.fixture(params=NAMES)
def at(request: pytest.FixtureRequest) -> At:
    def connected(sim: Sim) -> tuple[BatchFiles, Client]:
        base = f"http://127.0.0.1:{sim.port}{GLM if request.param == 'glm' else OPENAI}"
        dialect, url = spoken(request.param, base)
        return BatchFiles(dialect), Client(url, call_timeout_s=30)

    return connected


async def made(writer: BatchFiles, client: Client, count: int) -> Batch:
    requests = (Request(model="gpt-4o-mini", messages=[{"role": "user", "content": f"row {n}"}]) for n in range(count))
    data = b"".join(writer.line(request, f"call-{n}") for n, request in enumerate(requests))
    file_id = writer.read_upload(await client.exchange(writer.upload("a.jsonl", data)))
    assert isinstance(file_id, str)
    batch = writer.read_batch(await client.exchange(writer.create(file_id, {"intent": "i1", "sha256": "ff"})))
    assert isinstance(batch, Batch)
    return batch


async def told(writer: BatchFiles, client: Client, batch_id: str) -> Batch:
    batch = writer.read_batch(await client.exchange(writer.retrieve(batch_id)))
    assert isinstance(batch, Batch)
    return batch


async def downloaded(writer: BatchFiles, client: Client, file_id: str | None, path: Path) -> dict[str, Line]:
    if file_id is None:
        return {}
    with path.open("wb") as file:
        taker = Download(file, Clock(), first_s=30, idle_s=30)
        await client.exchange(writer.content(file_id), stream=taker)
        assert taker.taken
    lines = [writer.read_line(text) for text in path.read_bytes().splitlines()]
    return {line.custom_id: line for line in lines if line is not None}


async def test_a_file_goes_up_and_its_answers_come_down(start: Start, at: At, tmp_path: Path) -> None:
    """Each line by its id, with the usage that the provider books; the list finds the batch by its metadata."""
    clock = HandClock()
    sim = start(fault(65, route="line", rows=["row 3"]) + SLOW, clock)
    writer, client = at(sim)
    batch = await made(writer, client, 20)
    assert (batch.status, batch.metadata) == ("validating", {"intent": "i1", "sha256": "ff"})
    page = writer.read_page(await client.exchange(writer.page()))
    assert not isinstance(page, Failure)
    assert [(one.id, one.metadata) for one in page[0]] == [(batch.id, batch.metadata)]
    assert not (await told(writer, client, batch.id)).final
    clock.move(100)
    done = await told(writer, client, batch.id)
    assert (done.status, done.total, done.completed, done.failed) == ("completed", 20, 19, 1)
    assert done.created_s == pytest.approx(clock.wall() - 100, abs=1)
    answers = await downloaded(writer, client, done.output_file_id, tmp_path / "out")
    errors = await downloaded(writer, client, done.error_file_id, tmp_path / "err")
    assert set(errors) == {"call-3"}
    assert set(answers) | set(errors) == {f"call-{n}" for n in range(20)}
    books = {record["client_call_id"]: record for record in sim.books() if record["route"] == "line"}
    for custom_id, line in answers.items():
        assert isinstance(line.result, Reply)
        assert line.result.usage is not None
        assert line.result.usage.total_tokens == books[custom_id]["total_tokens"]
        assert books[custom_id]["delivered"]
    failure = errors["call-3"].result
    assert isinstance(failure, Failure)
    assert failure.kind == "content_filter"
    await client.aclose()


async def test_a_batch_is_cancelled_and_its_part_collected(start: Start, at: At, tmp_path: Path) -> None:
    """What was not done was not bought."""
    clock = HandClock()
    sim = start(SLOW, clock)
    writer, client = at(sim)
    batch = await made(writer, client, 20)
    clock.move(50)
    cancelling = writer.read_batch(await client.exchange(writer.cancel(batch.id)))
    assert isinstance(cancelling, Batch)
    assert (cancelling.status, cancelling.final) == ("cancelling", False)
    clock.move(50)
    done = await told(writer, client, batch.id)
    answers = await downloaded(writer, client, done.output_file_id, tmp_path / "out")
    assert 0 < len(answers) < 20
    missing = absent(done, found=len(answers), asked=20)
    assert (missing.code, missing.answered) == ("batch_cancelled", True)
    await client.aclose()


async def test_a_file_that_is_not_there_leaves_nothing_behind(start: Start, at: At, tmp_path: Path) -> None:
    """The answer is a refusal, and not the file."""
    writer, client = at(start(SLOW))
    with (tmp_path / "none").open("wb") as file:
        taker = Download(file, Clock(), first_s=30, idle_s=30)
        incoming = await client.exchange(writer.content("file-nobody"), stream=taker)
    assert (taker.taken, taker.size) == (False, 0)
    failure = writer.read_refusal(incoming)
    assert (failure.kind, failure.http_status) == ("task", 404)
    await client.aclose()
