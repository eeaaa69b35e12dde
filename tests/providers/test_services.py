"""Seven services side by side: what each is sent to the byte, what its answers and its refusals are read as."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batch.core.records import Failure, Message, Reply, Request, Usage
from batch.job.providers import BUILT_IN, ProviderSpec
from batch.providers import registry
from batch.providers.base import Dialect
from tests.providers.test_completion import incoming

KEY = "0123456789abcdef.Zq7kPw3mVx9tRb2c"
SEVEN = tuple(name for name in BUILT_IN if name != "simulator")
ASKED: list[Message] = [{"role": "user", "content": "你好"}]
PARAMETERS = {"temperature": 0.5, "stop": None, "logprobs": True}
BARE = b'"messages":[{"role":"user","content":"\xe4\xbd\xa0\xe5\xa5\xbd"}]'


def speaking(name: str) -> Dialect:
    dialect, _ = registry.dialect(name, base_url="http://127.0.0.1:1/v1", key=KEY)
    return dialect


def asked(name: str, **more: Any) -> Request:
    return Request(model="m", messages=ASKED, parameters=PARAMETERS, **more)


NULL_LEFT_OUT = b'{"temperature":0.5,"logprobs":true,"model":"m",' + BARE + b"}"
NULL_SENT = b'{"temperature":0.5,"stop":null,"logprobs":true,"model":"m",' + BARE + b"}"
UNDOCUMENTED_LEFT_OUT = b'{"temperature":0.5,"model":"m",' + BARE + b',"request_id":"call-1"}'
BODIES = {
    "glm": UNDOCUMENTED_LEFT_OUT,
    "zai": UNDOCUMENTED_LEFT_OUT,
    "openai": NULL_SENT,
    "dashscope": NULL_LEFT_OUT,
    "deepseek": NULL_LEFT_OUT,
    "moonshot": NULL_LEFT_OUT,
    "vllm": NULL_SENT,
}


@pytest.mark.parametrize("name", SEVEN)
def test_a_request_is_these_bytes(name: str) -> None:
    """Parameters, model, messages; GLM's id of the call in the body and without what it does not document."""
    outgoing = speaking(name).chat(asked(name), "call-1")
    assert outgoing.path == "/chat/completions"
    assert outgoing.body == BODIES[name]


HEADERS = {
    "glm": {"Content-Type": "application/json; charset=UTF-8"},
    "zai": {"Accept-Language": "en-US,en", "Content-Type": "application/json; charset=UTF-8"},
}
USUAL = {"Content-Type": "application/json", "X-Client-Request-Id": "call-1"}


@pytest.mark.parametrize("name", SEVEN)
def test_a_request_has_these_headers_and_no_other(name: str) -> None:
    """Our id travels as a header where the body has no place for it."""
    outgoing = speaking(name).chat(asked(name), "call-1")
    common = {"Accept": "application/json", "Authorization": f"Bearer {KEY}"}
    assert dict(outgoing.headers) == {**common, **HEADERS.get(name, USUAL)}


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
SEARCH = {"type": "web_search", "web_search": {"enable": True}}
ROUND: list[Message] = [
    *ASKED,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
    },
    {"role": "tool", "content": "5", "tool_call_id": "c"},
]
NAMED = {"type": "function", "function": {"name": "add"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}}


@pytest.mark.parametrize("name", SEVEN)
@pytest.mark.parametrize(
    ("choice", "then"),
    [
        ("required", "auto"),
        (NAMED, "auto"),
        ("add", "auto"),
        ("auto", "auto"),
        ("none", "none"),
        (ALLOWED, {**ALLOWED, "allowed_tools": {"mode": "auto", "tools": [TOOL]}}),
    ],
)
def test_a_forced_tool_is_forced_once(name: str, choice: Any, then: Any) -> None:
    """A model that must call a tool in every turn would call until max_turns, and the row would fail."""
    for messages, expected in ((ASKED, choice), (ROUND, then)):
        request = Request(model="m", messages=messages, parameters={"tool_choice": choice}, tools=(TOOL,))
        assert json.loads(speaking(name).chat(request, "c").body or b"")["tool_choice"] == expected


@pytest.mark.parametrize("name", SEVEN)
def test_tools_of_the_service_stand_beside_ours(name: str) -> None:
    """Neither replaces the other; without functions of ours the parameter goes out as it is."""
    for ours, sent in (((TOOL,), [SEARCH, TOOL]), ((), [SEARCH])):
        request = Request(model="m", messages=ASKED, parameters={"tools": [SEARCH]}, tools=ours)
        assert json.loads(speaking(name).chat(request, "c").body or b"")["tools"] == sent


def answer(usage: dict[str, Any], **message: Any) -> dict[str, Any]:
    return {
        "id": "id-1",
        "model": "served",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes", **message}}
        ],
        "usage": usage,
    }


COUNTED = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
USAGES: list[tuple[str, dict[str, Any], Usage]] = [
    ("glm", COUNTED, Usage(100, 20, 120)),
    ("zai", {"prompt_tokens_details": {"cached_tokens": 42}}, Usage(100, 20, 120, 42)),
    (
        "openai",
        {
            "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 64, "cache_write_tokens": 16},
            "completion_tokens_details": {"reasoning_tokens": 12, "audio_tokens": 0},
        },
        Usage(100, 20, 120, 64, 12, 16),
    ),
    (
        "dashscope",
        {"prompt_tokens_details": {"cached_tokens": 0, "cache_creation_input_tokens": 50, "cache_type": "ephemeral"}},
        Usage(100, 20, 120, 0, None, 50),
    ),
    (
        "deepseek",
        {
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
            "completion_tokens_details": {"reasoning_tokens": 7},
        },
        Usage(100, 20, 120, 64, 7),
    ),
    ("moonshot", {"cached_tokens": 32}, Usage(100, 20, 120, 32)),
    ("moonshot", {"cached_tokens": 32, "prompt_tokens_details": {"cached_tokens": 30}}, Usage(100, 20, 120, 30)),
    ("vllm", {"prompt_tokens_details": None}, Usage(100, 20, 120)),
    ("vllm", {"prompt_tokens_details": {"cached_tokens": None}}, Usage(100, 20, 120)),
    ("deepseek", {"prompt_cache_hit_tokens": 101}, Usage(100, 20, 120)),
]


@pytest.mark.parametrize(("name", "said", "usage"), USAGES)
def test_usage_means_the_same_whoever_counts(name: str, said: dict[str, Any], usage: Usage) -> None:
    """Cached, written and reasoning tokens under every name they go by; the strict and the tolerant reading agree."""
    body = answer({**COUNTED, **said})
    for odd in (body, {**body, "id": 7}):
        reply = speaking(name).read_chat(incoming(odd))
        assert isinstance(reply, Reply)
        assert (reply.content, reply.model, reply.usage) == ("yes", "served", usage)


@pytest.mark.parametrize("name", SEVEN)
def test_reasoning_goes_back_only_where_it_is_wanted(name: str) -> None:
    """DeepSeek refuses the next turn of a tool loop without it; the others drop or refuse it."""
    for field in ("reasoning_content", "reasoning"):
        reply = speaking(name).read_chat(incoming(answer(COUNTED, **{field: "because"})))
        assert isinstance(reply, Reply)
        assert reply.reasoning == "because"
        back = reply.message.get("reasoning_content")
        assert back == ("because" if name in {"glm", "zai", "deepseek", "moonshot"} else None)


@pytest.mark.parametrize("name", SEVEN)
def test_blank_lines_before_the_answer_are_no_part_of_it(name: str) -> None:
    """DeepSeek keeps a waiting connection alive with them."""
    body = b"\n\r\n \n" * 50 + json.dumps(answer(COUNTED)).encode()
    reply = speaking(name).read_chat(incoming(body))
    assert isinstance(reply, Reply)
    assert reply.content == "yes"


@pytest.mark.parametrize("finish", ["stop", None])
def test_a_part_of_an_answer_is_a_truncated_answer(finish: str | None) -> None:
    """Model Studio gave up waiting for its model and answers with what it has."""
    body = answer(COUNTED)
    body["choices"][0]["finish_reason"] = finish
    said = incoming(body, x_dashscope_partialresponse="true")
    reply = speaking("dashscope").read_chat(said)
    assert isinstance(reply, Reply)
    assert (reply.finish_reason, reply.content) == ("length", "yes")
    other = speaking("openai").read_chat(said)
    assert isinstance(other, Reply)
    assert other.finish_reason == (finish or "")


def envelope(code: Any, kind: str | None = None, message: str = "text", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}, **more}


ALI = {"request_id": "7e3a"}
REFUSALS: list[tuple[str, int, Any, str, str]] = [
    ("glm", 429, {"error": {"code": "1113", "message": "x"}}, "balance", "stop"),
    ("glm", 400, {"error": {"code": "1214", "message": "x"}}, "bad_request", "fail"),
    ("zai", 429, {"error": {"code": "1302", "message": "Rate limit reached for requests"}}, "rate_limit", "retry"),
    ("zai", 200, {"error": {"code": 1305, "message": "x"}}, "overloaded", "retry"),
    ("openai", 429, envelope("insufficient_quota", "insufficient_quota"), "balance", "stop"),
    ("openai", 429, envelope("rate_limit_exceeded", "tokens"), "rate_limit", "retry"),
    ("openai", 429, envelope("resource_unavailable"), "overloaded", "retry"),
    ("dashscope", 429, envelope("insufficient_quota", "insufficient_quota", **ALI), "rate_limit", "retry"),
    ("dashscope", 429, envelope("insufficient_quota", "insufficient_quota"), "rate_limit", "retry"),
    ("dashscope", 429, envelope("limit_requests", "limit_requests", **ALI), "rate_limit", "retry"),
    ("dashscope", 429, envelope("limit_burst_rate", **ALI), "rate_limit", "retry"),
    ("dashscope", 429, envelope("Throttling.Concurrency", **ALI), "rate_limit", "retry"),
    ("dashscope", 429, envelope("PrepaidBillOverdue", **ALI), "balance", "stop"),
    ("dashscope", 400, envelope("Arrearage", "Arrearage", **ALI), "balance", "stop"),
    ("dashscope", 400, envelope("data_inspection_failed", **ALI), "content_filter", "fail"),
    ("dashscope", 400, envelope("invalid_parameter_error", "invalid_request_error", **ALI), "bad_request", "fail"),
    ("dashscope", 401, envelope("invalid_api_key", **ALI), "auth", "stop"),
    ("dashscope", 403, envelope("access_denied", **ALI), "auth", "row_or_key"),
    ("dashscope", 403, envelope("AllocationQuota.FreeTierOnly", **ALI), "balance", "stop"),
    ("dashscope", 404, envelope("model_not_supported", **ALI), "model", "row_or_key"),
    ("dashscope", 500, envelope("internal_error", **ALI), "server", "retry"),
    ("dashscope", 500, envelope("RequestTimeOut", **ALI), "server", "retry"),
    ("dashscope", 503, envelope("ModelUnavailable", **ALI), "overloaded", "retry"),
    ("dashscope", 429, {"code": "Throttling.RateQuota", "message": "x", **ALI}, "rate_limit", "retry"),
    ("deepseek", 400, envelope("invalid_request_error", "invalid_request_error"), "bad_request", "fail"),
    ("deepseek", 401, envelope("invalid_request_error", "authentication_error"), "auth", "stop"),
    ("deepseek", 402, envelope("invalid_request_error", "unknown_error"), "balance", "stop"),
    ("deepseek", 422, envelope("invalid_request_error", "invalid_request_error"), "bad_request", "fail"),
    ("deepseek", 429, envelope(None), "rate_limit", "retry"),
    ("deepseek", 503, envelope(None), "server", "retry"),
    ("moonshot", 400, envelope(None, "content_filter"), "content_filter", "fail"),
    ("moonshot", 401, envelope(None, "invalid_authentication_error"), "auth", "stop"),
    ("moonshot", 403, envelope(None, "permission_denied"), "auth", "row_or_key"),
    ("moonshot", 404, envelope(None, "resource_not_found"), "model", "row_or_key"),
    ("moonshot", 429, envelope(None, "engine_overloaded_error"), "overloaded", "retry"),
    ("moonshot", 429, envelope(None, "rate_limit_reached_error"), "rate_limit", "retry"),
    ("moonshot", 429, envelope(None, "exceeded_current_quota_error"), "balance", "stop"),
    ("moonshot", 504, b"<html><body>504 Gateway Time-out</body></html>", "server", "retry"),
    ("vllm", 400, envelope(400, "BadRequestError"), "bad_request", "fail"),
    ("vllm", 400, {"object": "error", "message": "x", "type": "BadRequestError", "code": 400}, "bad_request", "fail"),
    ("vllm", 404, envelope(404, "NotFoundError"), "model", "row_or_key"),
    ("vllm", 429, envelope("insufficient_quota", **ALI), "rate_limit", "retry"),
]


@pytest.mark.parametrize(("name", "status", "body", "kind", "verdict"), REFUSALS)
def test_a_refusal_means_what_its_service_means_by_it(
    name: str, status: int, body: Any, kind: str, verdict: str
) -> None:
    """The same word is money at one and a minute's patience at another."""
    found = speaking(name).read_chat(incoming(body, status))
    assert isinstance(found, Failure)
    assert (found.kind, found.verdict) == (kind, verdict)
    assert found.answered is (status != 504)


def test_every_built_in_name_has_its_service_and_no_service_is_nameless() -> None:
    """The names a table may not take are those of the list."""
    assert registry.known_providers() == BUILT_IN
    assert all(service.name == name for name, service in registry.PROVIDERS.items())


@pytest.mark.parametrize("speaks", ["openai", "glm"])
def test_a_table_makes_a_service_without_code(speaks: Any) -> None:
    """Address, key, header, what is left out and what a limit counts, all from the job."""
    table = ProviderSpec(
        base_url="http://mine/v1/",
        speaks=speaks,
        api_key_env="MINE",
        call_id_header="X-Corp-Id",
        counts="used" if speaks == "openai" else "asked",
        never_send=("logprobs", "request_id"),
    )
    found = registry.resolve("mine", base_url=None, api_key_env=None, environ={"MINE": "k"}, tables={"mine": table})
    outgoing = found.dialect.chat(asked("mine"), "call-1")
    headers = dict(outgoing.headers)
    assert (found.base_url, found.key_env_used, found.dialect.name) == ("http://mine/v1", "MINE", "mine")
    assert (headers["X-Corp-Id"], headers["Authorization"]) == ("call-1", "Bearer k")
    assert "X-Client-Request-Id" not in headers
    assert found.dialect.counts == table.counts
    assert outgoing.body == (NULL_SENT if speaks == "openai" else NULL_LEFT_OUT).replace(b',"logprobs":true', b"")
    assert found.dialect.lanes == ({"sync", "stream", "task", "bulk"} if speaks == "glm" else {"sync", "stream"})


def test_a_table_without_a_variable_sends_no_key() -> None:
    """A server on one's own machine wants none."""
    table = ProviderSpec(base_url="http://127.0.0.1:1/v1")
    found = registry.resolve("mine", base_url=None, api_key_env=None, environ={}, tables={"mine": table})
    assert "Authorization" not in dict(found.dialect.chat(asked("mine"), "c").headers)
    assert found.key_env_used is None


@pytest.mark.parametrize(
    ("provider", "model", "form"),
    [
        ("glm", "glm-4-plus", "object"),
        ("glm", "glm-4v-plus", "none"),
        ("zai", "GLM-4.6", "object"),
        ("openai", "gpt-5-mini", "schema"),
        ("openai", "gpt-4o-2024-05-13", "object"),
        ("openai", "gpt-4-turbo", "object"),
        ("openai", "gpt-4", "none"),
        ("dashscope", "qwen-plus", "object"),
        ("deepseek", "deepseek-chat", "object"),
        ("moonshot", "kimi-k2", "object"),
        ("vllm", "anything", "schema"),
        ("simulator", "glm-4", "object"),
        ("mine", "anything", "none"),
        ("held", "anything", "schema"),
    ],
)
def test_a_service_says_what_it_can_hold_answers_to(provider: str, model: str, form: str) -> None:
    """A service of the job's own takes nothing for granted: what it does not know it may refuse."""
    base = "http://127.0.0.1:1/v1"
    tables = {"mine": ProviderSpec(base_url=base), "held": ProviderSpec(base_url=base, json="schema")}
    assert registry.find(provider, tables).json_of(model) == form
