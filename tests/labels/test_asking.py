"""`batch.labels.asking`: the best form a service has, and the words that go with it."""

from __future__ import annotations

from typing import Any

import pytest

from batch.core.records import Message, Request
from batch.labels import asking
from batch.labels.asking import Asking
from batch.labels.schema import LabelSchema

NAMES = LabelSchema.of_names(["billing", "other"])
OBJECT = LabelSchema.of_schema({"type": "object", "properties": {"score": {"type": "integer"}}})
USER: Message = {"role": "user", "content": "My card?"}
SYSTEM: Message = {"role": "system", "content": "You label.\n"}


def request(*messages: Message, **parameters: Any) -> Request:
    return Request(model="m", messages=list(messages), parameters=parameters)


def test_a_service_that_takes_a_schema_is_given_it_and_needs_no_words_when_the_model_sees_it() -> None:
    """`strict`, under a name that every service takes."""
    how = Asking(labels=NAMES, forms={"m": "schema"}, shown=True)
    asked = how.asked(request(SYSTEM, USER, temperature=0))
    assert asked.messages == [SYSTEM, USER]
    assert asked.parameters == {
        "temperature": 0,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "label", "strict": True, "schema": NAMES.schema},
        },
    }
    assert how.again("it is empty", model="m").endswith("these labels:\n- billing\n- other"), "not told before"


@pytest.mark.parametrize("form", ["schema", "object"])
def test_json_that_the_model_does_not_see_is_said_in_the_system_message(form: Any) -> None:
    """With the word JSON, which some services want to read there."""
    asked = Asking(labels=NAMES, forms={"m": form}).asked(request(SYSTEM, USER))
    told = (
        'You label.\n\nAnswer with a JSON object and nothing else. Its only member, "label", is exactly one of these '
        "labels:\n- billing\n- other"
    )
    assert asked.messages == [{"role": "system", "content": told}, USER]
    assert asked.parameters["response_format"]["type"] == f"json_{form}"


def test_without_a_form_plain_words_ask_for_the_bare_name() -> None:
    """And a system message is made where there is none."""
    asked = Asking(labels=NAMES).asked(request(USER))
    told = "Answer with exactly one of these labels and nothing else:\n- billing\n- other"
    assert (asked.messages, asked.parameters) == ([{"role": "system", "content": told}, USER], {})


def test_a_prompt_that_names_the_labels_is_not_made_to_name_them_twice() -> None:
    """Seventy names cost tokens in every row."""
    how = Asking(labels=NAMES, forms={"m": "object"}, named=True)
    (system, _) = how.asked(request(SYSTEM, USER)).messages
    assert system["content"].endswith('Its only member, "label", is exactly one of the labels given above.')
    assert "- billing" not in how.again("it is empty", model="m")
    assert asking.unnamed(["billing", "other"], ["one of billing", "or others"]) == []
    assert asking.unnamed(["billing", "other"], ["one of billing"]) == ["other"]


def test_an_object_is_asked_for_with_its_schema() -> None:
    """In one line of JSON."""
    (system, _) = Asking(labels=OBJECT).asked(request(USER)).messages
    assert "It must fit this JSON schema:\n{" in system["content"]
    assert '"score"' in system["content"]


def test_a_later_turn_is_told_at_its_end_what_is_wanted() -> None:
    """The turns before it asked for something else; pictures stay before the words."""
    pictured: Message = {"role": "user", "content": [{"type": "text", "text": "And this?"}]}
    asked = Asking(labels=NAMES).asked(request(SYSTEM, USER, pictured), late=True)
    assert asked.messages[:2] == [SYSTEM, USER]
    text, told = asked.messages[2]["content"]
    assert text == {"type": "text", "text": "And this?"}
    assert told["text"].startswith("Answer with exactly one of these labels")


@pytest.mark.parametrize(
    ("own", "form"),
    [
        ({"type": "json_object"}, "object"),
        ({"type": "json_schema", "json_schema": {}}, "object"),
        ({"type": "text"}, "none"),
        (None, "none"),
    ],
)
def test_the_jobs_own_form_wins(own: Any, form: str) -> None:
    """It is sent as it stands, and the words go with it."""
    parameters = {"response_format": own}
    assert asking.own_form(parameters) == form
    how = Asking(labels=NAMES, forms={"m": asking.own_form(parameters) or "none"}, own=True)
    asked = how.asked(request(USER, **parameters))
    assert asked.parameters == parameters
    assert ("JSON" in asked.messages[0]["content"]) == (form == "object")
    assert asking.own_form({}) is None
