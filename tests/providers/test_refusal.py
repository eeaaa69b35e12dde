"""`batch.providers.refusal`: what an error says in whatever form, and whether it is about the path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batch.core.records import NO_SUCH_PATH, Failure, Incoming
from batch.providers import registry
from batch.providers.base import Dialect

OPENAI, _ = registry.dialect("openai", base_url=None, key="id123.secret456")
GLM, _ = registry.dialect("glm", base_url=None, key="id123.secret456")
BOTH = pytest.mark.parametrize("dialect", [GLM, OPENAI], ids=["glm", "openai"])


def failure(dialect: Dialect, body: Any, status: int) -> Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    result = dialect.read_chat(Incoming(status, {}, raw))
    assert isinstance(result, Failure), result
    return result


MISSING = {"type": "missing", "loc": ["body", "messages", 0, "content"], "msg": "Field required", "input": "the prompt"}


@BOTH
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"detail": "Not Found"}, 404, "Not Found"),
        ({"detail": [MISSING]}, 422, "body.messages.0.content: Field required"),
        ({"detail": [MISSING, {"msg": "too long"}]}, 422, "body.messages.0.content: Field required; too long"),
        ({"detail": [MISSING] * 90}, 422, "; ".join(["body.messages.0.content: Field required"] * 5)),
        ({"detail": {"message": "no such deployment", "code": "x"}}, 400, "no such deployment"),
        ({"detail": {"error": {"message": "inside"}}}, 503, "inside"),
        ({"detail": {"odd": [1]}}, 400, '{"odd": [1]}'),
        ({"detail": ["a", 3]}, 400, '["a", 3]'),
        ({"type": "about:blank", "title": "Not Found", "status": 404}, 404, "Not Found"),
        ({"error_msg": "Not Found. Please check the configuration of your base_url."}, 404, "Not Found. Please check"),
        ({"message": "no Route matched with those values"}, 404, "no Route matched"),
        ({"timestamp": "2026", "status": 404, "error": "Not Found", "path": "/chat"}, 404, "Not Found"),
        ({"detail": None, "odd": 1}, 400, '{"detail":null,"odd":1}'),
        ({}, 400, "{}"),
    ],
)
def test_what_an_error_says_is_read_whatever_it_is_wrapped_in(
    dialect: Dialect, body: Any, status: int, said: str
) -> None:
    """FIELD 47: "HTTP 422 without a message", while FastAPI had said which field; the prompt it repeats is left out."""
    found = failure(dialect, body, status)
    assert found.message.startswith(said)
    assert "the prompt" not in found.message


@BOTH
@pytest.mark.parametrize("body", [{"detail": "Not Found"}, b"404 page not found\n", b"", b"<html>nginx", {"a": 1}])
def test_a_404_that_nothing_shows_to_be_of_a_model_is_of_the_path(dialect: Dialect, body: Any) -> None:
    """FIELD 47: "Check model.name", for a base_url without /v1; several rows may still say that only theirs is meant."""
    found = failure(dialect, body, 404)
    assert (found.kind, found.verdict, found.code) == ("bad_request", "row_or_key", NO_SUCH_PATH)
    assert not found.wrong_address


@BOTH
@pytest.mark.parametrize("body", [{"detail": "Method Not Allowed"}, b"", b"no", {"error": {"message": "no"}}])
def test_a_405_is_of_the_path_at_once(dialect: Dialect, body: Any) -> None:
    """FIELD 47: rows failed for good, fifty of them, although every path of a chat takes a POST."""
    found = failure(dialect, body, 405)
    assert (found.kind, found.verdict, found.code, found.wrong_address) == ("bad_request", "once", NO_SUCH_PATH, True)


def test_a_404_in_the_services_own_form_is_of_the_model_unless_its_code_names_the_url() -> None:
    """FIELD 47: what is known to be the model's stays so."""
    error: dict[str, Any] = {"message": "no", "type": "invalid_request_error", "param": None}
    for code in ("model_not_found", None, 404):
        found = failure(OPENAI, {"error": {**error, "code": code}}, 404)
        assert (found.kind, found.verdict) == ("model", "row_or_key")
    assert failure(OPENAI, {"error": {**error, "code": "unknown_url"}}, 404).code == NO_SUCH_PATH


def test_a_poll_that_is_not_found_is_about_the_task() -> None:
    """FIELD 47: the path was right when the task was submitted."""
    for body in (b"", b'{"detail":"Not Found"}'):
        found = GLM.read_poll(Incoming(404, {}, body))
        assert isinstance(found, Failure)
        assert (found.kind, found.code) == ("task", None)
