"""The OpenAI dialect: bodies, its table of errors, the numbers in its rate-limit message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batch.core.records import Failure, Request
from batch.providers import registry
from tests.providers.test_completion import incoming

OPENAI, BASE = registry.dialect("openai", base_url=None, key="sk-123456")
REACHED = (
    "Rate limit reached for m in organization o on tokens per min (TPM): Limit {}, Used 29000, Requested {}. Please"
)


def refused(status: int, code: Any, kind: Any, message: str = "text", **headers: str) -> Failure:
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    result = OPENAI.read_chat(incoming(body, status, **headers))
    assert isinstance(result, Failure)
    return result


def test_our_id_travels_as_a_header_and_parameters_unchanged() -> None:
    """Nothing of GLM's is in an OpenAI body."""
    request = Request(
        model="gpt-5-mini", messages=[{"role": "user", "content": "x"}], parameters={"seed": 1, "stop": None}
    )
    outgoing = OPENAI.chat(request, "call-1")
    assert json.loads(outgoing.body or b"") == {
        "seed": 1,
        "stop": None,
        "model": "gpt-5-mini",
        "messages": request.messages,
    }
    headers = dict(outgoing.headers)
    assert headers["X-Client-Request-Id"] == "call-1"
    assert headers["Content-Type"] == "application/json"
    assert BASE == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("status", "code", "said", "kind", "verdict"),
    [
        (400, "context_length_exceeded", "invalid_request_error", "too_large", "fail"),
        (400, "invalid_value", "invalid_request_error", "bad_request", "fail"),
        (400, "content_policy_violation", "invalid_request_error", "content_filter", "fail"),
        (401, "invalid_api_key", "invalid_request_error", "auth", "stop"),
        (403, "unsupported_country_region_territory", "request_forbidden", "auth", "row_or_key"),
        (404, "model_not_found", "invalid_request_error", "model", "row_or_key"),
        (429, "rate_limit_exceeded", "tokens", "rate_limit", "retry"),
        (429, None, "requests", "rate_limit", "retry"),
        (429, "slow_down", "rate_limit_error", "rate_limit", "retry"),
        (429, "insufficient_quota", "insufficient_quota", "balance", "stop"),
        (429, None, "insufficient_quota", "balance", "stop"),
        (429, "credit_balance_exhausted", "insufficient_quota", "balance", "stop"),
        (429, "project_spend_limit_exceeded", None, "balance", "stop"),
        (500, None, "server_error", "server", "retry"),
        (503, "server_is_overloaded", "service_unavailable_error", "overloaded", "retry"),
        (503, None, "service_unavailable_error", "overloaded", "retry"),
    ],
)
def test_code_then_type_then_status_decide(status: int, code: Any, said: Any, kind: str, verdict: str) -> None:
    """A 429 without money is not a rate limit."""
    found = refused(status, code, said)
    assert (found.kind, found.verdict, found.code) == (kind, verdict, code or said)


def test_a_request_larger_than_the_whole_limit_is_permanent() -> None:
    """Requested above Limit: no waiting will help."""
    large = refused(429, "rate_limit_exceeded", "tokens", REACHED.format(30000, "31,538"))
    assert (large.kind, large.verdict) == ("too_large", "fail")
    usual = refused(429, "rate_limit_exceeded", "tokens", REACHED.format("30,000", 1538), retry_after="2")
    assert (usual.kind, usual.verdict, usual.retry_after_s) == ("rate_limit", "retry", 2.0)
    assert refused(429, "slow_down", "tokens", "Limit , Requested ,").kind == "rate_limit"


def test_the_flat_error_of_vllm_is_understood() -> None:
    """No `error` object around it, the code a number."""
    body = {"object": "error", "message": "too long", "type": "BadRequestError", "param": None, "code": 400}
    found = OPENAI.read_chat(incoming(body, 400, x_request_id="req_1"))
    assert isinstance(found, Failure)
    assert (found.kind, found.message, found.code, found.request_id) == ("bad_request", "too long", "400", "req_1")
    again = OPENAI.read_chat(incoming({**body, "code": 503}))
    assert isinstance(again, Failure)
    assert (again.kind, again.verdict) == ("server", "retry")


def test_there_is_no_task_lane() -> None:
    """Asking for it is a bug of the caller, not a request."""
    assert OPENAI.lanes == {"sync", "stream", "bulk"}
    with pytest.raises(NotImplementedError, match="no task lane"):
        OPENAI.submit(Request(model="m", messages=[]), "c")


@pytest.mark.parametrize(
    ("message", "headers", "seconds"),
    [
        ("Limit 3, Used 3, Requested 1. Please try again in 18.642s. Visit https://x", {}, 18.642),
        ("Please try again in 6m0s.", {}, 360.0),
        ("Please try again in 20 seconds", {}, 20.0),
        ("Please try again in 20ms. Visit", {}, 0.02),
        ("Please try again in 6m0s.", {"retry_after": "2"}, 2.0),
        ("Please try again in a while", {}, None),
        ("Please try again in 0s", {}, None),
    ],
)
def test_the_wait_in_a_rate_limits_message_counts_where_no_header_says_one(
    message: str, headers: dict[str, str], seconds: float | None
) -> None:
    """A documented part of the message."""
    found = refused(429, "rate_limit_exceeded", "requests", message, **headers)
    assert (found.kind, found.retry_after_s) == ("rate_limit", seconds)


def test_insufficient_quota_means_what_the_service_means_by_it() -> None:
    """No money at OpenAI; tokens a minute in Model Studio, whose envelope has a request id."""
    error = {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}
    for body, kind, verdict in (
        ({"error": error}, "balance", "stop"),
        ({"error": error, "request_id": "7e3a"}, "rate_limit", "retry"),
    ):
        found = OPENAI.read_chat(incoming(body, 429))
        assert isinstance(found, Failure)
        assert (found.kind, found.verdict) == (kind, verdict)
        assert found.request_id == body.get("request_id")
