"""The built-in model's answers inside a list of labels or a schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.struck import fault

if TYPE_CHECKING:
    from tests.simulator.conftest import Sim, Start

SCHEMA = {
    "type": "object",
    "properties": {
        "category": {"type": "string", "enum": ["billing", "delivery", "other"]},
        "urgent": {"type": "boolean"},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
        "reason": {"type": "string", "maxLength": 12},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
        "nested": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"fixed": {"const": 3}}}]},
        "ratio": {"type": ["number", "null"]},
    },
    "required": ["category", "urgent", "score", "reason", "tags", "nested", "ratio"],
    "$defs": {"tag": {"enum": ["parcel", "money"]}},
}


def text(answer: Any) -> str:
    found: str = answer.json()["choices"][0]["message"]["content"]
    return found


@pytest.mark.parametrize(
    ("system", "user", "label"),
    [
        ("Answer with one of: billing, delivery, other.", "My delivery is late", "delivery"),
        ("Classify the ticket. Labels: billing, delivery_problem, other", "My deliveries are late", "delivery_problem"),
        ("Choose exactly one of the following labels:\n- card_arrival\n- lost_or_stolen_card\n", "my card was stolen",
         "lost_or_stolen_card"),
        ('Choose a label from ["cardArrival", "pendingTopUp"]', "my top up is still pending", "pendingTopUp"),
        ("请从以下标签中选择一个：物流、退款、其他", "我要退款", "退款"),
        ("标签：正面、负面、中性", "这个产品太负面了", "负面"),
        ("Answer with one of: billing, delivery, other", "Guten Tag", "other"),
        ("Answer with exactly one of these labels, and nothing else:\nbilling\ndelivery\n\nBe brief.", "my delivery",
         "delivery"),
        ("Reply with one label from this list: billing, delivery.", "my delivery", "delivery"),
        ("Answer only with one of billing, delivery or other.", "my delivery", "delivery"),
        ("The allowed labels are: billing; delivery", "my delivery", "delivery"),
        ('Allowed values: "billing" | "delivery"', "my delivery", "delivery"),
        ("只能回答以下标签之一：物流、退款", "我要退款", "退款"),
        ("请选择最合适的类别：\n1. 物流\n2. 退款", "我要退款", "退款"),
    ],
)  # fmt: skip
def test_a_listed_label_is_chosen_by_its_words(sim: Sim, system: str, user: str, label: str) -> None:
    """The list may be inline, bulleted, JSON, English or Chinese; the answer is a label and nothing else."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    assert text(sim.glm(messages)) == label
    assert text(sim.openai(messages)) == label


def test_a_list_in_the_user_message_does_not_count_as_its_text(sim: Sim) -> None:
    """Labels do not match themselves."""
    assert text(sim.glm("I want my refund. Answer with one of: praise, refund, complaint")) == "refund"


def test_without_a_shared_word_the_choice_is_by_hash_and_stable(sim: Sim) -> None:
    """Different texts spread over the labels; the same text keeps its label."""
    labels = {"alpha", "beta", "gamma"}

    def label(user: str) -> str:
        return text(
            sim.glm([{"role": "system", "content": "Labels: alpha, beta, gamma"}, {"role": "user", "content": user}])
        )

    chosen = [label(f"zzz {number}") for number in range(30)]
    assert set(chosen) == labels
    assert [label(f"zzz {number}") for number in range(30)] == chosen


def test_no_list_no_label(sim: Sim) -> None:
    """Ordinary sentences with "one of" in them introduce nothing."""
    assert text(sim.glm("I lost one of my two cards, please help")).startswith("About")


def check(value: dict[str, Any]) -> None:
    assert list(value) == SCHEMA["required"]
    assert value["category"] == "delivery"
    assert isinstance(value["urgent"], bool)
    assert value["score"] == 5
    assert len(value["reason"]) <= 12
    assert len(value["tags"]) == 2
    assert set(value["tags"]) <= {"parcel", "money"}
    assert value["nested"] == {"fixed": 3}
    assert isinstance(value["ratio"], float)


def test_a_json_schema_is_filled(sim: Sim) -> None:
    """Enums by keywords, numbers within their ends, references and nullable parts resolved."""
    form = {"type": "json_schema", "json_schema": {"name": "label", "schema": SCHEMA, "strict": True}}
    check(json.loads(text(sim.openai("my delivery is 17 days late", response_format=form))))


def test_a_schema_in_the_prompt_is_filled(sim: Sim) -> None:
    """GLM knows json_object only, so the schema stands in the system prompt."""
    messages = [
        {
            "role": "system",
            "content": f"Reply with JSON that fits this schema:\n{json.dumps(SCHEMA, indent=2)}\nThanks.",
        },
        {"role": "user", "content": "my delivery is 17 days late"},
    ]
    check(json.loads(text(sim.glm(messages, response_format={"type": "json_object"}))))
    check(json.loads(text(sim.glm(messages))))


def test_json_object_is_always_json(sim: Sim) -> None:
    """With a list it holds the label, without anything an answer; tool results do not break it."""
    form = {"type": "json_object"}
    messages = [{"role": "system", "content": "Labels: up, down. JSON please."}, {"role": "user", "content": "go down"}]
    assert json.loads(text(sim.openai(messages, response_format=form))) == {"label": "down"}
    assert json.loads(text(sim.openai("some json", response_format=form))) == {"answer": "some json"}
    messages.append({"role": "tool", "content": "5"})
    assert json.loads(text(sim.glm(messages, response_format=form))) == {"label": "down"}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"type": "object", "properties": {str(n): {"$ref": "#"} for n in range(5)}},
        {"type": "array", "minItems": 10**12},
        {"type": "string", "minLength": 10**12},
        {"type": "integer", "minimum": "x"},
        {"anyOf": []},
        {"enum": [None, 1, {"a": 2}]},
        {"properties": []},
    ],
)
def test_a_hostile_schema_gets_an_answer(sim: Sim, schema: dict[str, Any]) -> None:
    """Endless references and absurd sizes end in some JSON, soon."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = sim.openai("9" * 500, response_format=form)
    assert answer.status_code == 200
    json.loads(text(answer))


LABEL_MESSAGES = [
    {"role": "system", "content": "Answer, in JSON if you can, with one of: billing, delivery, other."},
    {"role": "user", "content": "My delivery is late"},
]
JSON_MODE = {"response_format": {"type": "json_object"}}


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("cut", '{"label":"del'),
        ("quotes", "{'label':'delivery'}"),
        ("comma", '{"label":"delivery",, }'),
        ("words", "I am not sure how to put this. There is more than one way to look at it."),
    ],
)
def test_73_breaks_the_json_of_a_label_in_four_ways(start: Start, form: str, said: str) -> None:
    """Whole, as a task and in a stream; the answer is billed, and a plain label becomes words."""
    sim = start(fault(73, form=form))
    assert text(sim.glm(LABEL_MESSAGES, **JSON_MODE)) == said
    assert text(sim.openai(LABEL_MESSAGES, **JSON_MODE)) == said
    assert (
        sim.poll(sim.submit(LABEL_MESSAGES, **JSON_MODE).json()["id"]).json()["choices"][0]["message"]["content"]
        == said
    )
    assert text(sim.glm(LABEL_MESSAGES)).startswith("I am not sure")
    assert all(record["billed"] for record in sim.books() if record["route"] != "poll")


def test_74_says_a_label_that_is_not_in_the_list(start: Start) -> None:
    """In the form that was asked for; the scenario may say which."""
    sim = start(fault(74))
    assert json.loads(text(sim.glm(LABEL_MESSAGES, **JSON_MODE)))["label"].startswith("Something else ")
    assert text(sim.openai(LABEL_MESSAGES)).startswith("Something else ")
    assert text(start(fault(74, label="Delivery?")).glm(LABEL_MESSAGES)) == "Delivery?"


@pytest.mark.parametrize(
    "complaint",
    [
        "That answer cannot be used: it is not JSON. Answer again with a JSON object.",
        "Your response is not valid. billing or delivery?",
        "Recall the function correctly, fix the errors: 1 validation error for Label",
        "回答无效，请重新回答。",
    ],
)
def test_a_complaint_about_an_answer_is_about_what_was_asked_before(sim: Sim, complaint: str) -> None:
    """As of a model that reads the whole conversation; without an answer before it, it is a text like any other."""
    said = [{"role": "assistant", "content": "hm"}, {"role": "user", "content": complaint}]
    assert text(sim.glm([*LABEL_MESSAGES, *said])) == "delivery"
    assert text(sim.glm([*LABEL_MESSAGES, *said, *said])) == "delivery"
    later = [said[0], {"role": "user", "content": "And my billing?"}]
    assert text(sim.glm([*LABEL_MESSAGES, *later])) == "billing"
