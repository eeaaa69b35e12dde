"""`batch.labels.confidence`: which tokens of an answer say its label, and how probable they are together."""

from __future__ import annotations

import math

import pytest

from batch.core.records import TokenChance
from batch.labels import answers
from batch.labels.answers import Found
from batch.labels.confidence import chance
from batch.labels.schema import LabelSchema

NAMES = LabelSchema.of_names(["billing", "card_payment", "退款"])
OBJECT = LabelSchema.of_schema(
    {
        "type": "object",
        "properties": {"topic": {"type": "string"}, "score": {"type": "integer"}, "urgent": {"type": "boolean"}},
        "required": ["topic"],
    }
)


def measured(text: str, schema: LabelSchema = NAMES) -> float | None:
    """The probability of the label in an answer of tokens between bars; the n-th has one of 1 / (n + 1)."""
    tokens = text.split("|")
    answer = "".join(tokens)
    found = answers.read(answer, schema)
    assert isinstance(found, Found), found
    sizes = [TokenChance(len(token.encode()), -math.log(n)) for n, token in enumerate(tokens, 2)]
    return chance(answer, found, sizes)


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("bill|ing", [2, 3]),
        (" |Bill|ing|.", [3, 4]),
        ('{"|label|":| "|bill|ing|"}', [6, 7]),
        ('{"label": "bill|ing"}', [2, 3]),
        ('```json\n|{"label": "|billing|"}|\n```', [4]),
        ('{"|why|": "|card_payment|", "label": "|billing|"}', [7]),
        ("I |would say: |no card. |Label: |billing", [6]),
        ('{"label":"|退|款|"}', [3, 4]),
        ('<think>billing? |yes</think>|{"label": "|billing|"}', [5]),
        ('{"label": "|\\u9000|\\u6b3e|"}', [3, 4]),
        ("Card| |payment", [2, 3, 4]),
    ],
)
def test_the_tokens_of_a_name_are_counted_and_nothing_around_it(text: str, counted: list[int]) -> None:
    """Quotes, braces, fences, other values and other words cost nothing; a token that is half a name counts whole."""
    assert measured(text) == pytest.approx(1 / math.prod(counted))


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ('{"|topic|": "|a| b|", "|score|": |12|, "urgent": |true|}', [5, 6, 10, 12]),
        ('Here: |{"topic": "|x|"}| Done, 7 |times.', [4]),
    ],
)
def test_the_values_of_an_object_are_counted_and_not_their_names(text: str, counted: list[int]) -> None:
    """Texts without quotes, numbers and truth values, inside the JSON alone."""
    assert measured(text, OBJECT) == pytest.approx(1 / math.prod(counted))


def test_tokens_that_do_not_make_the_answer_tell_nothing() -> None:
    """None at all, too few, or an answer of which something was masked."""
    found = Found("billing")
    assert chance("billing", found, ()) is None
    assert chance("billing", found, [TokenChance(4, -0.1)]) is None
    assert chance("billing", found, [TokenChance(7, -0.1)]) == pytest.approx(math.exp(-0.1))
    assert chance("billing", found, [TokenChance(7, -9999.0)]) == 0.0
