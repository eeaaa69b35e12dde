"""The GLM dialect, over real sockets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.simulator.conftest import Gate

if TYPE_CHECKING:
    from tests.simulator.conftest import Sim, Start

CHAT = "/api/paas/v4/chat/completions"


def error(answer: httpx.Response) -> tuple[int, str, str]:
    body = answer.json()["error"]
    assert isinstance(body["code"], str)
    return answer.status_code, body["code"], body["message"]


def jwt(secret: str, key_id: str, exp_ms: float, **header: str) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()

    head = part({"alg": "HS256", "sign_type": "SIGN", **header})
    signed = f"{head}.{part({'api_key': key_id, 'exp': exp_ms, 'timestamp': exp_ms - 1})}"
    digest = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def test_a_chat_is_answered_in_the_documented_shape(sim: Sim) -> None:
    """A lone 你好 costs six prompt tokens, and id and request_id are one when the caller gives none."""
    answer = sim.glm("你好")
    body = answer.json()
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    assert set(body) == {"choices", "created", "id", "model", "request_id", "usage"}
    assert re.fullmatch(r"20\d{12}[0-9a-f]{16}", body["id"])
    assert body["request_id"] == body["id"]
    assert body["model"] == "glm-4"
    choice = body["choices"][0]
    assert (choice["index"], choice["finish_reason"], choice["message"]["role"]) == (0, "stop", "assistant")
    usage = body["usage"]
    assert usage["prompt_tokens"] == 6
    assert usage["total_tokens"] == 6 + usage["completion_tokens"]


def test_the_answer_depends_on_the_messages_alone(sim: Sim) -> None:
    """Another model, another parameter or another time changes nothing in the text."""
    texts = {
        sim.glm("tell me", model=model, temperature=0.5).json()["choices"][0]["message"]["content"]
        for model in ("glm-4", "glm-3-turbo", "glm-4-air", "glm-4")
    }
    assert len(texts) == 1
    assert sim.glm("tell me more").json()["choices"][0]["message"]["content"] not in texts


def test_a_request_id_is_echoed_and_stands_in_the_books(sim: Sim) -> None:
    """The caller's id travels through, and its second use is marked as a duplicate."""
    for _ in range(2):
        assert sim.glm(request_id="call-000001").json()["request_id"] == "call-000001"
    first, second = sim.books()
    assert first["client_call_id"] == second["client_call_id"] == "call-000001"
    assert (first["duplicate"], second["duplicate"]) == (False, True)


@pytest.mark.parametrize(
    ("header", "code"),
    [(None, "1001"), ("", "1002"), ("Bearer", "1002"), ("Bearer nodot", "1002"), ("Basic a.b", "1002"),
     ("Bearer .b", "1002"), ("Bearer a.b.c.d", "1002"), ("Bearer a.b.c", "1002")],
)  # fmt: skip
def test_bad_credentials_are_refused_before_route_and_body(sim: Sim, header: str | None, code: str) -> None:
    """Authentication comes first, even where the route does not exist and the body is no JSON."""
    headers = {} if header is None else {"Authorization": header}
    for path in (CHAT, "/api/paas/v4/nothing"):
        status, found, _ = error(sim.http.post(path, content=b"{", headers=headers))
        assert (status, found) == (401, code)


@pytest.mark.parametrize("typed", [{}, {"typ": "JWT"}])
def test_a_jwt_is_accepted_until_its_milliseconds_have_passed(start: Start, typed: dict[str, str]) -> None:
    """Expiry is compared in milliseconds, so an expiry in seconds has long passed."""
    sim = start('keys = { reader = "geheim" }')
    now = time.time()
    body = sim.body("hello", "glm-4", {})
    assert sim.post(CHAT, body, jwt("geheim", "reader", now * 1000 + 60_000, **typed)).status_code == 200
    assert sim.books()[0]["key_id"] == "reader"
    assert error(sim.post(CHAT, body, jwt("geheim", "reader", now * 1000 - 1, **typed)))[:2] == (401, "1003")
    assert error(sim.post(CHAT, body, jwt("geheim", "reader", now + 3600, **typed)))[:2] == (401, "1003")
    assert error(sim.post(CHAT, body, jwt("falsch", "reader", now * 1000 + 60_000)))[:2] == (401, "1004")
    assert error(sim.post(CHAT, body, jwt("geheim", "writer", now * 1000 + 60_000)))[:2] == (401, "1002")
    assert sim.post(CHAT, body, "reader.geheim").status_code == 200
    assert error(sim.post(CHAT, body, "reader.falsch"))[:2] == (401, "1002")


def test_without_known_keys_a_jwt_is_looked_at_for_form_and_expiry_alone(sim: Sim) -> None:
    """The secret is nobody's business then, but a token that has expired is one."""
    now_ms = time.time() * 1000
    body = sim.body("hello", "glm-4", {})
    assert sim.post(CHAT, body, jwt("whatever", "reader", now_ms + 60_000)).status_code == 200
    assert sim.books()[0]["key_id"] == "reader"
    assert error(sim.post(CHAT, body, jwt("whatever", "reader", now_ms - 1)))[:2] == (401, "1003")
    assert error(sim.post(CHAT, body, jwt("whatever", "reader", now_ms + 60_000, alg="HS512")))[:2] == (401, "1002")


def test_a_jwt_must_say_how_it_is_signed_only_where_that_is_strict(start: Start) -> None:
    """A missing sign_type passes unless the scenario asks for it; a wrong one never does."""
    now_ms = time.time() * 1000
    loose, strict = start(), start("strict_jwt = true")
    body = loose.body("hello", "glm-4", {})
    claims = {"api_key": "reader", "exp": now_ms + 60_000}
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    plain = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    signed, wrong = (jwt("s", "reader", now_ms + 60_000, **more) for more in ({}, {"sign_type": "NONE"}))
    assert [loose.post(CHAT, body, token).status_code for token in (f"{plain}.c2ln", signed, wrong)] == [200, 200, 401]
    assert [strict.post(CHAT, body, token).status_code for token in (f"{plain}.c2ln", signed, wrong)] == [401, 200, 401]


def test_an_unknown_route_is_http_200_with_not_found_inside(sim: Sim) -> None:
    """With credentials the live service answers 200, so a client must look inside."""
    answer = sim.post("/api/paas/v4/nothing", {})
    assert answer.status_code == 200
    assert answer.json() == {"code": 500, "msg": "404 NOT_FOUND", "success": False}


def test_null_is_taken_for_every_optional_field(sim: Sim) -> None:
    """The SDK sends response_format and thinking as null, so null means absent everywhere."""
    fields = "request_id stream do_sample temperature top_p max_tokens stop tools tool_choice response_format thinking"
    assert sim.glm(**dict.fromkeys(fields.split())).status_code == 200


def test_unknown_fields_are_tolerated(sim: Sim) -> None:
    """What a caller adds at the top level does no harm."""
    assert sim.glm(n=3, logit_bias={}, made_up=[1]).status_code == 200


@pytest.mark.parametrize(
    "messages",
    [
        [],
        {"role": "user", "content": "x"},
        [{"role": "system", "content": "be kind"}],
        [{"role": "assistant", "content": "yes"}],
        [{"role": "system", "content": "be kind"}, {"role": "assistant", "content": "yes"}],
        [{"role": ["user"], "content": "hello"}],
        [{"role": "user"}],
        ["hello"],
    ],
)
def test_messages_without_a_question_are_1214_with_the_exact_text(sim: Sim, messages: Any) -> None:
    """System-only and assistant-only lists get the recorded text."""
    assert error(sim.glm(messages)) == (400, "1214", "messages 参数非法。请检查文档。")


@pytest.mark.parametrize("field", ["model", "messages"])
def test_a_missing_field_is_1213_with_its_name(sim: Sim, field: str) -> None:
    """The message names what was not received."""
    body = sim.body("hello", "glm-4", {})
    del body[field]
    status, code, message = error(sim.post(CHAT, body))
    assert (status, code) == (400, "1213")
    assert field in message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 5000])
def test_a_body_that_is_no_object_is_1210(sim: Sim, body: bytes) -> None:
    """Nothing a client sends makes the server fail."""
    assert error(sim.post(CHAT, body))[:2] == (400, "1210")


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": "0.5"}, {"temperature": True}, {"temperature": 1.5}, {"top_p": 0}, {"max_tokens": 0},
        {"max_tokens": 1.5}, {"max_tokens": 131_073}, {"stop": ["a", "b", "c", "d", "e"]}, {"stop": [1]},
        {"stream": "yes"}, {"tools": {}}, {"tools": [{"type": "function", "function": {"name": "no spaces"}}]},
    ],
)  # fmt: skip
def test_a_parameter_out_of_range_is_1210(sim: Sim, wrong: dict[str, Any]) -> None:
    """Types and ranges are checked, and the message names the parameter."""
    status, code, message = error(sim.glm(**wrong))
    assert (status, code) == (400, "1210")
    assert next(iter(wrong)) in message


@pytest.mark.parametrize(
    ("mode", "temperature", "status"),
    [("current", 0, 200), ("current", 1.0, 200), ("2024", 0, 400), ("2024", 1.0, 400), ("2024", 0.99, 200)],
)
def test_the_ends_of_the_temperature_range_depend_on_the_mode(
    start: Start, mode: str, temperature: float, status: int
) -> None:
    """In 2024 the interval was open: 0.99 worked and 1.0 did not."""
    assert start(f'mode = "{mode}"').glm(temperature=temperature).status_code == status


def test_an_unknown_model_is_1211_only_where_the_scenario_lists_models(sim: Sim, start: Start) -> None:
    """Any name is served by default."""
    assert sim.glm(model="made-up").status_code == 200
    strict = start('models = ["glm-4"]')
    assert error(strict.glm(model="made-up"))[:2] == (400, "1211")
    assert strict.glm(model="GLM-4").status_code == 200
    listed = strict.http.get("/api/paas/v4/models", headers={"Authorization": "Bearer a.b"}).json()
    assert [model["id"] for model in listed["data"]] == ["glm-4"]


def test_max_tokens_cuts_the_text_and_says_length(sim: Sim) -> None:
    """The cut text is the beginning of the whole one and is billed as cut."""
    whole = sim.glm("tell me a story").json()["choices"][0]["message"]["content"]
    cut = sim.glm("tell me a story", max_tokens=5).json()
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 5
    text = cut["choices"][0]["message"]["content"]
    assert whole.startswith(text)
    assert len(text) < len(whole)


def test_the_text_ends_before_a_stop_word(sim: Sim) -> None:
    """The stop word itself is not part of the text."""
    whole = sim.glm("a story about rain").json()["choices"][0]["message"]["content"]
    cut = sim.glm("a story about rain", stop=["rain"]).json()["choices"][0]
    assert cut["finish_reason"] == "stop"
    assert cut["message"]["content"] == whole[: whole.index("rain")]


def test_of_several_user_messages_the_last_is_answered(sim: Sim) -> None:
    """Earlier user messages in a row are not answered."""
    messages = [{"role": "user", "content": "first"}, {"role": "user", "content": "second"}]
    text = sim.glm(messages).json()["choices"][0]["message"]["content"]
    assert "second" in text
    assert "first" not in text


def test_content_parts_are_understood(sim: Sim) -> None:
    """Text is read from parts, and a picture is passed over."""
    parts = [{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert "what is this" in sim.glm([{"role": "user", "content": parts}]).json()["choices"][0]["message"]["content"]


def test_a_duplicate_in_work_is_1231_where_the_scenario_says_so(start: Start) -> None:
    """The first request is not disturbed, and its id is free again when it has ended."""
    sim = start("refuse_duplicates = true\n[latency]\ntask_ms = [200, 200]\nchat_ms = [0, 0]", Gate())
    assert sim.submit(request_id="same-call").status_code == 200
    for _ in range(2):
        status, code, message = error(sim.submit(request_id="same-call"))
        assert (status, code) == (400, "1231")
        assert "same-call" in message
    assert sim.judge()["refused"] == {"duplicate": 2}
    assert [sim.glm(request_id="other").status_code for _ in range(2)] == [200, 200]


def test_a_repeated_prefix_is_reported_as_cached_where_the_scenario_says_so(start: Start) -> None:
    """The second request with the same system prompt has it from the cache."""
    sim = start("cached_prefix = true")
    messages = [{"role": "system", "content": "a long guide " * 20}, {"role": "user", "content": "one"}]
    first = sim.glm(messages).json()["usage"]
    messages[1] = {"role": "user", "content": "two"}
    second = sim.glm(messages).json()["usage"]
    assert first["prompt_tokens_details"] == {"cached_tokens": 0}
    assert 0 < second["prompt_tokens_details"]["cached_tokens"] < second["prompt_tokens"]


def test_long_answers_are_compressed_only_where_the_scenario_says_so(sim: Sim, start: Start) -> None:
    """A client that accepts gzip gets plain bodies by default."""
    ask: dict[str, Any] = {"tools": None, "messages": [{"role": "tool", "content": "x" * 3000}]}
    assert "content-encoding" not in sim.glm(**ask).headers
    packed = start("gzip = true").glm(**ask)
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json()["choices"][0]["message"]["content"] == f"The result is {'x' * 3000}."


def test_connections_are_kept_alive(sim: Sim) -> None:
    """Answers carry a Content-Length and the connection serves the next request."""
    sim.glm()
    answer = sim.glm()
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "connection" not in answer.headers


def test_one_model_can_be_asked_for_in_any_case(start: Start) -> None:
    """FIELD 51: as in a chat."""
    sim = start('models = ["glm-4"]\n')
    key = {"Authorization": f"Bearer {sim.key}"}
    assert sim.http.get("/api/paas/v4/models/GLM-4", headers=key).json()["id"] == "GLM-4"
    assert sim.http.get("/api/paas/v4/models/glm-5", headers=key).json()["error"]["code"] == "1211"
