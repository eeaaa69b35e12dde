"""The OpenAI dialect, over real sockets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.sse import chunks

if TYPE_CHECKING:
    from tests.simulator.conftest import HandClock, Sim, Start

CHAT = "/v1/chat/completions"
GO_DURATION = re.compile(r"(\d+h)?(\d+m)?(\d+(\.\d+)?s)?(\d+ms)?")


def test_a_chat_is_answered_in_the_documented_shape(sim: Sim) -> None:
    """A plain answer has no tool_calls key, and usage comes with its details."""
    answer = sim.openai()
    body = answer.json()
    assert body["object"] == "chat.completion"
    assert body["id"].startswith("chatcmpl-")
    assert body["model"] == "gpt-5-mini"
    message = body["choices"][0]["message"]
    assert "tool_calls" not in message
    assert message["refusal"] is None
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] % 64 == 0
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["openai-processing-ms"].isdigit()
    assert answer.headers["openai-version"] == "2020-10-01"
    assert not any(name.startswith("x-ratelimit") for name in answer.headers)


def test_the_callers_id_comes_from_the_header(sim: Sim) -> None:
    """X-Client-Request-Id stands in the books, and the key does not."""
    sim.post(CHAT, sim.body("hello", "gpt-5-mini", {}), "sk-secretkey", X_Client_Request_Id="call-7")
    record = sim.books()[0]
    assert record["client_call_id"] == "call-7"
    assert "secretkey" not in record["key_id"]


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer short", "Basic sk-1"])
def test_bad_credentials_are_invalid_api_key(sim: Sim, header: str | None) -> None:
    """Without a usable key the answer is 401, whatever the route."""
    headers = {} if header is None else {"Authorization": header}
    for path in (CHAT, "/v1/nothing"):
        answer = sim.http.post(path, content=b"{", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_an_unknown_route_is_404(sim: Sim) -> None:
    """Here a missing route is an HTTP error."""
    answer = sim.post("/v1/nothing", {}, "sk-1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")
    assert sim.http.get("/elsewhere").status_code == 404


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, None),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": {}, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": ["c"]}]}, "messages[0].role"),
        ({"temperature": 2.5}, "temperature"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"n": 0}, "n"),
        ({"n": 1_000_000_000}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop": list("abcde")}, "stop"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": 1}, "stream_options"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tool_choice": "add"}, "tool_choice"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_object"}}, "messages"),
    ],
)
def test_a_bad_request_is_400_and_names_the_parameter(sim: Sim, change: dict[str, Any], param: str | None) -> None:
    """The error has all four fields of the documented body."""
    answer = sim.openai(**change)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_every_tool_call_must_be_answered(sim: Sim) -> None:
    """Two calls and one tool message are refused, naming the call that is left."""
    calls = [{"id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in (1, 2)]
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
    ]
    answer = sim.openai(messages)
    assert answer.status_code == 400
    assert "call_2" in answer.json()["error"]["message"]
    messages.append({"role": "tool", "tool_call_id": "call_2", "content": ""})
    assert sim.openai(messages).status_code == 200


def test_an_unknown_model_is_404_only_where_the_scenario_lists_models(start: Start) -> None:
    """The catalogue is what the scenario says."""
    sim = start('models = ["gpt-5-mini"]')
    answer = sim.openai(model="gpt-0")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    listed = sim.http.get("/v1/models", headers={"Authorization": "Bearer sk-1"}).json()
    assert [model["id"] for model in listed["data"]] == ["gpt-5-mini"]


def test_several_choices_are_all_billed(sim: Sim) -> None:
    """With n = 3 the completion tokens count three times."""
    one, three = sim.openai("hello").json(), sim.openai("hello", n=3).json()
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert three["usage"]["completion_tokens"] == 3 * one["usage"]["completion_tokens"]


def test_all_six_rate_headers_come_with_every_answer_when_limits_are_set(start: Start, clock: HandClock) -> None:
    """Errors carry them too, and durations are Go's."""
    sim = start("[limits]\nrpm = 60\ntpm = 100000", clock)
    answers = [sim.openai("hello", max_tokens=1000), sim.openai(temperature=9), sim.post(CHAT, {}, "x")]
    for answer in answers:
        found = {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit-")}
        assert len(found) == 6
        for name, value in found.items():
            assert GO_DURATION.fullmatch(value) if "reset" in name else value.isdigit()
    first = answers[0].headers
    assert first["x-ratelimit-remaining-requests"] == "59"
    assert first["x-ratelimit-remaining-tokens"] == "99000"
    assert first["x-ratelimit-reset-requests"] == "1s"
    assert first["x-ratelimit-reset-tokens"] == "600ms"


def test_the_request_bucket_refills_continuously_and_failed_requests_count(start: Start, clock: HandClock) -> None:
    """Sixty a minute are one a second: after sixty the next must wait a second, a bad one as well."""
    sim = start("[limits]\nrpm = 60", clock)
    assert [sim.openai(temperature=9).status_code for _ in range(30)] == [400] * 30
    assert [sim.openai().status_code for _ in range(31)] == [200] * 30 + [429]
    refused = sim.openai()
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert "requests per min (RPM): Limit 60, Used 60, Requested 1. Please try again in 1s." in error["message"]
    assert refused.headers["retry-after"] == "1"
    clock.move(1)
    assert [sim.openai().status_code for _ in range(2)] == [200, 429]


def test_the_token_charge_is_the_larger_of_max_tokens_and_estimate(start: Start, clock: HandClock) -> None:
    """Tokens are taken before the answer is known; what exceeds the limit itself never fits."""
    sim = start("[limits]\ntpm = 1000", clock)
    assert sim.openai("hello", max_completion_tokens=600).status_code == 200
    refused = sim.openai("hello", max_tokens=600)
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "tokens"
    assert "Limit 1000, Used 600, Requested 600" in refused.json()["error"]["message"]
    assert sim.openai("hello").headers["x-ratelimit-remaining-tokens"] == "393"
    large = sim.openai("hello", max_tokens=2000)
    assert large.json()["error"]["message"].startswith("Request too large")
    assert "retry-after" not in large.headers


def test_one_model_can_be_asked_for_and_any_is_there_unless_the_scenario_lists_them(start: Start, sim: Sim) -> None:
    """FIELD 51: clients look whether their model is there before they begin; it was 404, whatever its name."""
    key = {"Authorization": "Bearer sk-reader"}
    for name in ("gpt-5-mini", "org/some-model"):
        answer = sim.http.get(f"/v1/models/{name}", headers=key)
        assert (answer.status_code, answer.json()["id"], answer.json()["object"]) == (200, name, "model")
    strict = start('models = ["a"]\n')
    assert strict.http.get("/v1/models/a", headers=key).json()["id"] == "a"
    missing = strict.http.get("/v1/models/b", headers=key)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert sim.http.get("/v1/models/a").status_code == 401
    assert sim.http.get("/v1/models/", headers=key).status_code == 404


def test_the_list_of_models_has_the_names_that_were_asked_for(sim: Sim) -> None:
    """FIELD 51: it serves any name, and listed only those with a price."""

    def listed() -> list[str]:
        found = sim.http.get("/v1/models", headers={"Authorization": "Bearer sk-reader"}).json()
        return [model["id"] for model in found["data"]]

    known = listed()
    for _ in range(2):
        assert sim.openai("hello", model="my-own").status_code == 200
    sim.until_books(3)
    assert listed() == [*known, "my-own"]
    sim.reset()
    assert listed() == known


def test_it_says_that_it_is_there_without_a_key_and_keeps_no_book_of_it(sim: Sim) -> None:
    """FIELD 51: what waits for a server asks for /health."""
    answer = sim.http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert sim.http.head("/health").status_code == 200
    assert sim.books() == []


def tokens_in(found: list[Any]) -> list[Any]:
    """The tokens in an answer, or in the chunks of one."""
    return [
        token for body in found for one in body["choices"] for token in (one["logprobs"] or {"content": []})["content"]
    ]


def test_probabilities_of_tokens_come_where_they_are_asked_for_and_are_the_same_each_time(sim: Sim) -> None:
    """Null when they are not; as many others as `top_logprobs` says, the token itself among them; in a stream alike."""
    asked = {"logprobs": True, "top_logprobs": 2}
    answer = sim.openai("Tell me a word", model="gpt-4.1", **asked).json()
    tokens = tokens_in([answer])
    assert "".join(token["token"] for token in tokens) == answer["choices"][0]["message"]["content"]
    assert tokens_in([sim.openai("Tell me a word", model="gpt-4.1", **asked).json()]) == tokens
    assert tokens_in(chunks(sim.openai("Tell me a word", model="gpt-4.1", stream=True, **asked).content)) == tokens
    for token in tokens:
        assert bytes(token["bytes"]).decode() == token["token"]
        assert token["logprob"] <= 0
        assert token["top_logprobs"][0]["token"] == token["token"]
        assert len(token["top_logprobs"]) == 2
    assert sim.openai("Tell me a word", model="gpt-4.1").json()["choices"][0]["logprobs"] is None
    assert sim.glm("Tell me a word", logprobs=True).json()["choices"][0].get("logprobs") is None
