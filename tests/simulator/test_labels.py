"""The built-in model's answers inside a list of labels or a schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.simulator.conftest import Sim

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
