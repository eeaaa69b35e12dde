"""`batch.labels.answers`: what still counts as saying a label, and what never does."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.labels import answers
from batch.labels.answers import Found, Invalid
from batch.labels.schema import LabelSchema

NAMES = LabelSchema.of_names(["billing", "card_payment", "card_payment_fee_charged", "other", "退款"])
OBJECT = LabelSchema.of_schema(
    {
        "type": "object",
        "properties": {
            "topic": {"enum": ["billing", "shipping"]},
            "urgent": {"type": "boolean"},
            "score": {"type": "integer", "minimum": 1, "maximum": 5},
            "note": {"type": "string", "maxLength": 10},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "uniqueItems": True},
        },
        "required": ["topic", "urgent", "score"],
    }
)
WHOLE = {"topic": "billing", "urgent": True, "score": 3}
READ = {**WHOLE, "note": None, "tags": None}


def said(answer: str, schema: LabelSchema) -> tuple[Any, bool]:
    """The label in an answer, and whether it was read kindly."""
    found = answers.read(answer, schema)
    assert isinstance(found, Found), found
    return found.value, found.coerced


@pytest.mark.parametrize(
    ("answer", "name", "coerced"),
    [
        ("billing", "billing", False),
        ("  billing\n", "billing", False),
        ('{"label": "billing"}', "billing", False),
        ('\n {"label":"退款"} ', "退款", False),
        ("Billing", "billing", True),
        ("CARD PAYMENT", "card_payment", True),
        ("card-payment", "card_payment", True),
        ("billing.", "billing", True),
        ("**billing**", "billing", True),
        ('"billing"', "billing", False),
        ('{"Label": "billing"}', "billing", False),
        ('{"category": "billing"}', "billing", False),
        ('{"label": ["billing"]}', "billing", False),
        ('{"label": "BILLING "}', "billing", True),
        ('```json\n{"label": "billing"}\n```', "billing", True),
        ("```\nbilling\n```", "billing", True),
        ('Sure! {"label": "billing"} Anything else?', "billing", True),
        ('<think>other? no.</think>{"label": "billing"}', "billing", True),
        ("Label: billing", "billing", True),
        ("The label is: **card_payment_fee_charged**.", "card_payment_fee_charged", True),
        ("The customer was charged twice.\n\nbilling", "billing", True),
        ("- billing", "billing", True),
        ("标签：退款", "退款", True),
        ('{"label": "billing"} and again {"label": "billing"}', "billing", True),
    ],
)
def test_a_name_is_found_in_its_fences_its_words_and_its_spellings(answer: str, name: str, coerced: bool) -> None:
    """What is not said plainly is flagged; JSON and the bare name are both plain."""
    assert said(answer, NAMES) == (name, coerced)


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (None, "empty", "the answer is empty"),
        ("  \n", "empty", "the answer is empty"),
        ("<think>hm</think>", "empty", "the answer is empty"),
        ("delivery", "outside", '"delivery" is none of the labels: billing'),
        ('{"label": "delivery"}', "outside", '"delivery" is none of the labels'),
        ('{"label": null}', "no_json", "it says no label"),
        ('{"label": 3}', "no_json", "it says no label"),
        ('{"label": "billing"', "no_json", "the answer is not JSON"),
        ("{'label': 'billing'}", "no_json", "the answer is not JSON"),
        ('{"label": "billing",, }', "no_json", "the answer is not JSON"),
        ('{"label": "billing"} or {"label": "other"}', "ambiguous", 'several labels: "billing", "other"'),
        ('{"label": "billing"} {"label": "delivery"}', "ambiguous", '"billing" and more'),
        ("billing\nother", "ambiguous", "several labels"),
        ("It is not about billing, I would say, and the other topics do not fit it either.", "outside", "one label"),
        ("I cannot tell whether this is billing", "outside", "is none of the labels"),
        ("Label: delivery", "outside", '"delivery" is none of the labels'),
    ],
)
def test_an_answer_that_says_no_one_label_is_invalid_and_told_why(answer: str | None, code: str, said: str) -> None:
    """Mentioning a name is not saying it: a wrong label is found by nobody, another call costs little."""
    found = answers.read(answer, NAMES)
    assert isinstance(found, Invalid)
    assert found.code == code
    assert said in found.text


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("card_payment", Invalid),
        ("the label is card_payment", Invalid),
        ('{"label": "card_payment', Invalid),
        ("card_payment_fee_charged", Found),
        ('{"label": "card_payment"}', Found),
        ("billing", Found),
    ],
)
def test_a_name_at_the_end_of_a_cut_answer_is_not_taken_for_a_shorter_one(answer: str, found: type) -> None:
    """`card_payment` may be the beginning of `card_payment_fee_charged`; whole JSON is whole."""
    read = answers.read(answer, NAMES, cut=True)
    assert isinstance(read, found)
    assert isinstance(read, Found) or read.code == "truncated"


@given(st.text(max_size=200))
def test_no_text_at_all_gives_a_label_outside_the_names(text: str) -> None:
    """And none raises."""
    for cut in (False, True):
        found = answers.read(text, NAMES, cut=cut)
        assert isinstance(found, Invalid) or found.value in NAMES.names
        assert isinstance(answers.read(text, OBJECT, cut=cut), Found | Invalid)


def test_a_long_list_of_names_is_told_by_its_nearest() -> None:
    """Seventy names in every re-ask would cost more than the answer."""
    many = LabelSchema.of_names([f"topic {n}" for n in range(70)] + ["delivery_late"])
    found = answers.read("deliveries late", many)
    assert isinstance(found, Invalid)
    assert found.text == '"deliveries late" is none of the labels; the nearest are "delivery_late"'


@pytest.mark.parametrize(
    ("answer", "value", "coerced"),
    [
        (WHOLE, READ, False),
        ({**WHOLE, "note": "short", "tags": ["a", "b"]}, {**READ, "note": "short", "tags": ["a", "b"]}, False),
        ({**WHOLE, "score": 3.0}, READ, False),
        ({**WHOLE, "topic": "Billing"}, READ, True),
        ({"Topic": "billing", "URGENT": True, "score": 3}, READ, True),
        ({**WHOLE, "why": "because"}, READ, True),
        ({"label": WHOLE}, READ, True),
    ],
)
def test_an_object_is_checked_and_comes_whole(answer: Any, value: Any, coerced: bool) -> None:
    """What may be missing is null; a spelling, a wrapper or more than was asked for is flagged."""
    assert said(json.dumps(answer), OBJECT) == (value, coerced)
    assert said(f"Here:\n```json\n{json.dumps(answer)}\n```", OBJECT) == (value, True)
    assert said(f"Here: {json.dumps(answer)} Done.", OBJECT) == (value, True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"topic": "delivery"}, '"topic": "delivery" is none of the labels: billing, shipping'),
        ({"topic": None}, '"topic" must not be null'),
        ({"urgent": "yes"}, '"urgent" must be true or false, not "yes"'),
        ({"urgent": 1}, '"urgent" must be true or false, not 1'),
        ({"score": "3"}, '"score" must be a number, not "3"'),
        ({"score": True}, '"score" must be a number, not true'),
        ({"score": 2.5}, '"score" must be a whole number, not 2.5'),
        ({"score": 6}, '"score" must be at most 5, not 6'),
        ({"score": 10**30}, '"score" is too large for a number of 64 bits'),
        ({"note": "much too long for it"}, '"note" must have at most 10 characters, and has 20'),
        ({"tags": "a"}, '"tags" must be a list, not "a"'),
        ({"tags": ["a", 2]}, '"tags[1]" must be a text, not 2'),
        ({"tags": ["a", "b", "c"]}, '"tags" must have at most 2 items, and has 3'),
        ({"tags": ["a", "a"]}, '"tags" has an item twice'),
    ],
)
def test_what_is_wrong_with_an_object_is_said_with_its_place(change: dict[str, Any], told: str) -> None:
    """In words that a model can act on."""
    found = answers.read(json.dumps({**WHOLE, **change}), OBJECT)
    assert isinstance(found, Invalid)
    assert (found.code, told in found.text) == ("schema", True), found.text


def test_missing_properties_broken_json_and_two_objects_are_told_apart() -> None:
    """Each asks for something else of the model."""
    for answer, code, told in (
        ('{"topic": "billing"}', "schema", '"urgent" is missing'),
        ("[1, 2]", "schema", "must be a JSON object"),
        ('{"topic": "billing", "urg', "no_json", "the answer is not JSON"),
        ("I would say billing.", "no_json", "the answer is not JSON"),
        (f"{json.dumps(WHOLE)} or {json.dumps({**WHOLE, 'score': 4})}", "ambiguous", "several JSON objects"),
    ):
        found = answers.read(answer, OBJECT)
        assert isinstance(found, Invalid)
        assert (found.code, told in found.text) == (code, True), found
    closed = LabelSchema.of_schema(
        {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"], "additionalProperties": False}
    )
    found = answers.read('{"a": 1, "b": 2}', closed)
    assert isinstance(found, Invalid)
    assert 'has "b", which is not asked for' in found.text
    assert said('{"a": 1}', closed) == ({"a": 1.0}, False)


@pytest.mark.parametrize(
    "hostile",
    [
        "{" * 300_000,
        '{"a":' * 60_000,
        "a" * 300_000,
        "label is " * 40_000,
        "label: x\n" * 40_000,
        '"' * 300_000,
        "```json\n" * 40_000,
        "<think>" * 40_000,
        '{"label": "' + "x" * 300_000 + '"}',
        "{}" * 100_000,
    ],
    ids=range(10),
)
def test_an_answer_made_to_take_long_is_read_as_fast_as_any(hostile: str) -> None:
    """Whole runs wait while one answer is read; counted in steps of the interpreter, which no busy machine changes."""
    steps = 0

    def count(*_: Any) -> Any:
        nonlocal steps
        steps += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        found = [answers.read(hostile, schema) for schema in (NAMES, OBJECT)]
    finally:
        sys.settrace(before)
    assert all(isinstance(one, Invalid) for one in found)
    assert steps < 6_000_000
