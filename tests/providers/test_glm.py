"""The GLM dialect: bodies, codes of BigModel's table, tasks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batch.core.clock import HandClock
from batch.core.records import Accepted, Failure, Processing, Reply, Request
from batch.providers import registry
from batch.providers.glm import CODES
from tests.providers.test_completion import answer, incoming

GLM, BASE = registry.dialect("glm", base_url=None, key="id123.secret456", clock=HandClock())
MESSAGES = [{"role": "user", "content": "你好"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def error(code: Any, message: str = "text", **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}, **more}


def failure(result: object) -> Failure:
    assert isinstance(result, Failure), result
    return result


def test_the_body_holds_what_was_asked_and_nothing_of_our_own() -> None:
    """Parameters unchanged, no nulls, raw UTF-8, our id as request_id."""
    request = Request(
        model="glm-4",
        messages=MESSAGES,
        parameters={"temperature": 0.1, "stop": ["x"], "thinking": None},
        tools=(TOOL,),
    )
    for outgoing, path in ((GLM.chat(request, "call-1"), "/chat/completions"),):
        assert outgoing.path == path
        assert json.loads(outgoing.body or b"") == {
            "model": "glm-4",
            "messages": MESSAGES,
            "temperature": 0.1,
            "stop": ["x"],
            "tools": [TOOL],
            "request_id": "call-1",
        }
        assert "你好".encode() in (outgoing.body or b"")
        assert dict(outgoing.headers)["Content-Type"] == "application/json; charset=UTF-8"
        assert dict(outgoing.headers)["Authorization"] == "Bearer id123.secret456"
    assert GLM.submit(request, "call-1").body == GLM.chat(request, "call-1").body
    assert GLM.submit(request, "call-1").path == "/async/chat/completions"
    assert BASE == "https://open.bigmodel.cn/api/paas/v4"


def test_parameters_cannot_replace_the_model_the_messages_or_the_id() -> None:
    """The record must say what was asked."""
    parameters = {"model": "x", "messages": [], "request_id": "y"}
    body = json.loads(GLM.chat(Request(model="glm-4", messages=MESSAGES, parameters=parameters), "c").body or b"")
    assert (body["model"], body["messages"], body["request_id"]) == ("glm-4", MESSAGES, "c")


def test_a_lone_surrogate_in_a_message_does_not_stop_the_request() -> None:
    """UTF-8 cannot carry it; a tool may still have returned it."""
    messages = [{"role": "tool", "content": "a\ud83d", "tool_call_id": "1"}]
    body = json.loads(GLM.chat(Request(model="m", messages=messages), "c").body or b"")
    assert body["messages"][0]["content"] == "a\ufffd"


def test_zai_asks_in_english_and_keeps_its_name() -> None:
    """The international address wants the language header."""
    zai, base = registry.dialect("zai", base_url=None, key="a.b")
    assert base == "https://api.z.ai/api/paas/v4"
    assert zai.name == "zai"
    assert dict(zai.chat(Request(model="m", messages=[]), "c").headers)["Accept-Language"] == "en-US,en"


@pytest.mark.parametrize(
    ("status", "code", "kind", "verdict"),
    [
        (500, "500", "server", "retry"),
        (401, "1000", "auth", "stop"),
        (401, "1003", "auth", "stop"),
        (429, "1112", "auth", "stop"),
        (429, "1113", "balance", "stop"),
        (200, "1113", "balance", "stop"),
        (400, "1120", "server", "retry"),
        (500, "1200", "server", "retry"),
        (400, "1210", "bad_request", "fail"),
        (400, "1211", "model", "stop"),
        (400, "1213", "bad_request", "fail"),
        (400, "1214", "bad_request", "fail"),
        (403, "1220", "auth", "row_or_key"),
        (400, "1231", "task", "retry"),
        (500, "1234", "server", "retry"),
        (400, "1261", "too_large", "fail"),
        (400, "1301", "content_filter", "fail"),
        (429, "1302", "rate_limit", "retry"),
        (429, "1303", "rate_limit", "retry"),
        (429, "1304", "quota", "park"),
        (429, "1305", "overloaded", "retry"),
        (200, "1305", "overloaded", "retry"),
        (429, "1308", "quota", "park"),
        (429, "1309", "balance", "stop"),
        (429, "1312", "overloaded", "retry"),
        (429, "1317", "quota", "park"),
        (429, "9999", "rate_limit", "retry"),
        (200, "9999", "server", "once"),
        (400, "9999", "bad_request", "fail"),
    ],
)
def test_the_code_decides_before_the_status(status: int, code: str, kind: str, verdict: str) -> None:
    """As text and as a number, with and without request_id beside it."""
    for body in (error(code), error(int(code)), error(code, request_id="r-9")):
        found = failure(GLM.read_chat(incoming(body, status)))
        assert (found.kind, found.verdict, found.code, found.http_status) == (kind, verdict, code, status)
        assert found.message == "text"
        assert found.answered == (code != "1231"), "who was told of a first copy may have been billed for it"
        assert found.request_id == body.get("request_id")


def test_no_code_of_money_or_keys_is_ever_retried() -> None:
    """1113 arrives as HTTP 429 and must not be mistaken for a rate limit."""
    assert all(verdict == "stop" for kind, verdict in CODES.values() if kind in ("auth", "balance"))


def test_an_error_counts_before_choices() -> None:
    """HTTP 200 with both is an error."""
    assert failure(GLM.read_chat(incoming({**answer(), **error("1305")}))).kind == "overloaded"
    assert isinstance(GLM.read_chat(incoming({**answer(), "error": None})), Reply)


def test_a_route_that_does_not_exist_is_permanent_although_it_says_500_in_http_200() -> None:
    """The flat form of BigModel's gateway."""
    found = failure(GLM.read_chat(incoming({"code": 500, "msg": "404 NOT_FOUND", "success": False})))
    assert (found.kind, found.verdict, found.message) == ("bad_request", "fail", "404 NOT_FOUND")
    assert found.wrong_address
    found = failure(GLM.read_chat(incoming({"code": 1302, "msg": "slow", "success": False})))
    assert (found.kind, found.verdict) == ("rate_limit", "retry")


def test_the_reset_time_in_a_quota_message_is_chinese_local_time() -> None:
    """Counted from the answer's own Date, so a clock that is wrong does not matter."""
    text = "Your limit will reset at 2026-07-14 07:49:08"
    found = failure(GLM.read_chat(incoming(error("1310", text), 429, date="Mon, 13 Jul 2026 23:48:08 GMT")))
    assert (found.verdict, found.retry_after_s) == ("park", 60.0)
    for quiet in ("no time here", "reset at 2026-13-45 99:00:00", "reset at 2020-01-01 00:00:00"):
        assert failure(GLM.read_chat(incoming(error("1308", quiet), 429))).retry_after_s is None


def test_without_a_date_header_the_reset_time_counts_from_our_clock() -> None:
    """HandClock stands at 2026-09-21 14:13:20 UTC, 22:13:20 in China."""
    found = failure(GLM.read_chat(incoming(error("1308", "resets at 2026-09-21 22:14:20"), 429)))
    assert found.retry_after_s == 60.0


def test_a_submit_gives_the_task_id() -> None:
    """The id is opaque and may hold a minus sign."""
    task = "47691696322760895-8374382001389435212"
    body = {"request_id": "-83", "id": task, "model": "glm-4", "task_status": "PROCESSING"}
    assert GLM.read_submit(incoming(body)) == Accepted(task_id=task, request_id="-83", model="glm-4")
    assert GLM.read_submit(incoming({"id": 12, "novelty": 1})) == Accepted(task_id="12")
    assert GLM.poll("a/../b?c").path == "/async-result/a%2F..%2Fb%3Fc"
    assert GLM.poll("x").body is None


@pytest.mark.parametrize(
    ("body", "status", "kind", "verdict", "answered"),
    [
        ({"task_status": "PROCESSING"}, 200, "bad_payload", "once", False),
        ({"id": "", "task_status": "PROCESSING"}, 200, "bad_payload", "once", False),
        (b"<html>", 200, "bad_payload", "once", False),
        ({"id": "1", "task_status": "FAIL"}, 200, "task", "retry", True),
        (error("1302"), 429, "rate_limit", "retry", True),
        ({"id": "1", **error("1113")}, 200, "balance", "stop", True),
    ],
)
def test_a_submit_without_a_task_is_a_failure(body: Any, status: int, kind: str, verdict: str, answered: bool) -> None:
    """Only an id is acceptance."""
    found = failure(GLM.read_submit(incoming(body, status)))
    assert (found.kind, found.verdict, found.answered) == (kind, verdict, answered)


def test_a_poll_tells_processing_success_and_unknown_states_apart() -> None:
    """A state that is not documented means wait."""
    waiting = {"id": "1", "request_id": "2", "model": None, "task_status": "PROCESSING"}
    assert GLM.read_poll(incoming(waiting)) == Processing("PROCESSING")
    assert GLM.read_poll(incoming({"task_status": "QUEUED", "id": "1"})) == Processing("QUEUED")
    done = GLM.read_poll(incoming(answer(task_status="SUCCESS")))
    assert isinstance(done, Reply)
    assert done.content == "hello"
    assert isinstance(GLM.read_poll(incoming(answer())), Reply)


@pytest.mark.parametrize(
    ("body", "status", "kind", "verdict"),
    [
        ({"id": "1", "task_status": "FAIL"}, 200, "task", "retry"),
        ({"id": "1", "task_status": "FAIL", "error": "words"}, 200, "task", "retry"),
        ({"id": "1", "task_status": "FAIL", **error("1305")}, 200, "task", "retry"),
        ({"id": "1", "task_status": "FAIL", **error("1301")}, 200, "content_filter", "fail"),
        ({"id": "1", "task_status": "FAIL", **error("1113")}, 200, "balance", "stop"),
        ({"id": "1", "task_status": "SUCCESS"}, 200, "task", "once"),
        ({"id": "1", "task_status": "SUCCESS", "choices": []}, 200, "task", "once"),
        (error("1214"), 400, "task", "once"),
        (error("404"), 404, "task", "once"),
        (b"<html>", 404, "server", "retry"),
        (b"", 404, "task", "once"),
        (b"<html>", 400, "server", "retry"),
        (b"<html>", 302, "server", "retry"),
        ({}, 307, "server", "retry"),
        (b"<html>", 401, "auth", "stop"),
        (error("1302"), 429, "rate_limit", "retry"),
        (error("1200"), 500, "server", "retry"),
        (b"<html>", 502, "server", "retry"),
        (error("1000"), 401, "auth", "stop"),
        ({}, 200, "bad_payload", "once"),
    ],
)
def test_a_poll_tells_the_end_of_the_task_from_the_end_of_the_poll(
    body: Any, status: int, kind: str, verdict: str
) -> None:
    """Kind `task` and verdict `fail` are about the task; all else means that it may be asked for again."""
    found = failure(GLM.read_poll(incoming(body, status)))
    assert (found.kind, found.verdict) == (kind, verdict)
    if verdict == "once":
        assert not found.answered, "a task that is lost or without an answer may have been billed"
