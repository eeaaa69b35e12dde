"""`batch.money.bounds`: no call comes to more than it says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.records import Request
from batch.money.bounds import most_tokens, searched, size_of
from batch.simulator.books import tokens

TEXTS = st.text(st.characters(exclude_categories=()), max_size=60)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": TEXTS},
        optional={
            "tool_calls": st.lists(st.fixed_dictionaries({"id": TEXTS, "type": st.just("function")}), max_size=2)
        },
    ),
    min_size=1,
    max_size=5,
)
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def asked(messages: list[dict[str, Any]], parameters: dict[str, Any] | None = None, tools: Any = ()) -> Request:
    return Request(model="m", messages=messages, parameters=parameters or {}, tools=tools)


@given(MESSAGES, st.lists(st.just(TOOL), max_size=3))
def test_a_prompt_never_has_more_tokens_than_its_bound(messages: list[dict[str, Any]], tools: list[Any]) -> None:
    """One a byte of UTF-8 and the template: at least what the simulator bills, and what each byte as a token would be."""
    size = size_of(asked(messages, {"max_tokens": 7}, tuple(tools)))
    every_byte = sum(len(message["content"].encode("utf-8", "surrogatepass")) + 16 for message in messages)
    clean = [{**m, "content": m["content"].encode("utf-8", "replace").decode()} for m in messages]
    for message in clean:
        message.pop("tool_calls", None)
    assert size.prompt >= every_byte
    assert size.prompt >= tokens.of_prompt(clean, tools)
    assert (size.completion, size.known) == (7, True)


def test_tools_and_the_form_of_a_label_count() -> None:
    """Everything that is sent does; what is left out of requests does not."""
    plain = size_of(asked([{"role": "user", "content": "x"}]))
    form = {"response_format": {"type": "json_schema", "json_schema": {"schema": {"x": "y" * 200}}}}
    assert size_of(asked([{"role": "user", "content": "x"}], form)).prompt > plain.prompt + 200
    assert size_of(asked([{"role": "user", "content": "x"}], form), {"response_format"}).prompt == plain.prompt
    assert size_of(asked([{"role": "user", "content": "x"}], {}, (TOOL,))).prompt > plain.prompt + 40


@pytest.mark.parametrize(
    ("parameters", "most"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 9, "max_tokens": 5}, 9),
        ({"max_tokens": 5, "n": 3}, 15),
        ({"max_tokens": None}, None),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": 0}, None),
    ],
)
def test_an_answer_is_bounded_by_what_the_request_says(parameters: dict[str, Any], most: int | None) -> None:
    """All choices together."""
    assert most_tokens(parameters) == most


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"temperature": 1}, ""),
        ({"tools": [TOOL]}, ""),
        ({"tools": [{"type": "web_search", "web_search": {"enable": True}}]}, "tools of type web_search"),
        ({"tools": [{"type": "retrieval"}]}, "tools of type retrieval"),
        ({"enable_search": True}, "enable_search"),
        ({"enable_search": False}, ""),
        ({"web_search_options": {"a": 1}}, "web_search_options"),
    ],
)
def test_what_a_service_adds_on_its_own_has_no_bound(parameters: dict[str, Any], why: str) -> None:
    """Search and retrieval put into the prompt what nobody knows before."""
    assert searched(parameters) == why


def test_pictures_have_no_bound_and_their_bytes_are_no_text() -> None:
    """Services count them by their size, not by their bytes."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}
    size = size_of(asked([{"role": "user", "content": [{"type": "text", "text": "x"}, picture]}], {"max_tokens": 5}))
    assert (size.unbounded, size.known) == ("pictures", False)
    assert size.prompt < 1_000
