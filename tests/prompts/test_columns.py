"""`batch.prompts.columns`: cells that hold messages or turns become them, or are one failed row."""

import json
from pathlib import Path
from typing import Any

import pytest

from batch.job.job import PromptSpec
from batch.prompts.prompt import Prompt
from batch.prompts.template import PromptFault

FOLDER = Path("/jobs/label")


def prompt(folder: Path = FOLDER, /, **spec: Any) -> Prompt:
    return Prompt(PromptSpec(**spec), folder)


CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Bye"}]


@pytest.mark.parametrize("cell", [CHAT, json.dumps(CHAT)])
def test_a_messages_column_is_sent_as_it_is_behind_the_system_message(cell: Any) -> None:
    """A list, or its JSON text."""
    assert prompt(messages="chat", system="Be brief.").render({"chat": cell}) == [
        {"role": "system", "content": "Be brief."},
        *CHAT,
    ]


def test_fields_that_parquet_filled_with_null_are_left_out() -> None:
    """A struct column has every field in every message."""
    cell = [
        {"role": "user", "content": [{"type": "text", "text": "x", "image_url": None}], "tool_call_id": None},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "x": None}]},
        {"role": "tool", "content": "4", "tool_call_id": "1"},
    ]
    assert prompt(messages="chat").render({"chat": cell}) == [
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]},
        {"role": "tool", "content": "4", "tool_call_id": "1"},
    ]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "column 'chat': a list of role/content messages is wanted, not null"),
        ({}, "not an object"),
        ("Hi", "not the JSON text of a list of messages"),
        ("[" * 100_000, "not the JSON text"),
        ('"\\ud800"', "not text"),
        ([], "the list of messages is empty"),
        ([None], "message 0: an object with role and content is wanted, not null"),
        ([*CHAT, {"role": "bot", "content": ""}], "message 3: role 'bot' is none of"),
        ([{"role": ["user"], "content": "x"}], "message 0: role"),
        ([{"content": "x"}], "message 0: role None"),
        ([{"role": "user"}], "message 0: content must be text or a list of typed parts, not null"),
        ([{"role": "user", "content": 5}], "not a number"),
        ([{"role": "user", "content": ["x"]}], "not a list"),
        ([{"role": "user", "content": [{"text": "x"}]}], "not a list"),
        ([{"role": "assistant", "content": None, "tool_calls": []}], "not null"),
    ],
)
def test_a_cell_that_is_no_conversation_is_one_failed_row(cell: Any, reason: str) -> None:
    """The text names the column and the message."""
    with pytest.raises(PromptFault) as caught:
        prompt(messages="chat").render({"chat": cell})
    assert reason in str(caught.value)


def test_lone_surrogates_in_the_json_text_of_a_conversation_are_replaced() -> None:
    """A body with one could not be encoded, and would fail far from here."""
    [message] = prompt(messages="chat").render({"chat": '[{"role": "user", "content": "a\\ud800"}]'})
    assert message["content"] == "a\ufffd"


def test_a_conversation_without_a_user_message_is_left_for_the_provider_to_judge() -> None:
    """Providers differ here, and each has a code of its own for it."""
    assert prompt(messages="chat").render({"chat": [{"role": "assistant", "content": "x"}]})
    assert prompt(system="only").render({}) == [{"role": "system", "content": "only"}]


@pytest.mark.parametrize("cell", [["Hi", "", None, "  \n", "And then?", "Bye"], '["Hi", null, "And then?", "Bye"]'])
def test_a_turns_column_is_said_one_message_after_another(cell: Any) -> None:
    """Empty ones are skipped; the first goes out with the system and the start messages."""
    start = ({"role": "user", "content": "I am {{ who }}."}, {"role": "assistant", "content": "Hello {{ who }}."})
    asked = prompt(system="Be brief.", turns="said", start=start)
    assert asked.columns == {"said", "who"}
    first, later = asked.conversation({"said": cell, "who": "{{ 7*7 }}"})
    assert first == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "I am {{ 7*7 }}."},
        {"role": "assistant", "content": "Hello {{ 7*7 }}."},
        {"role": "user", "content": "Hi"},
    ]
    assert later == ({"role": "user", "content": "And then?"}, {"role": "user", "content": "Bye"})


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "not null"),
        ([], "no turn"),
        ([None, " "], "no turn"),
        ("just text", "not the JSON text"),
        ('{"a": 1}', "not an object"),
        (7, "not a number"),
        (["a", 7], "turn 1"),
        (["a", {"role": "user"}], "turn 1"),
        (["a", ["b"]], "turn 1"),
    ],
)
def test_a_cell_that_is_no_list_of_turns_is_one_failed_row(cell: Any, reason: str) -> None:
    """The text names the column and what stands there."""
    with pytest.raises(PromptFault, match=reason) as caught:
        prompt(turns="said").conversation({"said": cell})
    assert "'said'" in str(caught.value)


SHARED = [{"from": "system", "value": "Short."}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes?"}]


@pytest.mark.parametrize("cell", [SHARED, json.dumps(SHARED), [{**item, "weight": 1, "role": None} for item in SHARED]])
def test_messages_of_sharegpt_are_understood(cell: Any) -> None:
    """FIELD 39. The form that much training data has; what else stands in it is not sent."""
    made = prompt(messages="chat")
    assert made.render({"chat": cell}) == [
        {"role": "system", "content": "Short."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
    ]
    assert made.notes({"chat": cell}) == [
        "column 'chat' has the form of ShareGPT: from and value are read as role and content"
    ]
    assert made.notes({"chat": CHAT}) == made.notes({"chat": "x"}) == made.notes({}) == []


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (
            {"from": "function_call", "value": "x"},
            "column 'chat' message 0: from 'function_call' is none of human, user",
        ),
        ({"from": "human", "value": ["x"]}, "column 'chat' message 0: value must be text, not a list"),
        ({"from": "human"}, "column 'chat' message 0: role None is none of system, user"),
    ],
)
def test_a_message_of_sharegpt_that_cannot_be_sent_is_its_rows_failure(item: Any, told: str) -> None:
    """FIELD 39. A speaker that no chat has, or no text."""
    with pytest.raises(PromptFault) as caught:
        prompt(messages="chat").render({"chat": [item]})
    assert str(caught.value).startswith(told)
