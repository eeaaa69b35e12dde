"""`batch.providers.chances`: the probabilities of an answer's tokens, in one piece and in a stream; odd forms tell nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batch.core.records import Incoming, Reply, TokenChance
from batch.providers import registry

OPENAI, _ = registry.dialect("vllm", base_url="http://h/v1", key="k")


def token(text: str, logprob: Any = -0.5, **more: Any) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "top_logprobs": [], **more}


def whole(content: str, logprobs: Any) -> Reply:
    choice = {"index": 0, "message": {"content": content}, "finish_reason": "stop", "logprobs": logprobs}
    read = OPENAI.read_chat(Incoming(200, {}, json.dumps({"choices": [choice]}).encode()))
    assert isinstance(read, Reply)
    return read


def streamed(pieces: list[tuple[str, Any]]) -> Reply:
    folding = OPENAI.folding()
    for text, logprobs in pieces:
        chunk = {"choices": [{"index": 0, "delta": {"content": text}, "logprobs": logprobs, "finish_reason": None}]}
        folding.feed(f"data: {json.dumps(chunk)}\n\n".encode())
    folding.feed(
        b'data: {"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    read = folding.end(clean=True)
    assert isinstance(read, Reply)
    return read


def test_a_stream_gives_the_same_tokens_as_an_answer_in_one_piece() -> None:
    """Whatever the pieces are: tokens are counted in bytes of UTF-8."""
    tokens = [token("退", -0.25), token("款", 0.0), token("!", -1)]
    expected = (TokenChance(3, -0.25), TokenChance(3, 0.0), TokenChance(1, -1.0))
    assert whole("退款!", {"content": tokens}).tokens == expected
    parts = [("退", {"content": tokens[:1]}), ("", None), ("款!", {"content": tokens[1:], "refusal": None})]
    assert streamed(parts).tokens == expected
    assert streamed([("退款!", {"content": None}), ("", {"content": tokens})]).tokens == expected


def test_a_task_tells_them_too_where_its_service_does() -> None:
    """Both dialects read an answer in the same way, in every lane."""
    glm, _ = registry.dialect("glm", base_url=None, key="id123.secret456")
    choice = {"message": {"content": "hi"}, "finish_reason": "stop", "logprobs": {"content": [token("hi", -2)]}}
    body = {"id": "831", "task_status": "SUCCESS", "choices": [choice]}
    for read in (glm.read_poll, glm.read_chat):
        found = read(Incoming(200, {}, json.dumps(body).encode()))
        assert isinstance(found, Reply)
        assert found.tokens == (TokenChance(2, -2.0),)


@pytest.mark.parametrize(
    ("content", "tokens", "expected"),
    [
        ("hi", [token("hi"), token("<|im_end|>")], [(2, -0.5)]),
        ("hi", [token("<think>"), token("no"), token("</think>"), token("hi", -1)], [(2, -1.0)]),
        ("ab", [token(" a"), token("b ")], [(1, -0.5), (1, -0.5)]),
        ("é", [token("\\xc3", bytes=[0xC3]), token("\\xa9", bytes=[0xA9])], [(1, -0.5), (1, -0.5)]),
        ("a", [token("a", 1e-7)], [(1, 0.0)]),
    ],
)
def test_what_was_written_and_is_not_shown_is_no_part_of_it(
    content: str, tokens: list[Any], expected: list[tuple[int, float]]
) -> None:
    """Marks of the end, thoughts, blanks; characters in halves; a rounding error above certainty."""
    assert whole(content, {"content": tokens}).tokens == tuple(TokenChance(*one) for one in expected)


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": None},
        {"content": []},
        {"content": [token("other")]},
        {"content": [token("hi", None)]},
        {"content": [token("hi", bytes=[999])]},
        {"content": "hi"},
        {"tokens": ["hi"], "token_logprobs": [-0.1]},
        [],
        "x",
        7,
    ],
)
def test_odd_forms_tell_nothing_and_cost_no_answer(logprobs: Any) -> None:
    """The answer is read all the same."""
    assert (whole("hi", logprobs).content, whole("hi", logprobs).tokens) == ("hi", ())
    assert (streamed([("hi", logprobs)]).content, streamed([("hi", logprobs)]).tokens) == ("hi", ())
